// SPDX-License-Identifier: Apache-2.0
// Checked arguments of one API call, as the communicator queues and runs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "src/base/error.h"
#include "src/exec/task.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "src/kernels/reduce_copy.h"
#include "src/plan/collective.h"

namespace tutti::comm {

class Window;

// Block sizes and places of a v-variant, in elements, as exec::Binding wants them; empty where the
// default holds.
struct UnevenBlocks {
  std::vector<size_t> counts;         // by exec::block_index
  std::vector<size_t> input_offsets;  // by block position
  std::vector<size_t> output_offsets;
  bool agreed = false;  // every rank passed the same counts
};

struct CollectiveCall {
  const char* name = "";  // as the user called it, a literal: "AllReduce"
  plan::Collective collective = plan::Collective::kBarrier;
  const void* input = nullptr;
  void* output = nullptr;
  size_t count = 0;  // elements of each block; unused when uneven
  DType dtype = DType::kInt8;
  Op op = Op::kSum;
  int root = 0;
  bool in_place = false;
  kernels::Scaling scaling;
  const void* late_scalar = nullptr;     // PreMulSum: read into `scaling` when the call runs
  std::unique_ptr<UnevenBlocks> uneven;  // null: even blocks
  void* device_stream = nullptr;         // of device communicators: a CUDA stream
};

struct P2pCall {
  const char* name = "";  // "Send" or "Recv"
  bool is_send = false;
  void* data = nullptr;  // only read when is_send
  size_t count = 0;
  DType dtype = DType::kInt8;
  int peer = 0;
  void* device_stream = nullptr;  // as above
};

// Put (when bytes come with it) and signal.
struct SignalCall {
  const char* name = "";
  int peer = 0;
  int signal = 0;
  const void* data = nullptr;
  size_t bytes = 0;
  size_t offset = 0;  // in the peer's part of the window
  std::shared_ptr<Window>
      window;  // null: only the signal. Shared: a queued put keeps the mapping alive
};

struct WaitCall {
  struct Target {
    int peer = 0;
    int signal = 0;
    uint64_t count = 0;
  };
  std::vector<Target> targets;
};

// Set-up that uses the communicator's transports and so needs its turn. Must not throw: a failure
// would break the communicator.
struct SetUpCall {
  const char* name = "";
  std::function<void()> run;
};

// Waits until the peers have consumed everything that this rank has sent.
struct SettleCall {
  const char* name = "";
};

// Something else that exchanges messages with all ranks, on channels of its own.
class OrderedTask : public exec::Task {
 public:
  // In its turn, before the first progress(). Throws Error, which breaks the communicator. `caught`
  // keeps what set-up throws in progress().
  virtual void begin(std::optional<Error>& caught) = 0;
  // It has ended well: why all ranks refuse the call alike; nullopt when they don't.
  virtual std::optional<Error> refusal() = 0;
  // Of one that begin() has launched on a GPU: `runs` or is part of a graph, under the number
  // `call`. nullopt: it has ended with progress().
  struct Launched {
    bool runs = true;
    uint64_t call = 0;
  };
  virtual std::optional<Launched> launched() const { return std::nullopt; }
};
struct TaskCall {
  const char* name = "";  // a literal: "MoeDispatch"
  uint8_t kind = 0;       // for the recording: trace::Kind
  // Shared: a queued call keeps it. One thread at a time; nobody else runs it.
  std::shared_ptr<OrderedTask> task;
};

// What runs one after the other on a communicator.
using OrderedCall =
    std::variant<CollectiveCall, SignalCall, WaitCall, SetUpCall, SettleCall, TaskCall>;

}  // namespace tutti::comm
