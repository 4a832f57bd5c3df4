// SPDX-License-Identifier: Apache-2.0
#include "perf/kernels/instructions.h"

#include <cstdint>

#if defined(__x86_64__) && defined(__linux__)
#include <ucontext.h>

#include <csignal>
#include <vector>

#include <x86intrin.h>

namespace tutti::perf {
namespace {

constexpr unsigned long long kTrapFlag = 0x100;

// Addresses of the instructions that were reached, for the handler: preallocated, one user.
std::vector<uintptr_t> trace;
size_t traced = 0;

void on_step(int, siginfo_t*, void* context) {
  const auto* at = static_cast<const ucontext_t*>(context);
  if (traced < trace.size())
    trace[traced++] = static_cast<uintptr_t>(at->uc_mcontext.gregs[REG_RIP]);
}

// What the VEX and EVEX prefixes say (Intel SDM, volume 2, 2.3 and 2.7).
struct Decoded {
  bool vector = false;
  int map = 0;     // opcode map: 1 is 0f, 2 is 0f38, 3 is 0f3a
  int prefix = 0;  // implied prefix: 0 none, 1 is 66, 2 is f3, 3 is f2
  bool masked = false;
  uint8_t opcode = 0;
  bool memory = false;
};

Decoded decode(const uint8_t* code) {
  Decoded d;
  size_t opcode_at = 0;
  if (code[0] == 0x62) {
    d = {.vector = true, .map = code[1] & 7, .prefix = code[2] & 3, .masked = (code[3] & 7) != 0};
    opcode_at = 4;
  } else if (code[0] == 0xc4) {
    d = {.vector = true, .map = code[1] & 31, .prefix = code[2] & 3};
    opcode_at = 3;
  } else if (code[0] == 0xc5) {
    d = {.vector = true, .map = 1, .prefix = code[1] & 3};
    opcode_at = 2;
  }
  d.opcode = code[opcode_at];
  d.memory = code[opcode_at + 1] >> 6 != 3;
  // Of the VEX encodings these are of general registers: andn, bextr, bzhi, mulx, pdep, shlx, rorx.
  if (code[0] == 0xc4 && ((d.map == 2 && d.opcode >= 0xf0) || (d.map == 3 && d.opcode == 0xf0)))
    d.vector = false;
  return d;
}

bool is_plain_move(const Decoded& d) {
  if (d.map != 1 || d.masked || !d.memory) return false;
  switch (d.opcode) {
    case 0x10:
    case 0x11:
    case 0x28:
    case 0x29:
    case 0x2b:  // movups, movaps, movntps
    case 0x6f:
    case 0x7f:
    case 0xe7:
    case 0x7e:
    case 0xd6:  // movdqu, movntdq, movq
      return true;
    default:
      return false;
  }
}

void add_to(VectorInstructions* counted, const Decoded& d) {
  constexpr uint8_t kDivide = 0x5e;
  if (!d.vector || is_plain_move(d)) return;
  if (d.map == 1 && d.opcode == 0x77) return;  // vzeroupper
  ++counted->total;
  if ((d.map == 2 && d.opcode == 0x13) || (d.map == 3 && d.opcode == 0x1d)) ++counted->convert;
  if (d.map == 1 && d.opcode == kDivide)
    ++(d.prefix == 1 ? counted->divide_double : counted->divide_float);
}

}  // namespace

bool count_instructions(const std::function<void()>& call, VectorInstructions* counted) {
  constexpr size_t kMostSteps = 1 << 20;
  trace.resize(kMostSteps);
  traced = 0;
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_sigaction = on_step;
  action.sa_flags = SA_SIGINFO;
  if (sigaction(SIGTRAP, &action, &before) != 0) return false;
  __writeeflags(__readeflags() | kTrapFlag);
  call();
  __writeeflags(__readeflags() & ~kTrapFlag);
  sigaction(SIGTRAP, &before, nullptr);
  *counted = {};
  for (size_t i = 0; i < traced; ++i) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the kernel hands addresses over as integers
    add_to(counted, decode(reinterpret_cast<const uint8_t*>(trace[i])));
  }
  return traced != 0 && traced < kMostSteps;
}

}  // namespace tutti::perf

#else

namespace tutti::perf {
bool count_instructions(const std::function<void()>&, VectorInstructions*) { return false; }
}  // namespace tutti::perf

#endif
