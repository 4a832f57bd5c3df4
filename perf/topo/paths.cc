// SPDX-License-Identifier: Apache-2.0
// Has a communicator choose and open the paths, and asks its transports what there is then.
#include "perf/topo/paths.h"

#include <unistd.h>

#include <algorithm>
#include <array>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>
#include <spdlog/fmt/ranges.h>

#include "perf/meeting.h"
#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/wait.h"
#include "src/comm/setup.h"

namespace tutti::command {
namespace {

using Json = nlohmann::ordered_json;

constexpr uint64_t kPathsRound = 1;                // of the launcher's ids; 0 is the meeting's
constexpr int64_t kPatienceNs = 3 * kNsPerSecond;  // until all paths are open
constexpr uint32_t kSmallSlot = 64;

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "?";
}

PeerPath look(const comm::Transports& transports, int peer) {
  PeerPath path{.transport = std::string(transports.name(transports.index_of(peer))),
                .rails = {},
                .open = {}};
  const auto report = transports.to(peer).paths(transports.peer(peer));
  path.wanted = report.wanted;
  for (const auto& open : report.open) {
    path.open.push_back(open.what);
    if (!open.rail.empty() && std::ranges::find(path.rails, open.rail) == path.rails.end())
      path.rails.push_back(open.rail);
  }
  std::ranges::sort(path.rails);
  return path;
}

std::vector<PeerPath> look_at_all(const comm::Transports& transports, int rank, int n_ranks) {
  std::vector<PeerPath> peers(static_cast<size_t>(n_ranks));
  for (int peer = 0; peer < n_ranks; ++peer) {
    if (peer != rank) peers[static_cast<size_t>(peer)] = look(transports, peer);
  }
  return peers;
}

bool all_open(const std::vector<PeerPath>& peers) {
  return std::ranges::all_of(peers, [](const PeerPath& path) {
    return path.open.size() >= static_cast<size_t>(path.wanted);
  });
}

// Connections are what makes networks dial; of the smallest size, since nothing is sent.
std::vector<PeerPath> open_paths(comm::Communicator& comm) {
  const comm::Transports& transports = comm.local().transports;
  for (int peer = 0; peer < comm.n_ranks(); ++peer) {
    if (peer != comm.rank() && transports.to(peer).crosses_hosts())
      comm.path().links.send_to(peer, comm::kP2pChannel);
  }
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  for (;;) {
    auto peers = look_at_all(transports, comm.rank(), comm.n_ranks());
    if (all_open(peers) || deadline.expired()) return peers;
    sleep_ns(kNsPerMs);
  }
}

std::string text_of(const PeerPath& path) {
  if (path.transport.empty()) return "-";
  if (path.wanted > 0 && path.open.empty()) return path.transport + " none open";
  std::string text = path.transport;
  for (size_t i = 0; i < path.rails.size(); ++i) text += (i == 0 ? " " : "+") + path.rails[i];
  return text;
}

// What a row and a column of the table begin with.
std::string name_of(const std::vector<RankPaths>& ranks, size_t rank) {
  return std::to_string(rank) + " " + ranks[rank].host;
}

// The ways there are, the most frequent first.
std::vector<std::pair<std::string, size_t>> kinds_of(const std::vector<RankPaths>& ranks) {
  std::vector<std::pair<std::string, size_t>> kinds;
  for (const RankPaths& rank : ranks) {
    for (const PeerPath& path : rank.peers) {
      if (path.transport.empty()) continue;
      const std::string text = text_of(path);
      const auto at = std::ranges::find(kinds, text, &std::pair<std::string, size_t>::first);
      if (at == kinds.end()) {
        kinds.emplace_back(text, 1);
      } else {
        ++at->second;
      }
    }
  }
  std::ranges::stable_sort(kinds, std::greater<>(), &std::pair<std::string, size_t>::second);
  return kinds;
}

// Few ranks: words in the cells. More: a letter for each way.
constexpr size_t kFewRanks = 6;
constexpr size_t kMostRanksInTable = 64;
constexpr size_t kMostKinds = 26;

std::string table_text(const std::vector<RankPaths>& ranks,
                       const std::vector<std::pair<std::string, size_t>>& kinds) {
  const bool words = ranks.size() <= kFewRanks;
  if (!words && (ranks.size() > kMostRanksInTable || kinds.size() > kMostKinds)) return "";
  const auto cell = [&](const PeerPath& path) {
    std::string text = text_of(path);
    if (words || text == "-") return text;
    const auto at = std::ranges::find(kinds, text, &std::pair<std::string, size_t>::first);
    return std::string(1, static_cast<char>('a' + (at - kinds.begin())));
  };
  size_t first = 4, width = 1;
  for (size_t r = 0; r < ranks.size(); ++r) {
    first = std::max(first, name_of(ranks, r).size());
    width = std::max(width, words ? name_of(ranks, r).size() : std::to_string(r).size());
    for (const PeerPath& path : ranks[r].peers) width = std::max(width, cell(path).size());
  }
  std::string text = fmt::format("  {:<{}}", "from", first);
  for (size_t r = 0; r < ranks.size(); ++r)
    text += fmt::format("  {:<{}}", words ? name_of(ranks, r) : std::to_string(r), width);
  for (size_t r = 0; r < ranks.size(); ++r) {
    text.erase(text.find_last_not_of(' ') + 1);
    text += fmt::format("\n  {:<{}}", name_of(ranks, r), first);
    for (const PeerPath& path : ranks[r].peers) text += fmt::format("  {:<{}}", cell(path), width);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text + "\n";
}

std::string shortfalls(const std::vector<RankPaths>& ranks) {
  std::string text;
  for (size_t r = 0; r < ranks.size(); ++r) {
    for (size_t p = 0; p < ranks[r].peers.size(); ++p) {
      const PeerPath& path = ranks[r].peers[p];
      if (path.open.size() >= static_cast<size_t>(path.wanted)) continue;
      text +=
          fmt::format("! rank {} to rank {}: {} of {} paths by {} are open after {} s{}\n", r, p,
                      path.open.size(), path.wanted, path.transport, kPatienceNs / kNsPerSecond,
                      path.open.empty() ? "" : fmt::format(": {}", fmt::join(path.open, "; ")));
    }
  }
  return text;
}

}  // namespace

Json to_json(const RankPaths& rank) {
  Json rails = Json::array(), peers = Json::array();
  for (const Rail& rail : rank.rails) rails.push_back({rail.transport, rail.text, rail.used});
  for (const PeerPath& path : rank.peers)
    peers.push_back({path.transport, path.rails, path.open, path.wanted});
  return {{"host", rank.host}, {"failure", rank.failure}, {"rails", rails}, {"peers", peers}};
}

RankPaths rank_paths_from_json(const Json& json) {
  RankPaths rank{.host = json.at("host"), .failure = json.at("failure"), .rails = {}, .peers = {}};
  for (const Json& rail : json.at("rails")) rank.rails.push_back({rail[0], rail[1], rail[2]});
  for (const Json& path : json.at("peers"))
    rank.peers.push_back({path[0], path[1], path[2], path[3]});
  return rank;
}

std::optional<std::vector<RankPaths>> paths_of(const bootstrap::Launch& launch,
                                               bootstrap::Bootstrap& meeting) {
  RankPaths mine{.host = host_name(), .failure = {}, .rails = rails_here(), .peers = {}};
  std::shared_ptr<comm::Communicator> comm;
  try {
    comm::Options options{.config = config_from_environment()};
    options.config.agreed.slot_bytes = kSmallSlot;
    options.config.agreed.slots = 1;
    comm = comm::join(bootstrap::launch_unique_id(launch, kPathsRound),
                      {.rank = launch.rank, .n_ranks = launch.size}, options, nullptr, 0);
    mine.peers = open_paths(*comm);
  } catch (const Error& error) {
    mine.failure = error.what();
  }
  // Everybody has looked before anybody closes.
  const std::vector<std::string> texts = all_texts(meeting, to_json(mine).dump());
  if (comm != nullptr) comm->finalize();
  if (launch.rank != 0) return std::nullopt;
  std::vector<RankPaths> ranks;
  ranks.reserve(texts.size());
  for (const std::string& text : texts) ranks.push_back(rank_paths_from_json(Json::parse(text)));
  return ranks;
}

std::string paths_text(const std::vector<RankPaths>& ranks) {
  std::string text;
  std::vector<std::string> shown;
  for (const RankPaths& rank : ranks) {
    if (std::ranges::find(shown, rank.host) != shown.end()) continue;
    shown.push_back(rank.host);
    text += rails_text(rank.host, rank.rails);
  }
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (ranks[r].failure.empty()) continue;
    return text +
           fmt::format("! paths between ranks are not known; rank {}: {}\n", r, ranks[r].failure);
  }
  const auto kinds = kinds_of(ranks);
  text += "paths from rank to rank:\n" + table_text(ranks, kinds);
  for (size_t i = 0; i < kinds.size(); ++i) {
    const bool lettered = i < kMostKinds && ranks.size() > kFewRanks;
    const std::string letter = lettered ? std::string{static_cast<char>('a' + i), ' '} : "";
    text += fmt::format("  {}{}: {} of {} directed pairs\n", letter, kinds[i].first,
                        kinds[i].second, ranks.size() * (ranks.size() - 1));
  }
  return text + shortfalls(ranks);
}

}  // namespace tutti::command
