// SPDX-License-Identifier: Apache-2.0
// A session's paths: dialling, greeting, breaking, and what becomes of the frames of a broken one.
#include <algorithm>
#include <cstring>
#include <utility>

#include "src/base/log.h"
#include "transport/network/endpoint.h"
#include "transport/network/session.h"

namespace tutti::transport::network {
namespace {

constexpr int64_t kFirstRedialNs = 50 * kNsPerMs;
constexpr int64_t kMostRedialNs = kNsPerSecond;
constexpr int64_t kGreetingNs = 5 * kNsPerSecond;  // from dialling to open
constexpr int64_t kYieldNs = 2 * kNsPerSecond;     // for the peer's own dialling
constexpr int kRefusalsOfTheGone = 3;

using State = SessionPath::State;

}  // namespace

// SessionPath

std::byte* SessionPath::place(const FrameHeader& header) noexcept {
  if (state == State::kOpen) return session->place(*this, header);
  return header.payload_bytes <= greeting.size() ? greeting.data() : nullptr;
}

void SessionPath::arrived(Path&, const FrameHeader& header, const std::byte* payload) noexcept {
  if (state == State::kBroken) return;
  if (state == State::kOpen) return session->arrived(*this, header, payload);
  if (payload != nullptr && header.payload_bytes <= greeting.size())
    std::memcpy(greeting.data(), payload, header.payload_bytes);
  if (session != nullptr) return session->greet(*this, header);
  endpoint.meet(*this, header);
}

void SessionPath::sent(Path&, uint64_t token) noexcept {
  if (session != nullptr) session->sent(token);
}

void SessionPath::broken(Path&, const std::string& why) noexcept {
  if (session != nullptr) return session->lost(*this, why, false);
  state = State::kBroken;
}

// Greeting

// Greetings don't hold up the rest.
void Session::pump_greetings() noexcept {
  for (size_t i = 0; i < paths_.size(); ++i) {
    SessionPath& path = *paths_[i];
    if (!path.dialled) continue;
    if (path.state == State::kDialling &&
        send_unsequenced(path, {.kind = FrameKind::kHello}, &path.hello, sizeof path.hello)) {
      path.state = State::kGreeting;
    } else if (path.state == State::kWelcomed) {
      path.confirm.proof =
          prove(endpoint_.secret_of(peer_), Step::kConfirm, path.hello, path.acceptor_nonce);
      if (send_unsequenced(path, {.kind = FrameKind::kConfirm}, &path.confirm, sizeof path.confirm))
        opened(path);
    }
  }
}

void Session::greet(SessionPath& from, const FrameHeader& header) noexcept {
  const Key& secret = endpoint_.secret_of(peer_);
  const bool greeting = from.state == State::kGreeting;
  // Only on an open path the peer may have received what it has to tell of.
  const auto refuse = [&](const std::string& why) { lost(from, why, from.state != State::kOpen); };
  if (greeting && from.dialled && header.kind == FrameKind::kWelcome &&
      header.payload_bytes == sizeof(Welcome)) {
    Welcome welcome;
    std::memcpy(&welcome, from.greeting.data(), sizeof welcome);
    if (!holds(prove(secret, Step::kWelcome, from.hello, welcome.nonce), welcome.proof))
      return refuse("who answered does not know this communicator's secret");
    from.acceptor_nonce = welcome.nonce;
    from.state = State::kWelcomed;  // pump_greetings() confirms
    return;
  }
  if (greeting && !from.dialled && header.kind == FrameKind::kConfirm &&
      header.payload_bytes == sizeof(Confirm)) {
    Confirm confirm;
    std::memcpy(&confirm, from.greeting.data(), sizeof confirm);
    if (!holds(prove(secret, Step::kConfirm, from.hello, from.acceptor_nonce), confirm.proof))
      return refuse("who dialled does not know this communicator's secret");
    return opened(from);
  }
  if (greeting && from.dialled && header.kind == FrameKind::kRefuse) {
    if (header.word == static_cast<uint32_t>(Refusal::kMineWins)) {
      yield_until_ns_ = now_ns() + kYieldNs;
    } else {
      const bool encryption = header.word == static_cast<uint32_t>(Refusal::kEncryption);
      fail(endpoint_.name_of(peer_) + " refuses paths of this rank: " +
           (encryption ? "TUTTI_ENCRYPT is not the same on both; set it alike on all ranks"
                       : "it does not belong to this communicator"));
    }
    return lost(from, "refused", true);
  }
  refuse("an unexpected frame of the greeting");
}

void Session::opened(SessionPath& path) noexcept {
  if (endpoint_.encrypts()) {
    const PathKeys keys = derive_keys(endpoint_.secret_of(peer_), path.hello, path.acceptor_nonce);
    const bool sealed = path.dialled ? path.path->encrypt(keys.dialler_sends, keys.acceptor_sends)
                                     : path.path->encrypt(keys.acceptor_sends, keys.dialler_sends);
    if (!sealed) return lost(path, "it can't be encrypted", true);
  }
  path.state = State::kOpen;
  path.since_ns = now_ns();
  path.rail = static_cast<size_t>(std::max(0, path.path->rail()));
  if (rails_.size() <= path.rail) rails_.resize(path.rail + 1);
  rails_[path.rail].restart();
  was_open_ = true;
  down_since_ns_ = 0;
  refusals_ = 0;
  if (path.dialled) dials_[static_cast<size_t>(path.index)].wait_ns = 0;
  log(LogLevel::kDebug, "transport", endpoint_.rank(), "a path to rank {}: {}", peer_,
      path.path->describe());
  endpoint_.ring_own_bell();
}

bool Session::wants_stranger() const noexcept {
  // Both ranks may dial at once: then the lower one's paths are kept.
  const bool dialling = std::ranges::any_of(
      paths_, [](const auto& path) { return path->dialled && path->state != State::kBroken; });
  return !failed_ && (!dialling || endpoint_.rank() >= peer_);
}

void Session::adopt(std::unique_ptr<SessionPath> stranger) noexcept {
  stranger->session = this;
  paths_.push_back(std::move(stranger));
}

// Breaking

// `peer_has_closed`: the peer's end is closed too, so nothing that was sent by this path can arrive
// any more.
void Session::lost(SessionPath& path, const std::string& why, bool peer_has_closed) noexcept {
  if (path.state == State::kBroken) return;
  const bool was_open = path.state == State::kOpen;
  path.state = State::kBroken;
  if (was_open) {
    rails_[path.rail].restart();
    yield_until_ns_ = 0;  // the peer may be gone: who notices dials, and finds out
  }
  last_break_ = path.path->describe() + ": " + why;
  const bool refused = path.path->refused();
  if (refused) ++refusals_;
  log(was_open && !peer_left_ ? LogLevel::kWarn : LogLevel::kDebug, "transport", endpoint_.rank(),
      "a path to rank {} broke: {}", peer_, last_break_);
  std::vector<uint64_t> sequences;
  outbox_.for_each([&](Sent& sent) {
    if (sent.path != &path || sent.acknowledged) return;
    sent.path = nullptr;
    sequences.push_back(sent.frame.header.sequence);
  });
  if (path.dialled) {
    Dial& dial = dials_[static_cast<size_t>(path.index)];
    dial.wait_ns = std::clamp(dial.wait_ns * 2, kFirstRedialNs, kMostRedialNs);
    dial.next_ns = now_ns() + dial.wait_ns;
  }
  if (!was_open) return;
  if (peer_has_closed) {
    resend_.insert(resend_.end(), sequences.begin(), sequences.end());
  } else {
    lost_[path.hello.path_id] = std::move(sequences);
    post_own(FrameKind::kAbandon, path.hello.path_id);
  }
  endpoint_.ring_own_bell();
}

// The peer has closed a path.
void Session::on_abandon(uint64_t path_id, const Arrivals& arrivals) noexcept {
  outbox_.acknowledge(arrivals);
  for (auto& path : paths_) {
    if (path->hello.path_id == path_id) lost(*path, "the peer has found it broken", true);
  }
  on_abandoned(path_id, arrivals);  // if this rank asks the same: the peer has closed it
  // pump() destroys the path before it sends this.
  post_own(FrameKind::kAbandoned, path_id);
}

void Session::on_abandoned(uint64_t path_id, const Arrivals& arrivals) noexcept {
  outbox_.acknowledge(arrivals);
  const auto at = lost_.find(path_id);
  if (at == lost_.end()) return;
  resend_.insert(resend_.end(), at->second.begin(), at->second.end());
  lost_.erase(at);
}

void Session::close() noexcept {
  for (auto& path : paths_) path->state = State::kBroken;
  reap();
}

// Only a path that is destroyed is sure to read nothing any more: one that the peer has given up,
// or whose session has failed, may still be sending.
void Session::reap() noexcept {
  for (auto& path : paths_) {
    if (path->state != State::kBroken) continue;
    path->path.reset();
    outbox_.for_each([&](Sent& sent) {
      if (sent.reader == path.get()) end_reading(sent);
    });
  }
  std::erase_if(paths_, [](const auto& path) { return path->state == State::kBroken; });
}

// Time

bool Session::any_path(State state) const noexcept {
  return std::ranges::any_of(paths_, [&](const auto& path) { return path->state == state; });
}

void Session::tick(int64_t now) noexcept {
  reap();
  if (failed_ || peer_left_) return;
  for (auto& path : paths_) {
    if (path->state != State::kOpen && now - path->since_ns > kGreetingNs)
      lost(*path, "no answer within 5 s", true);
  }
  for (RailLoad& rail : rails_) rail.trust(now, fastest_rail_);
  if (!wanted_ && !was_open_) return;
  if (address_.has_value()) dial_missing(now);
  if (any_path(State::kOpen)) return;
  if (down_since_ns_ == 0) down_since_ns_ = now;
  if (refusals_ >= kRefusalsOfTheGone) {
    return fail(endpoint_.name_of(peer_) + " is gone: its machine answers, but nobody " +
                "listens there any more; last: " + last_break_);
  }
  const int64_t down_ns = now - down_since_ns_;
  if (down_ns < endpoint_.patience_ns()) return;
  fail(endpoint_.name_of(peer_) + " can't be reached: no " +
       std::string(endpoint_.carrier().name()) + " path to it has worked for " +
       std::to_string(down_ns / kNsPerSecond) +
       " s; last: " + (last_break_.empty() ? "none was ever made" : last_break_) +
       "; check cables, addresses, firewalls (TUTTI_NET_TIMEOUT sets the patience)");
}

void Session::dial_missing(int64_t now) noexcept {
  // The peer's paths serve both ways; who has dialled the others dials what is missing.
  const auto has = [&](bool dialled) {
    return std::ranges::any_of(
        paths_, [&](const auto& p) { return p->dialled == dialled && p->state != State::kBroken; });
  };
  if ((has(false) && !has(true)) || now < yield_until_ns_) return;
  if (dials_.empty())
    dials_.resize(static_cast<size_t>(std::max(1, endpoint_.carrier().paths_to(*address_))));
  for (size_t i = 0; i < dials_.size(); ++i) {
    const bool there = std::ranges::any_of(paths_, [&](const auto& p) {
      return p->dialled && p->index == static_cast<int>(i) && p->state != State::kBroken;
    });
    if (there || now < dials_[i].next_ns) continue;
    auto path = std::make_unique<SessionPath>(endpoint_, this);
    path->dialled = true;
    path->index = static_cast<int>(i);
    path->since_ns = now;
    path->hello = endpoint_.hello_to(peer_);
    std::string why;
    path->path = endpoint_.carrier().dial(*address_, path->index, *path, &why);
    if (path->path != nullptr) {
      paths_.push_back(std::move(path));
    } else {
      last_break_ = why;
      dials_[i].next_ns = now + kMostRedialNs;
    }
  }
}

void Session::say_goodbye() noexcept {
  if (std::exchange(goodbye_, true) || failed_) return;
  for (auto& path : paths_) {
    if (path->state == State::kOpen)
      (void)send_unsequenced(*path, {.kind = FrameKind::kBye}, nullptr, 0);
  }
}

bool Session::wants_to_write() const noexcept {
  return blocked_ || std::ranges::any_of(paths_, [](const auto& path) {
           return path->state == State::kOpen && path->path->has_unsent();
         });
}

std::vector<PathReport> Session::open_paths() const {
  std::vector<PathReport> open;
  for (const auto& path : paths_) {
    if (path->state != State::kOpen) continue;
    open.push_back({path->path->rail_name(), path->path->describe()});
  }
  return open;
}

bool Session::sabotage(size_t nth) noexcept {
  for (auto& path : paths_) {
    if (path->state == State::kOpen && nth-- == 0) return path->path->sabotage();
  }
  return false;
}

}  // namespace tutti::transport::network
