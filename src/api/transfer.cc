// SPDX-License-Identifier: Apache-2.0
// Agents and one-sided transfers of the C API.
#include "tutti/transfer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <set>

#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/base/config.h"
#include "src/transfer/agent.h"

namespace tutti::api {

static_assert(TUTTI_AGENT_BLOB_BYTES == transfer::kMaxBlobBytes &&
              TUTTI_AGENT_COUNTERS == transfer::kCounters &&
              TUTTI_AGENT_REGIONS == transfer::kRegionSlots);

// An agent with the handles that go with it.
struct AgentFamily {
  explicit AgentFamily(const transfer::AgentOptions& options) : agent(options) {}
  transfer::Agent agent;
  std::mutex mutex;  // guards the rest
  std::set<tuttiAgentPeer_t> peers;
  std::set<tuttiTransfer_t> transfers;
};
struct AgentRef {
  std::shared_ptr<AgentFamily> family;  // shared with the handles below
};
struct AgentPeerRef {
  std::shared_ptr<AgentFamily> family;
  std::shared_ptr<transfer::RemoteAgent> remote;  // shared with its requests
};
struct TransferRef {
  std::shared_ptr<AgentFamily> family;
  std::shared_ptr<transfer::Request> request;  // shared with the agent while it runs
};

}  // namespace tutti::api

struct tuttiAgent final : tutti::api::HandleSlot<tutti::api::AgentRef> {
  static constexpr tutti::api::HandleKind kKind{"agent", "tuttiAgentCreate"};
};
struct tuttiAgentPeer final : tutti::api::HandleSlot<tutti::api::AgentPeerRef> {
  static constexpr tutti::api::HandleKind kKind{"peer of an agent", "tuttiAgentImport"};
};
struct tuttiTransfer final : tutti::api::HandleSlot<tutti::api::TransferRef> {
  static constexpr tutti::api::HandleKind kKind{"transfer", "tuttiPutv or tuttiGetv"};
};

