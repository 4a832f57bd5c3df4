// SPDX-License-Identifier: Apache-2.0
// From journals to one sentence that names the rank and the reason.
#include "src/comm/verdict.h"

#include <algorithm>
#include <cstdio>

#include "src/base/liveness.h"
#include "src/comm/communicator.h"

namespace tutti::comm {
namespace {

constexpr const char* kCollectives[plan::kCollectiveCount] = {
    "AllReduce", "Reduce", "Broadcast", "AllGather", "ReduceScatter",
    "AllToAll",  "Gather", "Scatter",   "Barrier"};
constexpr const char* kTypes[kDTypeCount] = {"int8",    "uint8",    "int32",      "uint32",
                                             "int64",   "uint64",   "float16",    "float32",
                                             "float64", "bfloat16", "float8e4m3", "float8e5m2"};

std::string seconds(int64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g s", static_cast<double>(ns) / kNsPerSecond);
  return text;
}

std::string elements(uint64_t count, DType dtype) {
  return std::to_string(count) + " " + kTypes[static_cast<size_t>(dtype)];
}

// Ranks whose calls are the same.
struct Party {
  CallFacts facts;
  std::vector<int> ranks;
};

// Which facts differ anywhere.
struct Differences {
  bool collective = false, elements = false, counts = false, op = false, root = false;
};

Differences differences(const std::vector<Party>& parties) {
  Differences d;
  const CallFacts& first = parties.front().facts;
  for (const Party& party : parties) {
    const CallFacts& other = party.facts;
    d.collective |= other.collective != first.collective;
    d.elements |= other.count != first.count || other.dtype != first.dtype;
    d.counts |= other.counts != first.counts;
    d.op |= other.op != first.op;
    d.root |= other.root != first.root;
  }
  return d;
}

std::string what_it_has(const Party& party, const Differences& d) {
  const CallFacts& facts = party.facts;
  const bool one = party.ranks.size() == 1;
  if (d.collective)
    return std::string(one ? " has" : " have") + " called " + display_name(facts.collective);
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? " " : ", ") + part; };
  if (d.elements) {
    add(std::string(facts.counts != 0 ? "counts of together " : "count ") +
        elements(facts.count, facts.dtype));
  } else if (d.counts) {
    add("other counts per rank");
  }
  if (d.op) add(std::string("operation ") + name(facts.op));
  if (d.root) add("root " + std::to_string(facts.root));
  if (text.empty()) add("another plan (library version, configuration or plan file differ)");
  return (one ? " has" : " have") + text;
}

std::string who(const Party& party, bool rest) {
  const size_t n = party.ranks.size();
  if (rest && n > 1) return std::to_string(n) + " others";
  return (n == 1 ? "rank " : "ranks ") + rank_list(party.ranks);
}

}  // namespace

const char* display_name(plan::Collective collective) noexcept {
  return kCollectives[static_cast<size_t>(collective)];
}

std::string describe(const SendFacts& facts) { return elements(facts.count, facts.dtype); }

bool agree(const CallFacts& a, const CallFacts& b) noexcept { return a == b; }

