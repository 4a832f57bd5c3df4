// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/driver/ops.h"

#include <algorithm>
#include <cstring>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/engine.h"
#include "tests/cudasim/src/scheduler.h"
#include "tests/cudasim/src/space.h"

namespace cudasim {
namespace {

struct Piece {
  uint8_t* host;
  uint64_t bytes;
};

void check_device_access(const Region& region, int device, bool write) {
  if (region.kind != RegionKind::kMapped || !config().strict) return;
  const auto& rights = write ? region.writers : region.readers;
  if ((rights.load(std::memory_order_relaxed) >> device & 1) != 0) return;
  throw Failure(Result::kIllegalAddress, fmt::format("no access was given to device {} to {}",
                                                     device, space().describe(region)));
}

// Where a range is for the simulator: in one piece, or as many as it has mappings.
std::vector<Piece> pieces_of(uint64_t address, uint64_t bytes, int device, bool write) {
  const bool in_window = address - kWindow < kWindowBytes;
  if (!in_window) return {{reinterpret_cast<uint8_t*>(address), bytes}};
  std::vector<Piece> pieces;
  while (bytes > 0) {
    Region& region = space().live(address);
    check_device_access(region, device, write);
    if (region.host == nullptr)
      throw Failure(Result::kInvalidValue, "multicast memory can't be copied");
    const uint64_t here = std::min(bytes, region.base + region.bytes - address);
    pieces.push_back({region.host + (address - region.base), here});
    address += here;
    bytes -= here;
  }
  return pieces;
}

uint8_t* word_at(uint64_t address, uint32_t bytes) {
  if (address % bytes != 0)
    throw Failure(Result::kInvalidValue, fmt::format("0x{:x} is not aligned", address));
  Region& region = space().live(address, bytes);
  return region.host + (address - region.base);
}

}  // namespace

void CopyOp::stage() {
  const bool device_memory = from_ - kWindow < kWindowBytes;
  if (device_memory || space().find(from_) != nullptr) return;
  const auto* const from = reinterpret_cast<const uint8_t*>(from_);
  staged_ = std::make_shared<const std::vector<uint8_t>>(from, from + bytes_);
}

bool CopyOp::poll() {
  const std::vector<Piece> to = pieces_of(to_, bytes_, device_, true);
  const std::vector<Piece> from =
      staged_ ? std::vector<Piece>{{const_cast<uint8_t*>(staged_->data()), bytes_}}
              : pieces_of(from_, bytes_, device_, false);
  size_t t = 0;
  size_t f = 0;
  uint64_t in_to = 0;
  uint64_t in_from = 0;
  while (t < to.size() && f < from.size()) {
    const uint64_t bytes = std::min(to[t].bytes - in_to, from[f].bytes - in_from);
    std::memmove(to[t].host + in_to, from[f].host + in_from, bytes);
    in_to += bytes;
    in_from += bytes;
    if (in_to == to[t].bytes) in_to = 0, ++t;
    if (in_from == from[f].bytes) in_from = 0, ++f;
  }
  return true;
}

std::string CopyOp::describe() const {
  return fmt::format("a copy of {} bytes from 0x{:x} to 0x{:x}", bytes_, from_, to_);
}

bool SetOp::poll() {
  uint64_t at = 0;  // in bytes, over all pieces
  for (const Piece& piece : pieces_of(to_, count_ * width_, device_, true)) {
    if (width_ == 1) {
      std::memset(piece.host, static_cast<int>(value_), piece.bytes);
      continue;
    }
    for (uint64_t i = 0; i < piece.bytes; ++i, ++at)
      piece.host[i] = static_cast<uint8_t>(value_ >> (at % width_ * 8));
  }
  return true;
}

std::string SetOp::describe() const {
  return fmt::format("a memset of {} bytes at 0x{:x}", count_ * width_, to_);
}

bool WaitValueOp::poll() {
  const uint8_t* const host = word_at(at_, bytes_);
  // acquire: what was written before the word is there for what follows in the stream.
  const uint64_t now =
      bytes_ == 4 ? __atomic_load_n(reinterpret_cast<const uint32_t*>(host), __ATOMIC_ACQUIRE)
                  : __atomic_load_n(reinterpret_cast<const uint64_t*>(host), __ATOMIC_ACQUIRE);
  const uint64_t mask = bytes_ == 4 ? 0xffffffff : ~uint64_t{0};
  switch (flags_ & ~abi::kWaitFlush) {
    case abi::kWaitGeq:
      return bytes_ == 4 ? static_cast<int32_t>(static_cast<uint32_t>(now - value_)) >= 0
                         : static_cast<int64_t>(now - value_) >= 0;
    case abi::kWaitEq:
      return now == (value_ & mask);
    case abi::kWaitAnd:
      return (now & value_) != 0;
    default:
      return (~(now | value_) & mask) != 0;
  }
}

std::string WaitValueOp::describe() const {
  constexpr const char* kNames[] = {"at least", "equal to", "with bits of", "nor"};
  return fmt::format("the wait for {} bytes at 0x{:x} to be {} 0x{:x}", bytes_, at_,
                     kNames[flags_ & 3], value_);
}

bool WriteValueOp::poll() {
  uint8_t* const host = word_at(at_, bytes_);
  // release: what the stream did before is seen by who sees the word.
  if (bytes_ == 4) {
    __atomic_store_n(reinterpret_cast<uint32_t*>(host), static_cast<uint32_t>(value_),
                     __ATOMIC_RELEASE);
  } else {
    __atomic_store_n(reinterpret_cast<uint64_t*>(host), value_, __ATOMIC_RELEASE);
  }
  return true;
}

std::string WriteValueOp::describe() const {
  return fmt::format("the write of 0x{:x} to 0x{:x}", value_, at_);
}

bool SequenceOp::poll() {
  while (next_ < ops_.size()) {
    if (!ops_[next_]->poll()) return false;
    ++next_;
  }
  return true;
}

std::unique_ptr<Op> SequenceOp::again() const {
  std::vector<std::unique_ptr<Op>> ops;
  for (const auto& op : ops_) ops.push_back(op->again());
  return std::make_unique<SequenceOp>(std::move(ops));
}

std::string SequenceOp::describe() const {
  return next_ < ops_.size() ? ops_[next_]->describe() : "a batch of memory operations";
}

RecordOp::RecordOp(abi::EventObject& event)
    : event_(&event),
      backing_(event.backing),
      own_(event.own),
      state_(event.state),
      // relaxed: a number, taken under the engine's mutex in this process.
      ticket_(event.state->recorded.fetch_add(1, std::memory_order_relaxed) + 1) {}

bool RecordOp::poll() {
  state_->time_ns.store(now_ns(), std::memory_order_relaxed);
  uint64_t completed = state_->completed.load(std::memory_order_relaxed);
  // release: pairs with the acquire of who asks or waits.
  while (completed < ticket_ &&
         !state_->completed.compare_exchange_weak(completed, ticket_, std::memory_order_release)) {
  }
  return true;
}

WaitEventOp::WaitEventOp(const abi::EventObject& event)
    : backing_(event.backing),
      own_(event.own),
      state_(event.state),
      ticket_(event.state->recorded.load(std::memory_order_relaxed)) {}

bool WaitEventOp::poll() { return state_->completed.load(std::memory_order_acquire) >= ticket_; }

std::string WaitEventOp::describe() const {
  return fmt::format("the wait for record {} of an event, of which {} are done", ticket_,
                     state_->completed.load(std::memory_order_relaxed));
}

bool HostOp::poll() {
  if (done_) return done_->load(std::memory_order_acquire);  // pairs with Engine::run_host_calls
  done_ = std::make_shared<std::atomic<bool>>(false);
  engine().call_host(function_, user_, done_);
  return false;
}

bool KernelOp::poll() {
  if (!grid_) grid_ = scheduler().launch(launch_);
  return grid_->done;
}

GraphOp::GraphOp(const GraphData& graph) : done_(graph.nodes.size(), false) {
  for (const auto& node : graph.nodes) {
    ops_.push_back(node->op->again());
    after_.push_back(node->after);
  }
}

std::unique_ptr<Op> GraphOp::again() const {
  std::unique_ptr<GraphOp> copy(new GraphOp());
  for (const auto& op : ops_) copy->ops_.push_back(op->again());
  copy->after_ = after_;
  copy->done_.assign(ops_.size(), false);
  return copy;
}

bool GraphOp::poll() {
  bool all = true;
  for (size_t i = 0; i < ops_.size(); ++i) {
    if (done_[i]) continue;
    const bool ready =
        std::ranges::all_of(after_[i], [this](size_t before) { return done_[before]; });
    if (ready && ops_[i]->poll()) {
      done_[i] = true;
      continue;
    }
    all = false;
  }
  return all;
}

void GraphOp::drop() {
  for (const auto& op : ops_) op->drop();
}

std::string GraphOp::describe() const {
  for (size_t i = 0; i < ops_.size(); ++i)
    if (!done_[i]) return "a graph: " + ops_[i]->describe();
  return "a graph";
}

}  // namespace cudasim
