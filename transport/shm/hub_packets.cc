// SPDX-License-Identifier: Apache-2.0
// What the control thread does with the packets of peers. Nothing in a packet is believed before it
// is checked.
#include <algorithm>
#include <string>
#include <utility>

#include "src/base/error.h"
#include "src/base/log.h"
#include "transport/layout_check.h"
#include "transport/shm/hub.h"

namespace tutti::transport::shm {
namespace {

constexpr size_t kMaxParked = 4096;    // connections to ranks that are not known yet
constexpr int kPacketsPerWakeup = 64;  // then other links have their turn
constexpr int kAcceptedPerWakeup = 64;
// Links that have not greeted. A peer greets as soon as it is connected; who lets so many others
// come first doesn't mean to.
constexpr size_t kMaxStrangers = 64;

[[noreturn]] void reject(const std::string& why) { throw Error(StatusCode::kInvalidArgument, why); }

template <typename Packet>
Packet expect(std::span<const std::byte> bytes) {
  if (const auto packet = parse<Packet>(bytes)) return *packet;
  reject("expected a packet of " + std::to_string(sizeof(Packet)) + " bytes, got " +
         std::to_string(bytes.size()));
}

void expect_role(const Link& link, Link::Role role) {
  if (link.role() != role) reject("the packet is for the other end of a link");
}

PacketType type_of(std::span<const std::byte> bytes) {
  PacketHeader header;
  if (bytes.size() < sizeof header)
    reject("a packet of " + std::to_string(bytes.size()) + " bytes has no header");
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kMagic || header.version != kVersion) {
    reject("expected shm protocol version " + std::to_string(kVersion) + ", got " +
           std::to_string(header.version) + "; do all ranks use the same library?");
  }
  return header.type;
}

int32_t pid_of(const Link& link) { return link.peer == nullptr ? -1 : link.peer->who.pid; }

}  // namespace

void Hub::on_connection() noexcept {
  const auto lock = monitor_.lock();
  if (stopping_) return;
  try {
    for (int i = 0; i < kAcceptedPerWakeup; ++i) {
      auto socket = listener_.try_accept();
      if (!socket.has_value()) return;
      const Socket::Credentials credentials = socket->peer_credentials();
      if (credentials.uid != this_process().uid) {
        log(LogLevel::kWarn, "shm", -1, "turned away process {} of user {}", credentials.pid,
            credentials.uid);
        continue;
      }
      admit_stranger_locked(std::make_shared<Link>(std::move(*socket), Link::Role::kServer));
    }
  } catch (const std::exception& error) {
    log(LogLevel::kError, "shm", -1, "can't serve a peer: {}", error.what());
  }
}

// However many connect and say nothing, descriptors are left for the others.
void Hub::admit_stranger_locked(LinkPtr link) {
  watch_link_locked(link);
  incoming_.insert(link);
  strangers_.push_back(std::move(link));
  if (strangers_.size() <= kMaxStrangers) return;
  std::erase_if(strangers_, [](const LinkPtr& l) { return l->peer != nullptr || l->closed(); });
  while (strangers_.size() > kMaxStrangers) {
    const LinkPtr oldest = strangers_.front();
    strangers_.pop_front();
    if (!still_strange_locked(oldest)) continue;
    log(LogLevel::kWarn, "shm", -1, "dropped a connection that did not greet in time");
    drop_link_locked(oldest);
  }
}

// Its greeting may lie in the socket.
bool Hub::still_strange_locked(const LinkPtr& link) noexcept {
  try {
    receive_locked(link);
  } catch (const std::exception&) {
    return true;
  }
  return link->peer == nullptr;
}

void Hub::on_readable(const LinkPtr& link) noexcept {
  const auto lock = monitor_.lock();
  if (stopping_) return;
  bool keep = !link->closed();
  try {
    for (int i = 0; keep && i < kPacketsPerWakeup; ++i) {
      if (!receive_locked(link)) return;
      keep = !link->closed();
    }
  } catch (const std::exception& error) {
    log(LogLevel::kWarn, "shm", -1, "the link to process {} is given up: {}", pid_of(*link),
        error.what());
    keep = false;
  }
  if (!keep) drop_link_locked(link);
}

void Hub::read_all_locked(const PeerProcess& from) noexcept {
  std::vector<LinkPtr> links(incoming_.begin(), incoming_.end());
  for (const auto& [address, link] : outgoing_) links.push_back(link);
  for (const LinkPtr& link : links) {
    if (link->peer.get() != &from) continue;
    try {
      while (!link->closed() && receive_locked(link)) {
      }
    } catch (const std::exception& error) {
      log(LogLevel::kInfo, "shm", -1, "the link to process {} is given up: {}", pid_of(*link),
          error.what());
      link->close();
    }
    if (link->closed()) drop_link_locked(link);
  }
}

