// SPDX-License-Identifier: Apache-2.0
// The algorithm table, and the choice among its rows.
#include <algorithm>
#include <string>

#include "src/base/error.h"
#include "src/planner/algorithms/rows.h"
#include "src/planner/planner.h"
#include "src/planner/request.h"

namespace tutti::planner {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, what);
}

std::string names(plan::Collective collective) {
  std::string list;
  for (const AlgorithmRow& row : algorithm_table()) {
    if (row.collective == collective) list += (list.empty() ? "" : ", ") + std::string(row.name);
  }
  return list;
}

bool is_known(std::string_view name) {
  const auto table = algorithm_table();
  return std::any_of(table.begin(), table.end(),
                     [&](const AlgorithmRow& row) { return row.name == name; });
}

// The row that the caller asked for, or nullptr when this call may choose freely.
const AlgorithmRow* forced_row(const PlanRequest& request, bool uneven, std::string_view forced) {
  if (forced.empty()) return nullptr;
  const AlgorithmRow* row = find_algorithm(request.collective, forced);
  if (row == nullptr) {
    if (is_known(forced)) return nullptr;
    refuse("no algorithm is called \"" + std::string(forced) + "\"; " + name(request.collective) +
           " has " + names(request.collective));
  }
  if (uneven && !row->uneven) return nullptr;
  check_supported(*row, request);
  return row;
}

}  // namespace

std::span<const AlgorithmRow> algorithm_table() {
#define X(row) row,
  static const AlgorithmRow kTable[] = {TUTTI_ALGORITHM_ROWS(X)};
#undef X
  return kTable;
}

const AlgorithmRow* find_algorithm(plan::Collective collective, std::string_view name) {
  for (const AlgorithmRow& row : algorithm_table()) {
    if (row.collective == collective && row.name == name) return &row;
  }
  return nullptr;
}

void check_request(const PlanRequest& request) {
  const std::string collective = plan::name(request.collective);
  if (request.n_ranks < 1) {
    refuse(collective + ": expected at least 1 rank, got " + std::to_string(request.n_ranks));
  }
  const int32_t roots = plan::has_root(request.collective) ? request.n_ranks : 1;
  if (request.root < 0 || request.root >= roots) {
    refuse(collective + ": expected a root from 0 to " + std::to_string(roots - 1) + ", got " +
           std::to_string(request.root));
  }
  if (request.channels < 1 || request.channels > kMaxChannels) {
    refuse(collective + ": expected 1 to " + std::to_string(kMaxChannels) + " channels, got " +
           std::to_string(request.channels));
  }
}

void check_supported(const AlgorithmRow& row, const PlanRequest& request) {
  if (row.collective != request.collective) {
    refuse("algorithm " + std::string(row.name) + " of " + plan::name(row.collective) +
           " can't make a plan for " + plan::name(request.collective));
  }
  if (!row.supports(request)) {
    refuse("algorithm " + std::string(row.name) + " of " + plan::name(row.collective) + " needs " +
           row.limits + ", got " + std::to_string(request.n_ranks) + " ranks: choose one of " +
           names(row.collective) + ", or leave TUTTI_ALGO unset");
  }
}

const AlgorithmRow& choose(const PlanRequest& request, const CostInput& cost, bool uneven,
                           std::string_view forced) {
  check_request(request);
  if (const AlgorithmRow* row = forced_row(request, uneven, forced)) return *row;
  const AlgorithmRow* best = nullptr;
  double best_ns = 0;
  for (const AlgorithmRow& row : algorithm_table()) {
    if (row.collective != request.collective || (uneven && !row.uneven) || !row.supports(request))
      continue;
    const double ns = row.cost_ns(cost);
    if (best != nullptr && ns >= best_ns) continue;
    best = &row;
    best_ns = ns;
  }
  if (best == nullptr) {
    refuse(std::string("no algorithm of ") + plan::name(request.collective) + " supports " +
           (uneven ? "block sizes that only their owners know" : "this request") + " on " +
           std::to_string(request.n_ranks) + " ranks");
  }
  return *best;
}

}  // namespace tutti::planner
