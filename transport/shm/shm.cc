// SPDX-License-Identifier: Apache-2.0
// One rank's view of the hub.
#include "transport/shm/shm.h"

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "src/device/device.h"
#include "transport/layout_check.h"
#include "transport/shm/connection.h"
#include "transport/shm/hub.h"
#include "transport/shm/window.h"

namespace tutti::transport {
namespace {

using shm::Address;
using shm::Arrival;
using shm::Exposure;
using shm::Hub;
using shm::PeerProcess;

Address address_of(const Peer& peer) {
  const auto address = shm::parse<Address>(peer.address);
  if (!address.has_value() || address->magic != shm::kMagic || address->version != shm::kVersion ||
      address->name[sizeof address->name - 1] != '\0') {
    throw Error(StatusCode::kRemoteError,
                "expected an shm address of version " + std::to_string(shm::kVersion) + " and " +
                    std::to_string(sizeof(Address)) + " bytes, got " +
                    std::to_string(peer.address.size()) + " bytes; rank " +
                    std::to_string(peer.rank) + " has no shm or another version of the library");
  }
  return *address;
}

class ShmTransport final : public Transport {
 public:
  explicit ShmTransport(const TransportOptions& options) : options_(options), hub_(Hub::shared()) {
    hub_->add_endpoint(self(), *options_.bell);
  }
  ~ShmTransport() override {
    if (!hub_->inherited()) hub_->remove_endpoint(self());
  }

  std::string_view name() const noexcept override { return "shm"; }
  std::vector<std::byte> address() const override {
    const auto bytes = shm::bytes_of(hub_->address());
    return {bytes.begin(), bytes.end()};
  }
  Reach reach(const Peer& peer) const override;
  std::string direct_capability() const override;
  std::unique_ptr<SendConnection> connect(const ConnectionId& id, const Peer& to,
                                          const FifoLayout& layout) override;
  std::unique_ptr<RecvConnection> try_accept(const ConnectionId& id, const Peer& from) override;
  std::vector<std::byte> export_region(const void* base, size_t bytes) override;
  std::unique_ptr<RemoteRegion> import_region(const Peer& from, std::span<const std::byte> token,
                                              Deadline deadline) override;
  Status peer_failure(int rank) const noexcept override;

 private:
  EndpointKey self() const noexcept { return {options_.comm_id, options_.rank}; }
  void watch(const Peer& peer) const;

