// SPDX-License-Identifier: Apache-2.0
// Runs a plan without data, and counts what crosses from host to host.
#include "src/planner/network_load.h"

#include <algorithm>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

namespace tutti::planner {
namespace {

using plan::Operand;

constexpr double kTogetherBytes = 1024;  // a few of these messages fill a packet

// Lets every lane run as far as the messages that have been sent allow, again and again. Slots do
// not count: they delay, and add no message to a chain.
class Counter {
 public:
  Counter(const plan::Plan& plan, const Hosts& hosts)
      : plan_(plan),
        hosts_(hosts),
        chunk_(plan.shape.chunks_per_block == 0 ? 0 : 1.0 / plan.shape.chunks_per_block),
        hosts_out_(static_cast<size_t>(hosts.n_hosts())),
        hosts_in_(hosts_out_.size()),
        rank_blocks_(plan.ranks.size()),
        rank_peers_(plan.ranks.size()),
        rank_messages_(plan.ranks.size()) {}

  NetworkLoad run() {
    std::vector<Cursor> waiting;
    for (size_t rank = 0; rank < plan_.ranks.size(); ++rank) {
      finished_.emplace_back();
      for (size_t lane = 0; lane < plan_.ranks[rank].lanes.size(); ++lane) {
        finished_.back().emplace_back();
        waiting.push_back({static_cast<int32_t>(rank), lane});
      }
    }
    for (bool moved = true; moved && !waiting.empty();) {
      moved = false;
      std::erase_if(waiting, [&](Cursor& at) { return advance(&at, &moved); });
    }
    load_.connections = static_cast<int32_t>(crossing_);
    load_.host_blocks = std::max(std::ranges::max(hosts_out_), std::ranges::max(hosts_in_));
    load_.rank_blocks = std::ranges::max(rank_blocks_);
    load_.rank_messages = std::ranges::max(rank_messages_);
    load_.rank_peers = std::ranges::max(rank_peers_);
    load_.message_blocks = chunk_;
    return load_;
  }

 private:
  struct Cursor {
    int32_t rank = 0;
    size_t lane = 0;
    int32_t hops = 0;  // before its next step
  };
  using Name = std::tuple<int32_t, int32_t, int32_t>;  // source rank, sink rank, channel
  using Queue = std::deque<int32_t>;                   // the hops of messages that have been sent

  bool crosses(int32_t from, int32_t to) const {
    return hosts_.host_of(from) != hosts_.host_of(to);
  }

  // The steps of a lane; true when it has run them all.
  bool advance(Cursor* at, bool* moved) {
    const auto& steps = plan_.ranks[static_cast<size_t>(at->rank)].lanes[at->lane].steps;
    std::vector<int32_t>& done = finished_[static_cast<size_t>(at->rank)][at->lane];
    while (done.size() < steps.size()) {
      if (!ready(*at, steps[done.size()])) return false;
      run(at, steps[done.size()]);
      done.push_back(at->hops);
      *moved = true;
    }
    return true;
  }

  bool ready(const Cursor& at, const plan::Step& step) {
    const auto& lanes = finished_[static_cast<size_t>(at.rank)];
    return std::ranges::all_of(
               step.waits, [&](const plan::Wait& w) { return lanes[w.lane].size() > w.step; }) &&
           std::ranges::all_of(step.sources, [&](const Operand& o) {
             return o.kind != Operand::Kind::kPeer || !queue(o.index, at.rank, o.channel).empty();
           });
  }

  void run(Cursor* at, const plan::Step& step) {
    const auto& lanes = finished_[static_cast<size_t>(at->rank)];
    for (const plan::Wait& w : step.waits) at->hops = std::max(at->hops, lanes[w.lane][w.step]);
    for (const Operand& o : step.sources) {
      if (o.kind != Operand::Kind::kPeer) continue;
      Queue& from = queue(o.index, at->rank, o.channel);
      at->hops = std::max(at->hops, from.front());
      from.pop_front();
    }
    const double blocks = step.extent == plan::kNoExtent ? 0 : chunk_;
    for (const Operand& o : step.sinks)
      if (o.kind == Operand::Kind::kPeer) send(*at, o, blocks);
  }

