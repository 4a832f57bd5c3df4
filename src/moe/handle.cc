// SPDX-License-Identifier: Apache-2.0
// The order of calls on a handle, and the calls as tasks of their communicator.
#include "src/moe/handle.h"

#include <utility>

#include "src/base/hash.h"
#include "src/comm/group.h"
#include "src/trace/record.h"

namespace tutti::moe {
namespace {

constexpr size_t kTokens = 8;  // sent or summed between two looks at what has come
constexpr int kRounds = 64;    // of progress, before the driver looks at aborts

enum class Kind : uint8_t { kDispatch, kCombine };

}  // namespace

// One dispatch or combine, or a phase of it.
class HandleCall : public comm::OrderedTask {
 public:
  HandleCall(Handle& handle, Phases phases)
      : handle_(handle.shared_from_this()), parts_(handle.parts_), phases_(phases) {
    handle_->pending_.fetch_add(1, std::memory_order_relaxed);  // only the user's thread looks
  }
  ~HandleCall() override { end(); }
  HandleCall(const HandleCall&) = delete;
  HandleCall& operator=(const HandleCall&) = delete;

  void begin(std::optional<Error>& caught) override {
    parts_->mesh->keep_errors_in(&caught);
    parts_->mesh->open();
    if (phases_.send) sign();
    start();
  }
  Status progress(bool* advanced) noexcept override {
    for (int round = 0; round < kRounds; ++round) {
      bool moved = false;
      const Status status = step(&moved);
      if (!status.ok()) return status;
      if (moved) *advanced = true;
      const bool sent = !moved && !phases_.receive;
      if (sent || done()) return conclude();
      if (!moved) return kInProgressStatus;
    }
    return kInProgressStatus;
  }
  int waiting_for() const noexcept override {
    const int rank = missing();
    return rank < 0 ? -1 : parts_->mesh->comm_rank(rank);
  }
  bool needs(int comm_rank) const noexcept override {
    for (int rank = 0; rank < parts_->mesh->n_ranks(); ++rank) {
      if (parts_->mesh->comm_rank(rank) == comm_rank) return depends_on(rank);
    }
    return false;
  }
  std::optional<Error> refusal() override {
    end();
    return refusal_;
  }

 protected:
  virtual Kind kind() const noexcept = 0;
  virtual void start() = 0;
  virtual Status step(bool* moved) noexcept = 0;
  virtual bool done() const noexcept = 0;
  virtual void finish() = 0;          // has been received whole
  virtual void pause() noexcept = 0;  // the rest follows with another call
  virtual int missing() const noexcept = 0;
  virtual bool depends_on(int rank) const noexcept = 0;

  Handle::Parts& parts() const noexcept { return *parts_; }
  const Phases& phases() const noexcept { return phases_; }
  void refuse(Error why) { refusal_ = std::move(why); }

 private:
  void sign() {
    Hasher hash;
    hash.value(static_cast<uint64_t>(handle_->slot_));
    hash.value(parts_->calls++);
    hash.value(kind());
    parts_->signature = transport::to_signature(hash.finish());
  }
  Status conclude() noexcept {
    Status status = kOkStatus;
    if (phases_.receive) {
      status = comm::contained(refused_, [&] { finish(); });
    } else {
      pause();
    }
    handle_->group_->comm().path().collectives.sent().mask |= parts_->mesh->sent_kinds();
    return status;
  }
  void end() noexcept {
    if (!std::exchange(ended_, true)) handle_->pending_.fetch_sub(1, std::memory_order_release);
  }

  const std::shared_ptr<Handle> handle_;        // shared: a queued call keeps it
  const std::shared_ptr<Handle::Parts> parts_;  // shared: as it was when the call was issued
  const Phases phases_;
  bool ended_ = false;
  std::optional<Error> refusal_;
  std::optional<Error> refused_;
};

class HandleDispatch final : public HandleCall {
 public:
  HandleDispatch(Handle& handle, Phases phases, const std::byte* input, const Output& output)
      : HandleCall(handle, phases), input_(input), output_(output) {}

