// SPDX-License-Identifier: Apache-2.0
// Connecting by rdma_cm.
#include "transport/rdma/manager.h"

#include <endian.h>
#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "src/base/error.h"
#include "src/base/log.h"
#include "transport/rdma/path.h"

namespace tutti::transport::rdma {
namespace {

constexpr int kResolveMs = 3000;
constexpr int kBacklog = 64;

// librdmacm's own headers bring these structures.
struct RawIp {
  union {
    sockaddr any;
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_storage storage;
  };
};

// `gid` is an IPv6 address or an IPv4 one in its mapped form.
RawIp to_raw(const Gid& gid, uint16_t port) {
  RawIp raw;
  std::memset(&raw, 0, sizeof raw);
  if (is_ipv4_mapped(gid)) {
    raw.v4.sin_family = AF_INET;
    raw.v4.sin_port = htobe16(port);
    std::memcpy(&raw.v4.sin_addr, gid.data() + 12, 4);
  } else {
    raw.v6.sin6_family = AF_INET6;
    raw.v6.sin6_port = htobe16(port);
    std::memcpy(&raw.v6.sin6_addr, gid.data(), 16);
  }
  return raw;
}

Gid to_gid(const SocketAddress& address) {
  Gid gid{};
  if (address.family == SocketAddress::Family::kIpv6) {
    std::memcpy(gid.data(), address.ip, 16);
  } else {
    gid[10] = gid[11] = std::byte{0xff};
    std::memcpy(gid.data() + 12, address.ip, 4);
  }
  return gid;
}

std::unique_ptr<ManagerId> new_id(rdma_event_channel* channel) {
  rdma_cm_id* id = nullptr;
  if (connection_manager().create_id(channel, &id, nullptr, RDMA_PS_TCP) != 0)
    throw system_error("rdma_cm gives no id", errno);
  return std::make_unique<ManagerId>(id);
}

rdma_conn_param parameters(const Token& token, uint32_t queue_pair) {
  rdma_conn_param p{};
  p.private_data = token.data();
  p.private_data_len = static_cast<uint8_t>(token.size());
  p.qp_num = queue_pair;
  p.responder_resources = p.initiator_depth = 1;
  p.retry_count = p.rnr_retry_count = 6;
  return p;
}

}  // namespace

Manager::Manager(Core& core)
    : core_(core), channel_(connection_manager().create_event_channel(), [](rdma_event_channel* c) {
        connection_manager().destroy_event_channel(c);
      }) {
  if (!channel_)
    throw system_error("rdma_cm can't be used (is the module rdma_ucm loaded?)", errno);
  if (::fcntl(channel_->fd, F_SETFL, ::fcntl(channel_->fd, F_GETFL) | O_NONBLOCK) < 0)
    throw system_error("rdma_cm's events can't be read without waiting", errno);
  const auto own = local_addresses(
      core.options.config == nullptr ? std::string() : core.options.config->interface_prefix);
  for (Rail& rail : core.rails->rails) {
    if (rail.address.fabric == Fabric::kIwarp) listen(rail, own);
  }
  core.polls.add(channel_->fd, watch_key(Watched::kManager, 0));
}

Manager::~Manager() { core_.polls.remove(channel_->fd); }

// The address whose interface the rail's device is on is found by trying: rdma_cm tells which
// device an address belongs to.
void Manager::listen(Rail& rail, std::span<const SocketAddress> own) {
  const auto& manager = connection_manager();
  for (const SocketAddress& address : own) {
    const Gid gid = to_gid(address);
    RawIp raw = to_raw(gid, 0);
    auto id = new_id(channel_.get());
    if (manager.bind_addr(id->get(), &raw.any) != 0) continue;
    if (id->get()->verbs == nullptr ||
        rail.device->name() != verbs().get_device_name(id->get()->verbs->device))
      continue;
    if (manager.listen(id->get(), kBacklog) != 0)
      throw system_error(rail.name() + " can't listen by rdma_cm", errno);
    rail.address.gid = gid;
    rail.address.cm_port = be16toh(manager.get_src_port(id->get()));
    listeners_.push_back(std::move(id));
    return;
  }
  rail.down =
      "its network interface has no address that rdma_cm knows (TUTTI_SOCKET_IFNAME may "
      "exclude it)";
}

std::unique_ptr<ManagerId> Manager::dial(const Rail& from, const RailAddress& to, uint32_t path) {
  auto id = new_id(channel_.get());
  id->belongs_to(path);
  RawIp source = to_raw(from.address.gid, 0);
  RawIp target = to_raw(to.gid, to.cm_port);
  if (connection_manager().resolve_addr(id->get(), &source.any, &target.any, kResolveMs) != 0)
    throw system_error(
        "rdma_cm finds no way from " + to_string(from.address.gid) + " to " + to_string(to.gid),
        errno);
  return id;
}

void Manager::resolve_route(ManagerId& id) {
  if (connection_manager().resolve_route(id.get(), kResolveMs) != 0)
    throw system_error("rdma_cm finds no route", errno);
}

void Manager::connect(ManagerId& id, const Token& token, uint32_t queue_pair) {
  rdma_conn_param p = parameters(token, queue_pair);
  if (connection_manager().connect(id.get(), &p) != 0)
    throw system_error("rdma_cm can't connect", errno);
}

void Manager::accept(ManagerId& id, uint32_t queue_pair) {
  rdma_conn_param p = parameters({}, queue_pair);
  p.private_data = nullptr;
  p.private_data_len = 0;
  if (connection_manager().accept(id.get(), &p) != 0)
    throw system_error("rdma_cm can't accept", errno);
}

void Manager::take_events(const std::function<void(JoinRequest)>& join) noexcept {
  const auto& manager = connection_manager();
  rdma_cm_event* taken = nullptr;
  while (manager.get_cm_event(channel_.get(), &taken) == 0) {
    // Acknowledged before it is acted on: an id can't be destroyed while an event of it is not.
    const rdma_cm_event event = *taken;
    Token token{};
    const bool told = event.event == RDMA_CM_EVENT_CONNECT_REQUEST &&
                      event.param.conn.private_data != nullptr &&
                      event.param.conn.private_data_len >= token.size();
    if (told) std::memcpy(token.data(), event.param.conn.private_data, token.size());
    const auto number = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(event.id->context));
    manager.ack_cm_event(taken);
    try {
      if (event.event == RDMA_CM_EVENT_CONNECT_REQUEST) {
        join({std::make_unique<ManagerId>(event.id), token});
      } else if (const auto found = core_.paths.find(number); found != core_.paths.end()) {
        found->second->on_manager(event);
      }
    } catch (const std::exception& e) {
      log(LogLevel::kWarn, "transport", core_.options.rank, "rdma_cm: {}", e.what());
    }
  }
}

}  // namespace tutti::transport::rdma