  void send(const Cursor& at, const Operand& to, double blocks) {
    const bool far = crosses(at.rank, to.index);
    const int32_t arrives = at.hops + (far ? 1 : 0);
    load_.hops = std::max(load_.hops, arrives);
    queue(at.rank, to.index, to.channel).push_back(arrives);
    if (!far) return;
    load_.total_blocks += blocks;
    hosts_out_[static_cast<size_t>(hosts_.host_of(at.rank))] += blocks;
    hosts_in_[static_cast<size_t>(hosts_.host_of(to.index))] += blocks;
    for (const int32_t rank : {at.rank, to.index}) {
      rank_blocks_[static_cast<size_t>(rank)] += blocks;
      rank_messages_[static_cast<size_t>(rank)] += 1;
    }
  }

  Queue& queue(int32_t from, int32_t to, int32_t channel) {
    const auto [at, made] = queues_.try_emplace(Name{from, to, channel});
    if (made && crosses(from, to)) {
      ++crossing_;
      for (const int32_t rank : {from, to}) rank_peers_[static_cast<size_t>(rank)] += 1;
    }
    return at->second;
  }

  const plan::Plan& plan_;
  const Hosts& hosts_;
  double chunk_;  // in blocks
  std::vector<double> hosts_out_;
  std::vector<double> hosts_in_;
  std::vector<double> rank_blocks_;
  std::vector<double> rank_peers_;
  std::vector<double> rank_messages_;
  std::map<Name, Queue> queues_;
  size_t crossing_ = 0;
  std::vector<std::vector<std::vector<int32_t>>> finished_;  // [rank][lane][step]: its hops
  NetworkLoad load_;
};

}  // namespace

NetworkLoad network_load(const plan::Plan& plan, const Hosts& hosts) {
  return hosts.several() ? Counter(plan, hosts).run() : NetworkLoad{};
}

LeastLoad least_load(plan::Collective collective, const Hosts& hosts, int32_t root) {
  if (!hosts.several()) return {};
  const double h = hosts.n_hosts();
  const double n = hosts.n_ranks();
  const double most = hosts.most_ranks();
  const double fewest = hosts.fewest_ranks();
  double others = 0;  // sum over hosts of their ranks times those elsewhere
  double busiest = 0;
  for (int32_t host = 0; host < hosts.n_hosts(); ++host) {
    const auto here = static_cast<double>(hosts.ranks_of(host).size());
    others += here * (n - here);
    busiest = std::max(busiest, here * (n - here));
  }
  const auto at_root = static_cast<double>(hosts.ranks_of(hosts.host_of(root)).size());
  switch (collective) {
    case plan::Collective::kAllReduce:
      return {2 * (h - 1), 2 * (h - 1) / h};
    case plan::Collective::kReduce:
    case plan::Collective::kBroadcast:
      return {h - 1, 1};
    case plan::Collective::kAllGather:
    case plan::Collective::kReduceScatter:
      return {n * (h - 1), std::max(n - fewest, most)};
    case plan::Collective::kAllToAll:
      return {others, busiest};
    case plan::Collective::kGather:
    case plan::Collective::kScatter:
      return {n - at_root, n - at_root};
    case plan::Collective::kBarrier:
      return {};
  }
  return {};
}

double network_ns(const NetworkLoad& load, const NetworkParameters& network, uint64_t block_bytes) {
  const auto bytes = static_cast<double>(block_bytes);
  const double wire_ns = std::max(load.host_blocks * bytes * network.host_ns_per_byte,
                                  load.rank_blocks * bytes * network.rank_ns_per_byte);
  const bool together = load.message_blocks * bytes <= kTogetherBytes;
  const double handled = together ? load.rank_peers : load.rank_messages;
  return load.hops * network.hop_ns + handled * network.message_ns + wire_ns;
}

}  // namespace tutti::planner
