// SPDX-License-Identifier: Apache-2.0
// Streams, and what waits in them.
#include <algorithm>

#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/ops.h"
#include "tests/cudasim/src/driver/state.h"

namespace cudasim {
namespace {

// The per-thread default stream of this thread in its current context.
abi::StreamObject& per_thread_stream() {
  thread_local std::map<abi::ContextObject*, abi::StreamObject*> streams;
  abi::ContextObject& context = current_context();
  abi::StreamObject*& stream = streams[&context];
  if (stream == nullptr) {
    stream = new abi::StreamObject();  // as long as the process
    stream->context = &context;
    stream->id = ++state().ids;
    engine().add_stream(*stream);
  }
  return *stream;
}

void check_value_flags(unsigned flags) {
  require((flags & ~(abi::kWaitFlush | 3U)) == 0, Result::kInvalidValue, "unknown flags");
}

std::unique_ptr<Op> op_of(const abi::BatchMemOp& operation) {
  switch (operation.operation) {
    case abi::MemOp::kWait32:
      check_value_flags(operation.value.flags);
      return std::make_unique<WaitValueOp>(operation.value.address, operation.value.value32, 4,
                                           operation.value.flags);
    case abi::MemOp::kWait64:
      check_value_flags(operation.value.flags);
      return std::make_unique<WaitValueOp>(operation.value.address, operation.value.value64, 8,
                                           operation.value.flags);
    case abi::MemOp::kWrite32:
      return std::make_unique<WriteValueOp>(operation.value.address, operation.value.value32, 4);
    case abi::MemOp::kWrite64:
      return std::make_unique<WriteValueOp>(operation.value.address, operation.value.value64, 8);
    case abi::MemOp::kBarrier:
    case abi::MemOp::kFlushRemoteWrites:
      return std::make_unique<EmptyOp>();  // the simulator's streams never reorder
  }
  throw Failure(Result::kInvalidValue, "an unknown operation");
}

Result submit_op(abi::Stream stream, std::unique_ptr<Op> op) {
  const Lock lock(engine().mutex());
  submit(stream_of(stream), std::move(op));
  return Result::kSuccess;
}

struct Callback {
  abi::StreamCallback function;
  abi::Stream stream;
  void* user;
};

void run_callback(void* user) {
  const std::unique_ptr<Callback> callback(static_cast<Callback*>(user));
  callback->function(callback->stream, Result::kSuccess, callback->user);
}

}  // namespace

abi::StreamObject& stream_of(abi::Stream handle) {
  if (handle == nullptr || handle == abi::kLegacyStream) return *current_context().null_stream;
  if (handle == abi::kPerThreadStream) return per_thread_stream();
  for (const abi::ContextObject* const context : state().contexts)
    if (context->streams.contains(handle) && !handle->destroyed) return *handle;
  throw Failure(Result::kInvalidHandle, "not a stream");
}

}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuStreamCreateWithPriority(Stream* stream, unsigned flags, int priority) {
  return call("cuStreamCreate", [&] {
    require((flags & ~kStreamNonBlocking) == 0, Result::kInvalidValue, "unknown flags");
    auto made = std::make_unique<StreamObject>();
    made->context = &usable_context();
    made->flags = flags;
    made->priority = std::clamp(priority, -5, 0);
    const Lock lock(engine().mutex());
    made->id = ++state().ids;
    engine().add_stream(*made);
    *stream = made.release();  // the engine deletes it
    return Result::kSuccess;
  });
}

Result cuStreamCreate(Stream* stream, unsigned flags) {
  return cuStreamCreateWithPriority(stream, flags, 0);
}

Result cuStreamDestroy_v2(Stream stream) {
  return call("cuStreamDestroy", [&] {
    const Lock lock(engine().mutex());
    StreamObject& known = stream_of(stream);
    require(stream != nullptr && !known.is_null, Result::kInvalidHandle, "the NULL stream stays");
    engine().remove_stream(known);
    return Result::kSuccess;
  });
}

Result cuStreamGetPriority(Stream stream, int* priority) {
  return call("cuStreamGetPriority", [&] {
    const Lock lock(engine().mutex());
    *priority = stream_of(stream).priority;
    return Result::kSuccess;
  });
}

