// SPDX-License-Identifier: Apache-2.0
// Opens transports and routes every peer to one of them.
#include "src/comm/transports.h"

#include <algorithm>

#include "src/base/log.h"
#include "transport/faulty/faulty.h"

namespace tutti::comm {

namespace {

// Is the name in the list, whose names have commas between them?
bool lists(std::string_view list, std::string_view name) noexcept {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == name) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

// Who names a net plugin names its transport.
bool names_plugin(const transport::TransportRow& row, const LocalConfig* config) noexcept {
  return std::string_view(row.name) == "nccl_net" && config != nullptr &&
         !config->net_plugin.empty();
}

void check_names(std::string_view list) {
  std::vector<std::string_view> names;
  for (const auto& row : transport::transport_table()) names.emplace_back(row.name);
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string name(list.substr(0, comma));
    if (std::ranges::find(names, name) == names.end()) {
      throw Error(StatusCode::kInvalidArgument,
                  "transport '" + name +
                      "' of rank 0 (config.transport or TUTTI_TRANSPORT) is unknown; known are " +
                      known_names(name, names));
    }
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

}  // namespace

Transports::Transports(const transport::TransportOptions& options, std::string_view faults_text,
                       std::string_view named) {
  const transport::Faults faults = transport::parse_faults(faults_text);
  for (const transport::TransportRow& row : transport::transport_table()) {
    if (row.only_when_named && !lists(named, row.name) && !names_plugin(row, options.config)) {
      skipped_.push_back({row.name, "it is used only when TUTTI_TRANSPORT names it"});
      continue;
    }
    try {
      auto made = row.create(options);
      if (faults.any()) made = transport::make_faulty(std::move(made), faults);
      open_.push_back({row.name, std::move(made)});
    } catch (const Error& e) {
      skipped_.push_back({row.name, e.what()});
      log(LogLevel::kInfo, "comm", options.rank, "transport {} is not used: {}", row.name,
          e.what());
    }
  }
}

std::vector<TransportAddress> Transports::addresses(const void* board, size_t bytes) const {
  std::vector<TransportAddress> all;
  all.reserve(open_.size());
  for (const Open& open : open_) {
    all.push_back(
        {open.name, open.transport->address(), open.transport->export_region(board, bytes)});
  }
  return all;
}

std::vector<TransportAddress> Transports::tokens(const void* base, size_t bytes) const {
  std::vector<TransportAddress> all;
  for (const Open& open : open_) {
    if (open.transport != nullptr)
      all.push_back({open.name, {}, open.transport->export_region(base, bytes)});
  }
  return all;
}

int Transports::choose(const PeerRecord& record, int peer, std::string_view allowed) {
  std::string reasons;
  for (const Skipped& skipped : skipped_) {
    if (allowed.empty() || lists(allowed, skipped.name))
      reasons += "; " + skipped.name + ": " + skipped.reason;
  }
  for (size_t i = 0; i < open_.size(); ++i) {
    if (!allowed.empty() && !lists(allowed, open_[i].name)) continue;
    const TransportAddress* address = record.find(open_[i].name);
    if (address == nullptr) {
      reasons += "; " + open_[i].name + ": does not work on that rank";
      continue;
    }
    peers_[static_cast<size_t>(peer)] = {peer, record.process, address->address};
    transport::Reach reach = open_[i].transport->reach(peers_[static_cast<size_t>(peer)]);
    if (reach.reachable) return static_cast<int>(i);
    reasons += "; " + open_[i].name + ": " + reach.reason;
  }
  throw Error(StatusCode::kSystemError,
              "no transport reaches rank " + std::to_string(peer) +
                  (reasons.empty() ? "" : " (" + reasons.substr(2) + ")") +
                  (allowed.empty() ? ""
                                   : "; only '" + std::string(allowed) +
                                         "' is allowed by rank 0's configuration"));
}

void Transports::route(std::span<const PeerRecord> records, int rank, std::string_view allowed) {
  check_names(allowed);
  peers_.resize(records.size());
  route_.assign(records.size(), -1);
  for (size_t i = 0; i < records.size(); ++i) {
    const int peer = static_cast<int>(i);
    if (peer == rank) continue;
    route_[i] = choose(records[i], peer, allowed);
    log(LogLevel::kDebug, "comm", rank, "rank {} is reached by {}", peer,
        open_[static_cast<size_t>(route_[i])].name);
  }
  for (size_t i = 0; i < open_.size(); ++i) {
    if (std::find(route_.begin(), route_.end(), static_cast<int>(i)) == route_.end()) {
      open_[i].transport.reset();
      continue;
    }
    open_[i].transport->start();
    log(LogLevel::kInfo, "comm", rank, "transport {} is used; large messages: {}", open_[i].name,
        open_[i].transport->direct_capability());
  }
}

}  // namespace tutti::comm