 private:
  Kind kind() const noexcept override { return Kind::kDispatch; }
  void start() override {
    if (phases().send) {
      parts().dispatched = false;
      parts().input = input_;
      parts().dispatch_sender.start(input_, parts().signature);
    }
    if (phases().receive)
      parts().dispatch_receiver.start(parts().input, output_, parts().signature);
  }
  Status step(bool* moved) noexcept override {
    Status status = parts().dispatch_sender.advance(kTokens, moved);
    if (status.ok() && phases().receive) status = parts().dispatch_receiver.advance(moved);
    return status;
  }
  bool done() const noexcept override {
    return parts().dispatch_sender.done() &&
           (!phases().receive || parts().dispatch_receiver.done());
  }
  void finish() override {
    const Facts& facts = parts().exchange.facts;
    const DispatchReceiver& receiver = parts().dispatch_receiver;
    add(parts().exchange.counters.dispatches, 1);
    if (!receiver.overflowed() || facts.config.overflow == Overflow::kDropReport) {
      parts().dispatched = true;
      return;
    }
    refuse(too_many_rows(facts, receiver.overflowed_rank(), receiver.overflowed_demand()));
  }
  void pause() noexcept override { parts().dispatch_sender.pause(); }
  int missing() const noexcept override {
    const int rank = phases().receive ? parts().dispatch_receiver.waiting_for() : -1;
    return rank >= 0 ? rank : parts().dispatch_sender.blocked_on();
  }
  bool depends_on(int rank) const noexcept override {
    return parts().dispatch_sender.owes(rank) ||
           (phases().receive && parts().dispatch_receiver.needs(rank));
  }

  const std::byte* const input_;
  const Output output_;
};

class HandleCombine final : public HandleCall {
 public:
  HandleCombine(Handle& handle, Phases phases, const std::byte* rows, std::byte* output)
      : HandleCall(handle, phases), rows_(rows), output_(output) {}

 private:
  Kind kind() const noexcept override { return Kind::kCombine; }
  void start() override {
    if (!parts().dispatched) {
      refuse({StatusCode::kInvalidUsage,
              "the dispatch before has not delivered its rows, on this and on all ranks"});
      return;
    }
    runs_ = true;
    if (phases().send) parts().combine_sender.start(rows_, parts().signature);
    if (phases().receive) parts().combine_receiver.start(output_, parts().signature);
  }
  Status step(bool* moved) noexcept override {
    if (!runs_) return kOkStatus;
    Status status = parts().combine_sender.advance(moved);
    if (status.ok() && phases().receive) status = parts().combine_receiver.advance(kTokens, moved);
    return status;
  }
  bool done() const noexcept override {
    return !runs_ || (parts().combine_sender.done() &&
                      (!phases().receive || parts().combine_receiver.done()));
  }
  void finish() override {
    if (runs_) add(parts().exchange.counters.combines, 1);
  }
  void pause() noexcept override {}  // messages are sent whole
  int missing() const noexcept override {
    const int rank = phases().receive ? parts().combine_receiver.waiting_for() : -1;
    return rank >= 0 ? rank : parts().combine_sender.blocked_on();
  }
  bool depends_on(int rank) const noexcept override {
    return parts().combine_sender.owes(rank) ||
           (phases().receive && parts().combine_receiver.needs(rank));
  }

