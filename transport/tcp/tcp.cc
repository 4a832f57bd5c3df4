// SPDX-License-Identifier: Apache-2.0
// The carrier of sockets: one listener, one epoll over all of it.
#include "transport/tcp/tcp.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/sockaddr.h"
#include "transport/network/network.h"
#include "transport/tcp/path.h"
#include "transport/tcp/rails.h"

namespace tutti::transport {
namespace tcp {
namespace {

constexpr int64_t kMostSilenceNs = 3 * kNsPerSecond;
constexpr int64_t kLookNs = 50 * kNsPerMs;
constexpr int kEventsPerRound = 32;
constexpr int kAcceptsPerRound = 16;
constexpr uint32_t kDefaultSockets = 2;

int silence_ms(const TransportOptions& options) noexcept {
  const int64_t patience = options.config != nullptr ? options.config->net_timeout_ns : 0;
  const int64_t silence = patience > 0 ? std::min(patience / 2, kMostSilenceNs) : kMostSilenceNs;
  return static_cast<int>(std::max<int64_t>(silence / kNsPerMs, 100));
}

class TcpCarrier final : public network::Carrier {
 public:
  explicit TcpCarrier(const TransportOptions& options);
  ~TcpCarrier() override = default;

  std::string_view name() const noexcept override { return "tcp"; }
  std::vector<std::byte> address() const override { return encode(mine_); }
  bool can_encrypt() const noexcept override { return true; }
  Reach reach(const Peer& peer) const override;
  std::string describe() const override;
  int paths_to(const Peer& peer) const override {
    return static_cast<int>(pair_rails(mine_, decode(peer.address)).size() * sockets_);
  }
  std::unique_ptr<network::Path> dial(const Peer& peer, int index, FrameSink& sink,
                                      std::string* why) override;
  void listen(network::PathAcceptor& acceptor) override { acceptor_ = &acceptor; }
  Status progress(bool* moved) noexcept override;
  int event_fd() const noexcept override { return epoll_.get(); }
  bool arm(bool writing) noexcept override;

 private:
  void add(TcpPath& path);
  void forget(TcpPath& path) noexcept;
  bool accept_some() noexcept;
  void ask_for(TcpPath& path, bool writing) noexcept;
  int rail_at(const SocketAddress& address) const noexcept;  // -1: none
  void look_for_silence() noexcept;

  const int silence_ms_;
  const size_t sockets_;
  FileDescriptor epoll_;
  Listener listener_;
  RankAddress mine_;
  std::vector<std::string> skipped_;
  network::PathAcceptor* acceptor_ = nullptr;
  std::vector<TcpPath*> paths_;  // the sessions' own
  int64_t looked_ns_ = 0;
};

TcpCarrier::TcpCarrier(const TransportOptions& options)
    : silence_ms_(silence_ms(options)),
      sockets_(options.config != nullptr && options.config->tcp_sockets != 0
                   ? options.config->tcp_sockets
                   : kDefaultSockets),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw system_error("can't make an epoll for sockets", errno);
  const std::string prefix = options.config != nullptr ? options.config->interface_prefix : "";
  mine_.rails = find_rails(prefix, &skipped_);
  mine_.host_id = this_process().host_id;
  // One port at all addresses, of both families where the host has IPv6.
  SocketAddress any;
  any.family = SocketAddress::Family::kIpv6;
  try {
    listener_ = Listener::bind(any, SocketKind::kStream);
  } catch (const Error&) {
    any.family = SocketAddress::Family::kIpv4;
    listener_ = Listener::bind(any, SocketKind::kStream);
  }
  mine_.port = listener_.address().port;
  for (Rail& rail : mine_.rails) rail.address.port = mine_.port;
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, listener_.fd(), &event) != 0)
    throw system_error("can't watch the listening socket", errno);
  log(LogLevel::kInfo, "transport", options.rank, "tcp: port {}; {}", mine_.port, describe());
}

std::string TcpCarrier::describe() const {
  std::string text =
      "mapped: sent from where the bytes lie; pulled: never needed; staged: always; ";
  for (const Rail& rail : mine_.rails) {
    SocketAddress address = rail.address;
    address.port = 0;  // another for each communicator
    text += rail.interface + " " + address.to_string() + "; ";
  }
  for (const std::string& skipped : skipped_) text += "not " + skipped + "; ";
  return text + std::to_string(sockets_) + " sockets per peer and interface";
}

Reach TcpCarrier::reach(const Peer& peer) const {
  try {
    if (!pair_rails(mine_, decode(peer.address)).empty()) return {.reachable = true, .reason = {}};
    return {.reachable = false,
            .reason = "rank " + std::to_string(peer.rank) +
                      " has no address of a family that this rank has too"};
  } catch (const Error& e) {
    return {.reachable = false, .reason = e.what()};
  }
}

int TcpCarrier::rail_at(const SocketAddress& address) const noexcept {
  // IPv4 addresses appear as ::ffff:a.b.c.d at a socket of both families.
  constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const bool mapped = std::memcmp(address.ip, kMapped, sizeof kMapped) == 0;
  for (size_t i = 0; i < mine_.rails.size(); ++i) {
    const Rail& rail = mine_.rails[i];
    const bool v4 = rail.address.family == SocketAddress::Family::kIpv4;
    const uint8_t* const at = v4 && mapped ? address.ip + sizeof kMapped : address.ip;
    if (std::memcmp(rail.address.ip, at, v4 ? 4 : 16) == 0) return static_cast<int>(i);
  }
  return -1;
}

