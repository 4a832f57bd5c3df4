// SPDX-License-Identifier: Apache-2.0
// A rank's plugin: what it listens on, for whom, and its paths.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "transport/nccl_net/link.h"
#include "transport/nccl_net/loader.h"
#include "transport/network/carrier.h"
#include "transport/transport.h"

namespace tutti::transport::nccl_net {

class NetCarrier final : public network::Carrier {
 public:
  explicit NetCarrier(const TransportOptions& options);
  ~NetCarrier() override;

  std::string_view name() const noexcept override { return "nccl_net"; }
  std::vector<std::byte> address() const override;
  Reach reach(const Peer& peer) const override;
  std::string describe() const override;
  int paths_to(const Peer& peer) const override;
  std::unique_ptr<network::Path> dial(const Peer& peer, int index, network::FrameSink& sink,
                                      std::string* why) override;
  void listen(network::PathAcceptor& acceptor) override { acceptor_ = &acceptor; }
  Status progress(bool* moved) noexcept override;
  int event_fd() const noexcept override { return -1; }  // plugins have none
  bool arm(bool) noexcept override { return true; }

  // For links.
  int rank() const noexcept { return rank_; }
  int device_index(int rail) const noexcept { return loaded_.indices[static_cast<size_t>(rail)]; }
  const std::string& device_name(int rail) const noexcept {
    return loaded_.devices[static_cast<size_t>(rail)].name;
  }
  void greeted(Link& link) noexcept;  // an accepted link knows its peer: makes the path
  void used_handle(int peer, int rail) noexcept;
  void next_handle(int peer, int rail, const Handle& handle) noexcept;

 private:
  struct Listening {
    void* comm = nullptr;
    Handle handle{};
  };
  Listening listen_on(int rail);
  Listening& listening(int rail, int peer) {
    return listening_[static_cast<size_t>(rail) * static_cast<size_t>(n_ranks_) +
                      static_cast<size_t>(peer)];
  }
  void accept_all(bool* moved) noexcept;
  void accept(int rail, int peer, bool* moved) noexcept;
  void close_all() noexcept;

  const int rank_;
  const int n_ranks_;
  LoadedPlugin loaded_;
  Plugin& plugin_;
  int n_rails_ = 0;
  std::vector<Listening> listening_;  // by rail, peer; this rank is one of them
  std::vector<std::byte> address_;
  network::PathAcceptor* acceptor_ = nullptr;
  // What is known of peers' handles that differs from their addresses: used, or the next.
  std::map<std::pair<int, int>, Handle> next_;
  std::set<std::pair<int, int>> used_;
  std::vector<std::unique_ptr<Link>> links_;
  int64_t next_accept_ns_ = 0;
  int64_t accept_every_ns_ = kNsPerMs;
};

}  // namespace tutti::transport::nccl_net