  const std::byte* const rows_;
  std::byte* const output_;
  bool runs_ = false;
};

Error too_many_rows(const Facts& facts, int rank, uint64_t demand) {
  return {StatusCode::kInvalidUsage,
          "rank " + std::to_string(rank) + " of the group would receive " + std::to_string(demand) +
              " rows and has room for " +
              std::to_string(receive_capacity(facts.config, facts.placement, rank)) +
              "; nothing was written on any rank. Raise config.maxReceiveRows, or choose "
              "tuttiMoeOverflowDropReport"};
}

Handle::Handle(std::shared_ptr<Group> group)
    : group_(std::move(group)), slot_(group_->take_slot()) {}

Handle::~Handle() { group_->give_slot(slot_); }

bool Handle::in_flight() const noexcept {
  return step_ == Step::kDispatchSent || step_ == Step::kCombineSent ||
         pending_.load(std::memory_order_acquire) != 0;  // pairs with HandleCall::end()
}

void Handle::expect_idle(const char* call) const {
  if (!in_flight()) return;
  throw Error(StatusCode::kInvalidUsage,
              std::string(call) +
                  " on a handle in flight: receive what was sent, and wait for its "
                  "stream, first");
}

void Handle::refuse_step(const char* call, const char* needed) const {
  static constexpr const char* kSteps[] = {"nothing was routed", "only routed",
                                           "a dispatch was sent and not received", "dispatched",
                                           "a combine was sent and not received"};
  throw Error(StatusCode::kInvalidUsage, std::string(call) + " needs " + needed +
                                             "; on this handle " +
                                             kSteps[static_cast<size_t>(step_)]);
}

void Handle::check_epoch(const char* call) const {
  if (has_parts() && epoch_ == group_->epoch()) return;
  throw Error(StatusCode::kInvalidUsage,
              std::string(call) +
                  " needs a routing made since the ranks of the group changed; call "
                  "tuttiMoeRoute again");
}

void Handle::make_parts() {
  if (group_->device() != nullptr) {
    device_ = std::make_shared<DeviceHandle>(group_, slot_);
  } else {
    parts_ = std::make_shared<Parts>(group_->facts(), group_->make_mesh(slot_), group_->counters());
  }
  epoch_ = group_->epoch();
}

void Handle::route(const TopK& top_k) {
  // What was in flight when the ranks changed has ended.
  const bool changed = !has_parts() || epoch_ != group_->epoch();
  if (!changed || pending_.load(std::memory_order_acquire) != 0) expect_idle("tuttiMoeRoute");
  if (changed) make_parts();
  step_ = Step::kEmpty;
  if (device_ != nullptr) {
    device_->route(top_k);
    step_ = Step::kRouted;
    return;
  }
  parts_->dispatched = false;
  parts_->exchange.routing.assign(top_k, group_->homes(), group_->facts().placement);
  add(group_->counters().masked_pairs, parts_->exchange.routing.masked());
  step_ = Step::kRouted;
}

void Handle::dispatch(const std::byte* input, const Output& output, Phases phases,
                      const Place& place) {
  constexpr const char* kCall = "tuttiMoeDispatch";
  if (step_ == Step::kEmpty) refuse_step(kCall, "a routing (tuttiMoeRoute)");
  check_epoch(kCall);
  if (phases.send && step_ != Step::kRouted && step_ != Step::kDispatched)
    refuse_step(kCall, "what was sent to be received before it sends again");
  if (!phases.send && step_ != Step::kDispatchSent) refuse_step(kCall, "a dispatch that was sent");
  std::shared_ptr<comm::OrderedTask> task;
  if (device_ != nullptr) {
    task = device_->dispatch(input, output, phases, place.device);
  } else {
    task = std::make_shared<HandleDispatch>(*this, phases, input, output);
  }
  step_ = phases.receive ? Step::kDispatched : Step::kDispatchSent;
  try {
    comm::issue(group_->comm(),
                comm::TaskCall{"MoeDispatch", static_cast<uint8_t>(trace::Kind::kMoeDispatch),
                               std::move(task)},
                place.host);
  } catch (const Error&) {
    step_ = Step::kRouted;
    throw;
  }
}

void Handle::combine(const std::byte* rows, std::byte* output, Phases phases, const Place& place) {
  constexpr const char* kCall = "tuttiMoeCombine";
  const Step needed = phases.send ? Step::kDispatched : Step::kCombineSent;
  if (step_ != needed)
    refuse_step(kCall, phases.send ? "a dispatch that was received" : "a combine that was sent");
  check_epoch(kCall);
  std::shared_ptr<comm::OrderedTask> task;
  if (device_ != nullptr) {
    task = device_->combine(rows, output, phases, place.device);
  } else {
    task = std::make_shared<HandleCombine>(*this, phases, rows, output);
  }
  step_ = phases.receive ? Step::kDispatched : Step::kCombineSent;
  try {
    comm::issue(group_->comm(),
                comm::TaskCall{"MoeCombine", static_cast<uint8_t>(trace::Kind::kMoeCombine),
                               std::move(task)},
                place.host);
  } catch (const Error&) {
    step_ = Step::kRouted;
    throw;
  }
}

void Handle::complete() {
  expect_idle("tuttiMoeComplete");
  step_ = Step::kEmpty;
}

const DeviceHandle* Handle::dispatched_on_device() const {
  if (device_ == nullptr) return nullptr;
  if (step_ != Step::kDispatched && step_ != Step::kCombineSent)
    refuse_step("tuttiMoeGetLayout", "a dispatch that was received");
  check_epoch("tuttiMoeGetLayout");
  return device_.get();
}

const Exchange& Handle::dispatched() const {
  expect_idle("tuttiMoeGetLayout");
  const bool there = parts_ != nullptr && parts_->dispatched;
  if (!there) refuse_step("tuttiMoeGetLayout", "a dispatch that was received");
  return parts_->exchange;
}

}  // namespace tutti::moe