// False when nothing is left to read. Throws when the socket fails. A malformed packet is dropped.
// Closes the link when the peer has, or has not said who it is, or when there is no memory or
// descriptor left for what it sent: whoever waits for that fails at once instead of at its
// deadline.
bool Hub::receive_locked(const LinkPtr& link) {
  alignas(8) std::array<std::byte, kMaxPacketBytes> buffer;
  const std::optional<Received> received = link->socket().try_receive_packet(buffer);
  if (!received.has_value()) return false;
  if (received->bytes == 0) {
    link->close();
    return true;
  }
  try {
    handle_locked(link, std::span(buffer).first(received->bytes), received->descriptors);
  } catch (const Error& error) {
    const bool malformed = error.code() == StatusCode::kInvalidArgument;
    log(LogLevel::kWarn, "shm", -1, "{} a packet of process {}: {}",
        malformed ? "dropped" : "can't serve", pid_of(*link), error.what());
    if (!malformed || link->peer == nullptr) link->close();
  }
  return true;
}

void Hub::handle_locked(const LinkPtr& link, std::span<const std::byte> packet,
                        const Descriptors& descriptors) {
  const PacketType type = type_of(packet);
  if (type == PacketType::kHello) return handle_hello_locked(*link, expect<HelloPacket>(packet));
  if (link->peer == nullptr) reject("expected a greeting first");
  const int first = descriptors[0].get();
  switch (type) {
    case PacketType::kHello:
      break;
    case PacketType::kConnect:
      return handle_connect_locked(link, expect<ConnectPacket>(packet), descriptors);
    case PacketType::kCancel:
      return handle_cancel_locked(*link, expect<CancelPacket>(packet));
    case PacketType::kAccepted:
      return handle_accepted_locked(*link, expect<AcceptedPacket>(packet), first);
    case PacketType::kRefused:
      return handle_refused_locked(*link, expect<RefusedPacket>(packet));
    case PacketType::kRegion: {
      const auto region = expect<RegionPacket>(packet);
      link->regions()->add(region.region, first, region.bytes);
      return;
    }
    case PacketType::kUnmap: {
      const auto unmap = expect<UnmapPacket>(packet);
      if (unmap.freed != 0) return link->regions()->revoke(unmap.region);
      return link->regions()->close_to_writes(unmap.region);
    }
    case PacketType::kWant:
      return handle_want_locked(*link, expect<WantPacket>(packet));
    case PacketType::kExposed:
      return handle_exposed_locked(*link, expect<ExposedPacket>(packet), descriptors);
  }
  reject("unknown packet type " + std::to_string(static_cast<int>(type)));
}

void Hub::handle_hello_locked(Link& link, const HelloPacket& packet) {
  expect_role(link, Link::Role::kServer);
  const Socket::Credentials credentials = link.socket().peer_credentials();
  if (link.peer != nullptr || packet.token != address_.token)
    reject("a greeting with a wrong token, or a second one");
  if (packet.process.pid != credentials.pid || packet.process.uid != credentials.uid) {
    reject("process " + std::to_string(credentials.pid) + " says that it is process " +
           std::to_string(packet.process.pid));
  }
  link.peer = watch_locked(packet.process);
  link.cookie = packet.cookie;
  link.pull_errno = probe_memory(*link.peer, packet.cookie);
}

void Hub::handle_connect_locked(const LinkPtr& link, const ConnectPacket& packet,
                                const Descriptors& descriptors) {
  expect_role(*link, Link::Role::kServer);
  Refusal why = Refusal::kMalformed;
  try {
    const int memory = descriptors[0].get();
    if (!is_valid(packet.layout) || !is_sealed_against_shrinking(memory) ||
        file_bytes(memory) < packet.layout.total_bytes()) {
      reject("a connection whose memory does not fit its layout");
    }
    auto arrival = std::make_shared<Arrival>();
    arrival->id = from_wire(packet.id);
    arrival->layout = packet.layout;
    arrival->sender_bell = map_bell(packet.bell, descriptors[1].get());
    arrival->memory = Mapping(memory, packet.layout.total_bytes());
    arrival->link = link;
    why = admit_locked(arrival);
    if (why == Refusal::kNone) return;
  } catch (const Error& error) {
    if (error.code() != StatusCode::kInvalidArgument) why = Refusal::kNoMemory;
    log(LogLevel::kWarn, "shm", packet.id.sink_rank, "can't accept a connection of process {}: {}",
        pid_of(*link), error.what());
  }
  const RefusedPacket refused{.id = packet.id, .why = why};
  send_locked(*link, bytes_of(refused));
}

