// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/watchdog.h"

#include <dlfcn.h>
#include <pthread.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <ctime>
#include <thread>

#include <spdlog/fmt/fmt.h>
#include <sys/prctl.h>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/scheduler.h"

namespace cudasim {
namespace {

std::atomic<uint64_t> entry{0};

// Applications have handlers for the signals with names.
int signal_number() { return SIGRTMAX - 3; }

const void* program_counter(const void* context) {
  const auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  return reinterpret_cast<const void*>(registers.gregs[REG_RIP]);
#elif defined(__aarch64__)
  return reinterpret_cast<const void*>(registers.pc);
#else
#error "the simulator knows x86-64 and AArch64"
#endif
}

// Only in a kernel's own code: there it holds no lock of anybody's.
bool is_in_kernel(const void* at) {
  Dl_info info{};
  if (dladdr(at, &info) == 0) return false;
  return std::ranges::any_of(config().kernels,
                             [&info](const std::string& file) { return file == info.dli_fname; });
}

void end_thread(int, siginfo_t*, void* context) {
  if (cudasim_thread == nullptr || !is_in_kernel(program_counter(context))) return;
  Lane& lane = scheduler().current();
  lane.place = program_counter(context);
  scheduler().fail(Result::kLaunchTimeout,
                   fmt::format("runs without reading memory or meeting other threads for {} ms",
                               config().hang_ms));
}

void watch(pthread_t engine) {
  prctl(PR_SET_NAME, "cudasim-watch");
  const int64_t step_ns = std::clamp<int64_t>(config().hang_ms / 8, 1, 500) * 1'000'000;
  uint64_t last = 0;
  int64_t since = now_ns();
  while (true) {
    const timespec nap{0, step_ns};
    nanosleep(&nap, nullptr);
    // relaxed: a number, and late is soon enough.
    const uint64_t now = entry.load(std::memory_order_relaxed);
    if (now == 0 || now != last) {
      last = now;
      since = now_ns();
    } else if (now_ns() - since > config().hang_ms * 1'000'000) {
      pthread_kill(engine, signal_number());
    }
  }
}

}  // namespace

void watch_engine() {
  if (config().hang_ms == 0) return;
  struct sigaction action {};
  action.sa_sigaction = end_thread;
  // The thread that is ended never returns from the handler.
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(signal_number(), &action, nullptr);
  std::thread(watch, pthread_self()).detach();  // ends with the process
}

void note_entry(uint64_t number) { entry.store(number, std::memory_order_relaxed); }

}  // namespace cudasim
