// SPDX-License-Identifier: Apache-2.0
// The carrier of verbs: its devices, its side channel's listener, its paths.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "src/base/socket.h"
#include "transport/network/carrier.h"
#include "transport/rdma/core.h"
#include "transport/rdma/handshake.h"
#include "transport/rdma/manager.h"
#include "transport/rdma/path.h"

namespace tutti::transport::rdma {

// Outlives its paths.
class RdmaCarrier final : public network::Carrier {
 public:
  RdmaCarrier(const TransportOptions& options, const RdmaConfig& config);
  ~RdmaCarrier() override;

  std::string_view name() const noexcept override { return "rdma"; }
  std::vector<std::byte> address() const override;
  Reach reach(const Peer& peer) const override;
  std::string describe() const override;
  int paths_to(const Peer& peer) const override;
  std::unique_ptr<network::Path> dial(const Peer& peer, int index, network::FrameSink& sink,
                                      std::string* why) override;
  void listen(network::PathAcceptor& acceptor) override { acceptor_ = &acceptor; }
  Status progress(bool* moved) noexcept override;
  int event_fd() const noexcept override { return core_.polls.fd(); }
  bool arm(bool writing) noexcept override;
  network::MemoryKey expose(std::byte* base, size_t bytes) override {
    return core_.memory.expose(base, bytes);
  }
  bool lend(std::byte* base, size_t bytes) noexcept override {
    return core_.memory.lend(base, bytes);
  }

 private:
  // A visitor that rdma_cm will connect.
  struct Expected {
    QueuePairFacts facts;
    WatchedSocket side;
    Deadline until = Deadline::never();
  };

  bool poll_completions() noexcept;
  void dispatch(const ibv_wc& completion) noexcept;
  void settle() noexcept;
  bool look_at_descriptors() noexcept;
  void look_at(uint64_t key) noexcept;
  void accept_visitors() noexcept;
  void step_visitor(uint64_t id) noexcept;
  void admit(Host& host);
  const char* refusal(const QueuePairFacts& facts) const noexcept;
  void join(JoinRequest request);
  void take_async_events(Device& device) noexcept;
  void port_event(Device& device, int port, const char* event) noexcept;
  void break_rail(const Rail& rail, const std::string& why) noexcept;
  void expire() noexcept;
  std::vector<uint32_t> path_ids() const;

  Core core_;
  Listener listener_;
  network::PathAcceptor* acceptor_ = nullptr;
  std::unordered_map<uint64_t, std::unique_ptr<Host>> visitors_;
  std::map<Token, Expected> expected_;
  uint64_t last_visitor_ = 0;
  uint32_t calls_ = 0;
  int64_t probed_ns_ = 0;
  std::vector<uint32_t> settling_;
};

}  // namespace tutti::transport::rdma
