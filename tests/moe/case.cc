// SPDX-License-Identifier: Apache-2.0
// Inputs and samples of MoE layers.
#include "tests/moe/case.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/support/moe_reference.h"

namespace tutti::moe_test {
namespace {

template <typename T, size_t n>
T one_of(std::mt19937_64& random, const T (&choices)[n]) {
  return choices[random() % n];
}

size_t tokens_of(const Case& c, int rank) {
  if (!c.takes_part(rank)) return 0;
  switch (c.tokens) {
    case Tokens::kFull:
      return c.max_tokens;
    case Tokens::kOdd:
      return c.max_tokens - (c.max_tokens % 2 == 0 ? 1 : 0);
    case Tokens::kUneven:
      return (static_cast<size_t>(rank) * 5 + c.seed) % (c.max_tokens + 1);
    case Tokens::kOne:
      return 1;
    case Tokens::kNoneOnOne:
      return rank == c.n_ranks / 2 ? 0 : c.max_tokens;
    case Tokens::kNoneButOne:
      return rank == c.n_ranks / 2 ? c.max_tokens : 0;
    case Tokens::kNone:
      return 0;
  }
  return 0;
}

float value_of(const Case& c, std::mt19937_64& random, size_t i) {
  std::normal_distribution<float> normal;
  const float inf = std::numeric_limits<float>::infinity();
  const float edges[] = {448, -448, 447, 449, 464, -464, 1, 1.0F / 512, 0};
  switch (c.values) {
    case Values::kNormal:
      return normal(random);
    case Values::kZeros:
      return 0;
    case Values::kEdges:
      return one_of(random, edges);
    case Values::kTiny:
      return std::ldexp(normal(random), -130);
    case Values::kNotFinite:
      return i % 7 == 0 ? inf : i % 11 == 0 ? std::nanf("") : i % 13 == 0 ? -inf : normal(random);
    case Values::kOutlier:
      return i == 5 ? 3e4F : normal(random) * 1e-3F;
  }
  return 0;
}

int64_t expert_of(const Case& c, int rank, std::mt19937_64& random,
                  const std::vector<std::vector<int>>& placement) {
  const auto any = static_cast<int64_t>(random() % static_cast<uint64_t>(c.n_experts));
  const auto on = [&](int where) -> int64_t {
    const std::vector<int>& there = placement[static_cast<size_t>(where)];
    return there.empty() ? any : there[random() % there.size()];
  };
  switch (c.routes) {
    case Routes::kUniform:
    case Routes::kDuplicates:
      return any;
    case Routes::kOneExpert:
      return c.n_experts / 2;
    case Routes::kOneRank:
      return on(c.n_ranks - 1);
    case Routes::kLocal:
      return on(rank);
    case Routes::kSkewed:
      return static_cast<int64_t>(std::pow(static_cast<double>(c.n_experts),
                                           static_cast<double>(random() % 1000) / 1000.0) -
                                  1);
    case Routes::kHalfNone:
      return random() % 2 == 0 ? -1 : any;
    case Routes::kAllNone:
      return -1;
  }
  return any;
}

}  // namespace

std::string Case::group() const {
  return std::string(devices ? "GPUs, " : "") + (small ? "small, " : "") +
         (processes ? "processes " : "threads ") + transport + ", " + std::to_string(n_ranks) +
         " ranks" + (faults.empty() ? "" : ", faults " + faults) +
         (hosts.empty() ? "" : ", hosts " + hosts);
}

std::string Case::text() const {
  static constexpr const char* kTokens[] = {"full",        "odd",          "uneven", "one",
                                            "none on one", "none but one", "none"};
  static constexpr const char* kRoutes[] = {"uniform", "one expert", "one rank", "local",
                                            "skewed",  "half none",  "all none", "duplicates"};
  const auto number = [](auto n) { return std::to_string(static_cast<uint64_t>(n)); };
  return group() + ": T " + number(max_tokens) + " (" + kTokens[static_cast<int>(tokens)] +
         "), H " + number(hidden) + ", k " + number(k) + " of " + number(n_experts) + ", " +
         kRoutes[static_cast<int>(routes)] + ", experts " + number(experts) + ", values " +
         number(values) + ", calls " + number(calls) + ", room " + number(room) + ", layout " +
         number(layout) + ", quantisation " + number(quantization) + ", reduction " +
         number(reduction) + ", overflow " + number(overflow) + ", alignment " + number(alignment) +
         (weighted ? ", weighted" : "") + (shared ? ", shared" : "") + ", seed " + number(seed);
}

std::vector<std::vector<int>> placement_of(const Case& c) {
  const auto n = static_cast<size_t>(c.n_ranks);
  std::vector<std::vector<int>> experts_of(n);
  if (c.experts == Experts::kEven) {
    int next = 0;
    for (size_t rank = 0; rank < n; ++rank) {
      const int more = static_cast<int>(rank) < c.n_experts % c.n_ranks ? 1 : 0;
      for (int i = 0; i < c.n_experts / c.n_ranks + more; ++i) experts_of[rank].push_back(next++);
    }
    return experts_of;
  }
  std::mt19937_64 random(c.seed * 77 + 5);
  for (int expert = 0; expert < c.n_experts; ++expert) experts_of[random() % n].push_back(expert);
  if (c.experts == Experts::kReplicated) {
    for (int expert = 0; expert < c.n_experts; expert += 2) {
      std::vector<int>& there = experts_of[random() % n];
      if (std::find(there.begin(), there.end(), expert) == there.end()) there.push_back(expert);
    }
  }
  return experts_of;
}

RankInput input_of(const Case& c, int rank) {
  std::mt19937_64 random(c.seed * 1000003 + static_cast<uint64_t>(rank));
  const auto placement = placement_of(c);
  std::normal_distribution<float> normal;
  RankInput input;
  input.tokens = tokens_of(c, rank);
  for (size_t token = 0; token < input.tokens; ++token) {
    std::vector<uint16_t> row;
    for (size_t i = 0; i < c.hidden; ++i) row.push_back(test::to_bf16(value_of(c, random, i)));
    input.x.push_back(std::move(row));
    const size_t first = input.experts.size();
    for (int j = 0; j < c.k; ++j) {
      int64_t expert = expert_of(c, rank, random, placement);
      const bool repeat = c.routes == Routes::kDuplicates && j > 0 && random() % 2 == 0;
      if (repeat) expert = input.experts[first + random() % static_cast<uint64_t>(j)];
      input.experts.push_back(expert);
      input.weights.push_back(normal(random));
    }
  }
  return input;
}

Case random_case(std::mt19937_64& random) {
  constexpr int kRanks[] = {1, 2, 2, 3, 4, 5, 8};
  constexpr size_t kHidden[] = {128, 128, 256, 2880, 3584, 5120, 7168};
  constexpr int kTopK[] = {1, 2, 3, 8, 8, 16, 32};
  constexpr size_t kMaxTokens[] = {1, 2, 7, 16, 33};
  Case c;
  c.processes = random() % 2 == 0;
  c.transport = c.processes ? "shm" : "inproc";
  if (random() % 4 == 0) c.faults = "seed=3,delay=300us";
  c.n_ranks = one_of(random, kRanks);
  if (c.n_ranks == 4 && random() % 2 == 0) c.hosts = "2x2";
  c.hidden = one_of(random, kHidden);
  c.k = one_of(random, kTopK);
  c.n_experts = c.k + static_cast<int>(random() % 20);
  c.max_tokens = one_of(random, kMaxTokens);
  constexpr size_t kAlignments[] = {1, 1, 4, 16, 128};
  c.alignment = one_of(random, kAlignments);
  c.weighted = random() % 4 != 0;
  c.shared = random() % 2 == 0;
  c.tokens = static_cast<Tokens>(random() % kTokenKinds);
  c.routes = static_cast<Routes>(random() % kRouteKinds);
  c.experts = static_cast<Experts>(random() % kExpertKinds);
  c.values = random() % 2 == 0 ? Values::kNormal : static_cast<Values>(random() % kValueKinds);
  c.calls = static_cast<Calls>(random() % kCallKinds);
  c.room = random() % 3 == 0 ? static_cast<Room>(random() % kRooms) : Room::kAll;
  c.layout = static_cast<tuttiMoeLayoutKind_t>(random() % 2);
  c.quantization = static_cast<tuttiMoeQuantization_t>(random() % 4);
  if (c.hidden % c.group_elems() != 0) c.quantization = tuttiMoeQuantNone;
  c.reduction = static_cast<tuttiMoeReduction_t>(random() % 3);
  c.overflow = static_cast<tuttiMoeOverflow_t>(random() % 2);
  c.seed = random() % 1000000;
  return c;
}

Case random_device_case(std::mt19937_64& random) {
  constexpr int kRanks[] = {1, 2, 2, 3, 4, 8};
  constexpr size_t kHidden[] = {128, 128, 256, 384, 100, 7};
  constexpr int kTopK[] = {1, 2, 3, 8, 40};
  constexpr size_t kMaxTokens[] = {1, 2, 7, 16, 33};
  constexpr size_t kAlignments[] = {1, 1, 4, 16};
  Case c = random_case(random);
  c.devices = true;
  c.transport.clear();
  c.faults.clear();
  c.hosts.clear();
  c.shared = false;
  c.small = random() % 2 == 0;
  c.n_ranks = one_of(random, kRanks);
  c.hidden = one_of(random, kHidden);
  c.k = one_of(random, kTopK);
  c.n_experts = c.k + static_cast<int>(random() % 20);
  c.max_tokens = one_of(random, kMaxTokens);
  if (c.k > 8 || c.n_ranks == 8) c.max_tokens = std::min<size_t>(c.max_tokens, 7);
  c.alignment = one_of(random, kAlignments);
  c.quantization = static_cast<tuttiMoeQuantization_t>(random() % 4);
  if (c.hidden % c.group_elems() != 0) c.quantization = tuttiMoeQuantNone;
  c.calls = static_cast<Calls>(random() % kDeviceCallKinds);
  return c;
}

std::vector<Case> named_device_cases() {
  std::vector<Case> cases;
  for (Case c : named_cases()) {
    // What changes the way of host ranks only, and what would take minutes.
    const bool other = c.shared || c.calls == Calls::kStream;
    if (other || c.n_ranks > 8 || c.max_tokens > 100 ||
        c.max_tokens * c.hidden * static_cast<size_t>(c.n_ranks) > 100'000)
      continue;
    c.devices = true;
    c.transport.clear();
    c.small = cases.size() % 2 != 0;
    cases.push_back(c);
    if (c.calls != Calls::kAgain) continue;
    c.calls = Calls::kGraph;
    cases.push_back(c);
  }
  return cases;
}

std::vector<Case> named_cases() {
  std::vector<Case> cases;
  const auto with = [&](auto change) {
    for (const bool processes : {false, true}) {
      for (const int n : {1, 2, 3, 5, 8, 16}) {
        Case c{.processes = processes,
               .transport = processes ? "shm" : "inproc",
               .n_ranks = n,
               .n_experts = 19,
               .k = 4,
               .max_tokens = 9,
               .seed = cases.size()};
        change(c);
        if (c.hidden % c.group_elems() != 0) c.quantization = tuttiMoeQuantMxfp8G32;
        cases.push_back(c);
      }
    }
  };
  for (int i = 0; i < kTokenKinds; ++i) with([&](Case& c) { c.tokens = static_cast<Tokens>(i); });
  for (int i = 0; i < kRouteKinds; ++i) with([&](Case& c) { c.routes = static_cast<Routes>(i); });
  for (int i = 0; i < kExpertKinds; ++i)
    with([&](Case& c) { c.experts = static_cast<Experts>(i); });
  for (int i = 0; i < kCallKinds; ++i) with([&](Case& c) { c.calls = static_cast<Calls>(i); });
  for (int i = 1; i < kRooms; ++i) {
    for (const auto overflow : {tuttiMoeOverflowError, tuttiMoeOverflowDropReport}) {
      for (const auto layout : {tuttiMoeRankMajor, tuttiMoeExpertMajor}) {
        with([&](Case& c) {
          c.room = static_cast<Room>(i);
          c.overflow = overflow;
          c.layout = layout;
        });
      }
    }
  }
  for (const size_t hidden : {128, 2880, 3584, 5120, 7168}) {
    for (int i = 0; i < 4; ++i) {
      with([&](Case& c) {
        c.hidden = hidden;
        c.quantization = static_cast<tuttiMoeQuantization_t>(i);
      });
    }
  }
  for (const int k : {1, 2, 8, 16, 32})
    with([&](Case& c) {
      c.k = k;
      c.n_experts = 40;
    });
  for (int i = 0; i < kValueKinds; ++i) {
    for (int q = 1; q < 4; ++q) {
      with([&](Case& c) {
        c.values = static_cast<Values>(i);
        c.quantization = static_cast<tuttiMoeQuantization_t>(q);
      });
    }
  }
  for (int i = 0; i < 3; ++i)
    with([&](Case& c) { c.reduction = static_cast<tuttiMoeReduction_t>(i); });
  // Tokens that are read where they lie.
  for (int i = 0; i < kCallKinds; ++i) {
    with([&](Case& c) {
      c.shared = true;
      c.hidden = 2880;
      c.calls = static_cast<Calls>(i);
    });
    with([&](Case& c) {
      c.shared = true;
      c.hidden = 2880;
      c.layout = tuttiMoeRankMajor;
      c.room = static_cast<Room>(i % kRooms);
      c.overflow = tuttiMoeOverflowDropReport;
      c.reduction = i % 2 == 0 ? tuttiMoeReducePerRank : tuttiMoeReduceHier;
    });
  }
  // Messages that do not fit in a slot, and ranks that wait for room.
  with([&](Case& c) {
    c.hidden = 7168;
    c.max_tokens = c.n_ranks <= 5 ? 100 : 30;
    c.quantization = tuttiMoeQuantE4m3G128F32;
  });
  with([&](Case& c) {
    c.max_tokens = c.n_ranks <= 3 ? 1500 : 100;
    c.layout = tuttiMoeRankMajor;
  });
  // More than fits into slots, sent in two phases.
  with([&](Case& c) {
    c.max_tokens = c.n_ranks <= 3 ? 3000 : 50;
    c.k = 2;
    c.routes = Routes::kSkewed;
    c.calls = Calls::kSplit;
  });
  return cases;
}

}  // namespace tutti::moe_test
