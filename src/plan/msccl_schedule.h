// SPDX-License-Identifier: Apache-2.0
// An MSCCL schedule as its file says it, between the file and the plan. MSCCL++ plans become
// schedules too. Only src/plan uses it.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/plan/plan.h"

namespace tutti::plan::msccl {

enum class StepType : uint8_t {
  kSend,
  kRecv,
  kRecvCopySend,
  kRecvReduceSend,
  kRecvReduceCopy,
  kRecvReduceCopySend,
  kCopy,
  kReduce,
  kNop,
  kSignal,  // this and kAwait: MSCCL's XML has none
  kAwait,
};

// What a type does, in this order: takes a message, reads src, writes dst, sends. `re` also reads
// dst, first.
struct StepTypeRow {
  const char* name;
  bool receives, reads, writes, sends;
};
inline constexpr size_t kXmlStepTypes = 9;  // the first ones
inline constexpr std::array<StepTypeRow, 11> kStepTypes{{
    {"s", false, true, false, true},
    {"r", true, false, true, false},
    {"rcs", true, false, true, true},
    {"rrs", true, true, false, true},
    {"rrc", true, true, true, false},
    {"rrcs", true, true, true, true},
    {"cpy", false, true, true, false},
    {"re", false, true, true, false},
    {"nop", false, false, false, false},
    {"signal", false, false, false, true},
    {"wait", true, false, false, false},
}};
inline const StepTypeRow& row(StepType type) { return kStepTypes[static_cast<size_t>(type)]; }

inline constexpr int32_t kNone = -1;

// A chunk of buffer 'i', 'o' or 's'.
struct Place {
  char buffer = 'i';
  int32_t offset = 0;
  auto operator<=>(const Place&) const = default;
};

// The other end of a connection.
struct Peer {
  int32_t rank = kNone;
  int32_t channel = 0;
};

struct ScheduleStep {
  StepType type = StepType::kNop;
  Place src;
  Place dst;
  int32_t count = 0;
  Peer from;  // of a message; its block owns our end
  Peer to;
  int32_t dep_block = kNone;  // with dep_step: not before that step of that block has finished
  int32_t dep_step = kNone;
  bool has_dependent = false;
  ptrdiff_t offset = 0;  // for messages: in the text, or what the Locator makes of it
};

struct Block {
  int32_t send = kNone;  // peers; the block owns these ends of the connections on `channel`
  int32_t recv = kNone;
  int32_t channel = 0;
  std::vector<ScheduleStep> steps;
};

struct Gpu {
  int32_t scratch_chunks = 0;
  std::vector<Block> blocks;
};

struct Schedule {
  std::string name;
  Shape shape;
  bool aliased = false;  // for in-place calls only: input and output are one buffer
  int32_t channels = 1;
  int32_t slots = 8;  // as NCCL's connections have
  std::vector<Gpu> gpus;
};

// Chunks that a buffer of a rank has in MSCCL's view, where ranks do not differ.
int32_t capacity(const Shape& shape, char buffer);

struct CollectiveName {
  const char* name;
  Collective collective;
};
inline constexpr std::array<CollectiveName, 6> kCollectives{{
    {"allreduce", Collective::kAllReduce},
    {"allgather", Collective::kAllGather},
    {"reduce", Collective::kReduce},
    {"broadcast", Collective::kBroadcast},
    {"alltoall", Collective::kAllToAll},
    {"reduce_scatter", Collective::kReduceScatter},
}};

// A step, for messages.
struct StepPlace {
  int32_t gpu = 0;
  uint32_t block = 0;
  size_t step = 0;
};

// Says where in the file a fault is.
class Locator {
 public:
  Locator(std::string_view text, std::string_view file) : text_(text), file_(file) {}
  virtual ~Locator() = default;
  // Throws InvalidArgument naming gpu, thread block and step.
  [[noreturn]] void fail_step(const StepPlace& at, const ScheduleStep& step,
                              const std::string& what) const;
  // Throws InvalidArgument: "FILE:LINE: what".
  [[noreturn]] void fail(ptrdiff_t offset, const std::string& what) const;
  size_t line(ptrdiff_t offset) const;

 protected:
  // "FILE:LINE: gpu 0 tb 1 step 2 (rrc)"
  virtual std::string describe(const StepPlace& at, const ScheduleStep& step) const;
  std::string_view file() const { return file_; }

 private:
  std::string_view text_;
  std::string_view file_;
};

// XML to schedule: every attribute in range, every dependency's target there.
Schedule parse(std::string_view text, const Locator& locator);
// Schedule to plan. Throws when it gets stuck or reads what nothing has written.
Plan resolve(const Schedule& schedule, const Locator& locator);

}  // namespace tutti::plan::msccl
