// SPDX-License-Identifier: Apache-2.0
// Makes an agent, exports it, imports others.
#include "src/transfer/agent.h"

#include <algorithm>
#include <cstring>
#include <new>

#include <spdlog/fmt/fmt.h>

#include "src/base/cores.h"
#include "src/base/log.h"
#include "src/device/device.h"
#include "transport/rdma/rdma.h"
#include "transport/tcp/tcp.h"

namespace tutti::transfer {
namespace {

constexpr int64_t kImportNs = 5 * kNsPerSecond;  // for a neighbour to pass its memory on
constexpr int32_t kThirtyOneBits = 0x7fffffff;

uint64_t random_word() {
  const network::Nonce nonce = network::fresh_nonce();
  uint64_t word = 0;
  std::memcpy(&word, nonce.data(), sizeof word);
  return word;
}

network::Key random_key() {
  network::Key key;
  for (size_t done = 0; done < key.size(); done += sizeof(network::Nonce)) {
    const network::Nonce nonce = network::fresh_nonce();
    std::copy(nonce.begin(), nonce.end(), key.begin() + static_cast<ptrdiff_t>(done));
  }
  return key;
}

// The control page is memory that peers map, so it is made and freed as such.
ControlPage* make_page() { return new (device::allocate_shared(sizeof(ControlPage))) ControlPage; }

}  // namespace

std::string RemoteAgent::name() const {
  return fmt::format("agent '{}' (process {})", blob.name, blob.process.pid);
}

Agent::Agent(const AgentOptions& options)
    : options_(options),
      who_(fmt::format("agent '{}' (process {})", options.name, own_pid())),
      bell_(SharedBell::allocate()),
      id_(random_word() | 1),
      secret_(random_key()),
      cookie_(random_word()),
      hub_(transport::shm::Hub::shared()),
      page_(make_page()),
      regions_(*page_),
      patience_(IdlePolicy::for_load(2, count(usable_cores()))) {
  try {
    page_->pull_token = pull_token_ = random_word();
    const auto control = device::find_shared(page_, sizeof(ControlPage));
    control_id_ = control->id;
    open_endpoint();
    endpoint_->start();
    hub_->add_endpoint({id_, 0}, bell_);
    hub_->expose(control);
  } catch (...) {
    endpoint_ = nullptr;
    device::free_shared(page_);
    throw;
  }
}

// TUTTI_TRANSPORT: nothing: memory between neighbours, tcp to others; "shm": neighbours alone; a
// network's name: that network, also between neighbours.
void Agent::open_endpoint() {
  const std::string named = options_.config.agreed.transport;
  const auto names = [&](const char* transport) {
    return ("," + named + ",").find("," + std::string(transport) + ",") != std::string::npos;
  };
  near_ = named.empty() || names("shm");
  const bool rdma = names("rdma");
  far_ = named.empty() || names("tcp") || rdma;
  if (!near_ && !far_) {
    throw Error(StatusCode::kInvalidUsage,
                "TUTTI_TRANSPORT=" + named + ": transfers go by shm, tcp and rdma");
  }
  const transport::TransportOptions transport{.comm_id = id_,
                                              .rank = 0,
                                              .budget = &budget_,
                                              .bell = &bell_,
                                              .secret = secret_,
                                              .config = &options_.config.local};
  auto carrier =
      rdma ? transport::rdma::make_carrier(transport) : transport::tcp::make_carrier(transport);
  endpoint_ = std::make_unique<network::Endpoint>(transport, std::move(carrier), this);
}

Agent::~Agent() { close(); }

void Agent::close() noexcept {
  page_->leaving.store(1, std::memory_order_release);  // pairs with Neighbour::status()
  std::vector<std::shared_ptr<RemoteAgent>> remotes;
  std::vector<uint32_t> regions;
  {
    const Lock lock(endpoint_->mutex());
    for (const auto& [number, remote] : remotes_) remotes.push_back(remote);
    for (const RegionEntry& region : regions_.entries()) regions.push_back(region.id);
  }
  for (const auto& remote : remotes) release(remote);
  for (const uint32_t region : regions) {
    try {
      deregister_region(region);
    } catch (const Error& e) {
      log(LogLevel::kWarn, "transport", -1, "region {}: {}", region, e.what());
    }
  }
  mover_.stop();
  endpoint_->close();
  endpoint_ = nullptr;
  if (!hub_->inherited()) hub_->remove_endpoint({id_, 0});
  device::free_shared(page_);
}

uint32_t Agent::register_region(void* base, size_t bytes) {
  device::attach_shared(base);  // as windows do: what was withdrawn is a region again
  const auto shared = device::find_shared(base, bytes);
  auto* const first = static_cast<std::byte*>(base);
  if (shared != nullptr) hub_->expose(shared);
  const Lock lock(endpoint_->mutex());
  return regions_.add(first, bytes, shared == nullptr ? 0 : shared->id,
                      shared == nullptr ? 0 : static_cast<uint64_t>(first - shared->base));
}

std::vector<std::byte> Agent::export_blob() {
  Blob blob{.agent_id = id_,
            .secret = secret_,
            .process = this_process(),
            .cookie = {reinterpret_cast<uintptr_t>(&cookie_), cookie_},
            .shm = hub_->address(),
            .control_id = control_id_,
            .name = options_.name};
  const Lock lock(endpoint_->mutex());
  blob.carrier = endpoint_->carrier().name();
  blob.network = endpoint_->carrier().address();
  blob.regions = regions_.entries();
  return encode(blob);
}

std::shared_ptr<RemoteAgent> Agent::import_blob(std::span<const std::byte> bytes) {
  auto remote = std::make_shared<RemoteAgent>();
  remote->blob = decode_blob(bytes);
  const Blob& blob = remote->blob;
  for (const RegionEntry& region : blob.regions) remote->regions[region.id] = region;
  const std::string who = remote->name() + ": ";
  remote->why_not_near = "TUTTI_TRANSPORT leaves memory out";
  if (near_) {
    try {
      remote->neighbour = std::make_unique<Neighbour>(hub_, blob, Deadline::after_ns(kImportNs));
    } catch (const Error& e) {
      remote->why_not_near = e.what();
      if (!far_) throw Error(StatusCode::kRemoteError, who + e.what());
    }
  }
  const uint64_t random = random_word();
  const Lock lock(endpoint_->mutex());
  network::Carrier& carrier = endpoint_->carrier();
  if (blob.carrier != carrier.name()) {
    throw Error(StatusCode::kInvalidUsage, who + "it listens by " + blob.carrier +
                                               ", this one by " + std::string(carrier.name()) +
                                               "; set TUTTI_TRANSPORT alike for both");
  }
  last_number_ += 2;
  remote->number = last_number_;
  const transport::Peer peer{
      .rank = remote->number, .process = blob.process, .address = blob.network};
  if (const auto reach = carrier.reach(peer); !reach.reachable)
    throw Error(StatusCode::kRemoteError, who + reach.reason);
  remote->dialled_as = {static_cast<int32_t>(random) & kThirtyOneBits,
                        static_cast<int32_t>(random >> 32) & kThirtyOneBits};
  remotes_[remote->number] = remote;
  (void)endpoint_->session(peer);
  return remote;
}

void Agent::release(const std::shared_ptr<RemoteAgent>& remote) noexcept {
  std::vector<std::shared_ptr<Request>> requests;
  {
    const Lock lock(endpoint_->mutex());
    if (std::exchange(remote->released, true)) return;
    for (const auto& [number, request] : remote->open) requests.push_back(request);
    requests.insert(requests.end(), remote->copying.begin(), remote->copying.end());
  }
  for (const auto& request : requests) cancel(request);
  const Lock lock(endpoint_->mutex());
  endpoint_->drop_session(remote->number);
  remotes_.erase(remote->number);
}

Error Agent::failure_of(RemoteAgent& remote) {
  if (remote.neighbour != nullptr) {
    if (const Status near = remote.neighbour->status(); !near.ok())
      return {near.code, remote.name() + ": " + near.reason};
  }
  const Lock lock(endpoint_->mutex());
  const network::Session* const session = endpoint_->find_session(remote.number);
  if (session == nullptr) return {StatusCode::kInvalidUsage, remote.name() + " has been released"};
  if (session->peer_left())
    return {StatusCode::kRemoteError, remote.name() + " has left: its agent was destroyed"};
  const Status status = session->status();
  return {status.code, status.ok() ? "" : status.reason};
}

std::string Agent::describe(RemoteAgent& remote) {
  std::string text;
  if (remote.neighbour != nullptr) {
    text = "shm: memory of tuttiMemAlloc is mapped; other memory is ";
    text += remote.neighbour->may_read()
                ? "read out of the process"
                : "sent by " + remote.blob.carrier + " (" + remote.neighbour->why_not() + ")";
  } else {
    text = remote.blob.carrier + " (not by memory: " + remote.why_not_near + ")";
  }
  const Lock lock(endpoint_->mutex());
  if (const network::Session* session = endpoint_->find_session(remote.number);
      session != nullptr) {
    for (const transport::PathReport& path : session->open_paths()) text += "; " + path.what;
  }
  return text;
}

void Agent::forget_pull_token() noexcept {
  const Lock lock(endpoint_->mutex());
  pull_token_ = 0;
}

bool Agent::sabotage(RemoteAgent& remote, size_t nth) noexcept {
  const Lock lock(endpoint_->mutex());
  network::Session* const session = endpoint_->find_session(remote.number);
  return session != nullptr && session->sabotage(nth);
}

}  // namespace tutti::transfer
