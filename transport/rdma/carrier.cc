// SPDX-License-Identifier: Apache-2.0
// Addresses, dialling and accepting of the verbs carrier.
#include "transport/rdma/carrier.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "transport/rdma/rdma.h"

namespace tutti::transport::rdma {
namespace {

constexpr size_t kMostVisitors = 256;
constexpr int64_t kFarewellNs = 100 * kNsPerMs;

Listener listen_anywhere() {
  for (const char* const everywhere : {"[::]:0", "0.0.0.0:0"}) {
    try {
      return Listener::bind(SocketAddress::parse(everywhere), SocketKind::kStream);
    } catch (const Error&) {
      if (everywhere[0] == '0') throw;  // without IPv6 the first one is refused
    }
  }
  return {};
}

}  // namespace

RdmaCarrier::RdmaCarrier(const TransportOptions& options, const RdmaConfig& config)
    : core_(options, config), listener_(listen_anywhere()) {
  core_.polls.add(listener_.fd(), watch_key(Watched::kListener, 0));
  log(LogLevel::kInfo, "transport", options.rank, "rdma: {}", describe());
}

RdmaCarrier::~RdmaCarrier() {
  // Last words to peers: a round trip, when they still listen.
  const Deadline deadline = Deadline::after_ns(kFarewellNs);
  while (!core_.lingering.empty() && !deadline.expired()) {
    if (!poll_completions()) std::this_thread::yield();
  }
  core_.polls.remove(listener_.fd());
}

std::vector<std::byte> RdmaCarrier::address() const {
  CarrierAddress own{.queue_pairs = static_cast<int>(core_.config.queue_pairs),
                     .listeners = core_.rails->own_addresses};
  for (SocketAddress& listener : own.listeners) listener.port = listener_.address().port;
  for (const Rail& rail : core_.rails->rails) own.rails.push_back(rail.address);
  return encode(own);
}

Reach RdmaCarrier::reach(const Peer& peer) const {
  CarrierAddress theirs, own;
  std::string why;
  if (!decode(peer.address, &theirs, &why))
    return {false, fmt::format("rank {}: {}", peer.rank, why)};
  decode(address(), &own, &why);
  if (!pair_rails(own.rails, theirs.rails).empty()) return {true, {}};
  return {false, fmt::format("no RDMA port of rank {} is on a fabric of ours: it has {} {} ({}), "
                             "this rank {} {} ({})",
                             peer.rank, to_string(theirs.rails[0].fabric), theirs.rails[0].device,
                             to_string(theirs.rails[0].gid), to_string(own.rails[0].fabric),
                             own.rails[0].device, to_string(own.rails[0].gid))};
}

std::string RdmaCarrier::describe() const {
  std::string text;
  for (const Rail& rail : core_.rails->rails) {
    text +=
        fmt::format("{}{} {} GID {} ({}), {:.0f} Gb/s, path MTU {}", text.empty() ? "" : "; ",
                    to_string(rail.address.fabric), rail.name(), rail.gid_index,
                    to_string(rail.address.gid), rail.address.megabits / 1000.0, 128 << rail.mtu);
    if (!rail.down.empty()) text += " (down: " + rail.down + ")";
  }
  for (const std::string& unused : core_.rails->unused) text += "; not used: " + unused;
  if (core_.memory.refusals() > 0)
    text += fmt::format("; {} registrations were refused, so that memory is copied",
                        core_.memory.refusals());
  return text + fmt::format(
                    "; {} queue pairs per rail and peer; memory of tuttiMemAlloc is sent from "
                    "where it lies, other memory by a copy",
                    core_.config.queue_pairs);
}

int RdmaCarrier::paths_to(const Peer& peer) const {
  CarrierAddress theirs, own;
  std::string why;
  if (!decode(peer.address, &theirs, &why) || !decode(address(), &own, &why)) return 1;
  const size_t pairs = pair_rails(own.rails, theirs.rails).size();
  return std::max(1, static_cast<int>(pairs) * std::min(own.queue_pairs, theirs.queue_pairs));
}

std::unique_ptr<network::Path> RdmaCarrier::dial(const Peer& peer, int index,
                                                 network::FrameSink& sink, std::string* why) {
  try {
    CarrierAddress theirs, own;
    if (!decode(peer.address, &theirs, why) || !decode(address(), &own, why)) return nullptr;
    const auto pairs = pair_rails(own.rails, theirs.rails);
    if (pairs.empty()) {
      *why = reach(peer).reason;
      return nullptr;
    }
    const RailPair pair = pairs[static_cast<size_t>(index) % pairs.size()];
    Rail& rail = core_.rails->rails[static_cast<size_t>(pair.mine)];
    if (!rail.down.empty()) look_again(rail);
    if (!rail.down.empty()) {
      *why = "RDMA port " + rail.name() + " can't be used: " + rail.down;
      return nullptr;
    }
    return std::make_unique<RdmaPath>(core_, rail, static_cast<uint8_t>(pair.theirs), theirs,
                                      peer.rank, sink);
  } catch (const std::exception& e) {
    *why = e.what();
    return nullptr;
  }
}

// Null when this rank can be connected as the visitor wants.
const char* RdmaCarrier::refusal(const QueuePairFacts& facts) const noexcept {
  if (facts.peer_rail >= core_.rails->rails.size()) return "it has no such RDMA port";
  const Rail& rail = core_.rails->rails[facts.peer_rail];
  if (facts.fabric != static_cast<uint8_t>(rail.address.fabric))
    return "its RDMA port is on a fabric of another kind";
  return rail.down.empty() ? nullptr : rail.down.c_str();
}

void RdmaCarrier::admit(Host& host) {
  const QueuePairFacts& facts = host.facts();
  QueuePairFacts answer;
  const auto refuse = [&](const char* why) {
    answer.refused = 1;
    std::strncpy(answer.reason, why, sizeof answer.reason - 1);
    host.answer(answer);
  };
  if (const char* const why = refusal(facts)) return refuse(why);
  Rail& rail = core_.rails->rails[facts.peer_rail];
  if (rail.address.fabric == Fabric::kIwarp) {
    answer.receives = kReceiveDepth;
    answer.receive_bytes = kReceiveBytes;
    answer.mtu = static_cast<uint8_t>(rail.mtu);
    answer.gid = rail.address.gid;
    answer.rank = core_.options.rank;
    answer.own_rail = facts.peer_rail;
    if (host.answer(answer))
      expected_.insert_or_assign(
          facts.token, Expected{facts, host.take_socket(), Deadline::after_ns(kHandshakeNs)});
    return;
  }
  std::unique_ptr<RdmaPath> path;
  try {
    path = std::make_unique<RdmaPath>(core_, rail, facts, acceptor_->stranger_sink());
  } catch (const std::exception& e) {
    return refuse(e.what());
  }
  if (!host.answer(path->own_facts())) return;
  WatchedSocket side = host.take_socket();
  side.watch_as(watch_key(Watched::kPath, path->id()), false);
  path->keep(std::move(side));
  acceptor_->accepted(std::move(path));
}

// rdma_cm brings a visitor who has been on the side channel before.
void RdmaCarrier::join(JoinRequest request) {
  const auto found = expected_.find(request.token);
  if (found == expected_.end() || acceptor_ == nullptr) {
    connection_manager().reject(request.id->get(), nullptr, 0);
    return;
  }
  Expected expected = std::move(found->second);
  expected_.erase(found);
  Rail& rail = core_.rails->rails[expected.facts.peer_rail];
  auto path = std::make_unique<RdmaPath>(core_, rail, expected.facts, std::move(request.id),
                                         acceptor_->stranger_sink());
  expected.side.watch_as(watch_key(Watched::kPath, path->id()), false);
  path->keep(std::move(expected.side));
  acceptor_->accepted(std::move(path));
}

void RdmaCarrier::accept_visitors() noexcept {
  try {
    while (auto socket = listener_.try_accept()) {
      if (visitors_.size() >= kMostVisitors || acceptor_ == nullptr) continue;  // closes it
      const uint64_t id = ++last_visitor_;
      visitors_.emplace(id, std::make_unique<Host>(core_.options.secret, std::move(*socket),
                                                   core_.polls, watch_key(Watched::kVisitor, id)));
    }
  } catch (const std::exception& e) {
    log(LogLevel::kWarn, "transport", core_.options.rank, "rdma side channel: {}", e.what());
  }
}

void RdmaCarrier::step_visitor(uint64_t id) noexcept {
  const auto found = visitors_.find(id);
  if (found == visitors_.end()) return;
  const Step step = found->second->step();
  if (step == Step::kWaiting) return;
  const std::unique_ptr<Host> host = std::move(found->second);
  visitors_.erase(found);
  try {
    if (step == Step::kReady) return admit(*host);
    log(LogLevel::kWarn, "transport", core_.options.rank, "rdma side channel: {}", host->why());
  } catch (const std::exception& e) {
    log(LogLevel::kWarn, "transport", core_.options.rank, "rdma side channel: {}", e.what());
  }
}

std::unique_ptr<network::Carrier> make_carrier(const TransportOptions& options) {
  return std::make_unique<RdmaCarrier>(options, options.config == nullptr
                                                    ? config_from_environment().local.rdma
                                                    : options.config->rdma);
}

}  // namespace tutti::transport::rdma
