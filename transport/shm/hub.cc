// SPDX-License-Identifier: Apache-2.0
// The hub's life, its links, and the side that transports call. Packets are in hub_packets.cc.
#include "transport/shm/hub.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/random.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/process_local.h"

namespace tutti::transport::shm {
namespace {

constexpr int64_t kConnectNs =
    250 * kNsPerMs;  // a living peer listens already; at worst its backlog is full
constexpr int64_t kFlushNs = 2 * kNsPerMs;

void fill_random(void* into, size_t bytes) {
  while (::getrandom(into, bytes, 0) != static_cast<ssize_t>(bytes)) {
    if (errno != EINTR) throw system_error("can't draw a random token", errno);
  }
}

Address draw_address() {
  Address address;
  std::array<uint8_t, 16> name{};
  fill_random(name.data(), name.size());
  fill_random(address.token.data(), address.token.size());
  std::string text = "tutti-";
  for (const uint8_t byte : name) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  std::memcpy(address.name, text.data(), text.size());  // the rest stays NUL
  return address;
}

SocketAddress to_socket_address(const Address& address) {
  SocketAddress result;
  result.family = SocketAddress::Family::kUnixAbstract;
  static_assert(sizeof address.name < sizeof result.name);
  std::memcpy(result.name, address.name, sizeof address.name - 1);
  return result;
}

}  // namespace

std::shared_ptr<Hub> Hub::shared() {
  using Current = ProcessLocal<std::weak_ptr<Hub>>;
  if (auto hub = Current::with([](auto& current) { return current.lock(); })) return hub;
  // Made outside of the lock, because it uses other process-wide objects. The first of several
  // makers wins.
  auto made = std::make_shared<Hub>();
  return Current::with([&](auto& current) {
    auto hub = current.lock();
    if (hub == nullptr) current = hub = made;
    return hub;
  });
}

Hub::Hub() : owner_(::getpid()), control_(ControlThread::shared()), address_(draw_address()) {
  fill_random(&cookie_value_, sizeof cookie_value_);
  cookie_ = {reinterpret_cast<uintptr_t>(&cookie_value_), cookie_value_};
  listener_ = Listener::bind(to_socket_address(address_), SocketKind::kSequencedPacket);
  listener_watch_ = control_->watch(listener_.fd(), [this] { on_connection(); });
  loss_listener_ = device::add_loss_listener(
      [](void* self, uint64_t region_id, device::Loss loss) {
        static_cast<Hub*>(self)->on_region_lost(region_id, loss);
      },
      this);
}

Hub::~Hub() {
  // The parent's control thread serves the parent's hub; in a child nothing runs, and nothing may
  // wait for its locks.
  if (inherited()) return;
  device::remove_loss_listener(loss_listener_);
  std::vector<ControlThread::Id> watches{listener_watch_};
  {
    const auto lock = monitor_.lock();
    stopping_ = true;  // callbacks that come now do nothing
    if (flush_timer_ != 0) watches.push_back(flush_timer_);
    for_each_link_locked([&](Link& link) { watches.push_back(link.watch); });
    for (const auto& [uid, watched] : processes_) watches.push_back(watched.watch);
  }
  for (const ControlThread::Id id : watches) {
    if (id != 0) control_->remove(id);
  }
}

bool Hub::inherited() const noexcept { return owner_ != ::getpid(); }

void Hub::add_endpoint(const EndpointKey& key, const SharedBell& bell) {
  const auto lock = monitor_.lock();
  const auto [added, is_new] = endpoints_.try_emplace(key, Endpoint{&bell, {}});
  if (!is_new) {
    throw Error(StatusCode::kInvalidUsage,
                "rank " + std::to_string(key.rank) +
                    " of this communicator has an shm transport in this process "
                    "already; expected one per rank");
  }
  for (auto next = parked_.begin(); next != parked_.end();) {
    if (sink_of(next->first) != key) {
      ++next;
      continue;
    }
    accept_locked(added->second, next->second);
    next = parked_.erase(next);
  }
}

void Hub::remove_endpoint(const EndpointKey& key) noexcept {
  const auto lock = monitor_.lock();
  endpoints_.erase(key);
}

std::shared_ptr<PeerProcess> Hub::watch(const ProcessIdentity& who) {
  const auto lock = monitor_.lock();
  return watch_locked(who);
}

std::shared_ptr<PeerProcess> Hub::watch_locked(const ProcessIdentity& who) {
  const auto found = processes_.find(who.process_uid);
  if (found != processes_.end()) return found->second.process;
  auto process = std::make_shared<PeerProcess>();
  process->who = who;
  ControlThread::Id id = 0;
  if (who.process_uid != this_process().process_uid) {
    process->watch = ProcessWatch(who);
    id = control_->watch(process->watch.fd(), [this, uid = who.process_uid] { look_at(uid); });
  }
  processes_.emplace(who.process_uid, WatchedProcess{process, id});
  return process;
}

void Hub::look_at(uint64_t process_uid) noexcept {
  const auto lock = monitor_.lock();
  const auto found = processes_.find(process_uid);
  if (stopping_ || found == processes_.end()) return;
  if (!found->second.process->watch.exited()) return;
  // What it sent before it ended still counts: an answer that lies in the socket must not be
  // overtaken by its end.
  read_all_locked(*found->second.process);
  found->second.process->gone.store(true, std::memory_order_release);
  deaths_.fetch_add(1, std::memory_order_release);
  log(LogLevel::kInfo, "shm", -1, "process {} has ended", found->second.process->who.pid);
  control_->remove(found->second.watch);
  processes_.erase(found);
  for (const auto& [key, endpoint] : endpoints_) ring(endpoint.bell->bell());
  monitor_.notify_all();
}

std::shared_ptr<Link> Hub::link_to(const Peer& peer, const Address& address) {
  const std::lock_guard connecting(connect_mutex_);
  {
    const auto lock = monitor_.lock();
    const auto found = outgoing_.find(address);
    if (found != outgoing_.end() && !found->second->closed()) return found->second;
  }
  // Without monitor_: the listener may be this process's own, and its control thread needs the lock
  // to serve us.
  auto link = std::make_shared<Link>(
      Socket::connect(to_socket_address(address), SocketKind::kSequencedPacket,
                      Deadline::after_ns(kConnectNs)),
      Link::Role::kClient);
  const Socket::Credentials credentials = link->socket().peer_credentials();
  if (credentials.uid != this_process().uid || credentials.pid != peer.process.pid) {
    throw Error(StatusCode::kRemoteError,
                "rank " + std::to_string(peer.rank) + ": expected process " +
                    std::to_string(peer.process.pid) + " of user " +
                    std::to_string(this_process().uid) + " behind its socket, found process " +
                    std::to_string(credentials.pid) + " of user " +
                    std::to_string(credentials.uid));
  }
  const HelloPacket hello{.token = address.token, .process = this_process(), .cookie = cookie_};
  link->send(bytes_of(hello));

  const auto lock = monitor_.lock();
  link->peer = watch_locked(peer.process);
  watch_link_locked(link);
  outgoing_.insert_or_assign(address, link);
  return link;
}

void Hub::watch_link_locked(const LinkPtr& link) {
  link->watch = control_->watch(link->socket().fd(), [this, weak = std::weak_ptr(link)] {
    if (const LinkPtr locked = weak.lock()) on_readable(locked);
  });
}

std::shared_ptr<Handshake> Hub::start(const LinkPtr& link, const ConnectPacket& packet,
                                      int memory_fd, int bell_fd) {
  auto handshake = std::make_shared<Handshake>();
  handshake->id = from_wire(packet.id);
  const auto lock = monitor_.lock();
  if (!link->handshakes.emplace(handshake->id, handshake).second) {
    throw Error(StatusCode::kInvalidUsage, "connection " + std::to_string(packet.id.source_rank) +
                                               " -> " + std::to_string(packet.id.sink_rank) +
                                               " (channel " + std::to_string(packet.id.channel) +
                                               ") has been started before");
  }
  const std::array descriptors{memory_fd, bell_fd};
  send_locked(*link, bytes_of(packet), descriptors);
  return handshake;
}

void Hub::cancel(Link& link, const Handshake& handshake) noexcept {
  const auto lock = monitor_.lock();
  // Already answered: the receiver's rank owns the connection now, with the messages in it.
  if (link.handshakes.erase(handshake.id) == 0) return;
  const CancelPacket packet{.id = to_wire(handshake.id)};
  send_locked(link, bytes_of(packet));
}

std::shared_ptr<Arrival> Hub::find_arrival(const ConnectionId& id) noexcept {
  const auto lock = monitor_.lock();
  const auto endpoint = endpoints_.find(sink_of(id));
  if (endpoint == endpoints_.end()) return nullptr;
  const auto found = endpoint->second.arrivals.find(id);
  return found == endpoint->second.arrivals.end() ? nullptr : found->second;
}

void Hub::take_arrival(const ConnectionId& id) noexcept {
  const auto lock = monitor_.lock();
  const auto endpoint = endpoints_.find(sink_of(id));
  if (endpoint != endpoints_.end()) endpoint->second.arrivals.erase(id);
}

void Hub::expose(const std::shared_ptr<const device::SharedRegion>& region) {
  const auto lock = monitor_.lock();
  exposed_.emplace(region->id, region);
}

void Hub::on_region_lost(uint64_t region_id, device::Loss loss) noexcept {
  const auto lock = monitor_.lock();
  exposed_.erase(region_id);
  for_each_link_locked([&](Link& link) { link.withdraw(region_id, loss); });
}

Exposure Hub::import(Link& link, const EndpointKey& rank, uint64_t region, Deadline deadline) {
  Want want;
  auto lock = monitor_.lock();
  const uint64_t request = ++next_request_;
  link.wants.emplace(request, &want);
  const WantPacket packet{
      .request = request, .comm_id = rank.comm_id, .region = region, .rank = rank.rank};
  send_locked(link, bytes_of(packet));
  const bool answered = monitor_.wait(lock, deadline, [&] {
    return want.answered || link.closed() || link.peer->gone.load(std::memory_order_acquire);
  });
  link.wants.erase(request);
  if (want.answered && want.why == Refusal::kNone)
    return {std::move(want.region), std::move(want.bell)};
  const std::string window = "window of rank " + std::to_string(rank.rank) + ": ";
  if (want.answered)
    throw Error(StatusCode::kInvalidUsage, window + "its process no longer exposes that memory");
  throw Error(StatusCode::kRemoteError,
              window + (answered ? "its process has ended or closed its transport"
                                 : "its process did not answer in time; is it stopped?"));
}

Hub::PullReport Hub::pull_report() noexcept {
  const auto lock = monitor_.lock();
  PullReport report;
  for (const auto& [address, link] : outgoing_) {
    if (link->pull_errno < 0) continue;
    ++report.of;
    if (link->pull_errno == 0) ++report.may;
    if (link->pull_errno > 0) report.error_number = link->pull_errno;
  }
  return report;
}

void Hub::send_locked(Link& link, std::span<const std::byte> packet,
                      std::span<const int> descriptors) noexcept {
  link.send(packet, descriptors);
  if (link.flush() || flush_timer_ != 0) return;
  flush_timer_ = control_->at(Deadline::after_ns(kFlushNs), [this] { on_flush(); });
}

void Hub::on_flush() noexcept {
  const auto lock = monitor_.lock();
  flush_timer_ = 0;
  if (stopping_) return;
  bool done = true;
  for_each_link_locked([&](Link& link) { done = link.flush() && done; });
  if (!done) flush_timer_ = control_->at(Deadline::after_ns(kFlushNs), [this] { on_flush(); });
}

void Hub::ring_locked(const EndpointKey& key) noexcept {
  const auto found = endpoints_.find(key);
  if (found != endpoints_.end()) ring(found->second.bell->bell());
}

}  // namespace tutti::transport::shm
