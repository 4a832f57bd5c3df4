// SPDX-License-Identifier: Apache-2.0
// What a user holds: a communicator, or one that is still being made.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "src/comm/communicator.h"

namespace tutti::comm {

// Calls of one handle come from one thread at a time, except abort() and queries.
class Handle {
 public:
  // `cancelled` becomes true when the user aborts meanwhile.
  using Make = std::function<std::shared_ptr<Communicator>(const std::atomic<bool>* cancelled)>;

  Handle() = default;
  ~Handle();
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  void make(const Make& make);   // throws what `make` throws
  void start_making(Make make);  // on a helper thread

  // Throws InvalidUsage while the communicator is being made, or the error of making it.
  Communicator& ready() const {
    Communicator* comm = comm_.load(std::memory_order_acquire);  // pairs with make()
    if (comm == nullptr) [[unlikely]]
      throw_not_ready();
    return *comm;
  }
  // Null instead.
  Communicator* ready_or_null() const noexcept {
    return comm_.load(std::memory_order_acquire);  // pairs with make()
  }
  std::shared_ptr<Communicator> share() const { return ready().shared_from_this(); }

  void finalize();        // waits
  void start_finalize();  // on a helper thread
  // Waits for everything issued, unless the communicator is broken. Then the handle may be deleted.
  void close() noexcept;
  // Ends everything within about a second. Then the handle may be deleted.
  void abort() noexcept;

  // A set-up on the helper thread has not finished.
  bool busy() const noexcept { return busy_.load(std::memory_order_acquire); }
  // The first failure, of making or of the communicator; code kOk when there is none.
  Error failure() const;
  // Its message, "" when there is none; lives as long as the handle.
  const char* failure_text() const noexcept;

 private:
  [[noreturn]] void throw_not_ready() const;
  void in_background(std::function<void()> job);

  std::shared_ptr<Communicator> owned_;       // written before comm_
  std::atomic<Communicator*> comm_{nullptr};  // release in make() pairs with acquire in ready()
  std::atomic<bool> cancelled_{false};        // relaxed: a request
  std::atomic<bool> busy_{false};  // release when the helper ends pairs with acquire in busy()
  Health set_up_;                  // failures of the set-ups themselves
  std::thread helper_;
};

}  // namespace tutti::comm
