// SPDX-License-Identifier: Apache-2.0
// The handshake's two ends.
#include "src/bootstrap/handshake.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <optional>

#include "src/base/liveness.h"
#include "src/base/log.h"
#include "src/base/wait.h"

namespace tutti::bootstrap {
namespace {

constexpr int64_t kAcceptRetryNs = 100 * kNsPerMs;
constexpr int64_t kAttemptNs = 80 * kNsPerMs;
constexpr int64_t kReturnNs = kNsPerSecond / 4;  // whoever lives still listens

// The next `count` bytes, for a thread that may block.
Bytes receive(Channel& channel, size_t count, const std::string& host_name,
              const Patience& patience) {
  struct State {
    Signal signal;
    std::optional<Bytes> bytes;  // stays empty when the connection ends first
  };
  const auto state =
      std::make_shared<State>();  // shared: the channel's handlers may outlive this call
  run_on(*channel.control(), [&] {
    channel.on_end([state] { state->signal.notify(); });
    channel.expect(count, [state](Bytes bytes) {
      state->bytes = std::move(bytes);
      state->signal.notify();
    });
  });
  switch (state->signal.wait(patience)) {
    case Woken::kAborted:
      throw_aborted();
    case Woken::kExpired:
      throw Error(StatusCode::kRemoteError,
                  host_name + " accepted the connection but did not answer in time");
    case Woken::kNotified:
      break;
  }
  // Ordered after the notification; nothing else touches the state.
  if (state->bytes.has_value()) return std::move(*state->bytes);
  throw Dismissed(host_name);
}

void send_hello(Channel& channel, const Bytes& hello, const std::string& host_name,
                const Patience& patience) {
  try {
    channel.socket().send_all(hello, patience.deadline);  // fits in the empty socket buffer
  } catch (const Error& error) {
    if (error.code() != StatusCode::kRemoteError || patience.deadline.expired()) throw;
    throw Dismissed(host_name);
  }
}

// Up to a quarter of what has been waited so far; an abort or `stop` ends it early.
void rest(int64_t waited_ns, const Patience& patience, const std::function<bool()>& stop) {
  const int64_t longest_ns = std::min(waited_ns / 4, kLongestRestNs);
  if (longest_ns <= 0) return;
  std::array<std::byte, sizeof(uint64_t)> random{};
  fill_random(random);
  uint64_t number = 0;
  std::memcpy(&number, random.data(), sizeof number);
  const Deadline end =
      Deadline::after_ns(static_cast<int64_t>(number % static_cast<uint64_t>(longest_ns)));
  while (!end.expired() && !patience.deadline.expired() && !patience.is_aborted() &&
         !(stop && stop())) {
    sleep_ns(std::min({kAttemptNs, end.left_ns(), patience.deadline.left_ns()}));
  }
}

}  // namespace

Dismissed::Dismissed(const std::string& host_name)
    : Error(StatusCode::kRemoteError,
            host_name +
                " closed the connection before it proved the key; either it has ended, or this "
                "id's key is not its key (was the id cut, or made by another job?)") {}

void throw_aborted() {
  throw Error(StatusCode::kInvalidUsage, "the initialisation was aborted by this process");
}

void check_peer_user(const Socket& socket, const SocketAddress& address) {
  if (address.family != SocketAddress::Family::kUnixAbstract) return;
  const uint32_t uid = socket.peer_credentials().uid;
  const uint32_t own = this_process().uid;
  if (uid == own || uid == 0) return;
  throw Error(StatusCode::kRemoteError, address.to_string() + " belongs to user " +
                                            std::to_string(uid) + ", expected user " +
                                            std::to_string(own) + " or root");
}

Gate::Gate(Config config, std::function<void(std::unique_ptr<Visit>)> on_visit)
    : config_(std::move(config)), on_visit_(std::move(on_visit)) {
  watch_listener();
}

Gate::~Gate() {
  if (listener_watch_ != 0) config_.control->remove(listener_watch_);
  if (retry_timer_ != 0) config_.control->remove(retry_timer_);
  if (crowded_timer_ != 0) config_.control->remove(crowded_timer_);
  listener_watch_ = 0;
  on_visit_ = nullptr;  // closed_one() must not resume
  unproved_.clear();
}

void Gate::watch_listener() {
  listener_watch_ = config_.control->watch(config_.listener.fd(), [this] { on_connections(); });
}

void Gate::on_connections() {
  try {
    // Those that are turned away at once don't count as open, and may come faster than they go.
    for (int accepted = 0; open_ < kMaxOpen; ++accepted) {
      if (accepted == kMaxAccepted) return;  // called again while there are more
      std::optional<Socket> socket = config_.listener.try_accept();
      if (!socket.has_value()) return;
      admit(std::move(*socket));
    }
    config_.control->remove(std::exchange(listener_watch_, 0));
    if (crowded_timer_ == 0)
      crowded_timer_ = config_.control->at(Deadline::after_ns(kCrowdedNs), [this] { relieve(); });
  } catch (const std::exception& error) {
    // Out of descriptors or memory: the connection stays in the backlog, so don't spin on it.
    log(LogLevel::kWarn, "bootstrap", -1, "{}", error.what());
    if (listener_watch_ != 0) config_.control->remove(std::exchange(listener_watch_, 0));
    retry_timer_ = config_.control->at(Deadline::after_ns(kAcceptRetryNs), [this] {
      retry_timer_ = 0;
      if (listener_watch_ == 0 && open_ < kMaxOpen) watch_listener();
    });
  }
}

void Gate::admit(Socket socket) {
  try {
    check_peer_user(socket, address());
  } catch (const Error& error) {
    log(LogLevel::kWarn, "bootstrap", -1, "turned a connection away: {}", error.what());
    return;
  }
  const uint64_t id = next_id_++;
  std::unique_ptr<Visit> visit(
      new Visit(*this, std::make_unique<Channel>(config_.control, std::move(socket))));
  ++open_;
  visit->transcript_.role = config_.role;
  fill_random(visit->transcript_.host);
  visit->since_ns_ = now_ns();
  visit->timer_ = config_.control->at(Deadline::after_ns(kProofNs), [this, id] { dismiss(id); });
  visit->channel_->on_end([this, id] { dismiss(id); });
  visit->channel_->expect(sizeof(Nonce) + config_.hello_bytes + sizeof(Mac),
                          [this, id](const Bytes& bytes) { on_hello(id, bytes); });
  visit->channel_->try_send(visit->transcript_.host);
  unproved_.emplace(id, std::move(visit));
}

void Gate::on_hello(uint64_t id, const Bytes& bytes) {
  auto node = unproved_.extract(id);
  std::unique_ptr<Visit> visit = std::move(node.mapped());
  const std::span<const std::byte> hello(bytes);
  std::copy_n(hello.begin(), sizeof(Nonce), visit->transcript_.visitor.begin());
  const auto body = hello.subspan(sizeof(Nonce), config_.hello_bytes);
  if (!verify(config_.key, visit->transcript_, Side::kVisitor, body, hello.last(sizeof(Mac)))) {
    log(LogLevel::kWarn, "bootstrap", -1, "a connection to {} did not prove the key",
        address().to_string());
    return;
  }
  config_.control->remove(std::exchange(visit->timer_, 0));
  visit->channel_->on_end(nullptr);
  visit->hello_.assign(body.begin(), body.end());
  on_visit_(std::move(visit));
}

// Those that have had their time make room; the last to go resumes listening.
void Gate::relieve() {
  crowded_timer_ = 0;
  if (open_ < kMaxOpen) return;
  const int64_t before_ns = now_ns() - kCrowdedNs;
  const size_t gone = std::erase_if(
      unproved_, [&](const auto& entry) { return entry.second->since_ns_ <= before_ns; });
  log(LogLevel::kWarn, "bootstrap", -1,
      "{}: dropped {} connections that did not prove the key in time", address().to_string(), gone);
  if (open_ >= kMaxOpen && crowded_timer_ == 0)
    crowded_timer_ = config_.control->at(Deadline::after_ns(kCrowdedNs), [this] { relieve(); });
}

void Gate::dismiss(uint64_t id) { unproved_.erase(id); }

void Gate::closed_one() {
  --open_;
  if (on_visit_ != nullptr && listener_watch_ == 0 && retry_timer_ == 0) watch_listener();
}

Gate::Visit::~Visit() {
  if (timer_ != 0) gate_.config_.control->remove(timer_);
  if (channel_ != nullptr) {
    channel_.reset();
    gate_.closed_one();
  }
}

bool Gate::Visit::answer(std::span<const std::byte> body) noexcept {
  const Mac mac = prove(gate_.config_.key, transcript_, Side::kHost, body);
  Encoder out;
  out.raw(body);
  out.raw(mac);
  return channel_->try_send(out.take());
}

void Gate::Visit::refuse(std::span<const std::byte> body, const Failure& failure) noexcept {
  if (answer(body)) channel_->try_send(error_frame(failure));
}

std::unique_ptr<Channel> Gate::Visit::release() {
  std::unique_ptr<Channel> channel = std::move(channel_);
  gate_.closed_one();
  return channel;
}

Answer visit(const VisitRequest& request, Socket socket, const Patience& patience) {
  auto channel = std::make_unique<Channel>(request.control, std::move(socket));
  Transcript transcript{.role = request.role};
  const Bytes challenge = receive(*channel, sizeof(Nonce), request.host_name, patience);
  std::copy(challenge.begin(), challenge.end(), transcript.host.begin());
  fill_random(transcript.visitor);

  const Mac mac = prove(request.key, transcript, Side::kVisitor, request.hello);
  Encoder out;
  out.raw(transcript.visitor);
  out.raw(request.hello);
  out.raw(mac);
  send_hello(*channel, out.take(), request.host_name, patience);

  Bytes answer = receive(*channel, request.answer_bytes + sizeof(Mac), request.host_name, patience);
  const std::span<const std::byte> all(answer);
  if (!verify(request.key, transcript, Side::kHost, all.first(request.answer_bytes),
              all.last(sizeof(Mac)))) {
    throw Error(StatusCode::kRemoteError, request.host_name +
                                              " did not prove the id's key; is another program or "
                                              "another job's root at that address?");
  }
  answer.resize(request.answer_bytes);
  return {std::move(channel), std::move(answer)};
}

Failure receive_reason(const Answer& answer, StatusCode code, const std::string& host_name,
                       const Patience& patience) {
  try {
    const auto header = decode_as<FrameHeader>(
        receive(*answer.channel, wire_bytes<FrameHeader>(), host_name, patience));
    if (header.type == FrameType::kError && header.bytes == wire_bytes<Failure>())
      return decode_as<Failure>(receive(*answer.channel, header.bytes, host_name, patience));
  } catch (const Dismissed&) {
  }
  return {code, host_name + " refused, and its reason was lost on the way"};
}

Answer visit_again(const VisitRequest& request, Socket socket, const SocketAddress& to,
                   const Patience& patience, const std::function<bool()>& stop) {
  for (int left = kMostVisits;;) {
    std::exception_ptr dismissed;
    try {
      return visit(request, std::move(socket), patience);
    } catch (const Dismissed&) {
      if (--left == 0) throw;
      dismissed = std::current_exception();
    }
    const Patience soon{
        .deadline = Deadline::after_ns(std::min(kReturnNs, patience.deadline.left_ns())),
        .aborted = patience.aborted};
    try {
      socket = connect_patiently(to, request.host_name, soon, stop);
    } catch (const Error& error) {
      if (error.code() != StatusCode::kRemoteError) throw;
      std::rethrow_exception(dismissed);  // it has ended
    }
  }
}

Socket connect_patiently(const SocketAddress& to, const std::string& host_name,
                         const Patience& patience, const std::function<bool()>& stop) {
  const int64_t start_ns = now_ns();
  for (;;) {
    if (patience.is_aborted()) throw_aborted();
    const Deadline attempt = Deadline::after_ns(std::min(kAttemptNs, patience.deadline.left_ns()));
    try {
      Socket socket = Socket::connect(to, SocketKind::kStream, attempt);
      check_peer_user(socket, to);
      return socket;
    } catch (const Error& error) {
      if (error.code() != StatusCode::kRemoteError) throw;
      if (patience.deadline.expired() || (stop && stop())) {
        throw Error(
            StatusCode::kRemoteError,
            "no answer from " + host_name + " in " +
                fmt::format("{:.1f}", static_cast<double>(now_ns() - start_ns) / kNsPerSecond) +
                " s: " + error.what());
      }
    }
    rest(now_ns() - start_ns, patience, stop);
  }
}

}  // namespace tutti::bootstrap
