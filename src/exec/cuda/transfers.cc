// SPDX-License-Identifier: Apache-2.0
// Launches groups of sends and receives: a program that is made for one launch, in page-locked
// memory, one lane per peer and direction.
#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/exec/cuda/executor_state.h"
#include "src/exec/message.h"

namespace tutti::exec {
namespace {

constexpr size_t aligned(size_t bytes) noexcept { return (bytes + 15) / 16 * 16; }

constexpr size_t kStepOperands = 2;  // memory and the connection
constexpr size_t code_bytes_of(size_t n_transfers) noexcept {
  return aligned(n_transfers * (sizeof(DeviceStep) + kStepOperands * sizeof(DeviceOperand)));
}

// The parts of the block.
struct Layout {
  size_t lanes = 0;
  size_t endpoints = 0;
  size_t counts = 0;
  size_t addresses = 0;
  size_t transfers = 0;
  size_t code = 0;  // of the first lane, then the others
  size_t bytes = 0;

  Layout(size_t n_lanes, size_t n_transfers, size_t all_code) {
    endpoints = aligned(n_lanes * sizeof(DeviceLane));
    counts = endpoints + aligned(n_lanes * sizeof(uint64_t));
    addresses = counts + aligned(n_transfers * sizeof(uint64_t));
    transfers = addresses + aligned(n_transfers * sizeof(uint64_t));
    code = transfers + n_transfers * sizeof(DeviceTransfer);
    bytes = code + all_code;
  }
};

// Writes one group into its block.
class GroupWriter {
 public:
  GroupWriter(const Block& block, const Layout& layout, size_t max_chunk_bytes)
      : block_(block), layout_(layout), max_chunk_bytes_(max_chunk_bytes), code_(layout.code) {}

  void add(const DeviceTransfers& group, cuda::DevicePtr endpoint) {
    const size_t n = group.transfers.size();
    const DeviceLane record{
        .code = block_.at<const std::byte>(code_),
        .endpoints = block_.at<DeviceEndpoint* const>(layout_.endpoints + lane_ * sizeof(uint64_t)),
        .n_endpoints = 1,
        .n_steps = static_cast<uint32_t>(n),
        .operands_offset = static_cast<uint32_t>(n * sizeof(DeviceStep)),
        .waits_offset = 0,
        .code_bytes = static_cast<uint32_t>(code_bytes_of(n)),
        .reserved = 0,
    };
    put(layout_.lanes + lane_ * sizeof(record), record);
    put(layout_.endpoints + lane_ * sizeof(endpoint), endpoint);
    for (size_t i = 0; i < n; ++i) add_step(group, i, record);
    code_ += record.code_bytes;
    ++lane_;
  }

 private:
  void add_step(const DeviceTransfers& group, size_t i, const DeviceLane& record) {
    const P2pTransfer& transfer = group.transfers[i];
    const size_t chunk_bytes = pipelined_bytes(transfer.bytes, max_chunk_bytes_);
    const size_t n = std::max<size_t>(1, (transfer.bytes + chunk_bytes - 1) / chunk_bytes);
    put(layout_.counts + transfer_ * sizeof(uint64_t), uint64_t{transfer.bytes});
    // Offsets from a base that is null.
    put(layout_.addresses + transfer_ * sizeof(uint64_t),
        reinterpret_cast<uint64_t>(transfer.data));
    put(layout_.transfers + transfer_ * sizeof(DeviceTransfer),
        DeviceTransfer{.chunk_bytes = chunk_bytes,
                       .signature = transfer.signature,
                       .n_messages = static_cast<uint32_t>(n)});
    DeviceStep step{};
    step.first_operand = static_cast<uint32_t>(kStepOperands * i);
    step.n_sources = step.n_sinks = 1;
    step.signal = transfer.bytes == 0 ? 1 : 0;  // still a message
    step.block = static_cast<int32_t>(transfer_);
    put(code_ + i * sizeof(step), step);
    const bool sends = group.send != nullptr;
    DeviceOperand memory;
    memory.kind = sends ? OperandKind::kInput : OperandKind::kOutput;
    memory.block_position = static_cast<int32_t>(transfer_);
    DeviceOperand connection;
    connection.kind = OperandKind::kPeer;
    const size_t operands = code_ + record.operands_offset + kStepOperands * i * sizeof(memory);
    put(operands + (sends ? 0 : sizeof(memory)), memory);
    put(operands + (sends ? sizeof(memory) : 0), connection);
    ++transfer_;
  }

  template <class T>
  void put(size_t at, const T& value) {
    memcpy(block_.host + at, &value, sizeof(value));
  }

