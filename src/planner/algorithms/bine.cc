// SPDX-License-Identifier: Apache-2.0
// Bine (binomial negabinary) trees: binomial trees whose edges are a third shorter around a ring.
//
// De Sensi, Pasqualoni, Piarulli, Bonato, Ba, Turisini, Domke and Hoefler, "Bine trees: enhancing
// collective operations by optimizing communication locality", SC 2025, arXiv 2508.17311. Step s
// goes rho(s) = (1 - (-2)^(s+1)) / 3 ahead from even places and as far behind from odd ones; k =
// ceil(log2 n) steps. n ranks, S bytes per block:
//
//   Broadcast      along the distance-halving tree, any n; k hops, n-1 messages of S in all, k of
//                  them from the root in one step
//   Reduce         the same tree backwards
//   AllReduce      Reduce and Broadcast, half of the data by a tree with root 0 and half by its
//                  mirror image with root n-1; 2 k hops, a rank sends 2 S (n-1)/n in 4(n-1)/n
//                  messages on average, a root S (k + 2)/2
//   AllGather      n even: every block along the tree of its rank; k hops, a rank sends S (n-1) in
//                  n-1 messages, most of them to near ranks
//   ReduceScatter  the same trees backwards
//
// The paper's AllReduce of large vectors is ReduceScatter and AllGather, which is `swing`; its
// AllReduce of small ones would give each rank other bits (swing.cc), so here trees do it.
// AllGather and ReduceScatter are unrolled per block (butterfly.h). 1 slot is enough for all.
// Reference-safe, in place too: nothing that is sent is overwritten, but in AllReduce by a result,
// which comes after the contribution has been consumed.
#include <algorithm>
#include <utility>

#include "src/planner/algorithms/builder.h"
#include "src/planner/algorithms/butterfly.h"
#include "src/planner/algorithms/cost.h"
#include "src/planner/algorithms/negabinary.h"
#include "src/planner/algorithms/rows.h"

