// SPDX-License-Identifier: Apache-2.0
// Edmonds' packing of out-trees with capacities.
#include "src/planner/forest/packing.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "src/base/error.h"
#include "src/planner/flow/max_flow.h"

namespace tutti::planner {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max() / 4;

struct Partial {
  Tree tree;
  std::vector<int32_t> depth;  // by terminal; -1: not reached
  int32_t reached = 1;
};

// No two of the wires join the same terminals.
//
// What can still reach a terminal: over what is left of the wires, from a source that feeds the
// terminals which each unfinished tree has reached with as much as the tree has copies. Made anew
// only when trees come and go.
class Leftover {
 public:
  explicit Leftover(const Wires& wires) : n_(wires.n_terminals), amount_(pairs(), 0) {
    for (const Wire& wire : wires.wires) amount_[pair_of(wire)] += wire.amount;
  }

  void take(const Wire& wire, int64_t amount) {
    const size_t pair = pair_of(wire);
    amount_[pair] -= amount;
    flow_->set_capacity(arc_[pair], amount_[pair]);
  }

  void set_trees(const std::vector<Partial>& unfinished) {
    flow_.emplace(n_ + 1 + static_cast<int32_t>(unfinished.size()));
    arc_.assign(pairs(), -1);
    for (size_t pair = 0; pair < pairs(); ++pair)
      if (amount_[pair] > 0)
        arc_[pair] = flow_->add_arc(static_cast<int32_t>(pair) / n_,
                                    static_cast<int32_t>(pair) % n_, amount_[pair]);
    std::vector<int64_t> at_roots(static_cast<size_t>(n_), 0);
    int32_t next = source() + 1;
    for (const Partial& tree : unfinished) {
      if (tree.reached == 1) {
        at_roots[tree.tree.root] += tree.tree.copies;
        continue;
      }
      flow_->add_arc(source(), next, tree.tree.copies);
      for (int32_t t = 0; t < n_; ++t)
        if (tree.depth[t] >= 0) flow_->add_arc(next, t, tree.tree.copies);
      ++next;
    }
    for (int32_t t = 0; t < n_; ++t) flow_->add_arc(source(), t, at_roots[t]);
    first_unlimited_ = flow_->add_arc(source(), 0, 0);
    for (int32_t t = 1; t < n_; ++t) flow_->add_arc(source(), t, 0);
  }

  // -1: none.
  void set_fed_without_limit(int32_t terminal) {
    if (unlimited_ >= 0) flow_->set_capacity(first_unlimited_ + unlimited_, 0);
    if (terminal >= 0) flow_->set_capacity(first_unlimited_ + terminal, kUnlimited);
    unlimited_ = terminal;
  }

  int64_t reaching(int32_t terminal) { return flow_->run(source(), terminal); }
  // By terminal, whether it is on the terminal's side of a minimum cut of the last flow.
  std::vector<bool> sink_side() const {
    std::vector<bool> side = flow_->source_side();
    side.resize(static_cast<size_t>(n_));
    side.flip();
    return side;
  }

 private:
  int32_t source() const { return n_; }
  size_t pairs() const { return static_cast<size_t>(n_) * static_cast<size_t>(n_); }
  size_t pair_of(const Wire& wire) const {
    return static_cast<size_t>(wire.from) * static_cast<size_t>(n_) + static_cast<size_t>(wire.to);
  }

  int32_t n_;
  std::vector<int64_t> amount_;  // by from and to
  std::vector<int32_t> arc_;     // of the flow, likewise; -1: none
  std::optional<MaxFlow> flow_;
  int32_t first_unlimited_ = 0;
  int32_t unlimited_ = -1;
};

class Packing {
 public:
  Packing(const Wires& wires, int64_t k) : wires_(wires), n_(wires.n_terminals), flow_(wires) {
    for (const Wire& wire : wires.wires) left_.push_back(wire.amount);
    leaving_.resize(static_cast<size_t>(n_));
    for (size_t i = 0; i < wires.wires.size(); ++i)
      leaving_[wires.wires[i].from].push_back(static_cast<int32_t>(i));
    for (int32_t root = n_ - 1; root >= 0; --root) {
      Partial partial{.tree = {root, k, {}},
                      .depth = std::vector<int32_t>(static_cast<size_t>(n_), -1)};
      partial.depth[root] = 0;
      unfinished_.push_back(std::move(partial));
    }
  }

  std::vector<Tree> run() {
    while (!unfinished_.empty()) {
      Partial partial = std::move(unfinished_.back());
      unfinished_.pop_back();
      flow_.set_trees(unfinished_);
      forget_sets_unknown_to(partial);
      while (partial.reached < n_) grow(&partial);
      finished_.push_back(std::move(partial.tree));
    }
    return std::move(finished_);
  }

 private:
  // Adds one wire: the first that has room for all copies, or of the first few the roomiest; copies
  // that have no room for it become a partial tree of their own.
  void grow(Partial* partial) {
    constexpr int kFew = 8;
    int32_t wire = -1;
    int64_t copies = 0;
    int tried = 0;
    for (const int32_t candidate : candidates(*partial)) {
      const int64_t found = enters_full_set(candidate) ? 0 : room(*partial, candidate);
      if (found > copies) {
        copies = found;
        wire = candidate;
      }
      if (copies == partial->tree.copies || (copies > 0 && ++tried == kFew)) break;
    }
    if (wire < 0)
      throw Error(StatusCode::kInternalError, "packing: no wire leads on from a partial tree");
    if (copies < partial->tree.copies) split(partial, copies);
    const Wire& way = wires_.wires[wire];
    partial->tree.wires.push_back(wire);
    partial->depth[way.to] = partial->depth[way.from] + 1;
    ++partial->reached;
    left_[wire] -= copies;
    flow_.take(way, copies);
  }

