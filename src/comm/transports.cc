// SPDX-License-Identifier: Apache-2.0
// Opens transports and routes every peer to one of them.
#include "src/comm/transports.h"

#include <algorithm>

#include "src/base/log.h"
#include "transport/faulty/faulty.h"

namespace tutti::comm {

Transports::Transports(const transport::TransportOptions& options, std::string_view faults_text) {
  const transport::Faults faults = transport::parse_faults(faults_text);
  for (const transport::TransportRow& row : transport::transport_table()) {
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

int Transports::choose(const PeerRecord& record, int peer, std::string_view forced) {
  std::string reasons;
  for (const Skipped& skipped : skipped_) {
    if (forced.empty() || forced == skipped.name)
      reasons += "; " + skipped.name + ": " + skipped.reason;
  }
  for (size_t i = 0; i < open_.size(); ++i) {
    if (!forced.empty() && forced != open_[i].name) continue;
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
                  (forced.empty() ? ""
                                  : "; only '" + std::string(forced) +
                                        "' is allowed by rank 0's configuration"));
}

void Transports::route(std::span<const PeerRecord> records, int rank, std::string_view forced) {
  const auto rows = transport::transport_table();
  const bool known =
      std::any_of(rows.begin(), rows.end(), [&](const auto& row) { return forced == row.name; });
  if (!forced.empty() && !known) {
    std::vector<std::string_view> names;
    for (const auto& row : rows) names.emplace_back(row.name);
    throw Error(StatusCode::kInvalidArgument,
                "transport '" + std::string(forced) +
                    "' of rank 0 (config.transport or TUTTI_TRANSPORT) is unknown; known are " +
                    known_names(forced, names));
  }
  peers_.resize(records.size());
  route_.assign(records.size(), -1);
  for (size_t i = 0; i < records.size(); ++i) {
    const int peer = static_cast<int>(i);
    if (peer == rank) continue;
    route_[i] = choose(records[i], peer, forced);
    log(LogLevel::kDebug, "comm", rank, "rank {} is reached by {}", peer,
        open_[static_cast<size_t>(route_[i])].name);
  }
  for (size_t i = 0; i < open_.size(); ++i) {
    if (std::find(route_.begin(), route_.end(), static_cast<int>(i)) == route_.end())
      open_[i].transport.reset();
    else
      log(LogLevel::kInfo, "comm", rank, "transport {} is used; large messages: {}", open_[i].name,
          open_[i].transport->direct_capability());
  }
}

}  // namespace tutti::comm
