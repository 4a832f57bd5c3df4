// SPDX-License-Identifier: Apache-2.0
// Moves a rank's sessions, and introduces strangers to them.
#include "transport/network/endpoint.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "src/base/log.h"
#include "transport/layout_check.h"

namespace tutti::transport::network {
namespace {

constexpr int64_t kTickNs = 20 * kNsPerMs;
constexpr int64_t kStrangerNs = 5 * kNsPerSecond;
constexpr size_t kMaxStrangers = 128;
constexpr int64_t kDefaultPatienceNs = 10 * kNsPerSecond;

using State = SessionPath::State;

}  // namespace

Endpoint::Endpoint(const TransportOptions& options, std::unique_ptr<Carrier> carrier,
                   Transfers* transfers)
    : options_(options),
      transfers_(transfers),
      encrypts_(options.config != nullptr && options.config->encrypt),
      patience_ns_(options.config != nullptr && options.config->net_timeout_ns > 0
                       ? options.config->net_timeout_ns
                       : kDefaultPatienceNs),
      carrier_(std::move(carrier)) {
  if (encrypts_ && !carrier_->can_encrypt()) {
    throw Error(StatusCode::kInvalidUsage, "TUTTI_ENCRYPT=1, and " + std::string(carrier_->name()) +
                                               " can't encrypt; tcp can");
  }
  (void)fresh_nonce();  // throws now rather than in progress code
  carrier_->listen(*this);
}

void Endpoint::start() {
  thread_ = NetworkThread::shared();
  thread_->add(*this);
}

// The carrier goes before the slots that peers may write to by it.
Endpoint::~Endpoint() {
  close();
  for (auto& [peer, session] : sessions_) session->close();
  strangers_.clear();
  next_stranger_ = nullptr;
  carrier_ = nullptr;
}

void Endpoint::ring_own_bell() noexcept {
  if (!closed_) ring(options_.bell->bell());
}

bool Endpoint::caller_sleeps() const noexcept {
  // relaxed: only the caller's own thread has to see its own store; for the network thread it is a
  // hint.
  return !closed_ && options_.bell->bell().sleepers.load(std::memory_order_relaxed) != 0;
}

Session& Endpoint::session_with(int peer) {
  auto& session = sessions_[peer];
  if (session == nullptr) {
    session = std::make_unique<Session>(*this, peer);
    if (thread_ != nullptr) thread_->look(*this);
  }
  return *session;
}

Session& Endpoint::session(const Peer& peer) {
  Session& session = session_with(peer.rank);
  session.learn(peer);
  return session;
}

Session* Endpoint::find_session(int peer) noexcept {
  const auto at = sessions_.find(peer);
  return at == sessions_.end() ? nullptr : at->second.get();
}

Status Endpoint::poll(Session& session, bool all_credits) noexcept {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return kOkStatus;
  const Status status = move(&session, all_credits);
  if (!caller_sleeps()) ++polls_;
  leave_to_thread();
  return status;
}

Status Endpoint::poll_all() noexcept {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock()) return kOkStatus;
  const Status status = move(nullptr, true);
  if (!caller_sleeps()) ++polls_;
  leave_to_thread();
  return status;
}

void Endpoint::drop_session(int peer) noexcept {
  const auto at = sessions_.find(peer);
  if (at == sessions_.end()) return;
  at->second->say_goodbye();
  bool moved = false;
  (void)carrier_->progress(&moved);
  at->second->close();
  sessions_.erase(at);
}

void Endpoint::leave_to_thread() noexcept {
  // Everything when the caller sleeps, what finds no room in any case.
  if (thread_ == nullptr) return;
  const bool blocked =
      std::ranges::any_of(sessions_, [](const auto& s) { return s.second->is_blocked(); });
  if (!blocked && !caller_sleeps()) return;
  const bool writing = wants_to_write();
  const bool enough =
      armed_ == Armed::kReadingAndWriting || (armed_ == Armed::kReading && !writing);
  if (!enough) thread_->arm(*this);
}

