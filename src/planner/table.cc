// SPDX-License-Identifier: Apache-2.0
// The algorithm table, and the choice among its rows.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "src/base/error.h"
#include "src/planner/algorithms/rows.h"
#include "src/planner/planner.h"
#include "src/planner/request.h"

namespace tutti::planner {
namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, what);
}

// Of the request's collective; of two levels only where there are some.
std::string names(const PlanRequest& request) {
  std::string list;
  for (const AlgorithmRow& row : algorithm_table()) {
    if (row.collective != request.collective || (row.layered && !request.hosts.several())) continue;
    list += (list.empty() ? "" : ", ") + std::string(row.name);
  }
  return list;
}

bool is_known(std::string_view name) {
  const auto table = algorithm_table();
  return std::any_of(table.begin(), table.end(),
                     [&](const AlgorithmRow& row) { return row.name == name; });
}

bool folds_as_wanted(const AlgorithmRow& row, const PlanRequest& request, const Wish& wish) {
  if (wish.least_order == verify::FoldOrder::kAny) return true;
  return verified_plan(row, request)->verdict.fold_order >= wish.least_order;
}

std::string ranks_text(int32_t n_ranks) { return "ranks 0 to " + std::to_string(n_ranks - 1); }

[[noreturn]] void refuse_order(const AlgorithmRow& row, const PlanRequest& request,
                               const Wish& wish) {
  std::string eligible;
  for (const AlgorithmRow& other : algorithm_table()) {
    if (other.collective != request.collective || (wish.uneven && !other.uneven) ||
        !other.supports(request) || !folds_as_wanted(other, request, wish))
      continue;
    eligible += (eligible.empty() ? "" : ", ") + std::string(other.name);
  }
  const verify::FoldOrder got = verified_plan(row, request)->verdict.fold_order;
  refuse("deterministic mode: algorithm " + std::string(row.name) + " of " +
         plan::name(request.collective) + " is proved to fold " + ranks_text(request.n_ranks) +
         " in " + verify::name(got) + ", but needed is " + verify::name(wish.least_order) + ": " +
         (eligible.empty() ? "" : "choose one of " + eligible + ", or ") +
         "leave TUTTI_ALGO unset");
}

// The row that the caller asked for, or nullptr when this call may choose freely.
const AlgorithmRow* forced_row(const PlanRequest& request, const Wish& wish) {
  const std::string_view forced = wish.forced;
  if (forced.empty()) return nullptr;
  const AlgorithmRow* row = find_algorithm(request.collective, forced);
  if (row == nullptr) {
    if (is_known(forced)) return nullptr;
    refuse("no algorithm is called \"" + std::string(forced) + "\"; " + name(request.collective) +
           " has " + names(request));
  }
  if (wish.uneven && !row->uneven) return nullptr;
  check_supported(*row, request);
  if (!folds_as_wanted(*row, request, wish)) refuse_order(*row, request, wish);
  return row;
}

// Supported rows, the cheapest first; where two cost the same, in the order of the table.
std::vector<const AlgorithmRow*> by_cost(const PlanRequest& request, const CostInput& cost,
                                         bool uneven) {
  std::vector<std::pair<double, const AlgorithmRow*>> rows;
  for (const AlgorithmRow& row : algorithm_table()) {
    if (row.collective != request.collective || (uneven && !row.uneven) || !row.supports(request))
      continue;
    rows.emplace_back(predicted_ns(row, request, cost), &row);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<const AlgorithmRow*> sorted;
  sorted.reserve(rows.size());
  for (const auto& [ns, row] : rows) sorted.push_back(row);
  return sorted;
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
  if (request.hosts.several() && request.hosts.n_ranks() != request.n_ranks) {
    refuse(collective + ": expected hosts of " + std::to_string(request.n_ranks) +
           " ranks, got those of " + std::to_string(request.hosts.n_ranks()));
  }
}

void check_supported(const AlgorithmRow& row, const PlanRequest& request) {
  if (row.collective != request.collective) {
    refuse("algorithm " + std::string(row.name) + " of " + plan::name(row.collective) +
           " can't make a plan for " + plan::name(request.collective));
  }
  if (!row.supports(request)) {
    refuse("algorithm " + std::string(row.name) + " of " + plan::name(row.collective) + " needs " +
           row.limits + ", got " + std::to_string(request.n_ranks) + " ranks" +
           (row.layered ? " (" + request.hosts.text() + ")" : "") + ": choose one of " +
           names(request) + ", or leave TUTTI_ALGO unset");
  }
}

const AlgorithmRow& choose(const PlanRequest& request, const CostInput& cost, const Wish& wish) {
  check_request(request);
  if (const AlgorithmRow* row = forced_row(request, wish)) return *row;
  const std::vector<const AlgorithmRow*> rows = by_cost(request, cost, wish.uneven);
  const std::string collective = plan::name(request.collective);
  if (rows.empty()) {
    refuse("no algorithm of " + collective + " supports " +
           (wish.uneven ? "block sizes that only their owners know" : "this request") + " on " +
           std::to_string(request.n_ranks) + " ranks");
  }
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const AlgorithmRow* candidate) {
    return folds_as_wanted(*candidate, request, wish);
  });
  if (row == rows.end()) {
    refuse("deterministic mode: no algorithm of " + collective + " is proved to fold " +
           ranks_text(request.n_ranks) + " in " + verify::name(wish.least_order) +
           "; use fewer ranks, or turn config.deterministic and TUTTI_DETERMINISTIC off");
  }
  return **row;
}

std::vector<const AlgorithmRow*> eligible(const PlanRequest& request, const CostInput& cost,
                                          const Wish& wish) {
  std::vector<const AlgorithmRow*> rows = by_cost(request, cost, wish.uneven);
  std::erase_if(rows,
                [&](const AlgorithmRow* row) { return !folds_as_wanted(*row, request, wish); });
  return rows;
}

}  // namespace tutti::planner
