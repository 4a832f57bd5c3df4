// SPDX-License-Identifier: Apache-2.0
// The boundary of the driver: every exported function is one call().
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "src/device/cuda/abi.h"
#include "tests/cudasim/src/engine.h"
#include "tests/cudasim/src/failure.h"

// Declares all exported functions, so that a definition which differs from the table is an error.
namespace tutti::cuda {
#define CUDASIM_DECLARE(symbol, base, version, ...) \
  extern "C" __attribute__((visibility("default"))) Result symbol(__VA_ARGS__);
TUTTI_CUDA_FUNCTIONS(CUDASIM_DECLARE)
#undef CUDASIM_DECLARE
}  // namespace tutti::cuda

namespace cudasim {

using Lock = std::unique_lock<std::mutex>;

// What every call begins with: whether the driver was started, and CUDASIM_FAIL. Throws Failure.
void begin_call(const char* name, bool needs_init);
Result end_failed_call(const char* name, Result code, const char* reason);

template <class Body>
Result call_any_time(const char* name, bool needs_init, Body&& body) {
  try {
    begin_call(name, needs_init);
    return body();
  } catch (const Failure& failure) {
    return end_failed_call(name, failure.code(), failure.what());
  } catch (const std::exception& error) {
    return end_failed_call(name, Result::kUnknown, error.what());
  }
}
template <class Body>
Result call(const char* name, Body&& body) {
  return call_any_time(name, true, std::forward<Body>(body));
}

// Of the calling thread. Throw Failure. current() also when the context has failed.
abi::ContextObject& current_context();
abi::ContextObject* current_or_null();
std::vector<abi::ContextObject*>& context_stack();
abi::ContextObject& usable_context();  // current, and has not failed
void check_usable(const abi::ContextObject& context);
bool is_context(const abi::ContextObject* context);
abi::ContextObject& primary_context(int device);
int check_device(abi::Device device);

// The stream that a handle stands for: NULL, legacy and per-thread ones included. Throws Failure.
// Wants the engine's mutex held.
abi::StreamObject& stream_of(abi::Stream handle);
// Puts an operation into a stream, or into the graph that the stream captures.
void submit(abi::StreamObject& stream, std::unique_ptr<Op> op);
// Refuses what may not be done while this thread captures.
void check_not_capturing();
// Runs an operation in the NULL stream to its end.
Result run_now(std::unique_ptr<Op> op);
// Waits until the context has nothing to do.
void drain(Lock& lock, abi::ContextObject& context);

}  // namespace cudasim
