// SPDX-License-Identifier: Apache-2.0
// Records of peers as bytes, and the facts that follow from them.
#include "src/comm/peers.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>

#include "src/comm/bytes.h"

namespace tutti::comm {
namespace {

constexpr uint32_t kRecordVersion = 8;

planner::Hosts hosts_of(std::span<const PeerRecord> records) {
  const std::string& given = records[0].layout.text;
  const auto n = static_cast<int32_t>(records.size());
  const int32_t ranks = planner::ranks_in_layout(given);
  if (ranks == n || (ranks == 0 && !given.empty()))
    return planner::Hosts::parse(given, n, "TUTTI_LAYOUT of rank 0");
  std::vector<uint64_t> hosts;
  hosts.reserve(records.size());
  for (const PeerRecord& record : records) hosts.push_back(record.process.host_id);
  return planner::Hosts::of(hosts);
}

}  // namespace

const TransportAddress* PeerRecord::find(std::string_view transport) const noexcept {
  const auto at = std::find_if(transports.begin(), transports.end(),
                               [&](const TransportAddress& t) { return t.transport == transport; });
  return at == transports.end() ? nullptr : &*at;
}

GivenPlan read_plan(const std::string& path) {
  if (path.empty()) return {};
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file) {
    throw Error(StatusCode::kInvalidArgument,
                "can't read the plan '" + path + "' (TUTTI_PLAN_FILE); it must be a file made by " +
                    "`tutti plan show --as json`, or an MSCCL schedule");
  }
  return {path, std::move(text).str()};
}

std::vector<std::byte> encode(const PeerRecord& record) {
  ByteWriter out;
  out.value(kRecordVersion);
  out.value(record.process);
  out.value(record.cores);
  out.value(record.agreed);
  out.text(record.plan.file);
  out.text(record.plan.text);
  out.text(record.profile.text);
  out.text(record.layout.text);
  out.value(record.caches);
  out.value(record.memory_cap_bytes);
  out.value(record.memory_used_bytes);
  out.value(record.device);
  out.value(record.whole_lines);
  out.text(record.gpu);
  out.value(static_cast<uint32_t>(record.transports.size()));
  for (const TransportAddress& t : record.transports) {
    out.text(t.transport);
    out.blob(t.address);
    out.blob(t.board);
  }
  return out.take();
}

PeerRecord decode(std::span<const std::byte> bytes) {
  ByteReader in(bytes);
  if (const auto version = in.value<uint32_t>(); version != kRecordVersion) {
    throw Error(StatusCode::kInternalError,
                "a peer speaks set-up version " + std::to_string(version) +
                    ", this library version " + std::to_string(kRecordVersion) +
                    ": all ranks must use the same libtutti");
  }
  PeerRecord record;
  record.process = in.value<ProcessIdentity>();
  record.cores = in.value<CoreSet>();
  record.agreed = in.value<AgreedConfig>();
  record.plan.file = in.text();
  record.plan.text = in.text();
  record.profile.text = in.text();
  record.layout.text = in.text();
  record.caches = in.value<CacheSizes>();
  record.memory_cap_bytes = in.value<uint64_t>();
  record.memory_used_bytes = in.value<uint64_t>();
  record.device = in.value<int32_t>();
  record.whole_lines = in.value<bool>();
  record.gpu = in.text();
  const auto n = in.value<uint32_t>();
  for (uint32_t i = 0; i < n; ++i) {
    TransportAddress t;
    t.transport = in.text();
    t.address = in.blob();
    t.board = in.blob();
    record.transports.push_back(std::move(t));
  }
  return record;
}

HostFacts host_facts(std::span<const PeerRecord> records, int rank) {
  std::map<uint64_t, CoreSet> hosts;
  HostFacts facts{.cores = 0, .local_ranks = 0};
  const uint64_t here = records[static_cast<size_t>(rank)].process.host_id;
  for (const PeerRecord& record : records) {
    CoreSet& cores = hosts[record.process.host_id];
    for (size_t i = 0; i < cores.size(); ++i) cores[i] |= record.cores[i];
    if (record.process.host_id == here) ++facts.local_ranks;
  }
  facts.cores = INT32_MAX;
  for (const auto& [host, cores] : hosts) facts.cores = std::min(facts.cores, count(cores));
  facts.hosts = hosts_of(records);
  facts.rdma =
      std::ranges::all_of(records, [](const PeerRecord& r) { return r.find("rdma") != nullptr; });
  facts.all_devices =
      std::ranges::all_of(records, [](const PeerRecord& r) { return r.device >= 0; });
  facts.whole_lines = facts.all_devices && std::ranges::all_of(records, &PeerRecord::whole_lines);
  return facts;
}

}  // namespace tutti::comm
