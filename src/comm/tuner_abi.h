// SPDX-License-Identifier: Apache-2.0
// The binary interface of NCCL's tuner plugins, versions 2 to 6: a plugin exports
// ncclTunerPlugin_vN, a table of functions that return 0 or an error code. Written down from the
// public description of that interface; only what the layout needs is here.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::comm::tuner_abi {

inline constexpr int kOldest = 2;
inline constexpr int kNewest = 6;

using Result = int;
using Logger = void (*)(int level, unsigned long flags, const char* file, int line,
                        const char* format, ...);

enum Function : int { kBroadcast, kReduce, kAllGather, kReduceScatter, kAllReduce };
enum Algorithm : int {
  kUndefined = -1,
  kTree,
  kRing,
  kCollNetDirect,
  kCollNetChain,
  kNvls,
  kNvlsTree,
  kPat,
  kAlgorithms
};
inline constexpr int kProtocols = 3;  // LL, LL128, Simple
inline constexpr float kIgnored = -1.0F;

// Costs in microseconds, [algorithm][protocol]; the pointer that plugins get is to the first of
// them, whatever its type says.
using CostTable = float[kAlgorithms][kProtocols];

struct NvlinkDomains {
  int domains;
  int least_ranks;
  int most_ranks;
};
// Of NCCL's own cost model, which a plugin may change; ours has none of them.
struct Constants {
  double base_latencies[kAlgorithms][kProtocols];
  double hardware_latencies[3][kAlgorithms][kProtocols];
  double bandwidths[5][4][3];
};
static_assert(sizeof(Constants) == 144 * sizeof(double));

struct TunerV2 {
  const char* name;
  Result (*init)(size_t ranks, size_t nodes, Logger logger, void** context);
  Result (*ask)(void* context, int function, size_t bytes, int collnet, int nvls, int operations,
                int* algorithm, int* protocol, int* channels);
  Result (*destroy)(void* context);
};
struct TunerV3 {
  const char* name;
  Result (*init)(size_t ranks, size_t nodes, Logger logger, void** context);
  Result (*ask)(void* context, int function, size_t bytes, int operations, float** costs,
                int algorithms, int protocols, int* channels);
  Result (*destroy)(void* context);
};
struct TunerV4 {
  const char* name;
  Result (*init)(size_t ranks, size_t nodes, Logger logger, void** context);
  Result (*ask)(void* context, int function, size_t bytes, int operations, float** costs,
                int algorithms, int protocols, int registered, int* channels);
  Result (*destroy)(void* context);
};
struct TunerV5 {
  const char* name;
  Result (*init)(void** context, uint64_t comm_id, size_t ranks, size_t nodes, Logger logger,
                 NvlinkDomains* domains, Constants* constants);
  Result (*ask)(void* context, int function, size_t bytes, int operations, float** costs,
                int algorithms, int protocols, int registered, int* channels);
  Result (*destroy)(void* context);
};
struct TunerV6 {
  const char* name;
  Result (*init)(void** context, uint64_t comm_id, size_t ranks, size_t nodes, Logger logger,
                 NvlinkDomains* domains, Constants* constants);
  Result (*ask)(void* context, int function, size_t bytes, int operations, float** costs,
                int algorithms, int protocols, int registered, int* channels);
  Result (*destroy)(void* context);
  Result (*chunk_bytes)(void* context, int function, size_t bytes, int algorithm, int protocol,
                        int channels, size_t* chunk);
};
static_assert(sizeof(TunerV2) == 4 * sizeof(void*) && sizeof(TunerV6) == 5 * sizeof(void*));

}  // namespace tutti::comm::tuner_abi
