// SPDX-License-Identifier: Apache-2.0
// Turns agreed configuration into layout and policy, and a call into an algorithm.
#include "src/comm/selection.h"

#include <algorithm>
#include <bit>
#include <string_view>
#include <vector>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/exec/cuda/symmetric.h"
#include "src/planner/profile.h"

namespace tutti::comm {
namespace {

using verify::FoldOrder;

constexpr uint32_t kDefaultSlotBytes = 64 << 10;  // eight of them fit in half of a core's L2
constexpr uint32_t kDefaultSlots = 8;
constexpr uint32_t kFewSlots = 4;
// Between hosts: what a frame costs whatever it holds (system calls, wake-ups at both ends) is
// worth larger ones, and the slots together are a receive window that unequal rails need. Measured
// in docs/design/networks.md.
constexpr uint32_t kNetworkSlotBytes = 256 << 10;
constexpr uint32_t kNetworkWindowBytes = 2 << 20;
constexpr uint64_t kDefaultDirectMinBytes =
    4 << 10;  // below, copying through a warm slot is cheaper than a reference
constexpr uint32_t kMinSlotBytes = 64;
constexpr uint32_t kMaxSlotBytes = 64 << 20;

uint32_t checked_power_of_two(const char* name, uint32_t value, uint32_t min, uint32_t max) {
  if (value >= min && value <= max && std::has_single_bit(value)) return value;
  throw Error(StatusCode::kInvalidArgument, std::string(name) + " of rank 0 is " +
                                                std::to_string(value) +
                                                "; allowed are powers of two from " +
                                                std::to_string(min) + " to " + std::to_string(max));
}

exec::MessagePolicy policy_of(const AgreedConfig& agreed) {
  const std::string_view protocol = agreed.protocol;
  exec::MessagePolicy policy;
  if (protocol.empty()) {
    policy.direct_min_bytes =
        agreed.direct_min_bytes != 0 ? agreed.direct_min_bytes : kDefaultDirectMinBytes;
    if (agreed.pull_min_bytes != 0) policy.pull_min_bytes = agreed.pull_min_bytes;
  } else if (protocol == "inline" || protocol == "ll" || protocol == "ll128") {
    policy.allow_inline = true;  // what does not fit in a line is staged
  } else if (protocol == "staged") {
    policy.allow_inline = false;
  } else if (protocol == "direct") {
    policy.allow_inline = false;
    policy.direct_min_bytes = 1;
    policy.pull_min_bytes = 1;
  } else {
    constexpr std::string_view kProtocols[] = {"inline", "staged", "direct", "ll", "ll128"};
    throw Error(StatusCode::kInvalidArgument,
                "protocol of rank 0 (config.protocol or TUTTI_PROTO) is '" + std::string(protocol) +
                    "'; known are " + known_names(protocol, kProtocols));
  }
  return policy;
}

// Half of what LL carries is flags, and 1/16 of LL128; messages in slots cost a fence and a flag
// that is seen behind the data. Where one overtakes the other is a guess until it is measured on
// GPUs.
DeviceProtocols device_protocols_of(const AgreedConfig& agreed, const Measured& where) {
  constexpr uint64_t kMostLL = 64 << 10;
  constexpr uint64_t kMostLL128 = 1 << 20;
  const std::string_view protocol = agreed.protocol;
  if (!where.all_devices || protocol == "staged" || protocol == "direct") return {};
  const bool lines = where.whole_lines && protocol != "ll";
  const uint64_t most = lines ? kMostLL128 : kMostLL;
  return {lines ? exec::DeviceProtocol::kLL128 : exec::DeviceProtocol::kLL,
          protocol.empty() ? most : UINT64_MAX};
}

bool is_over_networks(const Measured& where) { return where.n_ranks > where.ranks_per_host; }

// Staging slots per connection. Lines that a receiver has read stay in its nearer caches, and a
// sender that stores to them has to take them from there; in the time that it takes to use
// kRingCaches second-level caches' worth of staging memory they have moved on to the last level,
// and storing to them costs a third (Zen 4, cores of one last-level cache: 32 KiB one way 3.6 ->
// 1.5 us; `compare --variant few:TUTTI_SLOTS=8`). So that is how much there is, if the connections
// of all ranks together leave half of the last level to buffers. Ranks that take turns on a core
// share its caches, so fewer are better for them.
uint32_t default_slots(const Measured& where, uint32_t slot_bytes) {
  constexpr uint64_t kRingCaches = 2;
  constexpr int kCrowd = 4;  // ranks per core
  if (is_over_networks(where))
    return std::clamp(std::bit_floor(kNetworkWindowBytes / slot_bytes), kDefaultSlots,
                      transport::kMaxAreas);
  if (where.ranks_per_host >= kCrowd * where.cores) return kFewSlots;
  if (where.ranks_per_host > where.cores) return kDefaultSlots;
  const auto n = static_cast<uint64_t>(std::max(2, where.ranks_per_host));
  const uint64_t ring = std::min(kRingCaches * where.caches.second_level,
                                 where.caches.last_level / 2 / (n * (n - 1)));
  return static_cast<uint32_t>(
      std::clamp<uint64_t>(std::bit_floor(ring / slot_bytes), kDefaultSlots, transport::kMaxAreas));
}

// As many as the user's plan needs to finish, too.
uint32_t slots_for(const planner::VerifiedPlan* given, const Measured& where, uint32_t slot_bytes) {
  const uint32_t slots = default_slots(where, slot_bytes);
  if (given == nullptr) return slots;
  const uint32_t needed = std::bit_ceil(static_cast<uint32_t>(given->verdict.min_slots));
  return std::clamp(needed, slots, transport::kMaxAreas);
}

// What the user leaves to the library. `tutti tune` measures one host, which says nothing of slots
// and channels between several.
void fill_in(AgreedConfig& agreed, const planner::RankTuning* measured, const Measured& where) {
  if (measured == nullptr || is_over_networks(where)) return;
  if (agreed.slot_bytes == 0) agreed.slot_bytes = measured->slot_bytes;
  if (agreed.channels == 0) agreed.channels = measured->channels;
}

constexpr std::string_view kNvls = "nvls";

void check_algorithm(std::string_view forced) {
  if (forced.empty()) return;
  std::vector<std::string_view> names;
  for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
    if (forced == row.name) return;
    if (std::find(names.begin(), names.end(), row.name) == names.end()) names.push_back(row.name);
  }
  throw Error(StatusCode::kInvalidArgument,
              "algorithm of rank 0 (config.algorithm or TUTTI_ALGO) is '" + std::string(forced) +
                  "'; known are " + known_names(forced, names));
}

// In whole units of every area.
size_t symmetric_bytes_of(const AgreedConfig& agreed) {
  if (agreed.symmetric_bytes == 0) return 0;
  if (agreed.symmetric_bytes >= exec::kLeastAreaBytes)
    return agreed.symmetric_bytes / exec::kAreaUnit * exec::kAreaUnit;
  throw Error(StatusCode::kInvalidArgument,
              "TUTTI_SYMMETRIC_BYTES of rank 0 is " + std::to_string(agreed.symmetric_bytes) +
                  "; allowed are 0 and at least " + std::to_string(exec::kLeastAreaBytes));
}

void take_symmetric(const AgreedConfig& agreed, const Measured& where, Tuning& tuning) {
  const std::string_view protocol = agreed.protocol;
  // The other protocols name what connections do.
  const bool wanted = protocol.empty() || protocol == "direct";
  const bool fits = where.n_ranks <= static_cast<int>(gpu::kMostRanks);
  if (where.all_devices && !is_over_networks(where) && wanted && fits)
    tuning.symmetric_bytes = symmetric_bytes_of(agreed);
  if (tuning.algorithm != kNvls) return;
  const auto refuse = [](const char* why) {
    throw Error(
        StatusCode::kInvalidArgument,
        std::string("algorithm of rank 0 (config.algorithm or TUTTI_ALGO) is 'nvls', but ") + why);
  };
  if (!where.all_devices || is_over_networks(where))
    refuse("not all ranks are of GPUs of one host");
  if (tuning.deterministic)
    refuse("a switch promises no order, and deterministic mode asks for one");
  if (where.n_ranks > 1 && tuning.symmetric_bytes == 0)
    refuse(
        "it needs symmetric memory: TUTTI_SYMMETRIC_BYTES above 0, and TUTTI_PROTO empty or "
        "direct");
  tuning.nvls = true;
  tuning.algorithm.clear();
}

// What deterministic mode wants of a plan. A datatype that is folded in itself loses nothing when a
// partial sum is stored; a narrow float is rounded each time.
FoldOrder order_needed(DType dtype) {
  return folds_as_itself(dtype) ? FoldOrder::kInOrder : FoldOrder::kInOrderOnce;
}

void check_order(const planner::VerifiedPlan& given, FoldOrder least) {
  if (given.verdict.fold_order >= least) return;
  throw Error(
      StatusCode::kInvalidArgument,
      "deterministic mode (config.deterministic or TUTTI_DETERMINISTIC of rank 0): the plan "
      "of TUTTI_PLAN_FILE, '" +
          given.plan.algorithm + "', is proved to fold ranks 0 to " +
          std::to_string(given.plan.shape.n_ranks - 1) + " in " +
          verify::name(given.verdict.fold_order) + ", but needed is " + verify::name(least) +
          "; unset TUTTI_PLAN_FILE, or give a plan that does so");
}

bool fits(const plan::Shape& shape, const Selection& call) {
  return shape.collective == call.collective && shape.n_ranks == call.n_ranks &&
         shape.root == (plan::has_root(call.collective) ? call.root : 0) && !call.uneven;
}

planner::PlanRequest request_of(const Selection& selection, const Tuning& tuning) {
  return {.collective = selection.collective,
          .n_ranks = selection.n_ranks,
          .root = selection.root,
          .channels = tuning.channels,
          .hosts = selection.hosts.for_plans()};
}

planner::CostInput cost_of(const Selection& selection, const Tuning& tuning) {
  planner::CostInput cost;
  cost.n_ranks = selection.n_ranks;
  cost.cores = selection.cores;
  cost.bytes = selection.block_bytes;
  cost.profile = tuning.profile.get();
  if (cost.profile != nullptr) cost.parameters = cost.profile->parameters;
  cost.hosts = selection.hosts;
  cost.network = tuning.network;
  return cost;
}

planner::Wish wish_of(const Selection& selection, const Tuning& tuning) {
  return {.uneven = selection.uneven,
          .forced = tuning.algorithm,
          .least_order = tuning.deterministic ? order_needed(selection.dtype) : FoldOrder::kAny};
}

// What the tuner advises for the call, where that is a row that the call can have.
const planner::AlgorithmRow* advised_row(const Selection& selection, const Tuning& tuning) {
  if (tuning.advice == nullptr || !tuning.algorithm.empty()) return nullptr;
  const uint64_t bytes =
      counted_bytes(selection.collective, selection.block_bytes, selection.n_ranks);
  const std::string_view name = tuning.advice->algorithm_for(selection.collective, bytes);
  if (name.empty()) return nullptr;
  const auto rows = planner::eligible(request_of(selection, tuning), cost_of(selection, tuning),
                                      wish_of(selection, tuning));
  const auto at = std::ranges::find_if(
      rows, [name](const planner::AlgorithmRow* row) { return name == row->name; });
  return at == rows.end() ? nullptr : *at;
}

// The plan for the machine's links where the call is large; null: the table has a better one, or
// has to be used.
std::shared_ptr<const planner::VerifiedPlan> plan_for_links(const Selection& call,
                                                            const Tuning& tuning) {
  constexpr uint64_t kLeastBytes = 1 << 20;  // below, what a step costs counts more than the links
  if (tuning.machine == nullptr || !tuning.algorithm.empty() || tuning.deterministic || tuning.nvls)
    return nullptr;
  if (call.uneven || counted_bytes(call.collective, call.block_bytes, call.n_ranks) < kLeastBytes)
    return nullptr;
  auto plan = tuning.machine->plan(call.collective);
  const bool runs =
      plan != nullptr && plan->verdict.min_slots <= static_cast<int64_t>(tuning.layout.n_areas);
  return runs ? plan : nullptr;
}

}  // namespace