  void split(Partial* partial, int64_t copies) {
    Partial rest = *partial;
    rest.tree.copies -= copies;
    partial->tree.copies = copies;
    unfinished_.push_back(std::move(rest));
    flow_.set_trees(unfinished_);
  }

  // Wires that leave what is reached: those that all copies fit into first, of these near the root,
  // and then the widest.
  std::vector<int32_t> candidates(const Partial& partial) const {
    std::vector<int32_t> found;
    for (int32_t from = 0; from < n_; ++from) {
      if (partial.depth[from] < 0) continue;
      for (const int32_t wire : leaving_[from])
        if (left_[wire] > 0 && partial.depth[wires_.wires[wire].to] < 0) found.push_back(wire);
    }
    std::ranges::stable_sort(found, {}, [&](int32_t wire) {
      const int64_t missing = std::max<int64_t>(partial.tree.copies - left_[wire], 0);
      return std::tuple(missing, partial.depth[wires_.wires[wire].from], -left_[wire]);
    });
    return found;
  }

  // In how many copies of the tree the wire may be: for every set S that it enters and that the
  // tree has reached, what else enters S must be enough for the other trees that S has nothing of.
  // The flow adds up both sides: what enters S, and the trees that S has something of.
  int64_t room(const Partial& partial, int32_t wire) {
    const Wire& way = wires_.wires[wire];
    flow_.set_fed_without_limit(way.from);
    const int64_t spare = flow_.reaching(way.to) - others();
    if (spare <= 0) full_.push_back(flow_.sink_side());
    flow_.set_fed_without_limit(-1);
    return std::min({left_[wire], partial.tree.copies, spare});
  }

  // Sets stay full while trees grow and split: wires are only taken. They gain room when a tree
  // that has nothing of them is no longer one of the others.
  bool enters_full_set(int32_t wire) const {
    const Wire& way = wires_.wires[wire];
    return std::ranges::any_of(
        full_, [&](const std::vector<bool>& set) { return set[way.to] && !set[way.from]; });
  }
  void forget_sets_unknown_to(const Partial& gone) {
    std::erase_if(full_, [&](const std::vector<bool>& set) {
      for (int32_t t = 0; t < n_; ++t)
        if (set[t] && gone.depth[t] >= 0) return false;
      return true;
    });
  }

  int64_t others() const {
    int64_t copies = 0;
    for (const Partial& other : unfinished_) copies += other.tree.copies;
    return copies;
  }

  const Wires& wires_;
  int32_t n_;
  Leftover flow_;
  std::vector<int64_t> left_;                  // by wire
  std::vector<std::vector<int32_t>> leaving_;  // wires, by terminal
  std::vector<std::vector<bool>> full_;        // by terminal: sets that no wire may enter any more
  std::vector<Partial> unfinished_;            // the next one is the last
  std::vector<Tree> finished_;
};

// One wire for each pair of terminals, with what its wires have together; `members` are those.
struct Joined {
  Wires wires;
  std::vector<std::vector<int32_t>> members;  // by joined wire
};
Joined join_parallel(const Wires& wires) {
  Joined joined{.wires = {.n_nodes = wires.n_nodes, .n_terminals = wires.n_terminals, .wires = {}},
                .members = {}};
  std::map<std::pair<int32_t, int32_t>, size_t> numbers;
  for (size_t i = 0; i < wires.wires.size(); ++i) {
    const Wire& wire = wires.wires[i];
    const auto [at, is_new] = numbers.try_emplace({wire.from, wire.to}, joined.members.size());
    if (is_new) {
      joined.wires.wires.push_back({wire.from, wire.to, 0, {}});
      joined.members.emplace_back();
    }
    joined.wires.wires[at->second].amount += wire.amount;
    joined.members[at->second].push_back(static_cast<int32_t>(i));
  }
  return joined;
}

// Gives the copies of a tree wires of their own: as many at a time as the roomiest member of each
// joined wire has room for.
class HandingOut {
 public:
  HandingOut(const Wires& wires, const Joined& joined) : joined_(joined) {
    for (const Wire& wire : wires.wires) left_.push_back(wire.amount);
  }

  void add(Tree tree, std::vector<Tree>* trees) {
    while (tree.copies > 0) {
      Tree part{.root = tree.root, .copies = tree.copies, .wires = {}};
      for (const int32_t joined : tree.wires) {
        part.wires.push_back(*std::ranges::max_element(joined_.members[joined], {},
                                                       [&](int32_t wire) { return left_[wire]; }));
        part.copies = std::min(part.copies, left_[part.wires.back()]);
      }
      for (const int32_t wire : part.wires) left_[wire] -= part.copies;
      tree.copies -= part.copies;
      trees->push_back(std::move(part));
    }
  }

 private:
  const Joined& joined_;
  std::vector<int64_t> left_;  // by wire
};

}  // namespace

std::vector<Tree> pack_trees(const Wires& wires, int64_t k) {
  const Joined joined = join_parallel(wires);
  HandingOut handing_out(wires, joined);
  std::vector<Tree> trees;
  for (Tree& tree : Packing(joined.wires, k).run()) handing_out.add(std::move(tree), &trees);
  return trees;
}

}  // namespace tutti::planner
