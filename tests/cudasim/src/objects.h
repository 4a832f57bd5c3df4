// SPDX-License-Identifier: Apache-2.0
// Contexts, streams, events: what the driver's handles point to. All fields are guarded by the
// engine's mutex, but for those that never change.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tests/cudasim/src/backing.h"
#include "tests/cudasim/src/failure.h"

namespace cudasim {

class Engine;

// Something that a stream does. Only the engine's thread calls poll(), without its mutex.
class Op {
 public:
  virtual ~Op() = default;
  // True when it is done; else it is called again. May throw Failure: the context is lost then.
  virtual bool poll() = 0;
  // The stream is lost: nobody may go on waiting for it.
  virtual void drop() {}
  // The same once more, for another launch of a graph.
  virtual std::unique_ptr<Op> again() const = 0;
  virtual std::string describe() const = 0;
  // Whether it waits for something that nothing on this device brings about.
  virtual bool is_wait() const { return false; }

  uint64_t order = 0;  // in which it was put into its stream, among all of the process
};

// A graph under construction or finished: operations and which of them come first.
struct GraphData {
  struct Node {
    std::unique_ptr<Op> op;
    std::vector<size_t> after;
  };
  std::vector<std::unique_ptr<Node>> nodes;
  uint64_t capture_id = 0;
};

}  // namespace cudasim

namespace tutti::cuda {

struct ContextObject {
  Device device = 0;
  uint64_t id = 0;
  bool primary = false;
  int retained = 0;  // of primary contexts
  unsigned flags = 0;
  uint64_t peers = 0;               // bits of GPUs whose memory it may access
  Result error = Result::kSuccess;  // of a kernel or copy that failed: stays
  StreamObject* null_stream = nullptr;
  std::set<StreamObject*> streams;  // all, with the NULL stream
};

struct StreamObject {
  ContextObject* context = nullptr;
  uint64_t id = 0;
  unsigned flags = 0;
  int priority = 0;
  bool is_null = false;
  bool destroyed = false;                        // deleted when nothing is left in it
  std::deque<std::unique_ptr<cudasim::Op>> ops;  // the front one is under way

  std::shared_ptr<cudasim::GraphData> capture;  // while it captures
  CaptureStatus capture_status = CaptureStatus::kNone;
  CaptureMode capture_mode = CaptureMode::kGlobal;
  bool capture_origin = false;
  std::vector<size_t> capture_tail;  // nodes that the next one comes after
};

struct EventObject {
  ContextObject* context = nullptr;
  unsigned flags = 0;
  std::shared_ptr<cudasim::Backing> backing;  // of interprocess events
  std::shared_ptr<cudasim::Shared> own;       // of others
  cudasim::Shared* state = nullptr;
  std::shared_ptr<cudasim::GraphData> capture;  // recorded while a stream captured
  std::vector<size_t> capture_nodes;
};

struct GraphObject {
  std::shared_ptr<cudasim::GraphData> data;
};
struct GraphExecObject {
  std::unique_ptr<cudasim::Op> prototype;  // of each launch
};
struct GraphNodeObject : cudasim::GraphData::Node {};

}  // namespace tutti::cuda
