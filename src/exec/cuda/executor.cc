// SPDX-License-Identifier: Apache-2.0
// Launches compiled programs, and answers how they are going.
#include "src/exec/cuda/executor.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/exec/cuda/executor_state.h"
#include "src/kernels/cuda/scaling.h"

namespace tutti::exec {
namespace {

// A binding's arrays where kernels read them.
struct Arrays {
  const uint64_t* block_counts = nullptr;
  const uint64_t* input_offsets = nullptr;
  const uint64_t* output_offsets = nullptr;
};
static_assert(sizeof(size_t) == sizeof(uint64_t));

class ArrayCopier {
 public:
  explicit ArrayCopier(const Block& block) : block_(block) {}
  const uint64_t* copy(const size_t* from, size_t n) {
    if (from == nullptr) return nullptr;
    memcpy(block_.host + used_, from, n * sizeof(uint64_t));
    return block_.at<const uint64_t>(std::exchange(used_, used_ + n * sizeof(uint64_t)));
  }

 private:
  const Block& block_;
  size_t used_ = 0;
};

// The block lives until the launch has ended; that of a captured one until the executor ends.
Arrays copy_arrays(ExecutorState& executor, const DeviceProgram::State& program,
                   const Binding& binding, uint64_t number) {
  if (binding.block_counts == nullptr && binding.input_offsets == nullptr &&
      binding.output_offsets == nullptr) {
    return {};
  }
  const size_t words = program.n_block_counts + program.n_input_offsets + program.n_output_offsets;
  const Block block = executor.pinned.take(words * sizeof(uint64_t), executor.ended());
  ArrayCopier copier(block);
  Arrays arrays;
  arrays.block_counts = copier.copy(binding.block_counts, program.n_block_counts);
  arrays.input_offsets = copier.copy(binding.input_offsets, program.n_input_offsets);
  arrays.output_offsets = copier.copy(binding.output_offsets, program.n_output_offsets);
  if (number != 0) executor.pinned.give_back(block, number);
  return arrays;
}

void count_messages(const DeviceProgram::State& program, const DeviceLaunch& launch) noexcept {
  for (const ExchangingSteps& e : program.exchanging) {
    MessageSum sum = sum_of_step(launch.binding, launch.tiling, e.block, e.chunk, e.signal);
    sum.messages *= e.steps;
    sum.bytes *= e.steps;
    const auto by_inline = [&](const transport::DeviceFifo& fifo) {
      return protocol_of(fifo, launch.protocol) != DeviceProtocol::kSimple;
    };
    if (e.sends) {
      transport::SendConnection& to = *program.connections.send[e.endpoint];
      count_sent(to.traffic(), by_inline(to.device), sum);
    } else {
      transport::RecvConnection& from = *program.connections.recv[e.endpoint];
      count_received(from.traffic(), by_inline(from.device), sum);
    }
  }
}

PlanArgs args_of(const DeviceProgram::State& program, const DeviceProgram::State::Variant& variant,
                 const DeviceLaunch& launch) {
  const Binding& binding = launch.binding;
  PlanArgs args;
  args.lanes = variant.lanes;
  args.lane_states = const_cast<DeviceLaneState*>(program.lane_states);
  args.state = const_cast<DeviceProgramState*>(program.state);
  args.input = binding.input;
  args.output = binding.output;
  args.block_count = binding.block_count;
  args.chunk_elems = launch.tiling.chunk_elems;
  args.tile_elems = launch.tiling.tile_elems;
  args.reduction = gpu::make_reduction(binding.dtype, binding.op, &binding.scaling);
  args.pre_scalar = launch.pre_scalar;
  args.n_lanes = program.n_lanes;
  args.n_tiles = launch.tiling.n_tiles;
  args.tiles_in_flight = program.tiles_in_flight;
  args.scratch_chunks = program.scratch_chunks;
  args.signature = launch.signature;
  args.arena_bytes = program.arena_bytes;
  args.protocol = variant.protocol;
  return args;
}

// The caller has cut the call so that every connection carries a chunk.
void expect_chunk(const ExecutorState& executor, const DeviceProgram::State::Variant& variant,
                  size_t chunk_bytes) {
  if (chunk_bytes <= variant.most_chunk_bytes) return;
  throw Error(StatusCode::kInternalError,
              fmt::format("rank {}: expected chunks of at most {} bytes, as the connections carry, "
                          "got {}",
                          executor.settings.rank, variant.most_chunk_bytes, chunk_bytes));
}

}  // namespace

DeviceExecutor::DeviceExecutor(const Settings& settings) {
  const cuda::Gpu gpu(settings.device);  // for page-locked memory too, some context must be current
  const cuda::Current current(gpu);
  const cuda::RelaxedCapture relaxed;
  state_ = std::make_unique<ExecutorState>(settings);
}

DeviceExecutor::~DeviceExecutor() {
  if (!state_->wait_until_idle()) {
    log(LogLevel::kError, "exec", state_->settings.rank,
        "a kernel on CUDA device {} has not ended; what it uses is not freed",
        state_->gpu.ordinal());
    (void)state_.release();
    return;
  }
  try {
    const cuda::Gpu gpu(state_->gpu.ordinal());  // its context is current until all else has ended
    const cuda::Current current(gpu);
    const cuda::RelaxedCapture relaxed;
    state_.reset();
  } catch (const Error&) {
    (void)state_.release();  // the GPU has failed: there is nothing to give back
  }
}

const cuda::Gpu& DeviceExecutor::gpu() const noexcept { return state_->gpu; }
unsigned DeviceExecutor::most_blocks() const noexcept { return state_->most_blocks; }

bool DeviceExecutor::launch(DeviceProgram& program, const DeviceLaunch& launch) {
  DeviceProgram::State& p = program.state();
  if (p.n_lanes == 0) return false;  // the rank takes no part
  ExecutorState& executor = *state_;
  const DeviceProgram::State::Variant& variant = p.variants[static_cast<size_t>(launch.protocol)];
  const Binding& binding = launch.binding;
  const size_t chunk_bytes = launch.tiling.chunk_elems * size_of(binding.dtype);
  expect_chunk(executor, variant, chunk_bytes);
  const cuda::Current current(executor.gpu);
  const PlanKernels& kernels = executor.kernels.of(binding.dtype);
  executor.expect_room_for(p.n_lanes, kernels.most_blocks, "a collective");
  const Place place = executor.place_of(launch.stream);
  PlanArgs args = args_of(p, variant, launch);
  const size_t scratch_bytes = size_t{p.scratch_chunks} * p.tiles_in_flight * chunk_bytes;
  if (scratch_bytes != 0) {
    args.scratch = executor.scratch.reserve(scratch_bytes, place.number, executor.ended());
  }
  const Arrays arrays = copy_arrays(executor, p, binding, place.number);
  args.block_counts = arrays.block_counts;
  args.input_offsets = arrays.input_offsets;
  args.output_offsets = arrays.output_offsets;
  const bool simple = variant.protocol == DeviceProtocol::kSimple;
  executor.submit({.place = place,
                   .function = simple ? kernels.simple : kernels.inline_protocols,
                   .blocks = args.n_lanes,
                   .shared_bytes = args.arena_bytes,
                   .call = launch.call},
                  args.watch, &args);
  if (place.capture) {
    p.in_graph = true;
    return false;
  }
  count_messages(p, launch);
  return true;
}

void DeviceExecutor::order(cuda::Stream stream) {
  const cuda::Current current(state_->gpu);
  state_->go_behind_others(state_->place_of(stream));
}
void DeviceExecutor::mark(cuda::Stream stream) {
  const cuda::Current current(state_->gpu);
  state_->let_others_follow(state_->place_of(stream));
}

DeviceCounts DeviceExecutor::counts() const noexcept {
  DeviceCounts counts = state_->watch.counts();
  counts.issued = state_->issued.load(std::memory_order_relaxed);
  return counts;
}
bool DeviceExecutor::idle() const noexcept { return state_->idle(); }
std::optional<DeviceWaiting> DeviceExecutor::waiting() const noexcept {
  return state_->watch.waiting();
}
bool DeviceExecutor::waits_for(int rank) const noexcept { return state_->watch.waits_for(rank); }
std::optional<DeviceFailure> DeviceExecutor::failure() const noexcept {
  return state_->watch.failure();
}
Status DeviceExecutor::gpu_failure() const noexcept { return state_->gpu_failure(); }
void DeviceExecutor::abort() noexcept { state_->watch.abort(); }

}  // namespace tutti::exec
