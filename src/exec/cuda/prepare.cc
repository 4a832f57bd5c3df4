// SPDX-License-Identifier: Apache-2.0
// Puts a compiled program into the GPU's memory.
#include <algorithm>
#include <cstring>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/exec/cuda/executor_state.h"
#include "src/exec/cuda/flatten.h"

namespace tutti::exec {
namespace {

// Where the parts of a program lie in its block. Every part is 16-byte aligned, as code has to be.
class Image {
 public:
  size_t reserve(size_t bytes) {
    const size_t at = bytes_.size();
    bytes_.resize(at + (bytes + kAlign - 1) / kAlign * kAlign);
    return at;
  }
  void put(size_t at, const void* from, size_t bytes) {
    if (bytes != 0) memcpy(bytes_.data() + at, from, bytes);
  }
  template <class T>
  size_t append(const std::vector<T>& values) {
    const size_t at = reserve(values.size() * sizeof(T));
    put(at, values.data(), values.size() * sizeof(T));
    return at;
  }
  const std::vector<std::byte>& bytes() const noexcept { return bytes_; }

 private:
  static constexpr size_t kAlign = 16;
  std::vector<std::byte> bytes_;
};

class Uploader {
 public:
  Uploader(ExecutorState& executor, const Program& program, const Connections& connections,
           DeviceProgram::State* out)
      : executor_(executor), program_(program), connections_(connections), out_(*out) {}

  void run() {
    const FlatProgram flat = flatten(program_);
    out_.n_lanes = static_cast<uint32_t>(flat.lanes.size());
    executor_.expect_room_for(out_.n_lanes, executor_.most_blocks, "a plan");
    for (const FlatLane& lane : flat.lanes) make_room(lane);
    // Zero at first; the lanes' words lie on lines of their own.
    const size_t lane_states = image_.reserve(flat.lanes.size() * sizeof(DeviceLaneState));
    const size_t state = image_.reserve(sizeof(DeviceProgramState));
    for (const FlatLane& lane : flat.lanes) code_.push_back(image_.append(lane.code));
    std::array<size_t, kDeviceProtocols> lanes{};
    const size_t n_variants = has_rings() ? kDeviceProtocols : 1;
    for (size_t i = 0; i < n_variants; ++i) lanes[i] = reserve_lanes(flat);
    out_.memory = executor_.memory.take(image_.bytes().size(), executor_.ended());
    for (size_t i = 0; i < n_variants; ++i) {
      fill(flat, static_cast<DeviceProtocol>(i), lanes[i], &out_.variants[i]);
    }
    for (size_t i = n_variants; i < kDeviceProtocols; ++i) out_.variants[i] = out_.variants[0];
    out_.lane_states = out_.memory.at<const DeviceLaneState>(lane_states);
    out_.state = out_.memory.at<const DeviceProgramState>(state);
    executor_.memory.write(out_.memory.device, image_.bytes().data(), image_.bytes().size());
    executor_.memory.finish_writes();
  }

 private:
  bool has_rings() const noexcept {
    const auto has_ring = [](const auto* c) { return c->device.inline_fifo.slot_bytes != 0; };
    return std::ranges::any_of(connections_.send, has_ring) ||
           std::ranges::any_of(connections_.recv, has_ring);
  }

  void make_room(const FlatLane& lane) {
    const size_t ends = lane.endpoints.size() * sizeof(DeviceEndpoint);
    if (ends > kMostArenaBytes) {
      throw Error(StatusCode::kInvalidUsage,
                  fmt::format("a lane of rank {} uses {} connections; a thread block has room for "
                              "{}: choose another algorithm",
                              program_.rank, lane.endpoints.size(),
                              kMostArenaBytes / sizeof(DeviceEndpoint)));
    }
    const auto wanted = static_cast<uint32_t>(
        std::max(ends, std::min<size_t>(ends + lane.code.size(), kArenaBytes)));
    out_.arena_bytes = std::max(out_.arena_bytes, wanted);
  }

  // The lanes' records, and behind them each lane's pointers to its endpoints.
  size_t reserve_lanes(const FlatProgram& flat) {
    size_t n = 0;
    for (const FlatLane& lane : flat.lanes) n += lane.endpoints.size();
    return image_.reserve(flat.lanes.size() * sizeof(DeviceLane) + n * sizeof(uint64_t));
  }

