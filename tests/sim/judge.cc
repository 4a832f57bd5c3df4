// SPDX-License-Identifier: Apache-2.0
// What must hold when a job is over; see docs/design/simulation.md.
#include <algorithm>
#include <string>
#include <string_view>

#include "tests/sim/job.h"

namespace tutti::sim {
namespace {

using Kind = Fault::Kind;

constexpr int64_t kGoOnNs = 2 * kNsPerSecond;
constexpr int64_t kPromptNs = kNsPerSecond;  // from a death to the last error

// " (rank 1 of 4)" is whose error it is, not what it is about.
std::string without_place(std::string text) {
  size_t at = 0;
  while ((at = text.find(" (rank ")) != std::string::npos) {
    const size_t end = text.find(')', at);
    if (end == std::string::npos) break;
    text.erase(at, end - at + 1);
  }
  return text;
}

bool names(const std::string& text, int rank) {
  return text.find("rank " + std::to_string(rank)) != std::string::npos;
}

// Does everybody hear of it at once, or only by the time-out?
bool is_loud(Kind kind) {
  return kind != Kind::kVanish && kind != Kind::kPartition && kind != Kind::kStop;
}

}  // namespace

const Fault* Job::trouble() const {
  for (size_t i = 0; i < scenario_->faults.size(); ++i) {
    const Fault& fault = scenario_->faults[i];
    if (!is_harmless(fault.kind) && (happened_[i] || fault.kind == Kind::kMismatch)) return &fault;
  }
  return nullptr;
}

void Job::judge() {
  ++tally_.jobs;
  const Fault* const harmful = trouble();
  if (harmful != nullptr) ++tally_.harmful;
  tally_.faults += static_cast<uint64_t>(std::count(happened_.begin(), happened_.end(), true));
  for (int rank = 0; rank < scenario_->n_ranks && world_.finding().empty(); ++rank) {
    if (world_.crashed(rank)) continue;
    const Fate& fate = fates_[at_(rank)];
    if (!fate.ended) {
      world_.fail("hang: rank " + std::to_string(rank) + " is still in call #" +
                  std::to_string(fate.completed) + " after " +
                  std::to_string((world_.now() - start_ns_) / kNsPerMs) + " ms of virtual time");
      return;
    }
    judge_rank(rank, harmful);
    judge_buffers(rank);
  }
}

void Job::judge_rank(int rank, const Fault* harmful) {
  const Fate& fate = fates_[at_(rank)];
  const std::string who = "rank " + std::to_string(rank);
  if (fate.error.has_value()) {
    ++tally_.errors;
    if (harmful == nullptr)
      return world_.fail("false alarm: " + who +
                         " failed though nothing harmful happened: " + fate.error->what());
    judge_error(rank, *harmful, *fate.error);
  } else if (harmful != nullptr && harmful->kind == Kind::kMismatch &&
             fate.ended_ns > first_error_ns() + scenario_->patience_ns) {
    world_.fail("a mismatch was missed: " + who + " ended well, but rank " +
                std::to_string(harmful->rank) + " had called #" + std::to_string(harmful->step) +
                " as " + describe(harmful->instead));
  }
  if (fate.done && fate.done_ns > last_end_ns() + kGoOnNs + scenario_->patience_ns)
    return world_.fail("too late: the survivors went on for more than 2 s");
  const int64_t bound = bound_ns(rank, harmful);
  if (fate.ended_ns <= bound) return;
  world_.fail("too late: " + who + " ended at " +
              std::to_string((fate.ended_ns - start_ns_) / 1000) + " us, expected by " +
              std::to_string((bound - start_ns_) / 1000) + " us" +
              (fate.error.has_value() ? std::string("; its error: ") + fate.error->what() : ""));
}

// INT64_MIN when there is none: then whoever has ended well has done so too late.
int64_t Job::first_error_ns() const {
  int64_t first = INT64_MAX;
  for (int rank = 0; rank < scenario_->n_ranks; ++rank) {
    if (fates_[at_(rank)].error.has_value()) first = std::min(first, fates_[at_(rank)].ended_ns);
  }
  return first == INT64_MAX ? INT64_MIN / 2 : first;
}

int64_t Job::last_end_ns() const {
  int64_t last = 0;
  for (int rank = 0; rank < scenario_->n_ranks; ++rank) {
    if (!world_.crashed(rank)) last = std::max(last, fates_[at_(rank)].ended_ns);
  }
  return last;
}

int64_t Job::bound_ns(int rank, const Fault* harmful) const {
  if (harmful == nullptr) return start_ns_ + scenario_->patience_ns;
  int64_t grace = kPromptNs;
  if (!is_loud(harmful->kind)) grace += scenario_->timeout_ns;
  if (harmful->kind == Kind::kStop && harmful->rank == rank) grace += harmful->duration_ns;
  return trouble_ns_ + grace + scenario_->patience_ns;
}

void Job::judge_error(int rank, const Fault& harmful, const Error& error) {
  const bool own_doing =
      (harmful.kind == Kind::kAbort || harmful.kind == Kind::kRevoke) && harmful.rank == rank;
  const StatusCode expected = harmful.kind == Kind::kMismatch || own_doing
                                  ? StatusCode::kInvalidUsage
                                  : StatusCode::kRemoteError;
  const std::string who = "rank " + std::to_string(rank);
  // Whoever comes back after the others have gone finds that they have.
  if (harmful.kind == Kind::kStop && harmful.rank == rank) return;
  // So may whoever is cut off from a rank that had everything and has left.
  if (harmful.kind == Kind::kPartition && error.code() == StatusCode::kInvalidUsage &&
      std::string_view(error.what()).find("has finalized or destroyed") != std::string_view::npos) {
    return;
  }
  if (error.code() != expected) {
    return world_.fail("wrong class of error: " + who + " got code " +
                       std::to_string(static_cast<int>(error.code())) + ", expected " +
                       std::to_string(static_cast<int>(expected)) + ", because " +
                       describe(harmful) + "; its error: " + error.what());
  }
  const std::string text = without_place(error.what());
  if (own_doing || harmful.kind == Kind::kMismatch || harmful.kind == Kind::kPartition) return;
  // Who naps at that moment is as good a guess.
  const bool named =
      names(text, harmful.rank) || (harmful.kind == Kind::kBreak && names(text, harmful.peer)) ||
      std::any_of(scenario_->faults.begin(), scenario_->faults.end(), [&](const Fault& fault) {
        return fault.kind == Kind::kNap && names(text, fault.rank);
      });
  // From another host a stopped rank looks like a busy one, and who finds it first tells the
  // others.
  const auto& hosts = scenario_->hosts;
  const bool far = std::any_of(hosts.begin(), hosts.begin() + scenario_->n_ranks,
                               [&](int host) { return host != hosts[at_(harmful.rank)]; });
  if (named || (far && harmful.kind == Kind::kStop)) return;
  world_.fail("wrong culprit: the error of " + who + " should name rank " +
              std::to_string(harmful.rank) + ", because " + describe(harmful) +
              "; it says: " + error.what());
}

void Job::judge_buffers(int rank) {
  const auto untouched = [](const std::byte* data, size_t bytes) {
    return std::all_of(data, data + bytes, [](std::byte b) { return b == kUsersOwn; });
  };
  for (size_t i = 0; i < scenario_->steps.size(); ++i) {
    const Buffers& b = fates_[at_(rank)].buffers[i];
    if (!b.handed_back) continue;
    if (untouched(b.input, b.input_bytes) && untouched(b.output, b.output_bytes)) continue;
    return world_.fail("a buffer of rank " + std::to_string(rank) + ", call #" + std::to_string(i) +
                       ", was written to after the call had ended");
  }
}

}  // namespace tutti::sim
