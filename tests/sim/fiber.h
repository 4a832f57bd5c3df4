// SPDX-License-Identifier: Apache-2.0
// A stack of its own for each simulated thread: code that waits in the middle of a call gives the
// processor back and goes on later, without a system call.
#pragma once

#include <ucontext.h>

#include <csetjmp>
#include <cstddef>
#include <functional>
#include <span>

namespace tutti::sim {

// Runs one body after the other. All fibers of a process are resumed by one thread, none by another
// fiber.
class Fiber {
 public:
  Fiber();
  // On a stack that is somebody else's, without a guard page: for fibers by the hundred thousand.
  explicit Fiber(std::span<std::byte> stack);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  bool idle() const noexcept { return !busy_; }
  // Not while busy. The body runs at the next resume(). It must not throw.
  void start(std::function<void()> body);
  // Returns when the body suspends or ends.
  void resume();
  // Called by the body.
  void suspend();

 private:
  static void enter(unsigned high, unsigned low);
  [[noreturn]] void loop();
  void to_scheduler();

  static constexpr size_t kStackBytes = 256 << 10;

  std::byte* mapped_ = nullptr;  // the stack with a guard page below; null: not ours
  std::span<std::byte> stack_;
  ucontext_t first_{};  // until the first resume()
  bool entered_ = false;
  bool busy_ = false;
  std::function<void()> body_;
  std::jmp_buf self_{};
  std::jmp_buf scheduler_{};
  // For the address sanitizer: the scheduler's stack and what it hides.
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_stack_bytes_ = 0;
  void* hidden_ = nullptr;
};

}  // namespace tutti::sim
