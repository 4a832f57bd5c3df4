// SPDX-License-Identifier: Apache-2.0
// Checks of the arguments of MoE calls.
#include "src/api/moe_arguments.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "src/api/arguments.h"

namespace tutti::api {
namespace {

// The fields that the user's version of a struct has, over the defaults of ours.
template <typename Struct>
Struct taken(const Struct* given, Struct defaults, const char* name, const char* initializer) {
  require(given, name);
  if (given->size < sizeof given->size) {
    refuse(std::string(name) + ".size is " + std::to_string(given->size) + "; initialise it with " +
           initializer);
  }
  std::memcpy(&defaults, given, std::min(given->size, sizeof defaults));
  return defaults;
}

tuttiMoeConfig_t whole(const tuttiMoeConfig_t* config) {
  return taken(config, TUTTI_MOE_CONFIG_INITIALIZER, "config", "TUTTI_MOE_CONFIG_INITIALIZER");
}

template <typename To, typename Enum>
To choice(const Enum& value, int most, const char* name) {
  const int number = number_of(value);
  if (number < 0 || number > most) {
    refuse("config." + std::string(name) + " is " + std::to_string(number) + "; allowed are 0 to " +
           std::to_string(most));
  }
  return static_cast<To>(number);
}

int positive(int value, const char* name) {
  if (value < 1)
    refuse("config." + std::string(name) + " is " + std::to_string(value) +
           "; at least 1 is allowed");
  return value;
}

std::vector<std::vector<int>> experts_of(const tuttiMoeConfig_t& config, int n_ranks) {
  std::vector<std::vector<int>> result;
  if (config.expertsPerRank == nullptr && config.experts == nullptr) return result;
  require(config.expertsPerRank, "config.expertsPerRank");
  require(config.experts, "config.experts");
  const int* next = config.experts;
  for (int rank = 0; rank < n_ranks; ++rank) {
    const int count = config.expertsPerRank[rank];
    if (count < 0 || count > config.numExperts) {
      refuse("config.expertsPerRank[" + std::to_string(rank) + "] is " + std::to_string(count) +
             "; allowed are 0 to numExperts, " + std::to_string(config.numExperts));
    }
    result.emplace_back(next, next + count);
    next += count;
  }
  return result;
}

}  // namespace

moe::Config config_of(const tuttiMoeConfig_t* config, int n_ranks) {
  const tuttiMoeConfig_t c = whole(config);
  moe::Config result{
      .n_ranks = n_ranks,
      .n_experts = positive(c.numExperts, "numExperts"),
      .max_top_k = positive(c.maxTopK, "maxTopK"),
      .max_tokens = c.maxTokens,
      .hidden = c.hidden,
      .alignment = c.alignment,
      .max_receive_rows = c.maxReceiveRows,
      .layout = choice<moe::Layout>(c.layout, tuttiMoeExpertMajor, "layout"),
      .quantization =
          choice<moe::Quantization>(c.quantization, tuttiMoeQuantMxfp8G32, "quantization"),
      .reduction = choice<moe::Reduction>(c.reduction, tuttiMoeReduceHier, "reduction"),
      .overflow = choice<moe::Overflow>(c.overflow, tuttiMoeOverflowDropReport, "overflow"),
      .max_handles = positive(c.maxHandles, "maxHandles"),
      .experts_of = experts_of(c, n_ranks)};
  moe::check(result);
  return result;
}

int place_of(const tuttiMoeConfig_t* config, int rank, int n_ranks) {
  const int place = whole(config).rank;
  if (place == -1) return rank;
  require_rank(place, n_ranks, "config.rank");
  return place;
}

moe::Phases phases_of(int phases) {
  if (phases < TUTTI_MOE_SEND || phases > TUTTI_MOE_BOTH) {
    refuse("phases is " + std::to_string(phases) +
           "; allowed are TUTTI_MOE_SEND (1), TUTTI_MOE_RECV (2) and TUTTI_MOE_BOTH (3)");
  }
  return {.send = (phases & TUTTI_MOE_SEND) != 0, .receive = (phases & TUTTI_MOE_RECV) != 0};
}

moe::Output output_of(const tuttiMoeOutput_t* output, const moe::Facts& facts) {
  const tuttiMoeOutput_t o =
      taken(output, TUTTI_MOE_OUTPUT_INITIALIZER, "output", "TUTTI_MOE_OUTPUT_INITIALIZER");
  if (facts.capacity != 0) require(o.rows, "output.rows");
  if (facts.capacity != 0 && facts.form.scale_bytes != 0) require(o.scales, "output.scales");
  return {.rows = static_cast<std::byte*>(o.rows),
          .scales = static_cast<std::byte*>(o.scales),
          .experts = o.topkIdx,
          .weights = o.topkWeights,
          .source_ranks = o.sourceRank,
          .source_tokens = o.sourceToken};
}

std::vector<bool> mask_of(const uint8_t* active, const moe::Group& group) {
  require(active, "active");
  std::vector<bool> mask;
  for (size_t rank = 0; rank < group.active().size(); ++rank) {
    if (active[rank] > 1) {
      refuse("active[" + std::to_string(rank) + "] is " + std::to_string(active[rank]) +
             "; allowed are 0 and 1");
    }
    if (active[rank] != 0 && !group.active()[rank]) {
      throw Error(StatusCode::kInvalidUsage,
                  "active[" + std::to_string(rank) +
                      "] is 1, and that rank has left; tuttiMoeGroupRejoin takes ranks back in");
    }
    mask.push_back(active[rank] != 0);
  }
  if (!mask[static_cast<size_t>(group.facts().rank)])
    refuse("active[" + std::to_string(group.facts().rank) + "] is 0, and that is this rank");
  return mask;
}

}  // namespace tutti::api
