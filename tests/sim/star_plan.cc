// SPDX-License-Identifier: Apache-2.0
// Builds the star, proves it, and puts its text where the library reads it.
#include "tests/sim/star_plan.h"

#include <unistd.h>

#include <map>
#include <utility>

#include <sys/mman.h>

#include "src/base/error.h"
#include "src/plan/plan.h"

namespace tutti::sim {
namespace {

using plan::Buffer;
using plan::Operand;
using plan::Step;

Operand input() { return Operand::chunk(Buffer::kInput, 0, true); }
Operand output() { return Operand::chunk(Buffer::kOutput, 0); }
Operand scratch(int32_t index) { return Operand::chunk(Buffer::kScratch, index); }

plan::Plan build(int32_t n) {
  plan::Plan star;
  star.algorithm = "star";
  star.shape = {plan::Collective::kAllReduce, n, 0, 1};
  star.slots = 1;
  star.ranks.resize(static_cast<size_t>(n));
  plan::RankProgram& root = star.ranks[0];
  root.scratch_chunks = n - 1;
  root.lanes.resize(static_cast<size_t>(n));
  Step total{.sources = {input()}, .sinks = {output()}, .extent = 0, .post = true};
  for (int32_t rank = 1; rank < n; ++rank) {
    const auto lane = static_cast<size_t>(rank);
    root.lanes[lane].steps = {
        Step{.sources = {Operand::peer(rank)}, .sinks = {scratch(rank - 1)}, .extent = 0}};
    total.sources.push_back(scratch(rank - 1));
    total.sinks.push_back(Operand::peer(rank));
    total.waits.push_back({static_cast<uint32_t>(rank), 0});
    plan::RankProgram& leaf = star.ranks[lane];
    leaf.lanes.resize(2);
    leaf.lanes[0].steps = {Step{.sources = {input()}, .sinks = {Operand::peer(0)}, .extent = 0}};
    leaf.lanes[1].steps = {Step{.sources = {Operand::peer(0)}, .sinks = {output()}, .extent = 0}};
  }
  root.lanes[0].steps = {std::move(total)};
  return star;
}

StarPlan make(int n_ranks) {
  const std::string text = plan::to_json(build(n_ranks));
  const int fd = ::memfd_create("star-plan", MFD_CLOEXEC);
  if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw Error(StatusCode::kSystemError, "can't keep a plan in memory");
  StarPlan star;
  star.file = "/proc/self/fd/" + std::to_string(fd);
  star.plan = planner::given_plan(text, star.file);
  return star;
}

}  // namespace

const StarPlan& star_plan(int n_ranks) {
  static auto* const made = new std::map<int, StarPlan>;
  auto at = made->find(n_ranks);
  if (at == made->end()) at = made->emplace(n_ranks, make(n_ranks)).first;
  return at->second;
}

}  // namespace tutti::sim
