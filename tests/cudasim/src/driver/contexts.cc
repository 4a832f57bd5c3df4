// SPDX-License-Identifier: Apache-2.0
// Contexts and peer access. A device has its primary context and no other: the back end uses no
// other.
#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/state.h"
#include "tests/cudasim/src/space.h"

namespace cudasim {

abi::ContextObject& primary_context(int device) { return *state().primary[device]; }

bool is_context(const abi::ContextObject* context) { return state().contexts.contains(context); }

namespace {

void make_null_stream(abi::ContextObject& context) {
  if (context.null_stream != nullptr) return;
  auto* const stream = new abi::StreamObject();  // as long as its context
  stream->context = &context;
  stream->id = ++state().ids;
  stream->is_null = true;
  context.null_stream = stream;
  engine().add_stream(*stream);
}

// Back to what it was before it was first used, but for memory that others may still use.
void reset(Lock& lock, abi::ContextObject& context) {
  if (context.error == Result::kSuccess) drain(lock, context);
  context.error = Result::kSuccess;
  context.peers = 0;
  for (const Gpu& gpu : machine().gpus()) {
    const uint64_t bit = uint64_t{1} << context.device;
    if (gpu.index != context.device) space().set_peers(gpu.index, space().peers(gpu.index) & ~bit);
  }
}

abi::ContextObject& check_context(abi::Context context) {
  const Lock lock(engine().mutex());
  require(is_context(context), Result::kInvalidContext, "not a context");
  return *context;
}

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuDevicePrimaryCtxRetain(Context* context, Device device) {
  return call("cuDevicePrimaryCtxRetain", [&] {
    const Lock lock(engine().mutex());
    ContextObject& primary = primary_context(check_device(device));
    make_null_stream(primary);
    ++primary.retained;
    *context = &primary;
    return Result::kSuccess;
  });
}

Result cuDevicePrimaryCtxRelease_v2(Device device) {
  return call("cuDevicePrimaryCtxRelease", [&] {
    Lock lock(engine().mutex());
    ContextObject& primary = primary_context(check_device(device));
    require(primary.retained > 0, Result::kInvalidContext, "the context was not retained");
    if (--primary.retained == 0) reset(lock, primary);
    return Result::kSuccess;
  });
}

Result cuDevicePrimaryCtxReset_v2(Device device) {
  return call("cuDevicePrimaryCtxReset", [&] {
    Lock lock(engine().mutex());
    reset(lock, primary_context(check_device(device)));
    return Result::kSuccess;
  });
}

Result cuDevicePrimaryCtxSetFlags_v2(Device device, unsigned flags) {
  return call("cuDevicePrimaryCtxSetFlags", [&] {
    const Lock lock(engine().mutex());
    primary_context(check_device(device)).flags = flags;
    return Result::kSuccess;
  });
}

Result cuDevicePrimaryCtxGetState(Device device, unsigned* flags, int* active) {
  return call("cuDevicePrimaryCtxGetState", [&] {
    const Lock lock(engine().mutex());
    const ContextObject& primary = primary_context(check_device(device));
    *flags = primary.flags;
    *active = primary.retained > 0 ? 1 : 0;
    return Result::kSuccess;
  });
}

Result cuCtxSetCurrent(Context context) {
  return call("cuCtxSetCurrent", [&] {
    auto& stack = context_stack();
    if (context != nullptr) check_context(context);
    if (!stack.empty()) stack.pop_back();
    if (context != nullptr) stack.push_back(context);
    return Result::kSuccess;
  });
}

Result cuCtxGetCurrent(Context* context) {
  return call("cuCtxGetCurrent", [&] {
    *context = current_or_null();
    return Result::kSuccess;
  });
}

Result cuCtxPushCurrent_v2(Context context) {
  return call("cuCtxPushCurrent", [&] {
    context_stack().push_back(&check_context(context));
    return Result::kSuccess;
  });
}

Result cuCtxPopCurrent_v2(Context* context) {
  return call("cuCtxPopCurrent", [&] {
    ContextObject& popped = current_context();
    context_stack().pop_back();
    if (context != nullptr) *context = &popped;
    return Result::kSuccess;
  });
}

Result cuCtxGetDevice(Device* device) {
  return call("cuCtxGetDevice", [&] {
    *device = current_context().device;
    return Result::kSuccess;
  });
}

Result cuCtxGetFlags(unsigned* flags) {
  return call("cuCtxGetFlags", [&] {
    *flags = current_context().flags;
    return Result::kSuccess;
  });
}

Result cuCtxGetId(Context context, unsigned long long* id) {
  return call("cuCtxGetId", [&] {
    *id = context != nullptr ? check_context(context).id : current_context().id;
    return Result::kSuccess;
  });
}

Result cuCtxSynchronize() {
  return call("cuCtxSynchronize", [&] {
    ContextObject& context = current_context();
    check_not_capturing();
    Lock lock(engine().mutex());
    check_usable(context);
    drain(lock, context);
    return context.error;
  });
}

Result cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  return call("cuCtxGetStreamPriorityRange", [&] {
    current_context();
    if (least != nullptr) *least = 0;
    if (greatest != nullptr) *greatest = -5;
    return Result::kSuccess;
  });
}

Result cuCtxEnablePeerAccess(Context peer, unsigned flags) {
  return call("cuCtxEnablePeerAccess", [&] {
    require(flags == 0, Result::kInvalidValue, "flags must be 0");
    ContextObject& own = current_context();
    const ContextObject& other = check_context(peer);
    if (!machine().can_access(own.device, other.device))
      throw Failure(Result::kPeerAccessUnsupported,
                    fmt::format("device {} can't access device {}", own.device, other.device));
    const Lock lock(engine().mutex());
    const uint64_t bit = uint64_t{1} << other.device;
    require((own.peers & bit) == 0, Result::kPeerAccessAlreadyEnabled, "it is enabled");
    own.peers |= bit;
    space().set_peers(other.device, space().peers(other.device) | uint64_t{1} << own.device);
    return Result::kSuccess;
  });
}

Result cuCtxDisablePeerAccess(Context peer) {
  return call("cuCtxDisablePeerAccess", [&] {
    ContextObject& own = current_context();
    const ContextObject& other = check_context(peer);
    const Lock lock(engine().mutex());
    const uint64_t bit = uint64_t{1} << other.device;
    require((own.peers & bit) != 0, Result::kPeerAccessNotEnabled, "it is not enabled");
    own.peers &= ~bit;
    space().set_peers(other.device, space().peers(other.device) & ~(uint64_t{1} << own.device));
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
