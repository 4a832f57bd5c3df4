// SPDX-License-Identifier: Apache-2.0
// An MSCCL++ execution plan as its file says it, with its indirections resolved. Only src/plan uses
// it.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/plan/msccl_schedule.h"

namespace tutti::plan::mscclpp {

using msccl::Peer;
using msccl::Place;

enum class OpKind : uint8_t {
  kNothing,  // nop, flush
  kPut,
  kGet,
  kCopy,
  kReduce,
  kSignal,
  kWait,
  kBarrier,
  kAcquire,
  kRelease,
  kRefused,
};

struct OpRow {
  std::string_view name;
  OpKind kind = OpKind::kNothing;
  bool signals = false;  // after each of its puts, on that one's channel
  bool relaxed = false;  // does not say that what was put before is there
  bool reads = false;    // its sources after the first are a peer's
  bool sends = false;    // its sinks after the first are a peer's
  const char* reason = "";
};

inline constexpr const char* kPackets =
    "the flags of packets travel with the data, so that no wait says when a message is complete";
inline constexpr const char* kSwitch = "it needs a switch that reduces or multicasts";

inline constexpr std::array<OpRow, 30> kOps{{
    {.name = "nop"},
    {.name = "flush"},
    {.name = "put", .kind = OpKind::kPut},
    {.name = "pws", .kind = OpKind::kPut, .signals = true},
    {.name = "pwsf", .kind = OpKind::kPut, .signals = true},
    {.name = "get", .kind = OpKind::kGet},
    {.name = "copy", .kind = OpKind::kCopy},
    {.name = "re", .kind = OpKind::kReduce},
    {.name = "res", .kind = OpKind::kReduce, .sends = true},
    {.name = "rre", .kind = OpKind::kReduce, .reads = true},
    {.name = "rres", .kind = OpKind::kReduce, .reads = true, .sends = true},
    {.name = "signal", .kind = OpKind::kSignal},
    {.name = "rlxsignal", .kind = OpKind::kSignal, .relaxed = true},
    {.name = "wait", .kind = OpKind::kWait},
    {.name = "rlxwait", .kind = OpKind::kWait, .relaxed = true},
    {.name = "barrier", .kind = OpKind::kBarrier},
    {.name = "sem_acquire", .kind = OpKind::kAcquire},
    {.name = "sem_release", .kind = OpKind::kRelease},
    {.name = "ppkt", .kind = OpKind::kRefused, .reason = kPackets},
    {.name = "rppkt", .kind = OpKind::kRefused, .reason = kPackets},
    {.name = "respkt", .kind = OpKind::kRefused, .reason = kPackets},
    {.name = "cpkt", .kind = OpKind::kRefused, .reason = kPackets},
    {.name = "upkt", .kind = OpKind::kRefused, .reason = kPackets},
    {.name = "repkt", .kind = OpKind::kRefused, .reason = kPackets},
    {.name = "recpkt", .kind = OpKind::kRefused, .reason = kPackets},
    {.name = "recspkt", .kind = OpKind::kRefused, .reason = kPackets},
    {.name = "glres", .kind = OpKind::kRefused, .reason = kSwitch},
    {.name = "gstore", .kind = OpKind::kRefused, .reason = kSwitch},
    {.name = "pipeline",
     .kind = OpKind::kRefused,
     .reason = "it loops over pieces of a number of bytes, where a plan has tiles"},
    {.name = "rrc",
     .kind = OpKind::kRefused,
     .reason = "it is of an older form of MSCCL++; the present one has \"rre\""},
}};

// Chunks of a buffer of `gpu`, which may be another one.
struct Chunks {
  int32_t gpu = 0;
  Place first;
  int32_t count = 0;
};

struct Op {
  const OpRow* row = nullptr;
  std::vector<Chunks> sources;
  std::vector<Chunks> sinks;
  std::vector<Peer> channels;  // of the plan, both ways
  bool port = false;           // writes through a NIC or a copy engine, in the order of the channel
  int32_t barrier = 0;
  int32_t threadblocks = 0;  // that meet at the barrier
  std::vector<int32_t> semaphores;
};

struct ThreadBlock {
  std::vector<Op> ops;
};

struct Gpu {
  int32_t scratch_chunks = 0;
  std::vector<ThreadBlock> blocks;
  std::vector<int64_t> semaphores;  // their first values
};

struct Program {
  std::string name;
  Shape shape;
  bool in_place = false;
  int32_t channels = 1;
  std::vector<Gpu> gpus;
};

struct OpPlace {
  int32_t gpu = 0;
  size_t block = 0;
  size_t op = 0;
  auto operator<=>(const OpPlace&) const = default;
};
// "FILE: gpu 0 threadblock 1 op 2 (put)"
std::string describe(std::string_view file, const OpPlace& at, std::string_view op);
[[noreturn]] void refuse(std::string_view file, const OpPlace& at, std::string_view op,
                         const std::string& what);

Program read_program(std::string_view text, std::string_view file);
// Puts and signals to messages. Steps have the number of their operation as `offset`.
msccl::Schedule schedule_of(const Program& program, std::string_view file);

}  // namespace tutti::plan::mscclpp
