// SPDX-License-Identifier: Apache-2.0
// The transports of one rank, and which of them leads to which peer.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/comm/peers.h"
#include "transport/transport.h"

namespace tutti::comm {

class Transports {
 public:
  // Opens every row of the table that works here; the others are recorded with their reason.
  // `faults`: see transport::parse_faults(); empty: none. `named`: this rank's TUTTI_TRANSPORT;
  // rows that are used only when named are opened only then. Throws InvalidArgument when one of the
  // two can't be read.
  Transports(const transport::TransportOptions& options, std::string_view faults,
             std::string_view named);

  // What peers need to know: addresses, and tokens for the memory [board, board+bytes).
  std::vector<TransportAddress> addresses(const void* board, size_t bytes) const;
  // After route(): tokens for [base, base+bytes), without addresses. Throws InvalidArgument when it
  // is not from tuttiMemAlloc.
  std::vector<TransportAddress> tokens(const void* base, size_t bytes) const;

  // Decides for every peer: the first open transport that reaches it, out of those that are
  // `allowed` (names of rows with commas between them; empty: any). Throws InvalidArgument for an
  // unknown name, SystemError naming the rank and each transport's reason when none reaches it.
  // Unused ones are closed.
  void route(std::span<const PeerRecord> records, int rank, std::string_view allowed);

  // After route(). Never for this rank itself.
  transport::Transport& to(int peer) const {
    return *open_[static_cast<size_t>(route_[static_cast<size_t>(peer)])].transport;
  }
  const transport::Peer& peer(int rank) const { return peers_[static_cast<size_t>(rank)]; }
  int index_of(int peer) const noexcept { return route_[static_cast<size_t>(peer)]; }
  std::string_view name(int index) const noexcept { return open_[static_cast<size_t>(index)].name; }
  // Failure of a peer that its transport has noticed.
  Status peer_failure(int peer) const noexcept { return to(peer).peer_failure(peer); }
  // The communicator has failed because of it: taking down does not wait for it.
  void give_up(int peer) const noexcept { to(peer).give_up(peer); }

  struct Skipped {
    std::string name, reason;
  };
  std::span<const Skipped> skipped() const noexcept { return skipped_; }

 private:
  struct Open {
    std::string name;
    std::unique_ptr<transport::Transport> transport;  // null once found unused
  };
  int choose(const PeerRecord& record, int peer, std::string_view allowed);

  std::vector<Open> open_;  // in order of preference
  std::vector<Skipped> skipped_;
  std::vector<transport::Peer> peers_;  // by rank
  std::vector<int> route_;              // by rank: index into open_, -1 for this rank
};

}  // namespace tutti::comm