Result cuStreamGetFlags(Stream stream, unsigned* flags) {
  return call("cuStreamGetFlags", [&] {
    const Lock lock(engine().mutex());
    *flags = stream_of(stream).flags;
    return Result::kSuccess;
  });
}

Result cuStreamGetId(Stream stream, unsigned long long* id) {
  return call("cuStreamGetId", [&] {
    const Lock lock(engine().mutex());
    *id = stream_of(stream).id;
    return Result::kSuccess;
  });
}

Result cuStreamGetCtx(Stream stream, Context* context) {
  return call("cuStreamGetCtx", [&] {
    const Lock lock(engine().mutex());
    *context = stream_of(stream).context;
    return Result::kSuccess;
  });
}

Result cuStreamQuery(Stream stream) {
  return call("cuStreamQuery", [&] {
    const Lock lock(engine().mutex());
    const StreamObject& known = stream_of(stream);
    require(known.capture == nullptr, Result::kStreamCaptureUnsupported, "the stream captures");
    check_usable(*known.context);
    return known.ops.empty() ? Result::kSuccess : Result::kNotReady;
  });
}

Result cuStreamSynchronize(Stream stream) {
  return call("cuStreamSynchronize", [&] {
    Lock lock(engine().mutex());
    StreamObject& known = stream_of(stream);
    require(known.capture == nullptr, Result::kStreamCaptureUnsupported, "the stream captures");
    ContextObject& context = *known.context;
    check_usable(context);
    engine().wait_idle(lock, {&known});
    return context.error;
  });
}

Result cuStreamAddCallback(Stream stream, StreamCallback callback, void* user, unsigned flags) {
  return call("cuStreamAddCallback", [&] {
    require(flags == 0 && callback != nullptr, Result::kInvalidValue, "flags, or no function");
    return submit_op(stream,
                     std::make_unique<HostOp>(run_callback, new Callback{callback, stream, user}));
  });
}

Result cuLaunchHostFunc(Stream stream, HostFunction function, void* user) {
  return call("cuLaunchHostFunc", [&] {
    require(function != nullptr, Result::kInvalidValue, "no function");
    return submit_op(stream, std::make_unique<HostOp>(function, user));
  });
}

Result cuStreamWaitValue32_v2(Stream stream, DevicePtr address, uint32_t value, unsigned flags) {
  return call("cuStreamWaitValue32", [&] {
    check_value_flags(flags);
    space().live(address, 4);
    return submit_op(stream, std::make_unique<WaitValueOp>(address, value, 4, flags));
  });
}

Result cuStreamWaitValue64_v2(Stream stream, DevicePtr address, uint64_t value, unsigned flags) {
  return call("cuStreamWaitValue64", [&] {
    check_value_flags(flags);
    space().live(address, 8);
    return submit_op(stream, std::make_unique<WaitValueOp>(address, value, 8, flags));
  });
}

Result cuStreamWriteValue32_v2(Stream stream, DevicePtr address, uint32_t value, unsigned) {
  return call("cuStreamWriteValue32", [&] {
    space().live(address, 4);
    return submit_op(stream, std::make_unique<WriteValueOp>(address, value, 4));
  });
}

Result cuStreamWriteValue64_v2(Stream stream, DevicePtr address, uint64_t value, unsigned) {
  return call("cuStreamWriteValue64", [&] {
    space().live(address, 8);
    return submit_op(stream, std::make_unique<WriteValueOp>(address, value, 8));
  });
}

Result cuStreamBatchMemOp_v2(Stream stream, unsigned count, BatchMemOp* operations,
                             unsigned flags) {
  return call("cuStreamBatchMemOp", [&] {
    require(flags == 0 && count <= 256, Result::kInvalidValue, "flags, or too many operations");
    std::vector<std::unique_ptr<Op>> ops;
    for (unsigned i = 0; i < count; ++i) ops.push_back(op_of(operations[i]));
    return submit_op(stream, std::make_unique<SequenceOp>(std::move(ops)));
  });
}

}  // namespace tutti::cuda
