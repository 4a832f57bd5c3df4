// SPDX-License-Identifier: Apache-2.0
// Sampling a tuner plugin, and mapping NCCL's algorithms to rows.
#include "src/comm/advice.h"

#include <algorithm>
#include <array>

#include "src/base/log.h"
#include "src/comm/bytes.h"

namespace tutti::comm {
namespace {

namespace abi = tuner_abi;
using plan::Collective;

constexpr int kMostBytesLog2 = 40;

struct Known {
  Collective collective;
  abi::Function function;
};
constexpr std::array kKnown{Known{Collective::kBroadcast, abi::kBroadcast},
                            Known{Collective::kReduce, abi::kReduce},
                            Known{Collective::kAllGather, abi::kAllGather},
                            Known{Collective::kReduceScatter, abi::kReduceScatter},
                            Known{Collective::kAllReduce, abi::kAllReduce}};

// The row that does what NCCL's algorithm does; null where we have none (in-network and NVLink
// reduction). Its ring of a collective with a root is a chain.
const planner::AlgorithmRow* row_of(Collective collective, abi::Algorithm algorithm) {
  const char* name = nullptr;
  const bool rooted = collective == Collective::kBroadcast || collective == Collective::kReduce;
  if (algorithm == abi::kRing) name = rooted ? "chain" : "ring";
  if (algorithm == abi::kTree) name = rooted ? "binomial" : "tree";
  if (algorithm == abi::kPat) name = "pat";
  return name == nullptr ? nullptr : planner::find_algorithm(collective, name);
}

class Sampler {
 public:
  Sampler(TunerPlugin& plugin, const planner::CostInput& cost) : plugin_(plugin), cost_(cost) {}

  void add_ranges(const Known& known, std::vector<AdvisedRange>* ranges) {
    uint64_t low = 1;
    std::string at_low = answer(known, low);
    ranges->push_back({known.collective, 0, at_low});
    for (int log2 = 1; log2 <= kMostBytesLog2; ++log2) {
      const uint64_t high = uint64_t{1} << log2;
      const std::string at_high = answer(known, high);
      if (at_high != at_low)
        ranges->push_back({known.collective, first_with(known, low, high, at_high), at_high});
      low = high;
      at_low = at_high;
    }
  }

 private:
  // The least size in (low, high] from which the answer is `wanted`, if it changes once.
  uint64_t first_with(const Known& known, uint64_t low, uint64_t high, const std::string& wanted) {
    while (high - low > 1) {
      const uint64_t middle = low + (high - low) / 2;
      (answer(known, middle) == wanted ? high : low) = middle;
    }
    return high;
  }

  std::string answer(const Known& known, uint64_t bytes) {
    abi::CostTable costs;
    fill(known.collective, bytes, costs);
    const abi::Algorithm algorithm = plugin_.ask(known.function, bytes, costs);
    const planner::AlgorithmRow* const row = row_of(known.collective, algorithm);
    return row == nullptr || !supported(*row) ? "" : row->name;
  }

  bool supported(const planner::AlgorithmRow& row) const {
    return row.supports({.collective = row.collective, .n_ranks = cost_.n_ranks});
  }

  // Every protocol of NCCL's costs the same here: which one a message goes by is decided for each
  // message, by its sender.
  void fill(Collective collective, uint64_t bytes, abi::CostTable& costs) {
    const uint64_t ratio = counted_bytes(collective, 1, cost_.n_ranks);
    planner::CostInput there = cost_;
    there.bytes = std::max<uint64_t>(1, bytes / ratio);
    for (int a = 0; a < abi::kAlgorithms; ++a) {
      const auto* const row = row_of(collective, static_cast<abi::Algorithm>(a));
      const bool ours = row != nullptr && supported(*row);
      const double us = ours ? planner::predicted_ns(*row, there) / 1000 : abi::kIgnored;
      std::fill_n(costs[a], abi::kProtocols, static_cast<float>(us));
    }
  }

  TunerPlugin& plugin_;
  planner::CostInput cost_;
};

}  // namespace

uint64_t counted_bytes(Collective collective, uint64_t block_bytes, int n_ranks) {
  const bool gathers =
      collective == Collective::kAllGather || collective == Collective::kReduceScatter;
  return gathers ? block_bytes * static_cast<uint64_t>(n_ranks) : block_bytes;
}

std::string_view Advice::algorithm_for(Collective collective, uint64_t bytes) const {
  std::string_view found;
  for (const AdvisedRange& range : ranges) {
    if (range.collective == collective && range.from_bytes <= bytes) found = range.algorithm;
  }
  return found;
}

Advice ask_tuner(const TunerSetting& setting, const planner::CostInput& cost) {
  const std::unique_ptr<TunerPlugin> plugin = open_tuner(setting);
  Advice advice;
  advice.tuner =
      fmt::format("{} ({}, interface {})", plugin->name(), setting.plugin, plugin->version());
  Sampler sampler(*plugin, cost);
  for (const Known& known : kKnown) sampler.add_ranges(known, &advice.ranges);
  for (const AdvisedRange& range : advice.ranges) {
    log(LogLevel::kInfo, "plan", 0, "tuner {}: {} from {} bytes: {}", advice.tuner,
        plan::name(range.collective), range.from_bytes,
        range.algorithm.empty() ? "the library's choice" : range.algorithm);
  }
  return advice;
}

std::vector<std::byte> encode(const Advice& advice) {
  ByteWriter out;
  out.text(advice.tuner);
  out.value(static_cast<uint32_t>(advice.ranges.size()));
  for (const AdvisedRange& range : advice.ranges) {
    out.value(range.collective);
    out.value(range.from_bytes);
    out.text(range.algorithm);
  }
  return out.take();
}

Advice decode_advice(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  Advice advice;
  advice.tuner = in.text();
  const auto n = in.value<uint32_t>();
  for (uint32_t i = 0; i < n; ++i) {
    AdvisedRange range;
    range.collective = in.value<Collective>();
    range.from_bytes = in.value<uint64_t>();
    range.algorithm = in.text();
    advice.ranges.push_back(std::move(range));
  }
  return advice;
}

}  // namespace tutti::comm
