// SPDX-License-Identifier: Apache-2.0
// Notices, deaths, silence and disagreement, each turned into one message.
#include "src/comm/lookout.h"

#include <algorithm>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/planted.h"
#include "src/base/wait.h"
#include "src/comm/communicator.h"

namespace tutti::comm {
namespace {

constexpr int64_t kCheckIntervalNs = kNsPerMs;
constexpr int64_t kDeathGraceNs = 50 * kNsPerMs;     // for the reason of what was seen first
constexpr int64_t kFirstQuestionNs = 20 * kNsPerMs;  // of silence; then twice as long each time
constexpr int64_t kQuestionNs = 50 * kNsPerMs;       // for one peer's answer
constexpr int64_t kTextGraceNs = 100 * kNsPerMs;
constexpr int64_t kInquiryNs = 300 * kNsPerMs;  // for the answers of all

}  // namespace

void Lookout::look(int64_t now_ns, bool moved) noexcept {
  if (moved && (silent_since_ns_ == 0 || !planted(PlantedBug::kSilenceNeverReset))) {
    silent_since_ns_ = now_ns;
    noted_ns_ = 0;
    question_interval_ns_ = kFirstQuestionNs;
    next_question_ns_ = now_ns + question_interval_ns_;
  }
  if (now_ns >= next_check_ns_) {
    next_check_ns_ = now_ns + kCheckIntervalNs;
    note_wait(now_ns);
    if (check_peers()) return;
  }
  if (now_ns >= next_question_ns_) ask_peer(now_ns);
  if (subject_.done()) return;
  const int64_t silence_ns = now_ns - silent_since_ns_;
  // This rank may itself have been stopped for so long, and find now what has come meanwhile.
  if (comm_.timeout_ns() > 0 && silence_ns > comm_.timeout_ns() && subject_.still_stuck())
    fail_late(silence_ns);
}

// Fails when a peer has given up or died and we are stuck because of it; true when the subject is
// done.
bool Lookout::check_peers() noexcept {
  const auto notice = find_notice();
  if (notice.has_value() && (is_final(notice->cause) || subject_.still_stuck()))
    fail_noticed(*notice);
  if (subject_.done()) return true;
  const int dead = dead_peer();
  if (dead >= 0 && subject_.still_stuck() && subject_.needs(dead)) {
    // It may have told why it ends since the notices were looked at.
    if (const auto last = find_notice()) {
      fail_noticed(*last);
    } else {
      fail_dead(dead);
    }
  }
  return subject_.done();
}

// Tells the recording, and whoever counts, whom this rank has been waiting for since the last time.
void Lookout::note_wait(int64_t now_ns) noexcept {
  const int64_t since_ns = noted_ns_ != 0 ? noted_ns_ : silent_since_ns_;
  if (now_ns - since_ns < kCheckIntervalNs) return;
  const int peer = subject_.waiting_for();
  subject_.note_waiting();
  if (peer >= 0) {
    PeerTraffic& traffic = comm_.recorder().peer(peer);
    // Not add(): calls and kernels of one communicator may be looked after by two threads.
    if (noted_ns_ == 0) traffic.waits.fetch_add(1, std::memory_order_relaxed);
    traffic.waited_ns.fetch_add(static_cast<uint64_t>(now_ns - since_ns),
                                std::memory_order_relaxed);
  }
  noted_ns_ = now_ns;
}

std::optional<Notice> Lookout::find_notice() const noexcept {
  const Links& links = comm_.path().links;
  auto notice =
      subject_.owns_progress() ? links.notice(position()) : links.notice_to_kernels(position());
  return notice.has_value() ? notice : comm_.local().board.notice(position());
}

bool Lookout::hear_the_end() noexcept {
  const NoticeBoard& board = comm_.local().board;
  if (!board.any_notice()) [[likely]]
    return false;
  const auto notice = board.notice(position());
  if (!notice.has_value() || !is_final(notice->cause)) return false;
  fail_noticed(*notice);
  return true;
}

// Reads the journal of the peer that we wait for: it may have called something else, or have left.
void Lookout::ask_peer(int64_t now_ns) noexcept {
  question_interval_ns_ = std::min(2 * question_interval_ns_, kNsPerSecond);
  next_question_ns_ = now_ns + question_interval_ns_;
  const int peer = subject_.waiting_for();
  JournalCopy theirs;
  if (peer < 0) return;
  const auto answer = comm_.path().boards.read(peer, Deadline::after_ns(kQuestionNs), &theirs);
  if (answer == PeerBoards::Answer::kNone) return;
  const bool left = answer == PeerBoards::Answer::kLeft || theirs.closed();
  const auto number = subject_.collective_number();
  JournalCopy mine;
  comm_.local().board.copy_journal(&mine);
  const auto ours = number.has_value() ? mine.facts(*number) : std::nullopt;
  const auto other = number.has_value() ? theirs.facts(*number) : std::nullopt;
  const bool disagree = ours.has_value() && other.has_value() && !agree(*ours, *other);
  if (!(disagree || left) || !subject_.still_stuck() || !subject_.needs(peer)) return;
  // It may have left because of a failure, and we are still to be told.
  if (const auto notice = disagree ? std::nullopt : await_notice()) return fail_noticed(*notice);
  fail_disagreed({StatusCode::kInvalidUsage, peer,
                  left ? "it has finalized or destroyed the communicator" : nullptr});
}

uint16_t Lookout::position() const noexcept { return comm_.path().collectives.position(); }

int Lookout::dead_peer() const noexcept {
  for (int peer = 0; peer < comm_.n_ranks(); ++peer) {
    if (peer == comm_.rank() || comm_.local().transports.peer_failure(peer).ok()) continue;
    if (subject_.needs(peer)) return peer;
  }
  return -1;
}

void Lookout::fail(const Status& status, const char* what) noexcept {
  if (status.code == StatusCode::kRemoteError) {
    // A peer that fell before us has said why; else whatever a dead peer has broken, its death is
    // the cause.
    if (const auto notice = find_notice()) return fail_noticed(*notice);
    const int dead = await_death(status.rank);
    if (dead >= 0) return fail_dead(dead);
  }
  if (status.code == StatusCode::kInvalidUsage && status.rank >= 0) return fail_disagreed(status);
  const char* reason = status.reason != nullptr ? status.reason : what;
  if (reason == nullptr) reason = "no reason given";
  fail({.code = status.code, .about = status.rank},
       (status.rank < 0 ? "" : "with rank " + std::to_string(status.rank) + ": ") + reason);
}

// What this rank and `status.rank` have called does not go together; who is right is for the user
// to say.
void Lookout::fail_disagreed(const Status& status) noexcept {
  if (const auto notice = find_notice(); notice.has_value() && notice->cause == Cause::kDisagreed)
    return fail_noticed(*notice);
  const Inquiry inquiry(comm_, Deadline::after_ns(kInquiryNs));
  const auto number = subject_.collective_number();
  std::optional<Verdict> verdict =
      number.has_value() ? inquiry.disagreement(*number) : std::nullopt;
  if (!verdict.has_value() && !number.has_value())
    verdict = inquiry.mismatched_send(status.rank, subject_.awaited_send(status.rank));
  if (!verdict.has_value()) {
    // Nobody is found to have called anything else: one that has left may have failed first.
    if (const auto notice = find_notice()) return fail_noticed(*notice);
    verdict = inquiry.out_of_step(status.rank, number, status.reason);
  }
  fail(*verdict);
}

void Lookout::fail(const Verdict& verdict) noexcept {
  fail({.code = verdict.code, .about = verdict.about, .cause = verdict.cause}, verdict.text);
}

// A process that ends loses its sockets before it counts as ended, so a broken connection may be
// the first that is seen. Returns the dead peer, -1 when none shows up. `suspect` -1: any.
int Lookout::await_death(int suspect) const noexcept {
  const Deadline deadline = Deadline::after_ns(kDeathGraceNs);
  while (true) {
    for (int peer = 0; peer < comm_.n_ranks(); ++peer) {
      const bool asked = suspect < 0 || peer == suspect;
      if (asked && peer != comm_.rank() && !comm_.local().transports.peer_failure(peer).ok())
        return peer;
    }
    if (deadline.expired()) return -1;
    sleep_ns(kNsPerMs);
  }
}

void Lookout::fail_dead(int peer) noexcept {
  const Transports& transports = comm_.local().transports;
  const Status why = transports.peer_failure(peer);
  if (transports.to(peer).crosses_hosts() && why.reason != nullptr) {
    return fail({.about = peer, .cause = Cause::kDied},
                std::string("while this rank waited for it: ") + why.reason);
  }
  const int32_t pid = transports.peer(peer).process.pid;
  fail({.about = peer, .cause = Cause::kDied}, "rank " + std::to_string(peer) +
                                                   " has died (process " + std::to_string(pid) +
                                                   " ended) while this rank waited for it");
}

// nullopt when none comes.
std::optional<Notice> Lookout::await_notice() const noexcept {
  const Deadline deadline = Deadline::after_ns(kDeathGraceNs);
  while (true) {
    const auto notice = find_notice();
    if (notice.has_value() || deadline.expired()) return notice;
    sleep_ns(kNsPerMs);
  }
}

// The sentence of whoever has found the failure; "" when none comes. The notice that we have seen
// may be a relay's, which is overtaking it.
std::string Lookout::await_text() const noexcept {
  const Deadline deadline = Deadline::after_ns(kTextGraceNs);
  while (true) {
    const auto told = comm_.local().board.told();
    if (told.has_value())
      return told->text + " (rank " + std::to_string(told->from) + " reports it)";
    if (deadline.expired()) return "";
    sleep_ns(kNsPerMs / 10);
  }
}

void Lookout::fail_noticed(const Notice& notice) noexcept {
  const std::string from = "rank " + std::to_string(notice.from);
  const std::string about = "rank " + std::to_string(notice.about);
  const Blame blame{
      .code = notice.code, .about = notice.about, .cause = notice.cause, .heard = true};
  if (has_text(notice.cause)) {
    const std::string text = await_text();
    if (!text.empty()) return fail(blame, text);
  }
  switch (notice.cause) {
    case Cause::kDied:
      return fail(blame, about + " has died (" + from + " reports it)");
    case Cause::kTimedOut:
      return fail(blame, notice.about < 0 ? from + " has waited too long"
                                          : from + " has waited too long for " + about);
    case Cause::kAborted:
      return fail(blame, about + " has aborted the communicator");
    case Cause::kRevoked:
      return fail(blame, about + " has revoked the communicator");
    case Cause::kDisagreed:
      return fail(blame, from + " finds that " + about + " has made another call than it");
    case Cause::kFailed:
      break;
  }
  fail(blame, from + " has failed" + (notice.about < 0 ? "" : " because of " + about) +
                  "; its own error says why");
}

void Lookout::fail_late(int64_t silence_ns) noexcept {
  const int peer = subject_.waiting_for();
  const Inquiry inquiry(comm_, Deadline::after_ns(kInquiryNs));
  // While we asked, what we wait for may have come, or a peer that has fallen before us may have
  // said why.
  if (!subject_.still_stuck()) return;
  if (const auto notice = find_notice()) return fail_noticed(*notice);
  const auto number = subject_.collective_number();
  Verdict verdict = number.has_value() ? inquiry.silence(*number, peer, silence_ns)
                                       : inquiry.silence_between(peer, silence_ns);
  if (verdict.cause == Cause::kTimedOut) {
    verdict.text += "; TUTTI_TIMEOUT and tuttiConfig_t.timeoutSeconds set the limit";
  }
  fail(verdict);
}

void Lookout::fail(const Blame& blame, const std::string& what) noexcept {
  const std::string call = subject_.call_name();
  // What a peer reports begins with its call, which mostly is the same.
  const bool repeats = blame.heard && what.starts_with(call + ": ");
  const std::string message =
      call + comm_.place() + ": " + (repeats ? what.substr(call.size() + 2) : what);
  comm_.health().fail(blame.code, message, Health::Teller::kBreaker);
  subject_.stop();
  log(LogLevel::kError, "comm", comm_.rank(), "{}", message);
  // The sentence travels where the peers can't make it up themselves.
  const bool tell = has_text(blame.cause);
  comm_.post_notice({.from = comm_.rank(),
                     .about = blame.about,
                     .cause = blame.cause,
                     .code = blame.code,
                     .position = static_cast<uint16_t>(
                         position() + (planted(PlantedBug::kNoticePositionOff) ? 1 : 0))},
                    tell ? call + ": " + what : "", blame.heard);
  if (blame.about >= 0 && blame.about != comm_.rank())
    comm_.local().transports.give_up(blame.about);
  subject_.failed();
}

}  // namespace tutti::comm
