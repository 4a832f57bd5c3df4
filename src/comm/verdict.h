// SPDX-License-Identifier: Apache-2.0
// Finds out why a call does not move, from the journals of all ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/comm/journal.h"
#include "src/comm/notice.h"

namespace tutti::comm {

class Communicator;

// The next message that a rank expects from another one outside of collectives.
struct AwaitedSend {
  uint32_t ordinal = 0;  // of the sends of that pair
  SendFacts facts;
};

// What is to be said about a failure: to the caller, and to the peers.
struct Verdict {
  StatusCode code = StatusCode::kRemoteError;
  int about = -1;
  Cause cause = Cause::kFailed;
  std::string text;
};

// Reads every rank's journal once. Called by the owner of the communicator's progress when waiting
// has become too long, or when ranks are known to disagree.
class Inquiry {
 public:
  // Ranks that can't be asked before the deadline count as not answering.
  Inquiry(Communicator& comm, Deadline deadline);

  // How ranks differ in what they called as collective `number` or, if that is still known,
  // earlier; nullopt when they don't.
  std::optional<Verdict> disagreement(uint64_t number) const;
  // Whose fault it is that collective `number` has not moved for so long: a rank that is stopped,
  // does not answer, or has not entered it; else the connection from `waiting_for` (-1: unknown).
  Verdict silence(uint64_t number, int waiting_for, int64_t silence_ns) const;
  // The send that rank `from` has made and this rank has not expected so; nullopt when that is not
  // known.
  std::optional<Verdict> mismatched_send(int from, const std::optional<AwaitedSend>& awaited) const;
  // Rank `about` is known to be elsewhere than this rank in its calls.
  Verdict out_of_step(int about, std::optional<uint64_t> number, const char* reason) const;
  // The same for sends and receives, which have no number of their own.
  Verdict silence_between(int waiting_for, int64_t silence_ns) const;

 private:
  struct Rank {
    bool answered = false;
    bool left = false;
    char state = 0;  // of its process, as in /proc/PID/stat; 0: unknown
    JournalCopy journal;
  };
  std::optional<Verdict> disagreement_at(uint64_t number) const;
  bool stopped(int rank) const { return at(rank).state == 'T' || at(rank).state == 't'; }
  const Rank& at(int rank) const { return ranks_[static_cast<size_t>(rank)]; }
  std::string call_name(int rank, uint64_t number) const;
  std::string last_call(int rank) const;
  std::string waiters(int culprit, uint64_t number) const;
  std::optional<Verdict> absence(int rank, int64_t silence_ns) const;
  std::optional<Verdict> absence_of_any(const std::function<bool(int)>& to_blame,
                                        int64_t silence_ns) const;

  Communicator& comm_;
  std::vector<Rank> ranks_;
};

// "AllReduce".
const char* display_name(plan::Collective collective) noexcept;
// "3", "0-2,4-7".
std::string rank_list(const std::vector<int>& ranks);
// Do two ranks' calls of the same number go together?
bool agree(const CallFacts& a, const CallFacts& b) noexcept;
// "4096 float32".
std::string describe(const SendFacts& facts);

}  // namespace tutti::comm
