// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/fiber.h"

#include <algorithm>

#include <sys/mman.h>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/failure.h"

namespace cudasim {
namespace {

constexpr uint64_t kStacksAtOnce = 256;
constexpr int kLastWords = 32;
// Stacks that lie a power of two apart would share a few sets of the caches.
constexpr uint64_t kColour = 4096 + 192;

}  // namespace

uint8_t* StackPool::take() {
  if (free_.empty()) {
    const uint64_t bytes = config().stack_bytes + kColour;
    void* const at = mmap(nullptr, kStacksAtOnce * bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw Failure(Result::kLaunchOutOfResources, "no memory for stacks");
    madvise(at, kStacksAtOnce * bytes, MADV_NOHUGEPAGE);
    // The highest is used first: below it there is room for what overruns it.
    for (uint64_t i = 0; i < kStacksAtOnce; ++i)
      free_.push_back(static_cast<uint8_t*>(at) + i * bytes);
  }
  uint8_t* const stack = free_.back();
  free_.pop_back();
  return stack;
}

bool StackPool::is_overrun(const uint8_t* stack) {
  const auto* const words = reinterpret_cast<const uint64_t*>(stack);
  return std::any_of(words, words + kLastWords, [](uint64_t word) { return word != 0; });
}

#ifdef CUDASIM_BOOST_CONTEXT

using boost::context::detail::transfer_t;

void Fiber::trampoline(transfer_t transfer) {
  auto* const self = static_cast<Fiber*>(transfer.data);
  self->engine_ = transfer.fctx;
  self->body_();
}

void Fiber::start(uint8_t* stack, void (*body)()) {
  body_ = body;
  const uint64_t bytes = config().stack_bytes;
  own_ = boost::context::detail::make_fcontext(stack + bytes, bytes, trampoline);
}

void Fiber::enter() { own_ = boost::context::detail::jump_fcontext(own_, this).fctx; }

void Fiber::leave() { engine_ = boost::context::detail::jump_fcontext(engine_, nullptr).fctx; }

#else

void Fiber::start(uint8_t* stack, void (*body)()) {
  getcontext(&own_);
  own_.uc_stack.ss_sp = stack;
  own_.uc_stack.ss_size = config().stack_bytes;
  own_.uc_link = nullptr;
  makecontext(&own_, body, 0);
}

void Fiber::enter() { swapcontext(&engine_, &own_); }

void Fiber::leave() { swapcontext(&own_, &engine_); }

#endif

}  // namespace cudasim
