// SPDX-License-Identifier: Apache-2.0
// One routing at a time, from its top-k table to the end of its combine.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "src/comm/stream.h"
#include "src/moe/combine_receive.h"
#include "src/moe/combine_send.h"
#include "src/moe/device_handle.h"
#include "src/moe/dispatch_receive.h"
#include "src/moe/dispatch_send.h"
#include "src/moe/group.h"

namespace tutti::moe {

// Where a call runs: in a queue of the host (null: on the calling thread), or, of ranks of GPUs, in
// a CUDA stream.
struct Place {
  comm::Stream* host = nullptr;
  void* device = nullptr;
};

// Of tuttiMoeOverflowError.
Error too_many_rows(const Facts& facts, int rank, uint64_t demand);

// Functions that a user calls come from one thread at a time; the calls that they make may run on a
// stream's.
class Handle : public std::enable_shared_from_this<Handle> {
 public:
  explicit Handle(std::shared_ptr<Group> group);
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  Group& group() const noexcept { return *group_; }

  // Throws InvalidArgument for what the table holds, InvalidUsage while the handle is in flight.
  void route(const TopK& top_k);
  // Each throws InvalidUsage when it is not its turn, else what the call fails with.
  void dispatch(const std::byte* input, const Output& output, Phases phases, const Place& place);
  void combine(const std::byte* rows, std::byte* output, Phases phases, const Place& place);
  // The routing is done with. Throws InvalidUsage while the handle is in flight.
  void complete();

  // Of the last dispatch that has ended; throws InvalidUsage when there is none.
  const Exchange& dispatched() const;
  // Of ranks of GPUs; null: of host ranks. Throws InvalidUsage when no dispatch has been received.
  const DeviceHandle* dispatched_on_device() const;
  bool in_flight() const noexcept;
  // The routing has tokens.
  bool sends_rows() const noexcept {
    if (device_ != nullptr) return device_->tokens() != 0;
    return parts_ != nullptr && parts_->exchange.routing.tokens() != 0;
  }

 private:
  friend class HandleCall;
  // By the user's calls.
  enum class Step : uint8_t { kEmpty, kRouted, kDispatchSent, kDispatched, kCombineSent };
  // What works on one set of connections.
  struct Parts {
    Parts(const Facts& facts, std::unique_ptr<Mesh> made, Counters& counters)
        : mesh(std::move(made)),
          exchange(facts, *mesh, counters),
          dispatch_sender(exchange),
          dispatch_receiver(exchange, dispatch_sender),
          combine_sender(exchange),
          combine_receiver(exchange, combine_sender) {}
    std::unique_ptr<Mesh> mesh;
    Exchange exchange;
    DispatchSender dispatch_sender;
    DispatchReceiver dispatch_receiver;
    CombineSender combine_sender;
    CombineReceiver combine_receiver;
    // By the calls, in their turn.
    uint64_t calls = 0;                // sent so far
    uint32_t signature = 0;            // of the last one
    const std::byte* input = nullptr;  // of a dispatch that was sent
    bool dispatched = false;           // the last dispatch was received whole
  };
  void expect_idle(const char* call) const;
  [[noreturn]] void refuse_step(const char* call, const char* needed) const;
  void check_epoch(const char* call) const;
  void make_parts();
  bool has_parts() const noexcept { return parts_ != nullptr || device_ != nullptr; }

  const std::shared_ptr<Group> group_;
  const int slot_;
  uint64_t epoch_ = 0;  // of the group, when the parts were made
  // Shared with queued calls, which may outlive a change of the group.
  std::shared_ptr<Parts> parts_;          // of host ranks
  std::shared_ptr<DeviceHandle> device_;  // of ranks of GPUs
  Step step_ = Step::kEmpty;
  // Calls that were issued and have not ended. Release when one ends pairs with acquire in
  // in_flight().
  std::atomic<int> pending_{0};
};

}  // namespace tutti::moe
