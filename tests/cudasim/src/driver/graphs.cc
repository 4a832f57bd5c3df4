// SPDX-License-Identifier: Apache-2.0
// Capture of streams, and graphs.
#include <algorithm>
#include <set>

#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/ops.h"
#include "tests/cudasim/src/driver/state.h"

namespace cudasim {
namespace {

thread_local int captures = 0;  // that this thread has begun and that forbid unsafe calls
thread_local abi::CaptureMode thread_mode = abi::CaptureMode::kGlobal;

std::vector<abi::StreamObject*> streams_in(const GraphData* graph) {
  std::vector<abi::StreamObject*> found;
  for (const abi::ContextObject* const context : state().contexts)
    for (abi::StreamObject* const stream : context->streams)
      if (stream->capture.get() == graph) found.push_back(stream);
  return found;
}

std::set<size_t> ancestors(const GraphData& graph, const std::vector<size_t>& tail) {
  std::set<size_t> known(tail.begin(), tail.end());
  for (size_t i = graph.nodes.size(); i-- > 0;)  // a node comes after those that it waits for
    if (known.contains(i)) known.insert(graph.nodes[i]->after.begin(), graph.nodes[i]->after.end());
  return known;
}

void leave_capture(abi::StreamObject& stream) {
  stream.capture = nullptr;
  stream.capture_status = abi::CaptureStatus::kNone;
  stream.capture_tail.clear();
}

// Whether all that other streams captured comes before the end of the first one.
bool is_joined(const abi::StreamObject& origin) {
  const std::set<size_t> joined = ancestors(*origin.capture, origin.capture_tail);
  return std::ranges::all_of(streams_in(origin.capture.get()), [&](const auto* stream) {
    return std::ranges::all_of(stream->capture_tail,
                               [&](size_t node) { return joined.contains(node); });
  });
}

bool captures_blocking(const abi::ContextObject& context) {
  return std::ranges::any_of(context.streams, [](const abi::StreamObject* stream) {
    return stream->capture != nullptr && (stream->flags & abi::kStreamNonBlocking) == 0;
  });
}

}  // namespace

void check_not_capturing() {
  require(captures == 0 || thread_mode == abi::CaptureMode::kRelaxed,
          Result::kStreamCaptureUnsupported, "this thread captures a stream");
}

void submit(abi::StreamObject& stream, std::unique_ptr<Op> op) {
  check_usable(*stream.context);
  if (stream.capture == nullptr) {
    require(!stream.is_null || !captures_blocking(*stream.context), Result::kStreamCaptureImplicit,
            "the NULL stream would wait for a stream that captures");
    return engine().enqueue(stream, std::move(op));
  }
  auto node = std::make_unique<GraphData::Node>();
  node->op = std::move(op);
  node->after = stream.capture_tail;
  stream.capture_tail = {stream.capture->nodes.size()};
  stream.capture->nodes.push_back(std::move(node));
}

}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuStreamBeginCapture_v2(Stream stream, CaptureMode mode) {
  return call("cuStreamBeginCapture", [&] {
    const Lock lock(engine().mutex());
    StreamObject& origin = stream_of(stream);
    require(!origin.is_null, Result::kStreamCaptureUnsupported, "the NULL stream can't capture");
    require(origin.capture == nullptr, Result::kIllegalState, "the stream captures already");
    origin.capture = std::make_shared<GraphData>();
    origin.capture->capture_id = ++state().ids;
    origin.capture_status = CaptureStatus::kActive;
    origin.capture_mode = mode;
    origin.capture_origin = true;
    origin.capture_tail.clear();
    if (mode != CaptureMode::kRelaxed) ++captures;
    return Result::kSuccess;
  });
}

