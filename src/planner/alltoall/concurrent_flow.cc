// SPDX-License-Identifier: Apache-2.0
// Builds the program and gives it to Clp.
#include "src/planner/alltoall/concurrent_flow.h"

#include <Clp_C_Interface.h>

#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "src/planner/alltoall/classes.h"

namespace tutti::planner {
namespace {

constexpr double kUnbounded = std::numeric_limits<double>::max();  // to Clp

struct Source {
  int32_t terminal = 0;  // one of them
  int32_t copies = 1;    // terminals that look like it
  Classes seen;          // from it
};

// What need not be told apart.
struct Likeness {
  std::vector<Source> sources;
  std::vector<int32_t> arc;  // class, by arc
  int32_t n_arc_classes = 0;
  bool exact = false;  // see concurrent_flow()
};

// By terminal, the source that it is like; `known` has what makes them alike.
using Known = std::map<std::pair<int32_t, std::vector<uint64_t>>, size_t>;
size_t source_like(int32_t terminal, Classes seen, int32_t node_class, Known* known,
                   std::vector<Source>* sources) {
  const auto [at, is_new] = known->try_emplace({node_class, seen.trace}, sources->size());
  if (is_new)
    sources->push_back({.terminal = terminal, .copies = 1, .seen = std::move(seen)});
  else
    ++(*sources)[at->second].copies;
  return at->second;
}

// One of each class of terminals, without a look at what each sees.
void take_sources(const FlowNetwork& network, const Classes& classes, Likeness* likeness) {
  std::map<int32_t, size_t> known;
  for (int32_t t = 0; t < network.n_terminals; ++t) {
    const auto [at, is_new] = known.try_emplace(classes.node[t], likeness->sources.size());
    if (is_new)
      likeness->sources.push_back({t, 1, classes_of(network, classes.arc, t)});
    else
      ++likeness->sources[at->second].copies;
  }
}

// Classes of arcs, told apart by how all terminals see them too. Returns how many there are.
using Views = std::vector<std::vector<std::pair<size_t, int32_t>>>;  // by arc; source and class
int32_t refine(Views views, std::vector<int32_t>* arc) {
  std::map<std::pair<int32_t, std::vector<std::pair<size_t, int32_t>>>, int32_t> numbers;
  for (size_t i = 0; i < views.size(); ++i) {
    std::ranges::sort(views[i]);
    numbers.try_emplace({(*arc)[i], views[i]}, 0);
  }
  int32_t next = 0;
  for (auto& [key, number] : numbers) number = next++;
  for (size_t i = 0; i < views.size(); ++i) (*arc)[i] = numbers.at({(*arc)[i], views[i]});
  return next;
}

Likeness likeness_of(const FlowNetwork& network) {
  constexpr int32_t kFewTerminals = 128;
  Likeness found;
  found.arc.assign(network.arcs.size(), 0);
  Classes classes = classes_of(network, found.arc, -1);
  found.arc = classes.arc;
  found.n_arc_classes = classes.n_arc_classes;
  if (network.n_terminals > kFewTerminals) {
    take_sources(network, classes, &found);
    return found;
  }
  for (int32_t before = 0; before != found.n_arc_classes;) {
    before = found.n_arc_classes;
    classes = classes_of(network, found.arc, -1);
    found.sources.clear();
    Known known;
    Views views(network.arcs.size());
    for (int32_t t = 0; t < network.n_terminals; ++t) {
      Classes seen = classes_of(network, found.arc, t);
      const std::vector<int32_t> seen_arcs = seen.arc;
      const size_t source =
          source_like(t, std::move(seen), classes.node[t], &known, &found.sources);
      for (size_t i = 0; i < views.size(); ++i) views[i].emplace_back(source, seen_arcs[i]);
    }
    found.n_arc_classes = refine(std::move(views), &found.arc);
  }
  found.exact = true;
  return found;
}

// Column by column. The rate is column 0; rows of arcs come first, then those of nodes.
class Program {
 public:
  Program(const FlowNetwork& network, const Likeness& likeness)
      : network_(network), likeness_(likeness) {
    row_upper_.assign(static_cast<size_t>(likeness.n_arc_classes), 0);
    for (size_t i = 0; i < network.arcs.size(); ++i)
      row_upper_[likeness.arc[i]] += static_cast<double>(network.arcs[i].capacity);
    row_lower_.assign(row_upper_.size(), -kUnbounded);
    add_rate();
    auto first_row = likeness.n_arc_classes;
    for (const Source& source : likeness.sources) {
      add_flows(source, first_row);
      first_row += source.seen.n_node_classes;
    }
    row_lower_.resize(static_cast<size_t>(first_row), 0);
    row_upper_.resize(static_cast<size_t>(first_row), 0);
  }

