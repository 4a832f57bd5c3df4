// SPDX-License-Identifier: Apache-2.0
// Life of a handle: making, finalizing, closing, aborting.
#include "src/comm/handle.h"

#include <new>
#include <utility>

#include "src/comm/device_watch.h"

namespace tutti::comm {
namespace {

constexpr int64_t kBrokenDrainNs = kNsPerSecond * 9 / 10;

}  // namespace

Handle::~Handle() {
  if (helper_.joinable()) helper_.join();
}

void Handle::make(const Make& make) {
  owned_ = make(&cancelled_);
  comm_.store(owned_.get(), std::memory_order_release);
}

void Handle::start_making(Make make) {
  in_background([this, make = std::move(make)] { this->make(make); });
}

void Handle::finalize() { ready().finalize(); }

void Handle::start_finalize() {
  Communicator& comm = ready();
  in_background([&comm] { comm.finalize(); });
}

void Handle::in_background(std::function<void()> job) {
  if (helper_.joinable()) helper_.join();
  busy_.store(true, std::memory_order_relaxed);
  helper_ = std::thread([this, job = std::move(job)] {
    const Error error = error_of(job);
    if (error.code() != StatusCode::kOk) set_up_.fail(error.code(), error.what());
    busy_.store(false, std::memory_order_release);  // pairs with busy()
  });
}

void Handle::close() noexcept {
  if (helper_.joinable()) helper_.join();
  if (owned_ == nullptr) return;
  // A broken communicator's queued works keep what they need themselves.
  while (!owned_->drain(Deadline::after_ns(kBrokenDrainNs)) && !owned_->health().broken()) {
  }
}

void Handle::abort() noexcept {
  cancelled_.store(true, std::memory_order_relaxed);
  Communicator* const before = comm_.load(std::memory_order_acquire);
  if (before != nullptr) before->break_off(Cause::kAborted, "tuttiCommAbort");
  if (helper_.joinable()) helper_.join();
  if (before == nullptr && owned_ != nullptr)
    owned_->break_off(Cause::kAborted, "tuttiCommAbort");  // it was made meanwhile
  // A call of another thread has not come back within abort()'s patience (it may be mapping memory
  // of a stopped peer). It still uses the communicator, which therefore is never freed.
  if (owned_ != nullptr && !owned_->order().drained())
    (void)new (std::nothrow) std::shared_ptr(owned_);
}

Error Handle::failure() const {
  if (busy()) return {StatusCode::kOk, ""};
  if (set_up_.broken()) return set_up_.error();
  Communicator* const comm = comm_.load(std::memory_order_acquire);
  if (comm != nullptr && comm->watch() != nullptr) comm->watch()->catch_up();
  if (comm != nullptr && comm->health().broken()) return comm->health().error();
  return {StatusCode::kOk, ""};
}

const char* Handle::failure_text() const noexcept {
  if (set_up_.broken()) return set_up_.message().c_str();
  const Communicator* comm = comm_.load(std::memory_order_acquire);
  return comm != nullptr && comm->health().broken() ? comm->health().message().c_str() : "";
}

void Handle::throw_not_ready() const {
  if (set_up_.broken()) throw set_up_.error();
  throw Error(StatusCode::kInvalidUsage,
              "comm is still being initialised; poll tuttiCommGetAsyncError until it is no longer "
              "tuttiInProgress");
}

}  // namespace tutti::comm
