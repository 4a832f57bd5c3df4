// SPDX-License-Identifier: Apache-2.0
// Stacks come from ucontext, switches are _setjmp and _longjmp, which save no signal mask.
#include "tests/sim/fiber.h"

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace tutti::sim {
namespace {

constexpr size_t kGuardBytes = 4096;

// Tells the address sanitizer of a change of stacks, before and after it.
void about_to_switch([[maybe_unused]] void** hidden, [[maybe_unused]] const void* stack,
                     [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(hidden, stack, bytes);
#endif
}
void switched([[maybe_unused]] void* hidden, [[maybe_unused]] const void** stack,
              [[maybe_unused]] size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(hidden, stack, bytes);
#endif
}

}  // namespace

Fiber::Fiber() {
  void* memory = ::mmap(nullptr, kGuardBytes + kStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  mapped_ = static_cast<std::byte*>(memory);
  ::mprotect(mapped_, kGuardBytes, PROT_NONE);
  stack_ = {mapped_ + kGuardBytes, kStackBytes};
}

Fiber::Fiber(std::span<std::byte> stack) : stack_(stack) {}

Fiber::~Fiber() {
  if (mapped_ != nullptr) ::munmap(mapped_, kGuardBytes + kStackBytes);
}

void Fiber::start(std::function<void()> body) {
  body_ = std::move(body);
  busy_ = true;
}

void Fiber::enter(unsigned high, unsigned low) {
  const uint64_t address = uint64_t{high} << 32 | low;
  std::bit_cast<Fiber*>(address)->loop();
}

void Fiber::loop() {
  switched(nullptr, &scheduler_stack_, &scheduler_stack_bytes_);
  while (true) {
    body_();
    body_ = nullptr;
    busy_ = false;
    to_scheduler();
  }
}

void Fiber::resume() {
  void* hidden = nullptr;
  about_to_switch(&hidden, stack_.data(), stack_.size());
  if (_setjmp(scheduler_) == 0) {
    if (entered_) _longjmp(self_, 1);
    entered_ = true;
    ::getcontext(&first_);
    first_.uc_stack.ss_sp = stack_.data();
    first_.uc_stack.ss_size = stack_.size();
    first_.uc_link = nullptr;
    const auto address = std::bit_cast<uint64_t>(this);
    ::makecontext(&first_, reinterpret_cast<void (*)()>(&Fiber::enter), 2,
                  static_cast<unsigned>(address >> 32), static_cast<unsigned>(address));
    ::setcontext(&first_);
  }
  switched(hidden, nullptr, nullptr);
}

void Fiber::suspend() { to_scheduler(); }

void Fiber::to_scheduler() {
  about_to_switch(&hidden_, scheduler_stack_, scheduler_stack_bytes_);
  if (_setjmp(self_) == 0) _longjmp(scheduler_, 1);
  switched(hidden_, &scheduler_stack_, &scheduler_stack_bytes_);
}

}  // namespace tutti::sim
