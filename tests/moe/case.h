// SPDX-License-Identifier: Apache-2.0
// One MoE layer as a test runs it: shapes, routing and what every rank puts in, from a seed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tutti/tutti.h"

namespace tutti::moe_test {

enum class Tokens : uint8_t { kFull, kOdd, kUneven, kOne, kNoneOnOne, kNoneButOne, kNone };
inline constexpr int kTokenKinds = 7;
enum class Routes : uint8_t {
  kUniform,
  kOneExpert,
  kOneRank,
  kLocal,
  kSkewed,
  kHalfNone,
  kAllNone,
  kDuplicates
};
inline constexpr int kRouteKinds = 8;
enum class Experts : uint8_t { kEven, kUneven, kReplicated };
inline constexpr int kExpertKinds = 3;
enum class Values : uint8_t { kNormal, kZeros, kEdges, kTiny, kNotFinite, kOutlier };
inline constexpr int kValueKinds = 6;
// How the calls are made.
enum class Calls : uint8_t { kBoth, kSplit, kTwoHandles, kStream, kAgain, kGraph };
inline constexpr int kCallKinds = 5;        // of the host
inline constexpr int kDeviceCallKinds = 6;  // kGraph: captured, and replayed with other routings
enum class Room : uint8_t { kAll, kExact, kOneShort, kHalf };
inline constexpr int kRooms = 4;

struct Case {
  bool devices = false;  // ranks of GPUs
  bool small = false;    // that have little memory for rows on their way
  bool processes = false;
  std::string transport = "inproc";
  std::string faults;  // as TUTTI_FAULTS has them
  std::string hosts;   // as TUTTI_LAYOUT has them
  int n_ranks = 1;
  int n_experts = 4;
  int k = 1;
  size_t hidden = 128;
  size_t max_tokens = 8;
  size_t alignment = 1;
  bool weighted = true;
  bool shared = false;  // tokens lie in memory of tuttiMemAlloc
  Tokens tokens = Tokens::kFull;
  Routes routes = Routes::kUniform;
  Experts experts = Experts::kEven;
  Values values = Values::kNormal;
  Calls calls = Calls::kBoth;
  Room room = Room::kAll;
  tuttiMoeLayoutKind_t layout = tuttiMoeExpertMajor;
  tuttiMoeQuantization_t quantization = tuttiMoeQuantNone;
  tuttiMoeReduction_t reduction = tuttiMoeReducePerRank;
  tuttiMoeOverflow_t overflow = tuttiMoeOverflowError;
  uint64_t seed = 1;
  std::vector<bool> active;  // by rank, whether it takes part; empty: all do

  bool takes_part(int rank) const { return active.empty() || active[static_cast<size_t>(rank)]; }
  // Everything that needs a communicator of its own.
  std::string group() const;
  std::string text() const;
  size_t group_elems() const { return quantization == tuttiMoeQuantMxfp8G32 ? 32 : 128; }
  bool quantized() const { return quantization != tuttiMoeQuantNone; }
  bool floats() const { return quantization == tuttiMoeQuantE4m3G128F32; }
};

// Which ranks have which experts; every expert is somewhere.
std::vector<std::vector<int>> placement_of(const Case& c);

struct RankInput {
  size_t tokens = 0;
  std::vector<std::vector<uint16_t>> x;  // [tokens][hidden] bfloat16
  std::vector<int64_t> experts;          // [tokens][k]
  std::vector<float> weights;            // the same shape
};
RankInput input_of(const Case& c, int rank);

Case random_case(std::mt19937_64& random);
// Of ranks of GPUs: smaller, as simulated ones are slow.
Case random_device_case(std::mt19937_64& random);
// What the list of conformance names one by one.
std::vector<Case> named_cases();
std::vector<Case> named_device_cases();

}  // namespace tutti::moe_test
