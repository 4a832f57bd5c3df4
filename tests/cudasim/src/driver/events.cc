// SPDX-License-Identifier: Apache-2.0
// Events.
#include <algorithm>

#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/ops.h"
#include "tests/cudasim/src/driver/state.h"

namespace cudasim {
namespace {

abi::EventObject& event_of(abi::Event event) {
  require(state().events.contains(event), Result::kInvalidHandle, "not an event");
  return *event;
}

bool is_done(const abi::EventObject& event) {
  // acquire: pairs with RecordOp::poll.
  return event.state->completed.load(std::memory_order_acquire) >=
         event.state->recorded.load(std::memory_order_relaxed);
}

void check_not_captured(const abi::EventObject& event) {
  require(event.capture == nullptr, Result::kCapturedEvent,
          "the event was last recorded in a stream that captured");
}

// The stream captures: the event only remembers what came before it.
void record_captured(abi::StreamObject& stream, abi::EventObject& event) {
  event.capture = stream.capture;
  event.capture_nodes = stream.capture_tail;
}

// The stream joins the capture that the event was recorded in.
void wait_captured(abi::StreamObject& stream, const abi::EventObject& event) {
  require(stream.capture == nullptr || stream.capture == event.capture, Result::kStreamCaptureMerge,
          "the event is of another capture");
  require(!stream.is_null, Result::kStreamCaptureImplicit, "the NULL stream can't capture");
  if (stream.capture == nullptr) {
    stream.capture = event.capture;
    stream.capture_status = abi::CaptureStatus::kActive;
    stream.capture_origin = false;
    stream.capture_tail.clear();
  }
  for (const size_t node : event.capture_nodes)
    if (std::ranges::find(stream.capture_tail, node) == stream.capture_tail.end())
      stream.capture_tail.push_back(node);
}

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuEventCreate(Event* event, unsigned flags) {
  return call("cuEventCreate", [&] {
    auto made = std::make_unique<EventObject>();
    made->context = &usable_context();
    made->flags = flags;
    if ((flags & kEventInterprocess) != 0) {
      require((flags & kEventDisableTiming) != 0, Result::kInvalidValue,
              "an interprocess event has no timing");
      made->backing = Backing::create(BackingKind::kEvent, made->context->device, kPage, 0);
      made->state = &made->backing->shared();
    } else {
      made->own = std::make_shared<Shared>();
      made->state = made->own.get();
    }
    const Lock lock(engine().mutex());
    *event = made.release();
    state().events.insert(*event);
    return Result::kSuccess;
  });
}

Result cuEventDestroy_v2(Event event) {
  return call("cuEventDestroy", [&] {
    const Lock lock(engine().mutex());
    event_of(event);
    state().events.erase(event);
    delete event;  // its state lives as long as operations use it
    return Result::kSuccess;
  });
}

Result cuEventRecordWithFlags(Event event, Stream stream, unsigned flags) {
  return call("cuEventRecord", [&] {
    const Lock lock(engine().mutex());
    EventObject& known = event_of(event);
    StreamObject& in = stream_of(stream);
    if (in.context != known.context && known.backing == nullptr)
      throw Failure(Result::kInvalidHandle, "event and stream are of different contexts");
    if (in.capture != nullptr && (flags & kEventRecordExternal) == 0) {
      record_captured(in, known);
      return Result::kSuccess;
    }
    known.capture = nullptr;
    known.capture_nodes.clear();
    submit(in, std::make_unique<RecordOp>(known));
    return Result::kSuccess;
  });
}

Result cuEventRecord(Event event, Stream stream) {
  return cuEventRecordWithFlags(event, stream, 0);
}

Result cuStreamWaitEvent(Stream stream, Event event, unsigned flags) {
  return call("cuStreamWaitEvent", [&] {
    const Lock lock(engine().mutex());
    const EventObject& known = event_of(event);
    StreamObject& in = stream_of(stream);
    const bool external = (flags & kEventWaitExternal) != 0;
    if (known.capture != nullptr && !external) {
      wait_captured(in, known);
      return Result::kSuccess;
    }
    require(in.capture == nullptr || external, Result::kStreamCaptureIsolation,
            "a capturing stream would wait for what is not captured");
    submit(in, std::make_unique<WaitEventOp>(known));
    return Result::kSuccess;
  });
}

Result cuEventQuery(Event event) {
  return call("cuEventQuery", [&] {
    const Lock lock(engine().mutex());
    const EventObject& known = event_of(event);
    check_not_captured(known);
    check_usable(*known.context);
    return is_done(known) ? Result::kSuccess : Result::kNotReady;
  });
}

Result cuEventSynchronize(Event event) {
  return call("cuEventSynchronize", [&] {
    Lock lock(engine().mutex());
    const EventObject& known = event_of(event);
    check_not_captured(known);
    const ContextObject& context = *known.context;
    check_usable(context);
    if (known.backing == nullptr) {
      engine().wait(lock, [&] { return is_done(known) || context.error != Result::kSuccess; });
      return context.error;
    }
    // Of another process: nobody wakes us.
    while (!is_done(known) && context.error == Result::kSuccess) engine().nap(lock);
    return context.error;
  });
}

Result cuEventElapsedTime(float* ms, Event start, Event end) {
  return call("cuEventElapsedTime", [&] {
    const Lock lock(engine().mutex());
    const EventObject& from = event_of(start);
    const EventObject& to = event_of(end);
    require(((from.flags | to.flags) & kEventDisableTiming) == 0, Result::kInvalidHandle,
            "an event without timing");
    const auto recorded = [](const EventObject& e) {
      return e.state->recorded.load(std::memory_order_relaxed) > 0;
    };
    require(recorded(from) && recorded(to), Result::kInvalidHandle, "an event was never recorded");
    if (!is_done(from) || !is_done(to)) return Result::kNotReady;
    const int64_t ns = to.state->time_ns.load(std::memory_order_relaxed) -
                       from.state->time_ns.load(std::memory_order_relaxed);
    *ms = static_cast<float>(ns) / 1e6F;
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