Result cuStreamEndCapture(Stream stream, Graph* graph) {
  return call("cuStreamEndCapture", [&] {
    const Lock lock(engine().mutex());
    StreamObject& origin = stream_of(stream);
    *graph = nullptr;
    require(origin.capture != nullptr, Result::kIllegalState, "the stream does not capture");
    require(origin.capture_origin, Result::kStreamCaptureUnmatched,
            "the capture was begun in another stream");
    const bool joined = is_joined(origin);
    const std::shared_ptr<GraphData> data = origin.capture;
    if (origin.capture_mode != CaptureMode::kRelaxed && captures > 0) --captures;
    for (StreamObject* const other : streams_in(data.get())) leave_capture(*other);
    require(joined, Result::kStreamCaptureUnjoined,
            "a stream that joined the capture was not joined back");
    *graph = new GraphObject{data};
    return Result::kSuccess;
  });
}

Result cuStreamIsCapturing(Stream stream, CaptureStatus* status) {
  return call("cuStreamIsCapturing", [&] {
    const Lock lock(engine().mutex());
    *status = stream_of(stream).capture_status;
    return Result::kSuccess;
  });
}

Result cuStreamGetCaptureInfo_v2(Stream stream, CaptureStatus* status, uint64_t* id, Graph* graph,
                                 const GraphNode** dependencies, size_t* count) {
  return call("cuStreamGetCaptureInfo", [&] {
    const Lock lock(engine().mutex());
    const StreamObject& known = stream_of(stream);
    *status = known.capture_status;
    if (known.capture == nullptr) return Result::kSuccess;
    if (id != nullptr) *id = known.capture->capture_id;
    if (graph != nullptr) *graph = nullptr;  // no functions that would take one while it grows
    if (dependencies != nullptr) *dependencies = nullptr;
    if (count != nullptr) *count = 0;
    return Result::kSuccess;
  });
}

Result cuThreadExchangeStreamCaptureMode(CaptureMode* mode) {
  return call("cuThreadExchangeStreamCaptureMode", [&] {
    std::swap(*mode, thread_mode);
    return Result::kSuccess;
  });
}

Result cuGraphCreate(Graph* graph, unsigned flags) {
  return call("cuGraphCreate", [&] {
    require(flags == 0, Result::kInvalidValue, "flags must be 0");
    *graph = new GraphObject{std::make_shared<GraphData>()};
    return Result::kSuccess;
  });
}

Result cuGraphDestroy(Graph graph) {
  return call("cuGraphDestroy", [&] {
    require(graph != nullptr, Result::kInvalidValue, "no graph");
    delete graph;
    return Result::kSuccess;
  });
}

Result cuGraphGetNodes(Graph graph, GraphNode* nodes, size_t* count) {
  return call("cuGraphGetNodes", [&] {
    require(graph != nullptr && count != nullptr, Result::kInvalidValue, "no graph or no place");
    const auto& all = graph->data->nodes;
    if (nodes != nullptr) {
      *count = std::min(*count, all.size());
      for (size_t i = 0; i < *count; ++i) nodes[i] = reinterpret_cast<GraphNode>(all[i].get());
    } else {
      *count = all.size();
    }
    return Result::kSuccess;
  });
}

Result cuGraphInstantiateWithFlags(GraphExec* exec, Graph graph, unsigned long long) {
  return call("cuGraphInstantiate", [&] {
    require(graph != nullptr, Result::kInvalidValue, "no graph");
    const Lock lock(engine().mutex());
    *exec = new GraphExecObject{std::make_unique<GraphOp>(*graph->data)};
    return Result::kSuccess;
  });
}

Result cuGraphUpload(GraphExec exec, Stream stream) {
  return call("cuGraphUpload", [&] {
    require(exec != nullptr, Result::kInvalidValue, "no graph");
    const Lock lock(engine().mutex());
    stream_of(stream);
    return Result::kSuccess;  // there is nothing to prepare
  });
}

Result cuGraphLaunch(GraphExec exec, Stream stream) {
  return call("cuGraphLaunch", [&] {
    require(exec != nullptr, Result::kInvalidValue, "no graph");
    const Lock lock(engine().mutex());
    submit(stream_of(stream), exec->prototype->again());
    return Result::kSuccess;
  });
}

Result cuGraphExecDestroy(GraphExec exec) {
  return call("cuGraphExecDestroy", [&] {
    require(exec != nullptr, Result::kInvalidValue, "no graph");
    delete exec;
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