namespace tutti::planner {
namespace {

constexpr const char* kName = "bine";

// A rank in one tree; chunk, extent and channel have one number.
struct Member {
  int32_t rank;
  int32_t chunk;
  Operands parent;  // none at the root
  Operands children;
};

// By place. `rank_at` says which rank a place is.
template <typename RankAt>
std::vector<Member> members(int32_t n, int32_t chunk, RankAt rank_at) {
  const std::vector<TreeNode> tree = bine_tree(n);
  std::vector<Member> found;
  for (int32_t place = 0; place < n; ++place) {
    const TreeNode& node = tree[static_cast<size_t>(place)];
    Member member{.rank = rank_at(place), .chunk = chunk, .parent = {}, .children = {}};
    if (node.parent != kNoParent) member.parent.push_back(peer(rank_at(node.parent), chunk));
    for (const int32_t child : node.children)
      member.children.push_back(peer(rank_at(child), chunk));
    found.push_back(std::move(member));
  }
  return found;
}

Operands joined(const plan::Operand& first, const Operands& rest) {
  Operands all{first};
  all.insert(all.end(), rest.begin(), rest.end());
  return all;
}

std::vector<Member> rooted_members(const PlanRequest& request) {
  return members(request.n_ranks, 0,
                 [&](int32_t place) { return (place + request.root) % request.n_ranks; });
}

plan::Plan broadcast(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (const Member& me : rooted_members(request)) {
    builder.lane(me.rank).step(0, joined(output(), me.children),
                               me.parent.empty() ? Operands{input()} : me.parent);
  }
  return builder.finish();
}

plan::Plan reduce(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  PlanBuilder builder(kName, request, 1);
  for (const Member& me : rooted_members(request)) {
    const bool root = me.parent.empty();
    builder.lane(me.rank).step(0, root ? Operands{output()} : me.parent,
                               joined(scaled_input(), me.children), root ? Post::kYes : Post::kNo);
  }
  return builder.finish();
}

// One lane up and one down, so that the sums of later tiles go up while results come down.
void add_all_reduce_lanes(PlanBuilder& builder, const Member& me) {
  LaneBuilder up = builder.lane(me.rank);
  const Operands contributions = joined(scaled_input(), me.children);
  const Operands result = joined(output(), me.children);
  if (me.parent.empty()) {
    up.step(me.chunk, result, contributions, Post::kYes);
  } else {
    up.step(me.chunk, me.parent, contributions);
    builder.lane(me.rank).step(me.chunk, result, me.parent);
  }
}

plan::Plan all_reduce(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  const int32_t n = request.n_ranks;
  PlanBuilder builder(kName, request, 2);
  builder.let_lanes_run_apart();
  for (const Member& me : members(n, 0, [](int32_t place) { return place; }))
    add_all_reduce_lanes(builder, me);
  for (const Member& me : members(n, 1, [n](int32_t place) { return n - 1 - place; }))
    add_all_reduce_lanes(builder, me);
  return builder.finish();
}

plan::Plan all_gather(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  return butterfly_all_gather(kName, request, negabinary_butterfly(request.n_ranks));
}

plan::Plan reduce_scatter(const PlanRequest& request) {
  if (request.n_ranks == 1) return local_plan(kName, request);
  return butterfly_reduce_scatter(kName, request, negabinary_butterfly(request.n_ranks));
}

bool one_or_even(const PlanRequest& request) {
  return request.n_ranks == 1 || request.n_ranks % 2 == 0;
}
constexpr const char* kOneOrEven = "an even number of ranks, or one";

// What a rank stores or loads, in units of in.bytes: the mean, or what a root with its many
// children does, where that takes longer. Ranks that share a core with a root do less than the mean
// and leave it the rest.
double moved(const CostInput& in, double mean, double root) {
  const double ranks_per_core =
      std::max(1.0, static_cast<double>(in.n_ranks) / std::max(1, in.cores));
  return static_cast<double>(in.bytes) * std::max(mean, root / ranks_per_core);
}

double reduce_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double k = ceil_log2(in.n_ranks);
  return time_ns(in, {.hops = k,
                      .messages = (n - 1) / n,
                      .written_bytes = moved(in, 1, 1),
                      .read_bytes = moved(in, (2 * n - 1) / n, k + 1)});
}
double broadcast_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double k = ceil_log2(in.n_ranks);
  return time_ns(in, {.hops = k,
                      .messages = (n - 1) / n,
                      .written_bytes = moved(in, (2 * n - 1) / n, k + 1),
                      .read_bytes = moved(in, 1, 1)});
}
// The root of one tree is in the other next to a leaf or is one.
double all_reduce_cost(const CostInput& in) {
  const double n = in.n_ranks;
  const double k = ceil_log2(in.n_ranks);
  const double both = moved(in, 1 + 2 * (n - 1) / n, n == 1 ? 1 : (k + 3) / 2);
  return time_ns(
      in, {.hops = 2 * k, .messages = 4 * (n - 1) / n, .written_bytes = both, .read_bytes = both});
}

constexpr AlgorithmRow row(plan::Collective collective, plan::Plan (*build)(const PlanRequest&),
                           double (*cost_ns)(const CostInput&)) {
  return {.name = kName,
          .collective = collective,
          .source = "De Sensi et al. 2025",
          .supports = any_rank_count,
          .build = build,
          .cost_ns = cost_ns};
}

constexpr AlgorithmRow row_of_even(plan::Collective collective,
                                   plan::Plan (*build)(const PlanRequest&),
                                   double (*cost_ns)(const CostInput&)) {
  AlgorithmRow even = row(collective, build, cost_ns);
  even.supports = one_or_even;
  even.limits = kOneOrEven;
  return even;
}

}  // namespace

constinit const AlgorithmRow kBineAllReduce =
    row(plan::Collective::kAllReduce, all_reduce, all_reduce_cost);
constinit const AlgorithmRow kBineReduce = row(plan::Collective::kReduce, reduce, reduce_cost);
constinit const AlgorithmRow kBineBroadcast =
    row(plan::Collective::kBroadcast, broadcast, broadcast_cost);
constinit const AlgorithmRow kBineAllGather =
    row_of_even(plan::Collective::kAllGather, all_gather, butterfly_all_gather_cost);
constinit const AlgorithmRow kBineReduceScatter =
    row_of_even(plan::Collective::kReduceScatter, reduce_scatter, butterfly_reduce_scatter_cost);

}  // namespace tutti::planner
