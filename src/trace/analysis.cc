// SPDX-License-Identifier: Apache-2.0
// Finds the collective at which a communicator has stopped, and who keeps it there.
#include "src/trace/analysis.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "src/base/clock.h"

namespace tutti::trace {
namespace {

// How far a rank has got with one collective.
enum class Stage : uint8_t { kUnknown, kAbsent, kQueued, kInside, kFailed, kDone };

// One rank's collectives.
struct Progress {
  const Recording* recording = nullptr;
  const Operation* last = nullptr;  // collective begun last
  uint64_t n_begun = 0;
  uint64_t n_queued = 0;  // they will be the next ones

  explicit Progress(const Recording* r) : recording(r) {
    if (r == nullptr) return;
    for (const Operation& o : r->ring) {
      if (!o.collective()) continue;
      last = &o;
      n_begun = o.number + 1;
    }
    n_queued = static_cast<uint64_t>(
        std::ranges::count_if(r->queue, [](const Operation& o) { return o.collective(); }));
  }
  Stage stage(uint64_t number) const noexcept {
    if (recording == nullptr) return Stage::kUnknown;
    if (number >= n_begun) return number < n_begun + n_queued ? Stage::kQueued : Stage::kAbsent;
    if (number + 1 < n_begun || last->state == State::kDone) return Stage::kDone;
    return last->state == State::kFailed ? Stage::kFailed : Stage::kInside;
  }
};

class CommAnalysis {
 public:
  CommAnalysis(const Timeline& timeline, const CommView& comm, const Fate& fate)
      : timeline_(timeline), comm_(comm), fate_(fate) {
    for (const Recording* r : comm.ranks) ranks_.emplace_back(r);
  }

  std::vector<Finding> run() {
    std::vector<Finding> all = find_disagreement(comm_);
    append(all, stopped_collective());
    append(all, open_transfers());
    append(all, failure());
    append(all, missing());
    if (all.empty()) append(all, find_straggler(timeline_, comm_));
    if (all.empty()) all.push_back({.text = summary()});
    return all;
  }

 private:
  static void append(std::vector<Finding>& all, std::vector<Finding> more) {
    std::ranges::move(more, std::back_inserter(all));
  }
  const Recording& recording(int rank) const { return *comm_.ranks[static_cast<size_t>(rank)]; }
  const Progress& progress(int rank) const { return ranks_[static_cast<size_t>(rank)]; }
  std::vector<int> ranks_at(uint64_t number, std::initializer_list<Stage> stages) const {
    std::vector<int> found;
    for (int rank = 0; rank < comm_.n_ranks; ++rank) {
      if (std::ranges::count(stages, progress(rank).stage(number)) != 0) found.push_back(rank);
    }
    return found;
  }

  std::vector<Finding> stopped_collective() const;
  Finding never_entered(uint64_t number, const std::vector<int>& inside,
                        const std::vector<int>& absent) const;
  Finding inside_all(uint64_t number, const std::vector<int>& inside) const;
  std::string absence_text(int rank, int64_t entered_ns) const;
  std::string last_text(const Operation& last, const Recording& r, int64_t entered_ns) const;
  std::string fate_text(int rank) const;
  // Until when the recording is known to hold: now, while its process lives here.
  int64_t latest_ns(const Recording& r) const {
    const char fate = fate_(r);
    const bool lives = fate != 0 && fate != '?' && fate != 'Z' && fate != 'X';
    return lives ? std::max(r.last_seen_ns, now_ns()) : r.last_seen_ns;
  }
  std::vector<Finding> open_transfers() const;
  std::vector<Finding> failure() const;
  std::vector<Finding> missing() const;
  std::string summary() const;

