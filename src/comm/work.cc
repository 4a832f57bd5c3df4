// SPDX-License-Identifier: Apache-2.0
// Drives one unit of work and turns what stops it into a message.
#include "src/comm/work.h"

#include <cstdio>

#include "src/base/clock.h"

namespace tutti::comm {
namespace {

constexpr int64_t kCheckIntervalNs = kNsPerMs;
constexpr int64_t kDeathGraceNs = 50 * kNsPerMs;
constexpr int kLastPolls = 3;  // after a failure was seen: data may have come before it

std::string seconds(int64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g s", static_cast<double>(ns) / kNsPerSecond);
  return text;
}

}  // namespace

Work::Work(Communicator& comm, std::span<OrderedCall> calls, P2pGroup* p2p)
    : comm_(comm),
      ticket_(comm.order().take()),
      sequence_(comm, calls, caught_),
      p2p_(p2p),
      p2p_done_(p2p == nullptr) {}

void Work::progress(bool* advanced) noexcept {
  if (state_ == State::kTurn) {
    if (!comm_.order().is_turn(ticket_)) return;
    start();
  }
  if (state_ == State::kRun) run(advanced);
}

void Work::start() noexcept {
  state_ = State::kRun;
  if (comm_.health().broken()) {
    end();
    return;
  }
  if (p2p_ == nullptr) return;
  DataPath& path = comm_.path();
  const Status status = contained(
      caught_, [&] { p2p_->open(path.links, path.tuning, path.collectives.counters(), caught_); });
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
    if (p2p_done_) comm_.stats().publish(comm_.path().collectives.counters(), nullptr);
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
  if (moved_) {
    moved_ = false;
    silent_since_ns_ = now_ns;
  }
  if (now_ns >= next_check_ns_) {
    next_check_ns_ = now_ns + kCheckIntervalNs;
    if (check_peers()) return;
  }
  const int64_t silence_ns = now_ns - silent_since_ns_;
  if (comm_.timeout_ns() > 0 && silence_ns > comm_.timeout_ns()) fail_late(silence_ns);
}

// Fails when a peer has given up or died and we are stuck because of it; true when this work has
// ended.
bool Work::check_peers() noexcept {
  if (const auto notice = find_notice(); notice.has_value() && still_stuck()) fail_noticed(*notice);
  if (done()) return true;
  const int dead = dead_peer();
  if (dead >= 0 && still_stuck() && needs(dead)) fail_dead(dead);
  return done();
}

std::optional<Notice> Work::find_notice() const noexcept {
  auto notice = comm_.path().links.notice(begun());
  return notice.has_value() ? notice : comm_.local().board.notice(begun());
}

uint16_t Work::begun() const noexcept {
  return static_cast<uint16_t>(comm_.path().collectives.begun());
}

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

std::string Work::describe() const {
  const std::string call = sequence_.describe();
  return (call.empty() ? "point-to-point" : call) + comm_.place();
}

void Work::fail(const Status& status) noexcept {
  if (status.code == StatusCode::kRemoteError) {
    // A peer that fell before us has said why; else whatever a dead peer has broken, its death is
    // the cause.
    if (const auto notice = find_notice()) return fail_noticed(*notice);
    const int dead = await_death(status.rank);
    if (dead >= 0) return fail_dead(dead);
  }
  const std::string what = status.reason != nullptr ? status.reason
                           : caught_.has_value()    ? caught_->what()
                                                    : "no reason given";
  fail({.code = status.code, .about = status.rank},
       (status.rank < 0 ? "" : "with rank " + std::to_string(status.rank) + ": ") + what);
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

void Work::fail_noticed(const Notice& notice) noexcept {
  const std::string from = "rank " + std::to_string(notice.from);
  const std::string about = "rank " + std::to_string(notice.about);
  Blame blame{.code = notice.code, .about = notice.about, .cause = notice.cause, .heard = true};
  switch (notice.cause) {
    case Cause::kDied:
      return fail(blame, about + " has died (" + from + " reports it)");
    case Cause::kTimedOut:
      return fail(blame, notice.about < 0 ? from + " has waited too long"
                                          : from + " has waited too long for " + about);
    case Cause::kAborted:
      return fail(blame, about + " has aborted the communicator");
    case Cause::kFailed:
      break;
  }
  fail(blame, from + " has failed" + (notice.about < 0 ? "" : " because of " + about) +
                  "; its own error says why");
}

void Work::fail_late(int64_t silence_ns) noexcept {
  const int peer = waiting_for();
  const std::string whom = peer < 0 ? "its own steps" : "rank " + std::to_string(peer);
  fail({.about = peer, .cause = Cause::kTimedOut},
       "no progress for " + seconds(silence_ns) + " while waiting for " + whom +
           "; it may be stopped, busy, or has not made the matching call (a thread that drives "
           "several ranks must call "
           "for all of them in one group); TUTTI_TIMEOUT and tuttiConfig_t.timeoutSeconds set the "
           "limit");
}

void Work::fail(const Blame& blame, const std::string& what) noexcept {
  comm_.health().fail(blame.code, describe() + ": " + what);
  comm_.post_notice({.from = comm_.rank(),
                     .about = blame.about,
                     .cause = blame.cause,
                     .code = blame.code,
                     .begun = begun()},
                    blame.heard);
  end();
}

// Only an abort breaks the communicator while a work of it runs.
void Work::end_aborted() noexcept {
  if (state_ == State::kRun) {
    const int me = comm_.rank();
    comm_.post_notice({.from = me, .about = me, .cause = Cause::kAborted, .begun = begun()}, false);
  }
  end();
}

void Work::end() noexcept {
  state_ = State::kDone;
  const bool complete = sequence_done_ && p2p_done_;
  if (!complete) error_ = comm_.health().error();
  comm_.order().leave(ticket_, comm_.bell());
}

}  // namespace tutti::comm