std::unique_ptr<network::Path> TcpCarrier::dial(const Peer& peer, int index, FrameSink& sink,
                                                std::string* why) {
  const auto pairs = pair_rails(mine_, decode(peer.address));
  const RailPair& pair = pairs[static_cast<size_t>(index) / sockets_];
  const int family = pair.to.family == SocketAddress::Family::kIpv4 ? AF_INET : AF_INET6;
  FileDescriptor fd(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto failed = [&](const char* what) -> std::unique_ptr<network::Path> {
    *why = std::string(what) + " " + pair.to.to_string() + ": " + std::strerror(errno);
    return nullptr;
  };
  if (!fd) return failed("no socket to dial");
  if (pair.from.family != SocketAddress::Family::kNone) {
    RawAddress from = to_raw(pair.from);
    if (::bind(fd.get(), from.get(), from.bytes) != 0) return failed("can't bind to dial");
  }
  RawAddress to = to_raw(pair.to);
  const int connected = ::connect(fd.get(), to.get(), to.bytes);
  if (connected != 0 && errno != EINPROGRESS) return failed("can't dial");
  const bool local = pair.from.family == SocketAddress::Family::kNone;
  TcpPath::Place place{
      .fd = std::move(fd),
      .rail = pair.rail,
      .interface = local ? "lo" : mine_.rails[static_cast<size_t>(pair.rail)].interface,
      .to = pair.to.to_string(),
      .connecting = connected != 0};
  auto path = std::make_unique<TcpPath>(sink, std::move(place), silence_ms_);
  add(*path);
  return path;
}

void TcpCarrier::add(TcpPath& path) {
  epoll_event event{.events = EPOLLIN | EPOLLOUT, .data = {.ptr = &path}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, path.fd(), &event) != 0)
    throw system_error("can't watch a socket", errno);
  path.polls_for_writing = true;
  path.belong_to(this,
                 [](void* self, TcpPath& gone) { static_cast<TcpCarrier*>(self)->forget(gone); });
  paths_.push_back(&path);
}

void TcpCarrier::forget(TcpPath& path) noexcept {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, path.fd(), nullptr);
  std::erase(paths_, &path);
}

bool TcpCarrier::accept_some() noexcept {
  bool moved = false;
  for (int i = 0; i < kAcceptsPerRound; ++i) {
    try {
      auto socket = listener_.try_accept();
      if (!socket.has_value()) return moved;
      moved = true;
      const int rail = rail_at(socket->local_address());
      TcpPath::Place place{
          .fd = socket->take(),
          .rail = std::max(rail, 0),
          .interface = rail < 0 ? "lo" : mine_.rails[static_cast<size_t>(rail)].interface,
          .to = {}};
      auto path =
          std::make_unique<TcpPath>(acceptor_->stranger_sink(), std::move(place), silence_ms_);
      add(*path);
      acceptor_->accepted(std::move(path));
    } catch (const Error& e) {
      log(LogLevel::kWarn, "transport", -1, "a socket was not accepted: {}", e.what());
      return moved;
    }
  }
  return moved;
}

void TcpCarrier::look_for_silence() noexcept {
  const int64_t now = now_ns();
  if (now - looked_ns_ < kLookNs) return;
  looked_ns_ = now;
  for (TcpPath* path : paths_) path->check_silence(now);
}

Status TcpCarrier::progress(bool* moved) noexcept {
  std::array<epoll_event, kEventsPerRound> events;
  const int n = ::epoll_wait(epoll_.get(), events.data(), kEventsPerRound, 0);
  for (int i = 0; i < n; ++i) {
    auto* const path = static_cast<TcpPath*>(events[static_cast<size_t>(i)].data.ptr);
    if (path == nullptr) {
      *moved = accept_some() || *moved;
    } else if (!path->is_broken()) {
      *moved = path->serve() || *moved;
      if (path->is_broken()) {
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, path->fd(), nullptr);
      } else if (path->polls_for_writing && !path->wants_to_write()) {
        ask_for(*path, false);
      }
    }
  }
  for (TcpPath* path : paths_) {
    if (path->has_unsent() && !path->polls_for_writing) ask_for(*path, true);
  }
  look_for_silence();
  return kOkStatus;
}

void TcpCarrier::ask_for(TcpPath& path, bool writing) noexcept {
  const uint32_t wanted = EPOLLIN | (writing ? uint32_t{EPOLLOUT} : 0U);
  epoll_event event{.events = wanted, .data = {.ptr = &path}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, path.fd(), &event) == 0)
    path.polls_for_writing = writing;
}

bool TcpCarrier::arm(bool) noexcept {
  for (TcpPath* path : paths_) {
    if (!path->is_broken() && path->wants_to_write() && !path->polls_for_writing)
      ask_for(*path, true);
  }
  return true;  // readiness is looked at again when the descriptor is watched
}

}  // namespace

std::unique_ptr<network::Carrier> make_carrier(const TransportOptions& options) {
  return std::make_unique<TcpCarrier>(options);
}

}  // namespace tcp

std::unique_ptr<Transport> create_tcp(const TransportOptions& options) {
  return network::make_network_transport(options, tcp::make_carrier(options));
}

}  // namespace tutti::transport
