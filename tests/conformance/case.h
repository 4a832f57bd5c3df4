// SPDX-License-Identifier: Apache-2.0
// One conformance case: a point of the product of everything that may change how a collective is
// carried out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "src/planner/planner.h"

namespace tutti::conformance {

enum class Kind : uint8_t {
  kAllReduce,
  kReduce,
  kBroadcast,
  kAllGather,
  kAllGatherv,
  kReduceScatter,
  kReduceScatterv,
  kAllToAll,
  kAllToAllv,
  kGather,
  kGatherv,
  kScatter,
  kScatterv,
  kSendRecv,
};
const char* name(Kind kind);
bool reduces(Kind kind);
bool has_root(Kind kind);
bool has_in_place(Kind kind);

enum class Layout : uint8_t { kThreads, kProcesses };
enum class Protocol : uint8_t { kDefault, kInline, kStaged, kDirect };
enum class Memory : uint8_t { kPrivate, kShared };  // malloc or tuttiMemAlloc

// Cases are of ranks that have a GPU each from now on. Protocols are then the library's choice,
// LL128, messages in slots, and LL; memory is the GPU's, or (shared) the host's.
void take_devices();
bool on_devices();

// A kind and the algorithm that carries it; the algorithm is null for point to point. Of GPUs there
// is "nvls" too, which is no row of the planner's table.
struct Row {
  Kind kind = Kind::kAllReduce;
  const planner::AlgorithmRow* algorithm = nullptr;
};
const std::vector<Row>& rows();

inline constexpr int kRankCounts[] = {1, 2, 3, 4, 5, 7, 8};
inline constexpr uint32_t kSlotBytes[] = {1024, 65536};
inline constexpr int kSizeClasses = 15;
inline constexpr int kLastSmallSizeClass = 6;  // at most a few lines
inline constexpr int kOps = 6;                 // tuttiSum .. tuttiAvg, PreMulSum
inline constexpr int kDTypes = 12;
inline constexpr int kRoots = 3;  // 0, middle, last
// Which ranks share a host, as far as plans go: for two-level rows contiguous, interleaved or of
// unequal sizes; for rings and chains all on one, or (the second) interleaved; else all on one.
inline constexpr int kHostLayouts = 3;

struct Case {
  Layout layout = Layout::kThreads;
  std::string transport = "inproc";
  int n_ranks = 1;
  Protocol protocol = Protocol::kDefault;
  uint32_t slot_bytes = kSlotBytes[0];
  int row = 0;  // into rows()
  int dtype = 0;
  int op = 0;
  int size_class = 0;
  bool in_place = false;
  bool misaligned = false;
  Memory memory = Memory::kPrivate;
  int root_class = 0;
  int host_layout = 0;

  int root() const { return root_class == 0 ? 0 : root_class == 1 ? n_ranks / 2 : n_ranks - 1; }
  // As TUTTI_LAYOUT has it; empty: one host.
  std::string hosts() const;
  // Elements of one block before the v-variants vary it.
  size_t count() const;
  // Everything that needs a communicator of its own.
  std::string group() const;
  std::string text() const;
  // Of GPUs: a kernel on symmetric memory carries it.
  bool on_symmetric_memory() const;
};
// Smaller than what the larger cases need, so that those go in pieces.
size_t symmetric_bytes(const Case& c);

// The case as a point: one value per factor. Pairs of (factor, value) are what pairwise coverage
// covers.
inline constexpr int kFactors = 13;
// The leading factors, up to in_place, whose product the full run takes. Alignment, kind of memory,
// root and hosts rotate through it; the sample covers their pairs.
inline constexpr int kProductFactors = 9;
std::vector<int> point(const Case& c);
// The case at a point of the full product; false when the combination does not exist (processes
// over inproc, a message that can't be inline, an op for a collective that has none, ...), or says
// the same as another one.
bool at(const std::vector<int>& point, Case* out);
std::vector<int> radices();

// Seeded sample of at least `budget` distinct cases; `pairwise`: it covers every pair of factor
// values that occurs together.
std::vector<Case> sample_cases(size_t budget, uint64_t seed, bool pairwise);
// Every case of the product of the first kProductFactors whose running number is `part` modulo
// `parts`.
void for_each_case(size_t part, size_t parts, const std::function<void(const Case&)>& visit);

}  // namespace tutti::conformance
