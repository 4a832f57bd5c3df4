// SPDX-License-Identifier: Apache-2.0
// Algorithms as rows of a table, and the choice among them: a pure function of agreed values
// (docs/adr/0006).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/plan/plan.h"
#include "src/planner/cost_parameters.h"
#include "src/planner/hosts.h"
#include "src/verify/verifier.h"

namespace tutti::planner {

inline constexpr int32_t kMaxChannels = 64;
inline constexpr int32_t kMaxGivenChannels = 1024;  // of a plan that the user gives

struct PlanRequest {
  plan::Collective collective = plan::Collective::kAllReduce;
  int32_t n_ranks = 1;
  int32_t root = 0;
  int32_t channels = 1;  // parallel rings or trees wanted; an algorithm may use fewer
  Hosts hosts;           // of the ranks, where there are two levels (Hosts::for_plans)
  bool operator==(const PlanRequest&) const = default;
};

struct Profile;      // src/planner/profile.h
struct NetworkLoad;  // src/planner/network_load.h

// Inputs of the cost model: equal on all ranks of a call.
struct CostInput {
  int32_t n_ranks = 1;
  int32_t cores = 1;   // cores that the ranks of a host share
  uint64_t bytes = 0;  // size of one block (see plan/collective.h)
  CostParameters parameters;
  const Profile* profile = nullptr;         // what was measured; null: nothing
  Hosts hosts;                              // of the ranks
  NetworkParameters network = kTcpNetwork;  // between them
};

// One algorithm for one collective.
struct AlgorithmRow {
  const char* name;  // "ring", "tree", "halving_doubling", "one_shot", "two_shot", "binomial",
                     // "chain", "pairwise", "dissemination", ...
  plan::Collective collective;
  const char* source;   // paper or origin
  bool uneven = false;  // works when block sizes differ between ranks (v-variants) and a rank knows
                        // only its own blocks
  bool (*supports)(const PlanRequest&);
  plan::Plan (*build)(const PlanRequest&);
  double (*cost_ns)(const CostInput&);  // by the model alone, see predicted_ns()
  const char* limits =
      "any number of ranks";   // what `supports` asks for, for messages and listings
  bool layered = false;        // needs a request with hosts, see Hosts::layered()
  bool by_host_order = false;  // its plan follows the request's hosts; others do not see them
};
std::span<const AlgorithmRow> algorithm_table();
// nullptr when there is no such row.
const AlgorithmRow* find_algorithm(plan::Collective collective, std::string_view name);

// What a call by this row is expected to take: the model's time, corrected where the profile has
// measured the row on so many ranks and cores of one host.
double predicted_ns(const AlgorithmRow& row, const CostInput& cost);
// The same on the cost's hosts: what the plan for the request puts on the network comes on top.
double predicted_ns(const AlgorithmRow& row, const PlanRequest& request, const CostInput& cost);

// A plan that the verifier has accepted, with what it found. Immutable, shared by every
// communicator of the process.
struct VerifiedPlan {
  plan::Plan plan;
  uint64_t hash = 0;
  verify::Verdict verdict;
};
// Builds, verifies and caches (per process, by row and request). Thread-safe. Throws InternalError
// with the verdict's reason when the verifier rejects the plan: no plan runs that it has not
// accepted.
std::shared_ptr<const VerifiedPlan> verified_plan(const AlgorithmRow& row,
                                                  const PlanRequest& request);

// What the row's plan sends from host to host of `hosts`, which may be several where those of the
// request are not. Cached like plans; the plan is made for it, but not verified.
const NetworkLoad& network_load(const AlgorithmRow& row, const PlanRequest& request,
                                const Hosts& hosts);

// What a choice has to respect besides the request.
struct Wish {
  bool uneven = false;      // a rank knows only the sizes of its own blocks
  std::string_view forced;  // name of a row; empty: none
  // What must be proved of the plan; more than kAny in deterministic mode.
  verify::FoldOrder least_order = verify::FoldOrder::kAny;
};

// Picks a row: `forced` where it names a row for this collective that supports the request (and is
// uneven where `uneven`), else the cheapest supported row whose plan is proved to fold as wanted.
// Pure function of its arguments; verifies candidates only where an order is wanted. Throws
// InvalidArgument when `forced` names a row of this collective that does not support the request or
// does not fold so, saying why. A name that is a row of other collectives only is ignored here; a
// name in no row at all throws.
const AlgorithmRow& choose(const PlanRequest& request, const CostInput& cost, const Wish& wish);
// All rows that choose() has to choose from when nothing is forced, the cheapest first.
std::vector<const AlgorithmRow*> eligible(const PlanRequest& request, const CostInput& cost,
                                          const Wish& wish);

// The plan that a user gives instead of the library's: `text` in either form (JSON, MSCCL XML),
// which messages call `file`. Cached like the others. Throws InvalidArgument, also with the
// verdict's reason.
std::shared_ptr<const VerifiedPlan> given_plan(const std::string& text, const std::string& file);

}  // namespace tutti::planner