namespace tutti::api {
namespace {

using Agents = Handles<tuttiAgent>;
using Peers = Handles<tuttiAgentPeer>;
using Transfers = Handles<tuttiTransfer>;
using transfer::Kind;

AgentFamily& family_of(tuttiAgent_t agent) { return *Agents::find(agent, "agent").family; }

// As the user's version of the struct has it.
tuttiAgentConfig_t whole_config(const tuttiAgentConfig_t* config) {
  tuttiAgentConfig_t whole = TUTTI_AGENT_CONFIG_INITIALIZER;
  if (config == nullptr) return whole;
  if (config->size < sizeof config->size) {
    refuse("config.size is " + std::to_string(config->size) +
           "; initialise it with TUTTI_AGENT_CONFIG_INITIALIZER");
  }
  std::memcpy(&whole, config, std::min(config->size, sizeof whole));
  return whole;
}

transfer::AgentOptions options_of(const tuttiAgentConfig_t* config) {
  const tuttiAgentConfig_t whole = whole_config(config);
  transfer::AgentOptions options{.config = config_from_environment()};
  if (whole.name != nullptr) options.name = whole.name;
  if (options.name.size() > transfer::kMaxNameBytes)
    refuse("config.name has " + std::to_string(options.name.size()) + " bytes; at most 63");
  if (std::ranges::any_of(options.name, [](char c) { return (c >= 0 && c < ' ') || c == 127; }))
    refuse("config.name has control characters");
  if (whole.socketIfname != nullptr) options.config.local.interface_prefix = whole.socketIfname;
  if (whole.transport != nullptr) {
    auto& named = options.config.agreed.transport;
    if (std::strlen(whole.transport) >= sizeof named) refuse("config.transport is too long");
    std::strncpy(named, whole.transport, sizeof named - 1);
  }
  return options;
}

Deadline deadline_of(double seconds, const transfer::Agent& agent) {
  if (std::isnan(seconds)) refuse("timeoutSeconds is not a number");
  if (seconds < 0) {
    const int64_t timeout_ns = agent.config().timeout_ns;
    return timeout_ns > 0 ? Deadline::after_ns(timeout_ns) : Deadline::never();
  }
  return Deadline::after_ns(
      static_cast<int64_t>(std::min(seconds, 1e9) * static_cast<double>(kNsPerSecond)));
}

tuttiResult_t result_of(const char* function, const transfer::Request& request) {
  if (!request.has_ended()) return tuttiInProgress;
  if (request.code == StatusCode::kOk) return tuttiSuccess;
  return report(function, request.code, request.why.c_str());
}

uint32_t require_counter(int counter) {
  if (counter < 0 || counter >= TUTTI_AGENT_COUNTERS) {
    refuse("counter is " + std::to_string(counter) + "; an agent has counters 0 to " +
           std::to_string(TUTTI_AGENT_COUNTERS - 1));
  }
  return static_cast<uint32_t>(counter);
}

tuttiResult_t start(const char* function, Kind kind, tuttiAgentPeer_t peer,
                    const tuttiTransferDesc_t* descs, size_t n, const tuttiTransferSignal_t* signal,
                    unsigned int flags, tuttiTransfer_t* transfer) {
  return guard(function, [&] {
    require(transfer, "transfer");
    const AgentPeerRef& ref = Peers::find(peer, "peer");
    if (n != 0) require(descs, "descs");
    if (flags != 0) refuse("flags is " + std::to_string(flags) + "; it must be 0");
    if (n > tutti::transfer::kMostDescriptors) {
      refuse("nDescs is " + std::to_string(n) + "; at most " +
             std::to_string(tutti::transfer::kMostDescriptors));
    }
    tutti::transfer::Signal raise;
    if (signal != nullptr && signal->value != 0)
      raise = {.value = signal->value, .counter = require_counter(signal->counter)};
    std::vector<tutti::transfer::Descriptor> ranges(n);
    std::transform(descs, descs + n, ranges.begin(), [](const tuttiTransferDesc_t& desc) {
      return tutti::transfer::Descriptor{.local = static_cast<std::byte*>(desc.local),
                                         .region = desc.region,
                                         .offset = desc.offset,
                                         .bytes = desc.bytes};
    });
    AgentFamily& family = *ref.family;
    auto handle = Transfers::make(TransferRef{ref.family, nullptr});
    auto request = family.agent.start(ref.remote, kind, std::move(ranges), raise);
    handle->value.request = request;
    tuttiTransfer_t published = nullptr;
    try {
      published = Transfers::publish(std::move(handle));
    } catch (...) {
      family.agent.cancel(request);
      throw;
    }
    const std::lock_guard lock(family.mutex);
    family.transfers.insert(published);
    *transfer = published;
  });
}

void release_transfer(tuttiTransfer_t transfer) {
  const auto owner = Transfers::take(transfer, "transfer");
  AgentFamily& family = *owner->value.family;
  family.agent.cancel(owner->value.request);
  const std::lock_guard lock(family.mutex);
  family.transfers.erase(transfer);
}

void release_peer(tuttiAgentPeer_t peer) {
  const auto owner = Peers::take(peer, "peer");
  AgentFamily& family = *owner->value.family;
  family.agent.release(owner->value.remote);
  const std::lock_guard lock(family.mutex);
  family.peers.erase(peer);
}

void destroy_agent(tuttiAgent_t agent) {
  const auto owner = Agents::take(agent, "agent");
  AgentFamily& family = *owner->value.family;
  std::set<tuttiTransfer_t> transfers;
  std::set<tuttiAgentPeer_t> peers;
  {
    const std::lock_guard lock(family.mutex);
    transfers = family.transfers;
    peers = family.peers;
  }
  for (const tuttiTransfer_t transfer : transfers) release_transfer(transfer);
  for (const tuttiAgentPeer_t peer : peers) release_peer(peer);
}

void copy_text(const std::string& text, char* into, size_t capacity) {
  const size_t n = std::min(text.size(), capacity - 1);
  std::memcpy(into, text.data(), n);
  into[n] = '\0';
}

void get_info(const AgentPeerRef& ref, tuttiAgentPeerInfo_t* info) {
  tuttiAgentPeerInfo_t whole = TUTTI_AGENT_PEER_INFO_INITIALIZER;
  const transfer::Blob& blob = ref.remote->blob;
  copy_text(blob.name, whole.name, sizeof whole.name);
  copy_text(ref.family->agent.describe(*ref.remote), whole.how, sizeof whole.how);
  whole.pid = blob.process.pid;
  whole.sameHost = ref.remote->neighbour != nullptr ? 1 : 0;
  whole.numRegions = blob.regions.size();
  hand_out(whole, info);
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;

tuttiResult_t tuttiAgentCreate(tuttiAgent_t* agent, const tuttiAgentConfig_t* config) {
  return guard("tuttiAgentCreate", [&] {
    require(agent, "agent");
    *agent = nullptr;
    auto family = std::make_shared<AgentFamily>(options_of(config));
    *agent = Agents::publish(Agents::make(AgentRef{std::move(family)}));
  });
}

tuttiResult_t tuttiAgentDestroy(tuttiAgent_t agent) {
  return guard("tuttiAgentDestroy", [&] { destroy_agent(agent); });
}

tuttiResult_t tuttiAgentRegister(tuttiAgent_t agent, void* base, size_t bytes, uint32_t* region) {
  return guard("tuttiAgentRegister", [&] {
    require(region, "region");
    AgentFamily& family = family_of(agent);
    require(base, "base");
    if (bytes == 0) refuse("bytes is 0; a region has at least one");
    const auto first = reinterpret_cast<uintptr_t>(base);
    if (first + bytes < first) {
      refuse(std::to_string(bytes) + " bytes at " + std::to_string(first) +
             " go beyond the end of memory");
    }
    *region = family.agent.register_region(base, bytes);
  });
}

tuttiResult_t tuttiAgentDeregister(tuttiAgent_t agent, uint32_t region) {
  return guard("tuttiAgentDeregister", [&] { family_of(agent).agent.deregister_region(region); });
}

tuttiResult_t tuttiAgentExport(tuttiAgent_t agent, void* blob, size_t capacity, size_t* bytes) {
  return guard("tuttiAgentExport", [&] {
    require(bytes, "bytes");
    const std::vector<std::byte> exported = family_of(agent).agent.export_blob();
    *bytes = exported.size();
    if (blob == nullptr) return;
    if (capacity < exported.size()) {
      refuse("the blob has " + std::to_string(exported.size()) + " bytes, capacity is " +
             std::to_string(capacity) + "; TUTTI_AGENT_BLOB_BYTES is always enough");
    }
    std::memcpy(blob, exported.data(), exported.size());
  });
}

tuttiResult_t tuttiAgentImport(tuttiAgent_t agent, const void* blob, size_t bytes,
                               tuttiAgentPeer_t* peer) {
  return guard("tuttiAgentImport", [&] {
    require(peer, "peer");
    *peer = nullptr;
    AgentFamily& family = family_of(agent);
    require(blob, "blob");
    auto remote = family.agent.import_blob({static_cast<const std::byte*>(blob), bytes});
    *peer = Peers::publish(Peers::make(AgentPeerRef{Agents::find(agent, "agent").family, remote}));
    const std::lock_guard lock(family.mutex);
    family.peers.insert(*peer);
  });
}

tuttiResult_t tuttiAgentPeerRelease(tuttiAgentPeer_t peer) {
  return guard("tuttiAgentPeerRelease", [&] { release_peer(peer); });
}

tuttiResult_t tuttiAgentPeerGetInfo(tuttiAgentPeer_t peer, tuttiAgentPeerInfo_t* info) {
  return guard("tuttiAgentPeerGetInfo", [&] {
    const AgentPeerRef& ref = Peers::find(peer, "peer");
    require_size(info, "TUTTI_AGENT_PEER_INFO_INITIALIZER");
    get_info(ref, info);
  });
}

tuttiResult_t tuttiAgentPeerGetRegion(tuttiAgentPeer_t peer, size_t i, uint32_t* region,
                                      size_t* bytes) {
  return guard("tuttiAgentPeerGetRegion", [&] {
    const auto& regions = Peers::find(peer, "peer").remote->blob.regions;
    if (i >= regions.size()) {
      refuse("i is " + std::to_string(i) + "; the peer's blob has " +
             std::to_string(regions.size()) + " regions");
    }
    if (region != nullptr) *region = regions[i].id;
    if (bytes != nullptr) *bytes = regions[i].bytes;
  });
}

tuttiResult_t tuttiAgentPeerGetError(tuttiAgentPeer_t peer, tuttiResult_t* error) {
  return guard("tuttiAgentPeerGetError", [&] {
    require(error, "error");
    const AgentPeerRef& ref = Peers::find(peer, "peer");
    const tutti::Error failure = ref.family->agent.failure_of(*ref.remote);
    *error = static_cast<tuttiResult_t>(failure.code());
    if (failure.code() != tutti::StatusCode::kOk)
      (void)report("tuttiAgentPeerGetError", failure.code(), failure.what());
  });
}

tuttiResult_t tuttiPutv(tuttiAgentPeer_t peer, const tuttiTransferDesc_t* descs, size_t nDescs,
                        const tuttiTransferSignal_t* signal, unsigned int flags,
                        tuttiTransfer_t* transfer) {
  return start("tuttiPutv", Kind::kPut, peer, descs, nDescs, signal, flags, transfer);
}

tuttiResult_t tuttiGetv(tuttiAgentPeer_t peer, const tuttiTransferDesc_t* descs, size_t nDescs,
                        unsigned int flags, tuttiTransfer_t* transfer) {
  return start("tuttiGetv", Kind::kGet, peer, descs, nDescs, nullptr, flags, transfer);
}

tuttiResult_t tuttiTransferTest(tuttiTransfer_t transfer) {
  return guard("tuttiTransferTest", [&] {
    const TransferRef& ref = Transfers::find(transfer, "transfer");
    (void)ref.family->agent.test(*ref.request);
    return result_of("tuttiTransferTest", *ref.request);
  });
}

tuttiResult_t tuttiTransferWait(tuttiTransfer_t transfer, double timeoutSeconds) {
  return guard("tuttiTransferWait", [&] {
    const TransferRef& ref = Transfers::find(transfer, "transfer");
    (void)ref.family->agent.wait(*ref.request, deadline_of(timeoutSeconds, ref.family->agent));
    return result_of("tuttiTransferWait", *ref.request);
  });
}

tuttiResult_t tuttiTransferCancel(tuttiTransfer_t transfer) {
  return guard("tuttiTransferCancel", [&] {
    const TransferRef& ref = Transfers::find(transfer, "transfer");
    ref.family->agent.cancel(ref.request);
  });
}

tuttiResult_t tuttiTransferRelease(tuttiTransfer_t transfer) {
  return guard("tuttiTransferRelease", [&] { release_transfer(transfer); });
}

tuttiResult_t tuttiAgentGetCounter(tuttiAgent_t agent, int counter, uint64_t* value) {
  return guard("tuttiAgentGetCounter", [&] {
    require(value, "value");
    *value = family_of(agent).agent.counter(require_counter(counter));
  });
}

tuttiResult_t tuttiAgentWaitCounter(tuttiAgent_t agent, int counter, uint64_t value,
                                    double timeoutSeconds) {
  return guard("tuttiAgentWaitCounter", [&] {
    tutti::transfer::Agent& mine = family_of(agent).agent;
    const bool there =
        mine.wait_counter(require_counter(counter), value, deadline_of(timeoutSeconds, mine));
    return there ? tuttiSuccess : tuttiInProgress;
  });
}