void Endpoint::begin(Session& session) noexcept {
  session.tick(now_ns());
  (void)move(&session, false);
  leave_to_thread();
}

Status Endpoint::peer_failure(int peer) noexcept {
  const std::lock_guard lock(mutex_);
  if (!broken_.ok()) return broken_;
  const Session* const session = find_session(peer);
  return session == nullptr ? kOkStatus : session->status();
}

Status Endpoint::move(Session* only, bool all_credits) noexcept {
  if (!broken_.ok() || closed_) return broken_;
  bool moved = false;
  broken_ = carrier_->progress(&moved);
  if (!broken_.ok()) {
    for (auto& [peer, session] : sessions_) {
      session->fail(broken_.reason);
      session->pump(false);  // closes its paths
    }
    return broken_;
  }
  settle_strangers();
  if (const int64_t now = now_ns(); now - ticked_ns_ > kTickNs) {
    tick(now);
    ticked_ns_ = now;
  }
  if (only != nullptr) {
    only->pump(all_credits);
    return only->status();
  }
  for (auto& [peer, session] : sessions_) session->pump(all_credits);
  if (transfers_ != nullptr) {
    std::erase_if(sessions_, [&](const auto& entry) {
      const auto& [peer, session] = entry;
      if (session->status().ok() && !session->peer_left()) return false;
      if (!transfers_->may_forget(peer)) return false;
      session->close();
      return true;
    });
  }
  return kOkStatus;
}

void Endpoint::tick(int64_t now) noexcept {
  std::erase_if(strangers_, [&](const auto& stranger) {
    return stranger->state == State::kBroken || now - stranger->since_ns > kStrangerNs;
  });
  for (auto& [peer, session] : sessions_) session->tick(now);
}

bool Endpoint::wants_to_write() const noexcept {
  return std::ranges::any_of(sessions_, [](const auto& s) { return s.second->wants_to_write(); });
}

// A peer that still lacks frames of this rank gets them, by another path if need be. Who ends a
// communicator has waited for silent peers already, so only half of that time is added.
void Endpoint::close() noexcept {
  const int64_t timeout_ns = options_.config != nullptr ? options_.config->timeout_ns : 0;
  const int64_t wait_ns = timeout_ns > 0 ? std::min(timeout_ns / 2, patience_ns_) : patience_ns_;
  const Deadline deadline = Deadline::after_ns(wait_ns);
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      (void)move(nullptr, true);
      const bool quiet =
          std::ranges::all_of(sessions_, [](const auto& s) { return s.second->quiet(); });
      if (quiet || deadline.expired()) break;
    }
    sleep_ns(100 * kNsPerUs);
  }
  if (thread_ != nullptr) thread_->remove(*this);
  const std::lock_guard lock(mutex_);
  for (auto& [peer, session] : sessions_) session->say_goodbye();
  bool moved = false;
  (void)carrier_->progress(&moved);
  closed_ = true;
  for (auto& [peer, session] : sessions_) session->close();
  strangers_.clear();
}

Hello Endpoint::hello_to(int peer) noexcept {
  Hello hello{.from = rank(),
              .to = peer,
              .encrypted = encrypts_ ? 1U : 0U,
              .comm_id = comm_id(),
              .path_id = uint64_t{static_cast<uint32_t>(rank())} << 32 | ++paths_named_,
              .nonce = fresh_nonce()};
  if (transfers_ != nullptr) transfers_->fill_hello(peer, &hello);
  return hello;
}

// The session that a stranger belongs to, -1: none.
int Endpoint::admit(const Hello& hello) noexcept {
  if (transfers_ != nullptr) return transfers_->admit(hello);
  const bool known = hello.comm_id == comm_id() && hello.to == rank() && hello.from >= 0 &&
                     (options_.n_ranks == 0 || hello.from < options_.n_ranks);
  return known ? hello.from : -1;
}