Tuning resolve(const AgreedConfig& asked, const GivenPlan& plan, const Measured& measured) {
  Tuning tuning;
  AgreedConfig agreed = asked;
  if (!measured.text.empty()) {
    tuning.profile = planner::shared_profile(measured.text);
    fill_in(agreed, planner::find_tuning(*tuning.profile, measured.n_ranks, measured.cores),
            measured);
  }
  const planner::NetworkParameters assumed =
      measured.rdma ? planner::kRdmaNetwork : planner::kTcpNetwork;
  tuning.network =
      tuning.profile == nullptr ? assumed : tuning.profile->parameters.network.value_or(assumed);
  tuning.algorithm = agreed.algorithm;
  tuning.deterministic = agreed.deterministic != 0;
  take_symmetric(agreed, measured, tuning);
  check_algorithm(tuning.algorithm);
  tuning.channels = agreed.channels == 0 ? 1 : static_cast<int>(agreed.channels);
  if (tuning.channels > planner::kMaxChannels) {
    throw Error(StatusCode::kInvalidArgument,
                "channels of rank 0 (config.channels, config.minCTAs or TUTTI_CHANNELS) are " +
                    std::to_string(tuning.channels) + "; allowed are 1 to " +
                    std::to_string(planner::kMaxChannels));
  }
  const uint32_t slot_bytes = is_over_networks(measured) ? kNetworkSlotBytes : kDefaultSlotBytes;
  tuning.layout.area_bytes = checked_power_of_two(
      "slot_bytes (TUTTI_SLOT_BYTES)", agreed.slot_bytes == 0 ? slot_bytes : agreed.slot_bytes,
      kMinSlotBytes, kMaxSlotBytes);
  tuning.policy = policy_of(agreed);
  tuning.device = device_protocols_of(agreed, measured);
  if (!plan.file.empty()) {
    tuning.plan = planner::given_plan(plan.text, plan.file);
    // No datatype asks for less than rank order.
    if (tuning.deterministic) check_order(*tuning.plan, FoldOrder::kInOrder);
  }
  tuning.layout.n_areas = checked_power_of_two(
      "slots (TUTTI_SLOTS)",
      agreed.slots == 0 ? slots_for(tuning.plan.get(), measured, tuning.layout.area_bytes)
                        : agreed.slots,
      1, transport::kMaxAreas);
  return tuning;
}

Choice select(const Selection& selection, const Tuning& tuning) {
  Choice choice;
  choice.request = request_of(selection, tuning);
  const planner::Wish wish = wish_of(selection, tuning);
  if (tuning.plan != nullptr && fits(tuning.plan->plan.shape, selection)) {
    check_order(*tuning.plan, wish.least_order);
    choice.plan = tuning.plan;
    return choice;
  }
  choice.plan = plan_for_links(selection, tuning);
  if (choice.plan != nullptr) return choice;
  choice.row = advised_row(selection, tuning);
  if (choice.row == nullptr)
    choice.row = &planner::choose(choice.request, cost_of(selection, tuning), wish);
  return choice;
}

std::vector<Choice> substitutes(const Selection& selection, const Tuning& tuning) {
  if (!tuning.algorithm.empty()) return {};
  if (tuning.plan != nullptr && fits(tuning.plan->plan.shape, selection)) return {};
  const planner::PlanRequest request = request_of(selection, tuning);
  std::vector<Choice> choices;
  for (const auto* row :
       planner::eligible(request, cost_of(selection, tuning), wish_of(selection, tuning)))
    choices.push_back({.row = row, .request = request});
  return choices;
}

}  // namespace tutti::comm