  void fill(const FlatProgram& flat, DeviceProtocol wanted, size_t at,
            DeviceProgram::State::Variant* variant) {
    variant->lanes = out_.memory.at<const DeviceLane>(at);
    size_t pointers = at + flat.lanes.size() * sizeof(DeviceLane);
    for (size_t i = 0; i < flat.lanes.size(); ++i) {
      const FlatLane& lane = flat.lanes[i];
      std::vector<cuda::DevicePtr> ends;
      for (const FlatEndpoint& end : lane.endpoints) ends.push_back(find(end, wanted, variant));
      image_.put(pointers, ends.data(), ends.size() * sizeof(uint64_t));
      const DeviceLane record{
          .code = out_.memory.at<const std::byte>(code_[i]),
          .endpoints = out_.memory.at<DeviceEndpoint* const>(pointers),
          .n_endpoints = static_cast<uint32_t>(ends.size()),
          .n_steps = lane.n_steps,
          .operands_offset = lane.operands_offset,
          .waits_offset = lane.waits_offset,
          .code_bytes = static_cast<uint32_t>(lane.code.size()),
          .reserved = 0,
      };
      image_.put(at + i * sizeof(DeviceLane), &record, sizeof(record));
      pointers += ends.size() * sizeof(uint64_t);
    }
  }

  cuda::DevicePtr find(const FlatEndpoint& end, DeviceProtocol wanted,
                       DeviceProgram::State::Variant* variant) {
    if (end.sends) {
      return find(*connections_.send[end.index], program_.send_peers[end.index].peer, wanted,
                  variant);
    }
    return find(*connections_.recv[end.index], program_.recv_peers[end.index].peer, wanted,
                variant);
  }

  template <class Connection>
  cuda::DevicePtr find(const Connection& connection, int peer, DeviceProtocol wanted,
                       DeviceProgram::State::Variant* variant) {
    const transport::DeviceFifo& fifo = connection.device;
    const DeviceProtocol protocol = protocol_of(fifo, wanted);
    const bool simple = protocol == DeviceProtocol::kSimple;
    const uint32_t slot_bytes = !simple           ? fifo.inline_fifo.slot_bytes
                                : fifo.lines != 0 ? fifo.layout.area_bytes
                                                  : connection.view.area_bytes;
    if (!simple) variant->protocol = protocol;
    variant->most_chunk_bytes =
        std::min<size_t>(variant->most_chunk_bytes, slot_capacity(protocol, slot_bytes));
    return executor_.endpoints.find(connection, peer, protocol);
  }

  ExecutorState& executor_;
  const Program& program_;
  const Connections& connections_;
  DeviceProgram::State& out_;
  Image image_;
  std::vector<size_t> code_;  // per lane, its place in the image
};

}  // namespace

DeviceProgram::DeviceProgram(std::unique_ptr<State> state) : state_(std::move(state)) {}

DeviceProgram::~DeviceProgram() {
  if (state_->memory.bytes == 0 || state_->in_graph) return;
  ExecutorState& executor = *state_->executor;
  // Relaxed: this thread launches.
  executor.memory.give_back(state_->memory, executor.issued.load(std::memory_order_relaxed));
}

std::unique_ptr<DeviceProgram> DeviceExecutor::prepare(const Program& program,
                                                       const Connections& connections) {
  const cuda::Current current(state_->gpu);
  const cuda::RelaxedCapture relaxed;
  auto out = std::make_unique<DeviceProgram::State>();
  out->executor = state_.get();
  out->tiles_in_flight = static_cast<uint32_t>(program.tiles_in_flight);
  out->scratch_chunks = static_cast<uint32_t>(program.scratch_chunks);
  const plan::Shape& shape = program.shape;
  const auto blocks = [&](plan::Buffer buffer) {
    return static_cast<size_t>(plan::blocks_in(shape, program.rank, buffer));
  };
  const size_t both = shape.collective == plan::Collective::kAllToAll ? 2 : 1;  // see block_index
  out->n_block_counts = static_cast<size_t>(shape.n_ranks) * both;
  out->n_input_offsets = blocks(plan::Buffer::kInput);
  out->n_output_offsets = blocks(plan::Buffer::kOutput);
  out->connections = connections;
  out->exchanging = exchanging_steps(program);
  if (!program.lanes.empty()) Uploader(*state_, program, connections, out.get()).run();
  return std::make_unique<DeviceProgram>(std::move(out));
}

}  // namespace tutti::exec
