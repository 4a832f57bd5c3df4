// SPDX-License-Identifier: Apache-2.0
// Follows who waits for whom to the end of the chain.
#include "src/trace/live.h"

#include <algorithm>
#include <map>

#include <spdlog/fmt/fmt.h>

#include "src/base/clock.h"

namespace tutti::trace {
namespace {

bool is_gone(char state) noexcept { return state == 0 || state == 'Z' || state == 'X'; }
bool is_stopped(char state) noexcept { return state == 'T' || state == 't'; }

const Operation* last_of(const Recording& r) noexcept {
  return r.ring.empty() ? nullptr : &r.ring.back();
}

const Recording* same_recording(const std::vector<Recording>& in, const Recording& r) noexcept {
  const auto at = std::ranges::find_if(in, [&](const Recording& other) {
    return other.process_uid == r.process_uid && other.serial == r.serial;
  });
  return at == in.end() ? nullptr : &*at;
}

void fill_rates(LiveRank& live, const std::vector<Recording>& before) {
  const Recording& r = *live.recording;
  const Recording* earlier = same_recording(before, r);
  if (earlier == nullptr || earlier->operations > r.operations) return;
  const int64_t elapsed_ns = r.read_ns - earlier->read_ns;
  if (elapsed_ns <= 0) return;
  live.operations_per_second = static_cast<double>(r.operations - earlier->operations) *
                               kNsPerSecond / static_cast<double>(elapsed_ns);
  double bytes = 0;
  double inside_ns = 0;
  for (const Operation& o : r.ring) {
    if (o.state != State::kDone || o.ended_ns <= earlier->read_ns) continue;
    bytes += static_cast<double>(payload_bytes(o, r.n_ranks));
    inside_ns += static_cast<double>(o.ended_ns - o.begun_ns);
  }
  live.algbw = inside_ns > 0 ? bytes * kNsPerSecond / inside_ns : 0;
}

void fill_doing(LiveRank& live) {
  const Recording& r = *live.recording;
  const Operation* last = last_of(r);
  live.inside = last != nullptr && !last->ended();
  if (live.inside) {
    live.doing = describe(*last);
    if (last->state == State::kConnecting) live.doing += " (connecting)";
    live.waiting_for = last->waiting_for;
    live.for_ns = std::max<int64_t>(0, r.read_ns - last->begun_ns);
    return;
  }
  live.doing = r.comm_state == CommState::kFailed      ? "failed"
               : r.comm_state == CommState::kFinalized ? "finalized"
                                                       : "idle";
  if (last != nullptr) {
    live.doing += ", last " + describe(*last);
    live.for_ns = std::max<int64_t>(0, r.read_ns - last->ended_ns);
  }
}

class WaitGraph {
 public:
  explicit WaitGraph(const std::vector<LiveRank>& ranks) : ranks_(ranks) {}

  std::vector<Wait> waits() const {
    std::map<std::vector<int>, std::vector<int>> waiting_for;
    for (const LiveRank& rank : ranks_) {
      if (next_of(rank.rank) < 0) continue;
      const std::vector<int> causes = causes_of(rank.rank);
      // Those who are the cause themselves are named as such.
      auto& waiting = waiting_for[causes];
      if (std::ranges::count(causes, rank.rank) == 0) waiting.push_back(rank.rank);
    }
    std::vector<Wait> all;
    all.reserve(waiting_for.size());
    for (auto& [causes, waiting] : waiting_for) all.push_back(describe_wait(causes, waiting));
    return all;
  }

 private:
  const LiveRank& at(int rank) const { return ranks_[static_cast<size_t>(rank)]; }
  // Whom the rank waits for; who can't go on by itself waits for nobody.
  int next_of(int rank) const {
    const LiveRank& live = at(rank);
    const bool runs = live.recording != nullptr && !is_gone(live.state) && !is_stopped(live.state);
    return runs && live.inside ? live.waiting_for : -1;
  }
  // The end of the chain: one rank, or a circle.
  std::vector<int> causes_of(int rank) const {
    std::vector<int> path;
    while (rank >= 0 && std::ranges::count(path, rank) == 0) {
      path.push_back(rank);
      rank = next_of(rank);
    }
    if (rank < 0) return {path.back()};
    std::vector<int> circle(std::ranges::find(path, rank), path.end());
    std::ranges::sort(circle);
    return circle;
  }
  Wait describe_wait(const std::vector<int>& causes, const std::vector<int>& waiting) const {
    Wait wait{.waiting = waiting, .causes = causes};
    if (causes.size() > 1) {
      wait.text = ranks_text(causes) + " wait for each other";
      if (!waiting.empty()) wait.text += ", and " + ranks_text(waiting) + " for them";
      return wait;
    }
    const LiveRank& cause = at(causes[0]);
    wait.stuck = cause.recording != nullptr && (is_gone(cause.state) || is_stopped(cause.state));
    wait.text = fmt::format("{} {} for rank {}, {}", ranks_text(waiting),
                            waiting.size() == 1 ? "waits" : "wait", causes[0],
                            what_about(cause, at(waiting[0])));
    return wait;
  }
  static std::string what_about(const LiveRank& cause, const LiveRank& waiting) {
    if (cause.recording == nullptr)
      return "of which there is no recording here (another host or user?)";
    const int32_t pid = cause.recording->pid;
    if (is_gone(cause.state)) return fmt::format("whose process {} is gone", pid);
    if (is_stopped(cause.state))
      return fmt::format("which is stopped ({}: signal or debugger)", cause.state);
    if (cause.inside) {
      return fmt::format("which is in {}{}", cause.doing,
                         cause.doing == waiting.doing ? "" : ", another call");
    }
    return fmt::format("which is {} (for {})", cause.doing, duration_text(cause.for_ns));
  }

  const std::vector<LiveRank>& ranks_;
};

// Processes that ended in the middle of it.
std::string death_text(const std::vector<LiveRank>& ranks) {
  std::vector<int> gone;
  for (const LiveRank& live : ranks) {
    const bool open = live.recording != nullptr && live.recording->comm_state == CommState::kOpen;
    if (open && is_gone(live.state)) gone.push_back(live.rank);
  }
  if (gone.empty()) return "";
  return fmt::format("{} {} gone without having finalized it; `tutti trace` tells more",
                     ranks_text(gone), gone.size() == 1 ? "is" : "are");
}

LiveComm view_of(const CommView& comm, const std::vector<Recording>* before, const Fate& fate) {
  LiveComm live{.comm = &comm};
  for (int rank = 0; rank < comm.n_ranks; ++rank) {
    LiveRank one{.rank = rank, .recording = comm.ranks[static_cast<size_t>(rank)]};
    if (one.recording != nullptr) {
      one.state = fate(*one.recording);
      fill_doing(one);
      if (before != nullptr && !is_gone(one.state)) fill_rates(one, *before);
      if (live.failure.empty() && one.recording->comm_state == CommState::kFailed)
        live.failure = fmt::format("rank {} has failed: {}", rank, one.recording->failure);
    }
    live.ranks.push_back(std::move(one));
  }
  if (live.failure.empty()) live.failure = death_text(live.ranks);
  live.waits = WaitGraph(live.ranks).waits();
  return live;
}

}  // namespace

std::vector<LiveComm> live_view(const Timeline& now, const std::vector<Recording>* before,
                                const Fate& fate) {
  std::vector<LiveComm> all;
  for (const CommView& comm : now.comms()) all.push_back(view_of(comm, before, fate));
  return all;
}

}  // namespace tutti::trace
