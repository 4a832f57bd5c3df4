// SPDX-License-Identifier: Apache-2.0
// Stacks to switch between: one per GPU thread.
#pragma once

#include <cstdint>
#include <vector>

#ifdef CUDASIM_BOOST_CONTEXT
#include <boost/context/detail/fcontext.hpp>
#else
#include <ucontext.h>
#endif

namespace cudasim {

// Stacks of config().stack_bytes each. They are mapped in large pieces without guard pages (a page
// map has room for few of those); a thread that uses its whole stack is found out by the last
// words, which stay zero.
class StackPool {
 public:
  uint8_t* take();  // its lowest address; throws Failure
  void give_back(uint8_t* stack) { free_.push_back(stack); }
  static bool is_overrun(const uint8_t* stack);

 private:
  std::vector<uint8_t*> free_;
};

// One that is left while it runs is forgotten, not unwound: kernels own nothing.
class Fiber {
 public:
  // `body` never returns.
  void start(uint8_t* stack, void (*body)());
  void enter();  // from the engine's stack
  void leave();  // back to it

 private:
#ifdef CUDASIM_BOOST_CONTEXT
  static void trampoline(boost::context::detail::transfer_t transfer);
  boost::context::detail::fcontext_t own_ = nullptr;
  boost::context::detail::fcontext_t engine_ = nullptr;
  void (*body_)() = nullptr;
#else
  ucontext_t own_{};
  ucontext_t engine_{};
#endif
};

}  // namespace cudasim