std::shared_ptr<RecvStream> Endpoint::make_receiver(const ConnectionId& id, uint32_t number,
                                                    const FifoLayout& layout) {
  if (!is_valid(layout))
    throw Error(StatusCode::kRemoteError, std::string("its layout: ") + kLayoutRules);
  return std::make_shared<RecvStream>(id, number, layout);
}

void Endpoint::serve_window(Session& from, const FrameHeader& header,
                            const std::byte* payload) noexcept {
  FrameHeader answer{.kind = FrameKind::kWords, .stream = header.stream, .place = 0};
  if (header.kind != FrameKind::kRead) {
    const StatusCode code = header.kind == FrameKind::kPut ? exports_.put(header, payload)
                                                           : exports_.add_signal(header);
    ring_own_bell();
    if (code == StatusCode::kOk) return;
    answer.word = static_cast<uint32_t>(code);
    return from.post(answer, nullptr, 0);
  }
  // What this rank has published to the asker goes first.
  from.publish();
  std::vector<uint64_t> words;
  answer.place = header.place;
  answer.word = static_cast<uint32_t>(exports_.read(header, &words));
  const size_t bytes = words.size() * sizeof(uint64_t);
  auto copy = std::make_unique<std::byte[]>(bytes);
  if (bytes != 0) std::memcpy(copy.get(), words.data(), bytes);
  from.post(answer, std::move(copy), bytes);
}

// Strangers

FrameSink& Endpoint::stranger_sink() noexcept {
  if (next_stranger_ == nullptr) next_stranger_ = std::make_unique<SessionPath>(*this, nullptr);
  return *next_stranger_;
}

void Endpoint::accepted(std::unique_ptr<Path> path) noexcept {
  (void)stranger_sink();
  next_stranger_->path = std::move(path);
  next_stranger_->since_ns = now_ns();
  if (strangers_.size() < kMaxStrangers) strangers_.push_back(std::move(next_stranger_));
  next_stranger_ = nullptr;
}

void Endpoint::meet(SessionPath& stranger, const FrameHeader& header) noexcept {
  std::memcpy(&stranger.hello, stranger.greeting.data(), sizeof stranger.hello);
  const bool well_formed = stranger.state == State::kDialling && header.kind == FrameKind::kHello &&
                           header.payload_bytes == sizeof(Hello) &&
                           stranger.hello.magic == Hello::kMagic;
  // settle_strangers() answers.
  stranger.state = well_formed ? State::kGreeting : State::kBroken;
}

void Endpoint::settle_strangers() noexcept {
  for (auto& stranger : strangers_) {
    if (stranger->state != State::kGreeting) continue;
    const Hello& hello = stranger->hello;
    const auto answer = [&](const FrameHeader& header, const void* payload) {
      return stranger->path->send(
          {.header = header, .payload = static_cast<const std::byte*>(payload)});
    };
    const auto refuse = [&](Refusal why) {
      (void)answer({.kind = FrameKind::kRefuse, .word = static_cast<uint32_t>(why)}, nullptr);
      stranger->state = State::kBroken;
    };
    const int peer = admit(hello);
    if (peer < 0) {
      refuse(Refusal::kUnknown);
      continue;
    }
    if ((hello.encrypted != 0) != encrypts_) {
      refuse(Refusal::kEncryption);
      continue;
    }
    Session& session = session_with(peer);
    if (!session.wants_stranger()) {
      refuse(Refusal::kMineWins);
      continue;
    }
    stranger->acceptor_nonce = fresh_nonce();
    stranger->welcome = {stranger->acceptor_nonce,
                         prove(secret_of(peer), Step::kWelcome, hello, stranger->acceptor_nonce)};
    if (!answer({.payload_bytes = sizeof(Welcome), .kind = FrameKind::kWelcome},
                &stranger->welcome)) {
      stranger->state = State::kBroken;
      continue;
    }
    session.adopt(std::move(stranger));
  }
  std::erase_if(strangers_,
                [](const auto& s) { return s == nullptr || s->state == State::kBroken; });
}

std::string Endpoint::describe() const { return carrier_->describe(); }

}  // namespace tutti::transport::network
