// SPDX-License-Identifier: Apache-2.0
// A rank's worker of UCX: its paths, their endpoints, and what peers may write to.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "transport/network/carrier.h"
#include "transport/transport.h"
#include "transport/ucx/link.h"

namespace tutti::transport::ucx {

inline constexpr size_t kAddressHeaderBytes = 8;  // of address(), before the worker's own

class UcxCarrier final : public network::Carrier {
 public:
  explicit UcxCarrier(const TransportOptions& options);
  ~UcxCarrier() override;

  std::string_view name() const noexcept override { return "ucx"; }
  std::vector<std::byte> address() const override;
  Reach reach(const Peer& peer) const override;
  std::string describe() const override;
  int paths_to(const Peer&) const override { return 1; }
  std::unique_ptr<network::Path> dial(const Peer& peer, int index, network::FrameSink& sink,
                                      std::string* why) override;
  void listen(network::PathAcceptor& acceptor) override { acceptor_ = &acceptor; }
  Status progress(bool* moved) noexcept override;
  int event_fd() const noexcept override { return event_fd_; }
  bool arm(bool writing) noexcept override;
  network::MemoryKey expose(std::byte* base, size_t bytes) override;

  // For links.
  const Library& api() const noexcept { return api_; }
  ucp_worker_h worker() const noexcept { return worker_; }
  const std::vector<std::byte>& worker_address() const noexcept { return worker_address_; }
  // Memory types are told to UCX where only one can be; else it looks at each pointer itself.
  void describe_memory(ucp_request_param_t* parameters) const noexcept;
  int rank() const noexcept { return rank_; }
  void mark(Link& link) noexcept;  // it has something to settle
  void fail(Remote& remote, ucs_status_t status, const std::string& why) noexcept;
  void retire(Link& link) noexcept;  // the owner has destroyed its path

 private:
  void open_context();
  void open_worker();
  void close_worker() noexcept;
  bool flush(int64_t limit_ns) noexcept;
  void keep_worker() noexcept;
  Remote& remote_at(std::vector<std::byte> address, uint32_t peer_generation);
  void make_endpoint(Remote& remote);
  Link* link_for(const AmHeader& header, uint64_t attributes);
  ucs_status_t take(const AmHeader& header, void* data, size_t bytes, uint64_t attributes) noexcept;
  void settle_failures() noexcept;
  bool settle() noexcept;
  void welcome(Link& link) noexcept;
  network::MemoryKey pack(const std::byte* base, ucp_mem_h memory) noexcept;
  void release_keys(Remote& remote) noexcept;
  bool closed(Remote& remote) noexcept;
  // Waits, for a bounded time, for UCX to let go of what it holds; nobody is called meanwhile.
  void turn_until(int64_t limit_ns, const std::function<bool()>& done) noexcept;
  static ucs_status_t on_message(void* arg, const void* header, size_t header_bytes, void* data,
                                 size_t bytes, const ucp_am_recv_param_t* parameters) noexcept;
  static void on_error(void* arg, ucp_ep_h endpoint, ucs_status_t status) noexcept;

  const Library& api_;
  const int rank_;
  ucp_context_h context_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  int event_fd_ = -1;
  bool host_only_ = true;  // UCX knows no other memory
  bool always_put_ = false;
  bool never_put_ = false;
  std::string tls_;  // what the user restricted UCX to; for reports
  std::string put_report_ = "no memory exposed yet";
  std::vector<std::byte> worker_address_;
  network::PathAcceptor* acceptor_ = nullptr;
  uint32_t dials_ = 0;
  std::vector<std::unique_ptr<Remote>> remotes_;               // those that are closed are removed
  std::map<std::vector<std::byte>, uint32_t> generations_;     // endpoints made, by peer
  std::unordered_map<uint64_t, std::unique_ptr<Link>> links_;  // by Link::in()
  std::vector<Link*> marked_;
  std::vector<Link*> settling_;
  std::vector<ucp_mem_h> exposed_;
  bool failures_ = false;  // a remote has failed and is not closed yet
};

}  // namespace tutti::transport::ucx