  std::optional<ConcurrentFlow> solve() const {
    const std::unique_ptr<Clp_Simplex, decltype(&Clp_deleteModel)> model(Clp_newModel(),
                                                                         &Clp_deleteModel);
    Clp_setLogLevel(model.get(), 0);
    const std::vector<double> lower(starts_.size(), 0);
    const std::vector<double> upper(starts_.size(), kUnbounded);
    std::vector<double> cost(starts_.size(), 0);
    cost[0] = -1;  // minimised
    std::vector<CoinBigIndex> starts(starts_);
    starts.push_back(static_cast<CoinBigIndex>(rows_.size()));
    Clp_loadProblem(model.get(), static_cast<int>(starts_.size()),
                    static_cast<int>(row_lower_.size()), starts.data(), rows_.data(),
                    values_.data(), lower.data(), upper.data(), cost.data(), row_lower_.data(),
                    row_upper_.data());
    if (Clp_initialSolve(model.get()) != 0 || Clp_status(model.get()) != 0) return std::nullopt;
    ConcurrentFlow flow{
        .rate = -Clp_getObjValue(model.get()), .lengths = {}, .exact = likeness_.exact};
    const double* const prices = Clp_getRowPrice(model.get());
    for (const int32_t arc_class : likeness_.arc)
      flow.lengths.push_back(std::max(0.0, -prices[arc_class]));
    return flow;
  }

 private:
  void begin_column() { starts_.push_back(static_cast<CoinBigIndex>(rows_.size())); }
  void add(int32_t row, double value) {
    rows_.push_back(row);
    values_.push_back(value);
  }

  // What stays at a class of terminals.
  void add_rate() {
    begin_column();
    auto first_row = likeness_.n_arc_classes;
    for (const Source& source : likeness_.sources) {
      std::vector<double> count(static_cast<size_t>(source.seen.n_node_classes), 0);
      for (int32_t t = 0; t < network_.n_terminals; ++t)
        if (t != source.terminal) --count[source.seen.node[t]];
      for (size_t i = 0; i < count.size(); ++i)
        if (count[i] != 0) add(first_row + static_cast<int32_t>(i), count[i]);
      first_row += source.seen.n_node_classes;
    }
  }

  // One for each class of arcs but those that lead back to the source, and those within a class of
  // nodes: what goes along them ends where it might have stayed.
  void add_flows(const Source& source, int32_t first_row) {
    std::vector<bool> done(static_cast<size_t>(source.seen.n_arc_classes), false);
    const int32_t source_class = source.seen.node[source.terminal];
    for (size_t i = 0; i < network_.arcs.size(); ++i) {
      const int32_t from = source.seen.node[network_.arcs[i].from];
      const int32_t to = source.seen.node[network_.arcs[i].to];
      if (done[source.seen.arc[i]] || from == to || to == source_class) continue;
      done[source.seen.arc[i]] = true;
      begin_column();
      add(likeness_.arc[i], source.copies);
      if (from != source_class) add(first_row + from, -1);
      add(first_row + to, 1);
    }
  }

  const FlowNetwork& network_;
  const Likeness& likeness_;
  std::vector<CoinBigIndex> starts_;  // by column
  std::vector<int> rows_;
  std::vector<double> values_;
  std::vector<double> row_lower_;
  std::vector<double> row_upper_;
};

}  // namespace

std::optional<ConcurrentFlow> concurrent_flow(const FlowNetwork& network, int64_t most_variables) {
  const Likeness likeness = likeness_of(network);
  int64_t variables = 0;
  for (const Source& source : likeness.sources) variables += source.seen.n_arc_classes;
  if (variables > most_variables) return std::nullopt;
  return Program(network, likeness).solve();
}

}  // namespace tutti::planner
