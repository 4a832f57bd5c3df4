// SPDX-License-Identifier: Apache-2.0
// Compares complete collectives rank by rank: who disagrees, and who comes late.
#include <algorithm>
#include <map>
#include <tuple>

#include <spdlog/fmt/fmt.h>

#include "src/base/clock.h"
#include "src/trace/analysis.h"

namespace tutti::trace {
namespace {

constexpr size_t kEnoughOperations = 10;
constexpr int64_t kNoticeableNs = 20 * kNsPerUs;

using Entries = std::vector<std::pair<int, const Operation*>>;  // by rank

std::map<uint64_t, Entries> collectives_of(const CommView& comm) {
  std::map<uint64_t, Entries> all;
  for (size_t rank = 0; rank < comm.ranks.size(); ++rank) {
    if (comm.ranks[rank] == nullptr) continue;
    for (const Operation& o : comm.ranks[rank]->ring) {
      if (o.collective()) all[o.number].emplace_back(static_cast<int>(rank), &o);
    }
  }
  return all;
}

// What ranks must agree on; the rest is blanked.
auto agreed_part(const Operation& o) {
  const auto collective = static_cast<plan::Collective>(o.kind);
  const bool data = collective != plan::Collective::kBarrier;
  const bool counts = data && (o.flags & kCountsDiffer) == 0;
  return std::tuple(o.kind, data ? o.dtype : 0, plan::reduces(collective) ? o.op : 0, o.root,
                    counts ? o.count : 0);
}

Finding disagreement(uint64_t number, const Entries& entries) {
  std::map<decltype(agreed_part(*entries[0].second)), Entries> camps;
  for (const auto& entry : entries) camps[agreed_part(*entry.second)].push_back(entry);
  std::vector<Entries> by_size;
  by_size.reserve(camps.size());
  for (auto& [part, camp] : camps) by_size.push_back(std::move(camp));
  std::ranges::stable_sort(by_size, std::ranges::greater{}, &Entries::size);
  Finding finding{.verdict = Verdict::kMismatch, .number = number, .ranks = {}, .text = {}};
  std::string said;
  for (const Entries& camp : by_size) {
    std::vector<int> ranks;
    for (const auto& [rank, operation] : camp) ranks.push_back(rank);
    if (camp[0].second->kind != by_size[0][0].second->kind) finding.verdict = Verdict::kDiverged;
    said += fmt::format("{}{} {} {}", said.empty() ? "" : "; ", ranks_text(ranks),
                        ranks.size() == 1 ? "calls" : "call", describe(*camp[0].second));
    if (&camp != &by_size.front())
      finding.ranks.insert(finding.ranks.end(), ranks.begin(), ranks.end());
  }
  std::ranges::sort(finding.ranks);
  finding.text = finding.verdict == Verdict::kDiverged
                     ? fmt::format(
                           "from collective #{} on ranks call different things: {}; "
                           "look at what the program does before it",
                           number, said)
                     : fmt::format("arguments of collective #{} differ: {}", number, said);
  return finding;
}

}  // namespace

std::vector<Finding> find_disagreement(const CommView& comm) {
  for (const auto& [number, entries] : collectives_of(comm)) {
    const auto first = agreed_part(*entries[0].second);
    const bool all_agree = std::ranges::all_of(
        entries, [&](const auto& entry) { return agreed_part(*entry.second) == first; });
    if (!all_agree) return {disagreement(number, entries)};
  }
  return {};
}

std::vector<Finding> find_straggler(const Timeline& timeline, const CommView& comm) {
  std::vector<size_t> times_last(comm.ranks.size());
  std::vector<int64_t> lateness(comm.ranks.size());
  size_t compared = 0;
  for (const auto& [number, entries] : collectives_of(comm)) {
    if (entries.size() < comm.ranks.size() || comm.n_ranks < 2) continue;
    const auto entered = [&](const auto& entry) {
      return timeline.common_ns(*comm.ranks[static_cast<size_t>(entry.first)],
                                entry.second->issued_ns);
    };
    const auto [first, last] = std::ranges::minmax_element(entries, {}, entered);
    ++compared;
    const auto culprit = static_cast<size_t>(last->first);
    ++times_last[culprit];
    lateness[culprit] += entered(*last) - entered(*first);
  }
  if (compared < kEnoughOperations) return {};
  const auto worst = std::ranges::max_element(lateness);
  const auto rank = static_cast<size_t>(worst - lateness.begin());
  const int64_t mean_ns = *worst / static_cast<int64_t>(std::max<size_t>(1, times_last[rank]));
  const bool often = times_last[rank] * 2 > compared;
  if (!often || mean_ns < kNoticeableNs) return {};
  return {{.verdict = Verdict::kStraggler,
           .number = 0,
           .ranks = {static_cast<int>(rank)},
           .text = fmt::format("rank {} entered last in {} of {} collectives, {} after the first "
                               "rank on average",
                               rank, times_last[rank], compared, duration_text(mean_ns))}};
}

}  // namespace tutti::trace
