// SPDX-License-Identifier: Apache-2.0
// Drives one unit of work and turns what stops it into a message.
#include "src/comm/work.h"

#include <algorithm>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/planted.h"
#include "src/comm/recording.h"

namespace tutti::comm {
namespace {

constexpr int64_t kCheckIntervalNs = kNsPerMs;
constexpr int64_t kDeathGraceNs = 50 * kNsPerMs;     // for the reason of what was seen first
constexpr int64_t kFirstQuestionNs = 20 * kNsPerMs;  // of silence; then twice as long each time
constexpr int64_t kQuestionNs = 50 * kNsPerMs;       // for one peer's answer
constexpr int64_t kTextGraceNs = 100 * kNsPerMs;
constexpr int64_t kInquiryNs = 300 * kNsPerMs;  // for the answers of all
constexpr int kLastPolls = 3;  // after a failure was seen: data may have come before it

}  // namespace

Work::Work(Communicator& comm, std::span<OrderedCall> calls, P2pGroup* p2p)
    : comm_(comm),
      ticket_(comm.order().take()),
      sequence_(comm, calls, caught_),
      p2p_(p2p),
      p2p_done_(p2p == nullptr) {
  if (!comm.order().is_turn(ticket_)) queue(calls);
}

Work::Work(Communicator& comm, OrderedCall& call, const Started& started)
    : comm_(comm),
      ticket_(started.ticket),
      sequence_(comm, {&call, 1}, caught_),
      p2p_(nullptr),
      state_(State::kRun),
      p2p_done_(true) {
  sequence_.take_over(started.record);
}

Work::Work(Communicator& comm, P2pGroup& p2p, const Started& started)
    : comm_(comm),
      ticket_(started.ticket),
      sequence_(comm, {}, caught_),
      p2p_(&p2p),
      state_(State::kRun),
      p2p_record_(started.record) {
  open_p2p();
}

void Work::queue(std::span<OrderedCall> calls) noexcept {
  trace::Call call = p2p_ != nullptr ? p2p_->recorded() : trace::Call{};
  if (!calls.empty()) {
    call = recorded_call(calls.front());
    call.transfers = static_cast<uint32_t>(calls.size());
  }
  queued_ = comm_.recorder().queue(call);
  sequence_.set_issued(queued_.issued);
}

void Work::progress(bool* advanced) noexcept {
  if (state_ == State::kTurn) {
    if (!comm_.order().is_turn(ticket_)) return;
    start();
  }
  if (state_ == State::kRun) run(advanced);
}

void Work::start() noexcept {
  state_ = State::kRun;
  comm_.recorder().dequeue(queued_);
  if (comm_.health().broken()) {
    end();
    return;
  }
  if (const auto notice = final_notice()) [[unlikely]]
    return fail_noticed(*notice);
  if (p2p_ == nullptr) return;
  trace::Recorder& recorder = comm_.recorder();
  p2p_record_ = recorder.begin(recorder.describe(p2p_->recorded(), ""),
                               comm_.path().collectives.begun(), queued_.issued);
  open_p2p();
}

void Work::open_p2p() noexcept {
  DataPath& path = comm_.path();
  const Status status = contained(caught_, [&] {
    p2p_->open({path.links, path.tuning, path.collectives.sent(), comm_.local().board.journal()},
               caught_);
  });
  if (!status.ok()) fail(status);
}

void Work::run(bool* advanced) noexcept {
  bool moved = false;
  if (!sequence_done_) {
    const Status status = sequence_.progress(&moved);
    sequence_done_ = status.ok();
    if (!status.ok() && !status.in_progress()) return fail(status);
  }
  if (!p2p_done_) {
    const Status status = p2p_->progress(&moved);
    p2p_done_ = status.ok();
    if (!status.ok() && !status.in_progress()) return fail(status);
    if (p2p_done_) {
      const int protocol = comm_.stats().publish(comm_.path().collectives.sent(), nullptr);
      comm_.recorder().end(*p2p_record_, protocol);
      p2p_record_.reset();
    }
  }
  if (moved) {
    moved_ = true;
    *advanced = true;
  }
  if (sequence_done_ && p2p_done_) end();
}

void Work::look(int64_t now_ns) noexcept {
  if (state_ == State::kDone) return;
  if (comm_.health().broken()) return end_aborted();
  if (state_ == State::kTurn) return;
  if (moved_ && (silent_since_ns_ == 0 || !planted(PlantedBug::kSilenceNeverReset))) {
    moved_ = false;
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
  if (done()) return;
  const int64_t silence_ns = now_ns - silent_since_ns_;
  // This rank may itself have been stopped for so long, and find now what has come meanwhile.
  if (comm_.timeout_ns() > 0 && silence_ns > comm_.timeout_ns() && still_stuck())
    fail_late(silence_ns);
}

// Fails when a peer has given up or died and we are stuck because of it; true when this work has
// ended.
bool Work::check_peers() noexcept {
  const auto notice = find_notice();
  if (notice.has_value() && (is_final(notice->cause) || still_stuck())) fail_noticed(*notice);
  if (done()) return true;
  const int dead = dead_peer();
  if (dead >= 0 && still_stuck() && needs(dead)) fail_dead(dead);
  return done();
}

// Tells the recording, and whoever counts, whom this rank has been waiting for since the last time.
void Work::note_wait(int64_t now_ns) noexcept {
  const int64_t since_ns = noted_ns_ != 0 ? noted_ns_ : silent_since_ns_;
  if (now_ns - since_ns < kCheckIntervalNs) return;
  const int peer = waiting_for();
  trace::Recorder& recorder = comm_.recorder();
  if (const auto open = sequence_.open_record()) recorder.waiting(*open, sequence_.waiting_for());
  if (p2p_record_.has_value()) recorder.waiting(*p2p_record_, p2p_->waiting_for());
  if (peer >= 0) {
    PeerTraffic& traffic = recorder.peer(peer);
    if (noted_ns_ == 0) add(traffic.waits, 1);
    add(traffic.waited_ns, static_cast<uint64_t>(now_ns - since_ns));
  }
  noted_ns_ = now_ns;
}

std::optional<Notice> Work::find_notice() const noexcept {
  auto notice = comm_.path().links.notice(position());
  return notice.has_value() ? notice : comm_.local().board.notice(position());
}

// A notice that ends the communicator before this work has begun.
std::optional<Notice> Work::final_notice() const noexcept {
  const NoticeBoard& board = comm_.local().board;
  if (!board.any_notice()) [[likely]]
    return std::nullopt;
  const auto notice = board.notice(position());
  return notice.has_value() && is_final(notice->cause) ? notice : std::nullopt;
}

// Reads the journal of the peer that we wait for: it may have called something else, or have left.
void Work::ask_peer(int64_t now_ns) noexcept {
  question_interval_ns_ = std::min(2 * question_interval_ns_, kNsPerSecond);
  next_question_ns_ = now_ns + question_interval_ns_;
  const int peer = waiting_for();
  JournalCopy theirs;
  if (peer < 0) return;
  const auto answer = comm_.path().boards.read(peer, Deadline::after_ns(kQuestionNs), &theirs);
  if (answer == PeerBoards::Answer::kNone) return;
  const bool left = answer == PeerBoards::Answer::kLeft || theirs.closed();
  const auto number = sequence_.collective_number();
  JournalCopy mine;
  comm_.local().board.copy_journal(&mine);
  const auto ours = number.has_value() ? mine.facts(*number) : std::nullopt;
  const auto other = number.has_value() ? theirs.facts(*number) : std::nullopt;
  const bool disagree = ours.has_value() && other.has_value() && !agree(*ours, *other);
  if (!(disagree || left) || !still_stuck() || !needs(peer)) return;
  // It may have left because of a failure, and we are still to be told.
  if (const auto notice = disagree ? std::nullopt : await_notice()) return fail_noticed(*notice);
  fail_disagreed({StatusCode::kInvalidUsage, peer,
                  left ? "it has finalized or destroyed the communicator" : nullptr});
}

uint16_t Work::position() const noexcept { return comm_.path().collectives.position(); }

// Polls a few times more; true when that changes nothing.
bool Work::still_stuck() noexcept {
  for (int i = 0; i < kLastPolls; ++i) {
    bool advanced = false;
    progress(&advanced);
    if (advanced || done()) return false;
  }
  return true;
}

int Work::waiting_for() const noexcept {
  const int peer = sequence_.waiting_for();
  return peer >= 0 || p2p_ == nullptr || p2p_done_ ? peer : p2p_->waiting_for();
}

bool Work::needs(int rank) const noexcept {
  return sequence_.needs(rank) || (p2p_ != nullptr && !p2p_done_ && p2p_->needs(rank));
}

int Work::dead_peer() const noexcept {
  for (int peer = 0; peer < comm_.n_ranks(); ++peer) {
    if (peer == comm_.rank() || comm_.local().transports.peer_failure(peer).ok()) continue;
    if (needs(peer)) return peer;
  }
  return -1;
}

std::string Work::call_name() const {
  const std::string call = sequence_.describe();
  return call.empty() ? "point-to-point" : call;
}

void Work::fail(const Status& status) noexcept {
  if (status.code == StatusCode::kRemoteError) {
    // A peer that fell before us has said why; else whatever a dead peer has broken, its death is
    // the cause.
    if (const auto notice = find_notice()) return fail_noticed(*notice);
    const int dead = await_death(status.rank);
    if (dead >= 0) return fail_dead(dead);
  }
  if (status.code == StatusCode::kInvalidUsage && status.rank >= 0) return fail_disagreed(status);
  const std::string what = status.reason != nullptr ? status.reason
                           : caught_.has_value()    ? caught_->what()
                                                    : "no reason given";
  fail({.code = status.code, .about = status.rank},
       (status.rank < 0 ? "" : "with rank " + std::to_string(status.rank) + ": ") + what);
}

// What this rank and `status.rank` have called does not go together; who is right is for the user
// to say.
void Work::fail_disagreed(const Status& status) noexcept {
  if (const auto notice = find_notice(); notice.has_value() && notice->cause == Cause::kDisagreed)
    return fail_noticed(*notice);
  const Inquiry inquiry(comm_, Deadline::after_ns(kInquiryNs));
  const auto number = sequence_.collective_number();
  std::optional<Verdict> verdict =
      number.has_value() ? inquiry.disagreement(*number) : std::nullopt;
  if (!verdict.has_value() && !number.has_value() && p2p_ != nullptr)
    verdict = inquiry.mismatched_send(status.rank, p2p_->awaited_send(status.rank));
  if (!verdict.has_value()) {
    // Nobody is found to have called anything else: one that has left may have failed first.
    if (const auto notice = find_notice()) return fail_noticed(*notice);
    verdict = inquiry.out_of_step(status.rank, number, status.reason);
  }
  fail(*verdict);
}

void Work::fail(const Verdict& verdict) noexcept {
  fail({.code = verdict.code, .about = verdict.about, .cause = verdict.cause}, verdict.text);
}

// A process that ends loses its sockets before it counts as ended, so a broken connection may be
// the first that is seen. Returns the dead peer, -1 when none shows up. `suspect` -1: any.
int Work::await_death(int suspect) const noexcept {
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

void Work::fail_dead(int peer) noexcept {
  const int32_t pid = comm_.local().transports.peer(peer).process.pid;
  fail({.about = peer, .cause = Cause::kDied}, "rank " + std::to_string(peer) +
                                                   " has died (process " + std::to_string(pid) +
                                                   " ended) while this rank waited for it");
}

// nullopt when none comes.
std::optional<Notice> Work::await_notice() const noexcept {
  const Deadline deadline = Deadline::after_ns(kDeathGraceNs);
  while (true) {
    const auto notice = find_notice();
    if (notice.has_value() || deadline.expired()) return notice;
    sleep_ns(kNsPerMs);
  }
}

// The sentence of whoever has found the failure; "" when none comes. The notice that we have seen
// may be a relay's, which is overtaking it.
std::string Work::await_text() const noexcept {
  const Deadline deadline = Deadline::after_ns(kTextGraceNs);
  while (true) {
    const auto told = comm_.local().board.told();
    if (told.has_value())
      return told->text + " (rank " + std::to_string(told->from) + " reports it)";
    if (deadline.expired()) return "";
    sleep_ns(kNsPerMs / 10);
  }
}

void Work::fail_noticed(const Notice& notice) noexcept {
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

void Work::fail_late(int64_t silence_ns) noexcept {
  const int peer = waiting_for();
  const Inquiry inquiry(comm_, Deadline::after_ns(kInquiryNs));
  // While we asked, what we wait for may have come, or a peer that has fallen before us may have
  // said why.
  if (!still_stuck()) return;
  if (const auto notice = find_notice()) return fail_noticed(*notice);
  const auto number = sequence_.collective_number();
  Verdict verdict = number.has_value() ? inquiry.silence(*number, peer, silence_ns)
                                       : inquiry.silence_between(peer, silence_ns);
  if (verdict.cause == Cause::kTimedOut) {
    verdict.text += "; TUTTI_TIMEOUT and tuttiConfig_t.timeoutSeconds set the limit";
  }
  fail(verdict);
}

void Work::fail(const Blame& blame, const std::string& what) noexcept {
  const std::string call = call_name();
  // What a peer reports begins with its call, which mostly is the same.
  const bool repeats = blame.heard && what.starts_with(call + ": ");
  const std::string message =
      call + comm_.place() + ": " + (repeats ? what.substr(call.size() + 2) : what);
  comm_.health().fail(blame.code, message);
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
  end();
}

void Work::record_failure() noexcept {
  trace::Recorder& recorder = comm_.recorder();
  const int code = static_cast<int>(error_->code());
  recorder.dequeue(queued_);
  if (const auto open = sequence_.open_record())
    recorder.fail(*open, sequence_.waiting_for(), code);
  if (p2p_record_.has_value()) recorder.fail(*p2p_record_, p2p_->waiting_for(), code);
  if (comm_.order().is_turn(ticket_)) recorder.failed(error_->what());
}

// Only break_off() breaks the communicator while a work of it runs.
void Work::end_aborted() noexcept {
  if (state_ == State::kRun) comm_.post_own(comm_.broken_off_for());
  end();
}

void Work::end() noexcept {
  state_ = State::kDone;
  const bool complete = sequence_done_ && p2p_done_;
  if (!complete) {
    comm_.exposures()->end();
    error_ = comm_.health().error();
    record_failure();
  } else {
    error_ = sequence_.refusal();
  }
  comm_.order().leave(ticket_, comm_.bell());
}

}  // namespace tutti::comm