Refusal Hub::admit_locked(const std::shared_ptr<Arrival>& arrival) {
  const auto endpoint = endpoints_.find(sink_of(arrival->id));
  if (endpoint != endpoints_.end()) {
    if (endpoint->second.arrivals.contains(arrival->id)) return Refusal::kDuplicate;
    accept_locked(endpoint->second, arrival);
    return Refusal::kNone;
  }
  if (parked_.size() >= kMaxParked) return Refusal::kTooMany;
  return parked_.emplace(arrival->id, arrival).second ? Refusal::kNone : Refusal::kDuplicate;
}

void Hub::accept_locked(Endpoint& endpoint, const std::shared_ptr<Arrival>& arrival) {
  endpoint.arrivals.emplace(arrival->id, arrival);
  Link& link = *arrival->link;
  const AcceptedPacket packet{
      .id = to_wire(arrival->id), .bell = place_of(*endpoint.bell), .pull_errno = link.pull_errno};
  const int bell_fd = endpoint.bell->fd();
  send_locked(link, bytes_of(packet), std::span(&bell_fd, 1));
  ring(endpoint.bell->bell());
}

void Hub::handle_cancel_locked(const Link& link, const CancelPacket& packet) {
  expect_role(link, Link::Role::kServer);
  const auto found = parked_.find(from_wire(packet.id));
  if (found != parked_.end() && found->second->link.get() == &link) parked_.erase(found);
}

void Hub::handle_want_locked(Link& link, const WantPacket& packet) {
  expect_role(link, Link::Role::kServer);
  ExposedPacket answer{.request = packet.request, .region = packet.region};
  const auto region = exposed_.find(packet.region);
  const auto endpoint = endpoints_.find({packet.comm_id, packet.rank});
  if (region == exposed_.end() || endpoint == endpoints_.end()) {
    answer.why = Refusal::kUnknown;
    return send_locked(link, bytes_of(answer));
  }
  const SharedBell& bell = *endpoint->second.bell;
  answer.bytes = region->second->bytes;
  answer.bell = place_of(bell);
  link.note_announced(packet.region);
  const std::array descriptors{region->second->fd, bell.fd()};
  send_locked(link, bytes_of(answer), descriptors);
}

void Hub::handle_accepted_locked(Link& link, const AcceptedPacket& packet, int bell_fd) {
  expect_role(link, Link::Role::kClient);
  link.pull_errno = packet.pull_errno;
  const auto found = link.handshakes.find(from_wire(packet.id));
  if (found == link.handshakes.end()) return;  // its sender has gone
  found->second->peer_bell = map_bell(packet.bell, bell_fd);
  found->second->peer_can_pull = packet.pull_errno == 0;
  finish_handshake_locked(link, found->first, Handshake::State::kAccepted);
}

void Hub::handle_refused_locked(Link& link, const RefusedPacket& packet) {
  expect_role(link, Link::Role::kClient);
  const auto found = link.handshakes.find(from_wire(packet.id));
  if (found == link.handshakes.end()) return;
  found->second->why = packet.why;
  finish_handshake_locked(link, found->first, Handshake::State::kRefused);
}

void Hub::finish_handshake_locked(Link& link, const ConnectionId& id, Handshake::State state) {
  const EndpointKey source = source_of(id);
  const auto node = link.handshakes.extract(id);
  node.mapped()->state.store(state, std::memory_order_release);
  ring_locked(source);
}

void Hub::handle_exposed_locked(Link& link, const ExposedPacket& packet,
                                const Descriptors& descriptors) {
  expect_role(link, Link::Role::kClient);
  const auto found = link.wants.find(packet.request);
  if (found == link.wants.end()) return;  // its deadline has passed
  Want& want = *found->second;
  want.answered = true;
  want.why = packet.why;
  monitor_.notify_all();  // the waiter runs when we let go of the lock
  if (packet.why != Refusal::kNone) return;
  want.why = Refusal::kMalformed;  // unless both can be mapped
  want.bell = map_bell(packet.bell, descriptors[1].get());
  want.region = link.regions()->add(packet.region, descriptors[0].get(), packet.bytes);
  want.why = Refusal::kNone;
}

void Hub::drop_link_locked(const LinkPtr& link) noexcept {
  const LinkPtr held = link;  // `link` may be the last reference in one of the tables
  control_->remove(held->watch);
  held->watch = 0;
  held->disconnect();
  std::erase_if(outgoing_, [&](const auto& entry) { return entry.second == held; });
  incoming_.erase(held);
  std::erase(strangers_, held);
  // Never answered, so nothing has been sent in them. Arrivals stay: they may hold messages that
  // have not been read yet.
  std::erase_if(parked_, [&](const auto& entry) { return entry.second->link == held; });
  for (const auto& [id, handshake] : held->handshakes) ring_locked(source_of(id));
  monitor_.notify_all();
}

}  // namespace tutti::transport::shm
