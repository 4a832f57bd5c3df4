// SPDX-License-Identifier: Apache-2.0
// Whether a communicator still works, and if not, the first reason why.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <optional>
#include <string>

#include "src/base/error.h"

namespace tutti::comm {

// Any thread. The first failure is kept; later ones are its consequences. Reading "open" costs one
// load.
class Health {
 public:
  bool open() const noexcept { return state_.load(std::memory_order_acquire) == State::kOpen; }
  // Pairs with the release store in fail(): whoever sees kBroken sees code and message.
  bool broken() const noexcept { return state_.load(std::memory_order_acquire) == State::kBroken; }
  bool closed() const noexcept { return state_.load(std::memory_order_acquire) == State::kClosed; }

  // Who tells the peers: whoever owns the communicator's progress when it is found broken, or
  // whoever has broken it.
  enum class Teller : uint8_t { kOwner, kBreaker };
  // Returns false when a failure was there before.
  bool fail(StatusCode code, std::string message, Teller teller = Teller::kOwner) noexcept;
  // No further operations; not a failure.
  void close() noexcept;

  // Valid when broken(); constant from then on.
  StatusCode code() const noexcept { return broken() ? code_ : StatusCode::kOk; }
  const std::string& message() const noexcept { return message_; }
  Teller teller() const noexcept { return teller_; }
  Error error() const { return {code_, message_}; }

 private:
  enum class State : int { kClosed, kOpen, kBroken };
  std::atomic<State> state_{
      State::kOpen};    // release in fail(), close(); acquire in the readers above
  std::mutex failing_;  // one writer of what follows
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
  Teller teller_ = Teller::kOwner;
};

// The one bridge from set-up code, which throws, into progress code, which returns: runs `set_up`
// and keeps what it throws. A returned failure without a reason means "see caught".
template <typename SetUp>
Status contained(std::optional<Error>& caught, SetUp&& set_up) noexcept {
  try {
    set_up();
    return kOkStatus;
  } catch (const Error& e) {
    caught = e;
  } catch (const std::exception& e) {
    caught = Error(StatusCode::kSystemError, e.what());
  }
  return Status{caught->code(), -1, nullptr};
}

// What `set_up` throws; code kOk when it does not.
template <typename SetUp>
Error error_of(SetUp&& set_up) {
  try {
    set_up();
    return {StatusCode::kOk, ""};
  } catch (const Error& e) {
    return e;
  } catch (const std::exception& e) {
    return {StatusCode::kSystemError, e.what()};
  }
}

}  // namespace tutti::comm
