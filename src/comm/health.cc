// SPDX-License-Identifier: Apache-2.0
// Keeps the first failure of a communicator.
#include "src/comm/health.h"

#include <utility>

namespace tutti::comm {

bool Health::fail(StatusCode code, std::string message, Teller teller) noexcept {
  const std::lock_guard lock(failing_);
  if (broken()) return false;
  code_ = code;
  message_ = std::move(message);
  teller_ = teller;
  state_.store(State::kBroken, std::memory_order_release);  // pairs with broken()
  return true;
}

void Health::close() noexcept {
  const std::lock_guard lock(failing_);
  if (!broken()) state_.store(State::kClosed, std::memory_order_release);  // pairs with open()
}

}  // namespace tutti::comm