std::string rank_list(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t last = i;
    while (last + 1 < ranks.size() && ranks[last + 1] == ranks[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(ranks[i]);
    if (last > i) text += (last == i + 1 ? "," : "-") + std::to_string(ranks[last]);
    i = last + 1;
  }
  return text;
}

Inquiry::Inquiry(Communicator& comm, Deadline deadline)
    : comm_(comm), ranks_(static_cast<size_t>(comm.n_ranks())) {
  for (int rank = 0; rank < comm.n_ranks(); ++rank) {
    Rank& one = ranks_[static_cast<size_t>(rank)];
    if (rank == comm.rank()) {
      comm.local().board.copy_journal(&one.journal);
      one.answered = true;
      continue;
    }
    one.state = process_state(comm.local().transports.peer(rank).process);
    const Deadline patience = stopped(rank) ? Deadline::after_ns(0) : deadline;
    const auto answer = comm.path().boards.read(rank, patience, &one.journal);
    one.answered = answer == PeerBoards::Answer::kCopied;
    one.left = answer == PeerBoards::Answer::kLeft || (one.answered && one.journal.closed());
  }
}

std::optional<Verdict> Inquiry::disagreement(uint64_t number) const {
  const uint64_t first = number - std::min<uint64_t>(number, Journal::kCalls - 1);
  for (uint64_t n = first; n <= number; ++n) {
    auto verdict = disagreement_at(n);
    if (!verdict.has_value()) continue;
    if (n < number)
      verdict->text = "earlier, in " + call_name(comm_.rank(), n) + ": " + verdict->text;
    return verdict;
  }
  return std::nullopt;
}

std::optional<Verdict> Inquiry::disagreement_at(uint64_t number) const {
  std::vector<Party> parties;
  for (int rank = 0; rank < comm_.n_ranks(); ++rank) {
    const auto facts = at(rank).answered ? at(rank).journal.facts(number) : std::nullopt;
    if (!facts.has_value()) continue;
    const auto same = std::find_if(parties.begin(), parties.end(),
                                   [&](const Party& p) { return agree(p.facts, *facts); });
    if (same == parties.end()) {
      parties.push_back({*facts, {rank}});
    } else {
      same->ranks.push_back(rank);
    }
  }
  if (parties.size() < 2) return std::nullopt;
  std::stable_sort(parties.begin(), parties.end(),
                   [](const Party& a, const Party& b) { return a.ranks.size() < b.ranks.size(); });
  const Differences d = differences(parties);
  Verdict verdict{StatusCode::kInvalidUsage, parties.front().ranks.front(), Cause::kDisagreed, ""};
  for (const Party& party : parties) {
    const bool rest = &party == &parties.back();
    verdict.text += (verdict.text.empty() ? "" : ", ") + who(party, rest) + what_it_has(party, d);
  }
  return verdict;
}

std::optional<Verdict> Inquiry::mismatched_send(int from,
                                                const std::optional<AwaitedSend>& awaited) const {
  if (!awaited.has_value() || !at(from).answered) return std::nullopt;
  const auto sent = at(from).journal.send(comm_.rank(), awaited->ordinal);
  if (!sent.has_value()) return std::nullopt;
  return Verdict{StatusCode::kInvalidUsage, from, Cause::kDisagreed,
                 "send #" + std::to_string(awaited->ordinal) + " of rank " + std::to_string(from) +
                     " to rank " + std::to_string(comm_.rank()) + " has " +
                     elements(sent->count, sent->dtype) + ", its receive has " +
                     elements(awaited->facts.count, awaited->facts.dtype)};
}

Verdict Inquiry::out_of_step(int about, std::optional<uint64_t> number, const char* reason) const {
  if (at(about).left) return *absence(about, 0);
  std::string text =
      "rank " + std::to_string(about) + " is out of step with rank " + std::to_string(comm_.rank());
  if (at(about).answered) text += " (" + last_call(about) + ")";
  if (number.has_value() && at(about).answered && at(about).journal.facts(*number).has_value())
    text += ": it has called the same, but with other counts for this rank";
  return {StatusCode::kInvalidUsage, about, Cause::kDisagreed,
          text + (reason == nullptr ? "" : std::string("; ") + reason)};
}

std::string Inquiry::call_name(int rank, uint64_t number) const {
  const auto facts = at(rank).journal.facts(number);
  return (facts.has_value() ? std::string(display_name(facts->collective)) : "call") + " #" +
         std::to_string(number);
}

std::string Inquiry::last_call(int rank) const {
  const auto last = at(rank).journal.last();
  if (!last.has_value()) return "no collective so far";
  return "last: " + call_name(rank, last->number) + (last->ended ? ", ended" : ", still in it");
}

std::string Inquiry::waiters(int culprit, uint64_t number) const {
  std::vector<int> waiting;
  for (int rank = 0; rank < comm_.n_ranks(); ++rank) {
    const auto last = at(rank).journal.last();
    // This rank may have ended it already, and wait for its messages to be consumed.
    const bool in_it =
        rank == comm_.rank() || (last.has_value() && last->number == number && !last->ended);
    if (rank != culprit && at(rank).answered && in_it) waiting.push_back(rank);
  }
  return waiting.size() == 1 ? "rank " + rank_list(waiting) + " waits for it"
                             : "ranks " + rank_list(waiting) + " wait for it";
}

// What can be said of a rank that does not take part because it has left, does not run, or can't be
// asked.
std::optional<Verdict> Inquiry::absence(int rank, int64_t silence_ns) const {
  const std::string name = "rank " + std::to_string(rank);
  if (at(rank).left) {
    return Verdict{StatusCode::kInvalidUsage, rank, Cause::kDisagreed,
                   name + " has finalized or destroyed the communicator" +
                       (at(rank).answered ? " (" + last_call(rank) + ")" : "")};
  }
  if (stopped(rank)) {
    const int pid = comm_.local().transports.peer(rank).process.pid;
    return Verdict{StatusCode::kRemoteError, rank, Cause::kTimedOut,
                   name + " is stopped (process " + std::to_string(pid) + ", state " +
                       at(rank).state + "); it has not moved for " + seconds(silence_ns)};
  }
  if (at(rank).answered) return std::nullopt;
  return Verdict{StatusCode::kRemoteError, rank, Cause::kTimedOut,
                 name + " does not answer, for " + seconds(silence_ns) +
                     ": its process or its host may be gone, or can't be reached"};
}

// Ranks that have left are no reason, except for who waits for them: whoever needs them finds out
// by itself, long before any deadline, and they may well have given all that they owed.
Verdict Inquiry::silence(uint64_t number, int waiting_for, int64_t silence_ns) const {
  if (auto verdict = disagreement(number)) return *verdict;
  const auto passed = [&](int rank) {
    return rank == comm_.rank() || (at(rank).answered && at(rank).journal.begun(number + 1));
  };
  const auto to_blame = [&](int rank) { return !passed(rank) && !at(rank).left; };
  if (auto verdict = absence_of_any(to_blame, silence_ns)) return *verdict;
  for (int rank = 0; rank < comm_.n_ranks(); ++rank) {
    if (rank == comm_.rank() || !at(rank).answered || at(rank).journal.begun(number)) continue;
    return {StatusCode::kRemoteError, rank, Cause::kTimedOut,
            "rank " + std::to_string(rank) + " never entered " + call_name(comm_.rank(), number) +
                " (" + last_call(rank) + "); " + waiters(rank, number) + ", for " +
                seconds(silence_ns)};
  }
  return silence_between(waiting_for, silence_ns);
}

// One that is known to be stopped before one that does not answer: that one may have given up
// already, because of the other.
std::optional<Verdict> Inquiry::absence_of_any(const std::function<bool(int)>& to_blame,
                                               int64_t silence_ns) const {
  for (const bool only_stopped : {true, false}) {
    for (int rank = 0; rank < comm_.n_ranks(); ++rank) {
      if (!to_blame(rank) || (only_stopped && !stopped(rank))) continue;
      if (auto verdict = absence(rank, silence_ns)) return verdict;
    }
  }
  return std::nullopt;
}

Verdict Inquiry::silence_between(int waiting_for, int64_t silence_ns) const {
  if (waiting_for < 0) {
    return {StatusCode::kRemoteError, -1, Cause::kTimedOut,
            "no progress for " + seconds(silence_ns) + ", waiting for its own steps"};
  }
  if (at(waiting_for).left || stopped(waiting_for)) return *absence(waiting_for, silence_ns);
  // It may itself wait for a rank that does not run.
  const auto to_blame = [&](int rank) { return rank != comm_.rank() && !at(rank).left; };
  if (auto verdict = absence_of_any(to_blame, silence_ns)) return *verdict;
  const std::string peer = "rank " + std::to_string(waiting_for);
  return {StatusCode::kRemoteError, waiting_for, Cause::kTimedOut,
          "link " + peer + " -> rank " + std::to_string(comm_.rank()) + " makes no progress for " +
              seconds(silence_ns) + " (" + peer + ": " + last_call(waiting_for) +
              "); it may be busy, or has not made the matching call"};
}

}  // namespace tutti::comm