  const TransportOptions options_;
  const std::shared_ptr<Hub> hub_;  // shared by all ranks of the process and by what they have made
  mutable std::mutex peers_mutex_;
  mutable std::map<int, std::shared_ptr<PeerProcess>>
      peers_;  // those reached so far; guarded by peers_mutex_
};

// From now on peer_failure() knows about the rank. Throws when its process has ended or is not
// visible.
void ShmTransport::watch(const Peer& peer) const {
  const std::lock_guard lock(peers_mutex_);
  auto& known = peers_[peer.rank];
  if (known == nullptr || known->who != peer.process) known = hub_->watch(peer.process);
  if (known->gone.load(std::memory_order_acquire)) {  // pairs with Hub::look_at
    throw Error(StatusCode::kRemoteError, "rank " + std::to_string(peer.rank) + ": its process " +
                                              std::to_string(peer.process.pid) + " has ended");
  }
}

Reach ShmTransport::reach(const Peer& peer) const {
  if (peer.process.host_id != this_process().host_id) {
    return {.reachable = false,
            .reason = "rank " + std::to_string(peer.rank) +
                      " is on another host, or in another IPC or network namespace, or has another "
                      "TUTTI_HOST_ID"};
  }
  if (peer.process.uid != this_process().uid) {
    return {.reachable = false,
            .reason = "rank " + std::to_string(peer.rank) + " runs as another user"};
  }
  try {
    (void)address_of(peer);
    watch(peer);
  } catch (const Error& error) {
    return {.reachable = false,
            .reason = "rank " + std::to_string(peer.rank) + ": " + error.what()};
  }
  return {.reachable = true, .reason = {}};
}

std::string ShmTransport::direct_capability() const {
  const Hub::PullReport report = hub_->pull_report();
  std::string text = "mapped: memory of tuttiMemAlloc; pulled (process_vm_readv): ";
  if (report.of == 0) {
    text += "decided when connecting";
  } else {
    text += std::to_string(report.may) + " of " + std::to_string(report.of) +
            " connected processes may read this one";
    if (report.error_number != 0) {
      text += std::string(" (others: ") + strerrordesc_np(report.error_number) +
              "; see kernel.yama.ptrace_scope and the container's seccomp profile)";
    }
  }
  return text + "; staged: always";
}

std::unique_ptr<SendConnection> ShmTransport::connect(const ConnectionId& id, const Peer& to,
                                                      const FifoLayout& layout) {
  if (!is_valid(layout)) {
    throw Error(StatusCode::kInvalidArgument, std::string("connection layout: ") + kLayoutRules);
  }
  watch(to);
  const size_t bytes = layout.total_bytes();
  StagingCharge charge(*options_.budget, layout, to.rank);
  shm::ShmSend::Parts parts{.hub = hub_, .charge = std::move(charge)};
  parts.link = hub_->link_to(to, address_of(to));
  const FileDescriptor memory = create_sealed_memfd("tutti-connection", bytes);
  parts.memory = Mapping(memory.get(), bytes);
  const shm::ConnectPacket packet{
      .id = shm::to_wire(id), .layout = layout, .bell = place_of(*options_.bell)};
  parts.handshake = hub_->start(parts.link, packet, memory.get(), options_.bell->fd());
  return std::make_unique<shm::ShmSend>(std::move(parts), layout);
}

std::unique_ptr<RecvConnection> ShmTransport::try_accept(const ConnectionId& id, const Peer& from) {
  std::shared_ptr<Arrival> arrival = hub_->find_arrival(id);
  if (arrival == nullptr) return nullptr;
  const uint64_t process_uid = arrival->link->peer->who.process_uid;
  if (process_uid != from.process.process_uid) {
    hub_->take_arrival(id);
    throw Error(StatusCode::kRemoteError, "a connection that says it comes from rank " +
                                              std::to_string(from.rank) +
                                              " was started by another process than that rank's");
  }
  shm::ShmRecv::Parts parts;
  parts.charge = MemoryCharge(*options_.budget, MemoryUse::kPeerConnections,
                              arrival->layout.total_bytes(), "");
  parts.hub = hub_;
  parts.arrival = std::move(arrival);
  auto connection = std::make_unique<shm::ShmRecv>(std::move(parts));
  hub_->take_arrival(id);
  return connection;
}

std::vector<std::byte> ShmTransport::export_region(const void* base, size_t bytes) {
  shm::WindowToken token{.process_uid = this_process().process_uid, .bytes = bytes};
  if (bytes == 0) return encode(token);
  const auto region = device::find_shared(base, bytes);
  if (region == nullptr) {
    throw Error(StatusCode::kInvalidArgument, "a window must lie in memory of tuttiMemAlloc; got " +
                                                  std::to_string(bytes) +
                                                  " bytes at an address outside of it");
  }
  hub_->expose(region);
  token.region = region->id;
  token.offset = static_cast<uint64_t>(static_cast<const std::byte*>(base) - region->base);
  return encode(token);
}

std::unique_ptr<RemoteRegion> ShmTransport::import_region(const Peer& from,
                                                          std::span<const std::byte> token,
                                                          Deadline deadline) {
  const shm::WindowToken decoded = shm::decode_window(token, from);
  Exposure exposure;
  if (decoded.bytes != 0) {
    watch(from);
    const auto link = hub_->link_to(from, address_of(from));
    exposure = hub_->import(*link, {options_.comm_id, from.rank}, decoded.region, deadline);
  }
  return std::make_unique<shm::ShmRegion>(hub_, from.rank, std::move(exposure), decoded);
}

Status ShmTransport::peer_failure(int rank) const noexcept {
  if (hub_->deaths() == 0) return kOkStatus;  // what every look costs while all is well
  const std::lock_guard lock(peers_mutex_);
  const auto found = peers_.find(rank);
  if (found == peers_.end() || found->second == nullptr) return kOkStatus;
  if (!found->second->gone.load(std::memory_order_acquire))
    return kOkStatus;  // pairs with Hub::look_at
  return {StatusCode::kRemoteError, rank, "the process of this rank has ended"};
}

}  // namespace

std::unique_ptr<Transport> create_shm(const TransportOptions& options) {
  return std::make_unique<ShmTransport>(options);
}

}  // namespace tutti::transport
