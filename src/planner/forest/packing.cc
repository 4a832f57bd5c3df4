// SPDX-License-Identifier: Apache-2.0
// Edmonds' packing of out-trees with capacities.
#include "src/planner/forest/packing.h"

#include <algorithm>
#include <limits>
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

class Packing {
 public:
  Packing(const Wires& wires, int64_t k) : wires_(wires), n_(wires.n_terminals) {
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
      const int64_t found = room(*partial, candidate);
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
  }

  void split(Partial* partial, int64_t copies) {
    Partial rest = *partial;
    rest.tree.copies -= copies;
    partial->tree.copies = copies;
    unfinished_.push_back(std::move(rest));
  }

  // Wires that leave what is reached: near the root first, then the widest.
  std::vector<int32_t> candidates(const Partial& partial) const {
    std::vector<int32_t> found;
    for (int32_t from = 0; from < n_; ++from) {
      if (partial.depth[from] < 0) continue;
      for (const int32_t wire : leaving_[from])
        if (left_[wire] > 0 && partial.depth[wires_.wires[wire].to] < 0) found.push_back(wire);
    }
    std::stable_sort(found.begin(), found.end(), [&](int32_t a, int32_t b) {
      const int32_t depth_a = partial.depth[wires_.wires[a].from];
      const int32_t depth_b = partial.depth[wires_.wires[b].from];
      return depth_a != depth_b ? depth_a < depth_b : left_[a] > left_[b];
    });
    return found;
  }

  // In how many copies of the tree the wire may be: for every set S that it enters and that the
  // tree has reached, what else enters S must be enough for the other trees that S has nothing of.
  // The flow adds up both sides: what enters S, and the trees that S has something of.
  int64_t room(const Partial& partial, int32_t wire) const {
    const int32_t source = n_;
    MaxFlow flow(n_ + 1 + static_cast<int32_t>(unfinished_.size()));
    for (size_t i = 0; i < left_.size(); ++i)
      if (left_[i] > 0) flow.add_arc(wires_.wires[i].from, wires_.wires[i].to, left_[i]);
    int64_t others = 0;
    int32_t next = source + 1;
    for (const Partial& other : unfinished_) {
      others += other.tree.copies;
      if (other.reached == 1) {
        flow.add_arc(source, other.tree.root, other.tree.copies);
        continue;
      }
      flow.add_arc(source, next, other.tree.copies);
      for (int32_t t = 0; t < n_; ++t)
        if (other.depth[t] >= 0) flow.add_arc(next, t, other.tree.copies);
      ++next;
    }
    flow.add_arc(source, wires_.wires[wire].from, kUnlimited);
    const int64_t spare = flow.run(source, wires_.wires[wire].to) - others;
    return std::min({left_[wire], partial.tree.copies, spare});
  }

  const Wires& wires_;
  int32_t n_;
  std::vector<int64_t> left_;                  // by wire
  std::vector<std::vector<int32_t>> leaving_;  // wires, by terminal
  std::vector<Partial> unfinished_;            // the next one is the last
  std::vector<Tree> finished_;
};

}  // namespace

std::vector<Tree> pack_trees(const Wires& wires, int64_t k) { return Packing(wires, k).run(); }

}  // namespace tutti::planner