  const Block& block_;
  const Layout& layout_;
  const size_t max_chunk_bytes_;
  size_t lane_ = 0;
  size_t transfer_ = 0;
  size_t code_;
};

PlanArgs args_of(const ExecutorState& executor, const Block& block, const Layout& layout,
                 size_t n_lanes, size_t most_code) {
  PlanArgs args;
  args.lanes = block.at<const DeviceLane>(layout.lanes);
  args.state = executor.shared_state.at<DeviceProgramState>(kTransfersState);
  args.block_counts = block.at<const uint64_t>(layout.counts);
  args.input_offsets = args.output_offsets = block.at<const uint64_t>(layout.addresses);
  args.transfers = block.at<const DeviceTransfer>(layout.transfers);
  args.n_lanes = static_cast<uint32_t>(n_lanes);
  args.arena_bytes = device_arena_bytes(
      1, static_cast<uint32_t>(std::min<size_t>(most_code, kArenaBytes)), kArenaBytes);
  return args;
}

uint32_t staging_bytes(const DeviceTransfers& group) noexcept {
  const transport::DeviceFifo& fifo =
      group.send != nullptr ? group.send->device : group.recv->device;
  if (fifo.lines != 0) return fifo.layout.area_bytes;
  return group.send != nullptr ? group.send->view.area_bytes : group.recv->view.area_bytes;
}

cuda::DevicePtr endpoint_of(ExecutorState& executor, const DeviceTransfers& group,
                            size_t max_chunk_bytes) {
  if (max_chunk_bytes > staging_bytes(group)) {
    throw Error(
        StatusCode::kInternalError,
        fmt::format("rank {}: expected chunks of at most {} bytes, as the connection with "
                    "rank {} carries, got {}",
                    executor.settings.rank, staging_bytes(group), group.peer, max_chunk_bytes));
  }
  constexpr DeviceProtocol kSimple = DeviceProtocol::kSimple;
  return group.send != nullptr ? executor.endpoints.find(*group.send, group.peer, kSimple)
                               : executor.endpoints.find(*group.recv, group.peer, kSimple);
}

void count_messages(const DeviceTransfers& group, size_t max_chunk_bytes) noexcept {
  MessageSum sum;
  for (const P2pTransfer& t : group.transfers) {
    const size_t chunk_bytes = pipelined_bytes(t.bytes, max_chunk_bytes);
    sum.messages += std::max<size_t>(1, (t.bytes + chunk_bytes - 1) / chunk_bytes);
    sum.bytes += t.bytes;
  }
  if (group.send != nullptr) {
    count_sent(group.send->traffic(), /*by_inline_protocol=*/false, sum);
  } else {
    count_received(group.recv->traffic(), /*by_inline_protocol=*/false, sum);
  }
}

}  // namespace

bool DeviceExecutor::launch(std::span<const DeviceTransfers> transfers, size_t max_chunk_bytes,
                            uint64_t call, cuda::Stream stream) {
  if (transfers.empty()) return false;
  ExecutorState& executor = *state_;
  const cuda::Current current(executor.gpu);
  const PlanKernels& kernels = executor.kernels.of(DType::kUint8);
  executor.expect_room_for(transfers.size(), kernels.most_blocks, "a group of sends and receives");
  std::vector<cuda::DevicePtr> endpoints;
  size_t n_transfers = 0;
  size_t all_code = 0;
  size_t most_code = 0;
  {
    const cuda::RelaxedCapture relaxed;  // for connections that are new to the executor
    for (const DeviceTransfers& group : transfers) {
      endpoints.push_back(endpoint_of(executor, group, max_chunk_bytes));
      const size_t code = code_bytes_of(group.transfers.size());
      n_transfers += group.transfers.size();
      all_code += code;
      most_code = std::max(most_code, code);
    }
    executor.memory.finish_writes();
  }
  const Place place = executor.place_of(stream);
  const Layout layout(transfers.size(), n_transfers, all_code);
  const Block block = executor.pinned.take(layout.bytes, executor.ended());
  if (place.number != 0) executor.pinned.give_back(block, place.number);
  GroupWriter writer(block, layout, max_chunk_bytes);
  for (size_t i = 0; i < transfers.size(); ++i) writer.add(transfers[i], endpoints[i]);
  PlanArgs args = args_of(executor, block, layout, transfers.size(), most_code);
  executor.submit({.place = place,
                   .function = kernels.simple,
                   .blocks = args.n_lanes,
                   .shared_bytes = args.arena_bytes,
                   .call = call},
                  args.watch, &args);
  if (place.capture) return false;
  for (const DeviceTransfers& group : transfers) count_messages(group, max_chunk_bytes);
  return true;
}

}  // namespace tutti::exec