  const Timeline& timeline_;
  const CommView& comm_;
  const Fate& fate_;
  std::vector<Progress> ranks_;
};

// The lowest collective that somebody is in or has not reached while others have.
std::vector<Finding> CommAnalysis::stopped_collective() const {
  uint64_t number = UINT64_MAX;
  uint64_t most = 0;
  for (const Progress& p : ranks_) {
    if (p.recording == nullptr) continue;
    const bool open = p.last != nullptr && p.last->state != State::kDone;
    number = std::min(number, open ? p.n_begun - 1 : p.n_begun);
    most = std::max(most, p.n_begun + p.n_queued);
  }
  if (number == UINT64_MAX || number >= most) return {};
  const auto absent = ranks_at(number, {Stage::kAbsent});
  const auto there =
      ranks_at(number, {Stage::kQueued, Stage::kInside, Stage::kFailed, Stage::kDone});
  if (!absent.empty() && !there.empty()) return {never_entered(number, there, absent)};
  const auto inside = ranks_at(number, {Stage::kQueued, Stage::kInside});
  if (inside.empty()) return {};
  return {inside_all(number, inside)};
}

Finding CommAnalysis::never_entered(uint64_t number, const std::vector<int>& inside,
                                    const std::vector<int>& absent) const {
  const Operation* entered = nullptr;
  int64_t entered_ns = INT64_MIN;  // by the last of those that have
  for (const int rank : inside) {
    const Recording& r = recording(rank);
    const auto at = std::ranges::find_if(
        r.ring, [&](const Operation& o) { return o.collective() && o.number == number; });
    if (at == r.ring.end()) continue;
    if (entered == nullptr) entered = &*at;
    entered_ns = std::max(entered_ns, timeline_.common_ns(r, at->issued_ns));
  }
  std::string text =
      fmt::format("{} was entered by {}; ",
                  entered != nullptr ? describe(*entered) : "collective #" + std::to_string(number),
                  ranks_text(inside));
  constexpr size_t kMostNamed = 4;
  for (size_t i = 0; i < std::min(absent.size(), kMostNamed); ++i)
    text += (i == 0 ? "" : "; ") + absence_text(absent[i], entered_ns);
  if (absent.size() > kMostNamed) {
    text += fmt::format("; nor did {}", ranks_text({absent.begin() + kMostNamed, absent.end()}));
  }
  return {Verdict::kNeverEntered, number, absent, text};
}

std::string CommAnalysis::absence_text(int rank, int64_t entered_ns) const {
  const Recording& r = recording(rank);
  std::string text = fmt::format("rank {} never entered it", rank);
  text += r.ring.empty() ? " (it has called nothing)"
                         : " (last: " + last_text(r.ring.back(), r, entered_ns) + ")";
  const std::string elsewhere = timeline_.elsewhere(r);
  return text + "; " + (elsewhere.empty() ? fate_text(rank) : elsewhere);
}

// "Barrier #1204, ended 12.3 s before".
std::string CommAnalysis::last_text(const Operation& last, const Recording& r,
                                    int64_t entered_ns) const {
  std::string text = describe(last);
  if (!last.ended()) {
    text += ", which has not ended";
    if (last.waiting_for >= 0) text += fmt::format(": it waits for rank {}", last.waiting_for);
    return text;
  }
  text += last.state == State::kFailed ? ", failed" : ", ended";
  if (entered_ns == INT64_MIN) return text;
  const int64_t before_ns = entered_ns - timeline_.common_ns(r, last.ended_ns);
  return text + " " + duration_text(std::abs(before_ns)) + (before_ns >= 0 ? " before" : " after");
}

std::string CommAnalysis::fate_text(int rank) const {
  const Recording& r = recording(rank);
  const std::string process = "process " + std::to_string(r.pid);
  if (r.comm_state == CommState::kFinalized)
    return process + " has finalized or destroyed the communicator";
  switch (fate_(r)) {
    case 0:
    case 'X':
    case 'Z':
      return process + " is gone";
    case '?':
      return process + " is on host " + r.host;
    case 'T':
    case 't':
      return process + " is stopped (signal or debugger)";
    default:
      return process + " runs";
  }
}

Finding CommAnalysis::inside_all(uint64_t number, const std::vector<int>& inside) const {
  std::string text = fmt::format("{} was entered by all ranks and has not ended on {}",
                                 describe(*progress(inside[0]).last), ranks_text(inside));
  Finding finding{.verdict = Verdict::kInside, .number = number, .ranks = {}, .text = {}};
  // One that is through with it may have died before it called anything else.
  for (const int rank : ranks_at(number, {Stage::kDone})) {
    const Recording& r = recording(rank);
    const char fate = fate_(r);
    if (r.comm_state == CommState::kFinalized || (fate != 0 && fate != 'X' && fate != 'Z'))
      continue;
    text +=
        fmt::format("; rank {} ended it and called nothing after it, {}", rank, fate_text(rank));
    finding.ranks.push_back(rank);
  }
  for (const int rank : inside) {
    const Progress& p = progress(rank);
    if (p.stage(number) == Stage::kQueued) {
      text += fmt::format("; rank {} has it queued, waiting for its turn", rank);
      const std::string elsewhere = timeline_.elsewhere(*p.recording);
      if (!elsewhere.empty()) text += " (" + elsewhere + ")";
      finding.ranks.push_back(rank);
    } else if (p.last->waiting_for >= 0) {
      text += fmt::format("; rank {} waits for rank {}", rank, p.last->waiting_for);
    }
    const char fate = fate_(*p.recording);
    if (fate == 0 || fate == 'T' || fate == 't' || fate == 'Z') {
      text += fmt::format("; rank {}: {}", rank, fate_text(rank));
      finding.ranks.push_back(rank);
    }
  }
  finding.text = text;
  return finding;
}

std::vector<Finding> CommAnalysis::open_transfers() const {
  std::vector<Finding> found;
  for (int rank = 0; rank < comm_.n_ranks; ++rank) {
    const Recording* r = comm_.ranks[static_cast<size_t>(rank)];
    if (r == nullptr || r->ring.empty()) continue;
    const Operation& last = r->ring.back();
    if (last.ended() || last.collective()) continue;
    const int peer = last.waiting_for >= 0 ? last.waiting_for : last.root;
    std::string text = fmt::format("rank {} is in {} for {}", rank, describe(last),
                                   duration_text(latest_ns(*r) - last.issued_ns));
    if (peer >= 0 && comm_.ranks[static_cast<size_t>(peer)] != nullptr) {
      const Recording& other = recording(peer);
      text += fmt::format(", waiting for rank {}", peer);
      if (!other.ring.empty()) {
        text += " (last: " +
                last_text(other.ring.back(), other, timeline_.common_ns(*r, last.issued_ns)) + ")";
      }
      text += "; " + fate_text(peer);
    }
    found.push_back({Verdict::kTransfer, last.number, {peer < 0 ? rank : peer}, text});
  }
  return found;
}

// The first rank that failed says most.
std::vector<Finding> CommAnalysis::failure() const {
  const Recording* first = nullptr;
  const auto failed_at = [&](const Recording& r) {
    return timeline_.common_ns(r, r.ring.empty() ? r.last_seen_ns : r.ring.back().ended_ns);
  };
  std::vector<int> ranks;
  for (const Recording* r : comm_.ranks) {
    if (r == nullptr || r->comm_state != CommState::kFailed) continue;
    ranks.push_back(r->rank);
    if (first == nullptr || failed_at(*r) < failed_at(*first)) first = r;
  }
  if (first == nullptr) return {};
  return {{Verdict::kFailed, 0, ranks,
           fmt::format("failed on {}; rank {} was the first: {}", ranks_text(ranks), first->rank,
                       first->failure)}};
}

std::vector<Finding> CommAnalysis::missing() const {
  std::vector<int> ranks;
  for (int rank = 0; rank < comm_.n_ranks; ++rank) {
    if (comm_.ranks[static_cast<size_t>(rank)] == nullptr) ranks.push_back(rank);
  }
  if (ranks.empty()) return {};
  return {{Verdict::kMissing, 0, ranks,
           fmt::format("no recording of {} here; collect the TUTTI_TRACE_DIR folders of all hosts "
                       "in one",
                       ranks_text(ranks))}};
}

std::string CommAnalysis::summary() const {
  uint64_t operations = 0;
  for (const Progress& p : ranks_) {
    if (p.recording != nullptr) operations = std::max(operations, p.recording->operations);
  }
  return fmt::format("nothing hangs: {} operations, all ended", operations);
}

}  // namespace

const char* name(Verdict verdict) noexcept {
  static constexpr const char* kTexts[] = {"healthy",       "straggler", "missing",
                                           "failed",        "inside",    "transfer",
                                           "never_entered", "mismatch",  "diverged"};
  return kTexts[static_cast<int>(verdict)];
}

std::string CommFindings::text() const {
  std::string text;
  for (const Finding& f : findings) text += comm->name + ": " + f.text + "\n";
  return text;
}

std::vector<CommFindings> analyse(const Timeline& timeline, const Fate& fate) {
  std::vector<CommFindings> all;
  for (const CommView& comm : timeline.comms())
    all.push_back({&comm, CommAnalysis(timeline, comm, fate).run()});
  return all;
}

}  // namespace tutti::trace
