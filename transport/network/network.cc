// SPDX-License-Identifier: Apache-2.0
// Connections, windows and the transport over an endpoint.
#include "transport/network/network.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <sys/mman.h>

#include "transport/layout_check.h"
#include "transport/network/endpoint.h"
#include "transport/staging_charge.h"

namespace tutti::transport::network {
namespace {

class NetworkSend final : public SendConnection {
 public:
  NetworkSend(std::shared_ptr<Endpoint> endpoint, Session& session,
              std::shared_ptr<SendStream> stream, StagingCharge charge)
      : endpoint_(std::move(endpoint)),
        session_(session),
        stream_(std::move(stream)),
        charge_(std::move(charge)) {
    view.attach(stream_->mirror.base(), stream_->mirror.layout(), nullptr);
    needs_progress = true;
    same_process = true;  // references are read in this process, by the network thread too
  }

  Status ready(bool* is_ready) noexcept override {
    *is_ready = stream_->accepted.load(std::memory_order_acquire);  // pairs with accept()
    return *is_ready ? kOkStatus : endpoint_->poll(session_, false);
  }
  Status progress() noexcept override {
    // While a reference is out, its sender may be waiting for nothing else than its release.
    if (view.area_free() && view.released >= referenced_) return kOkStatus;
    return endpoint_->poll(session_, true);
  }
  void nudge() noexcept override {
    const std::lock_guard lock(endpoint_->mutex());
    session_.pump(false);
    endpoint_->leave_to_thread();
  }
  size_t rest() noexcept override {
    return stream_->lent ? 0 : charge_.rest(view.areas, MADV_DONTNEED);
  }
  void resume() override { charge_.resume(); }
  bool reference(const void* data, size_t bytes, bool, MessageKind* kind,
                 DirectReference* reference) noexcept override {
    *kind = MessageKind::kMapped;
    *reference = {.region = 0, .offset = reinterpret_cast<uintptr_t>(data), .bytes = bytes};
    referenced_ = view.committed + 1;
    return true;
  }

 private:
  uint64_t referenced_ = 0;             // messages up to the last that is a reference
  std::shared_ptr<Endpoint> endpoint_;  // shared with the transport, which may go first
  Session& session_;
  std::shared_ptr<SendStream> stream_;  // shared with the session, which may go first
  StagingCharge charge_;
};

class NetworkRecv final : public RecvConnection {
 public:
  NetworkRecv(std::shared_ptr<Endpoint> endpoint, Session& session,
              std::shared_ptr<RecvStream> stream, MemoryCharge charge)
      : endpoint_(std::move(endpoint)),
        session_(session),
        stream_(std::move(stream)),
        charge_(std::move(charge)) {
    view.attach(stream_->mirror.base(), stream_->mirror.layout(), nullptr);
    needs_progress = true;
  }

  Status progress() noexcept override {
    return stream_->next_is_there() ? kOkStatus : endpoint_->poll(session_, true);
  }
  Status map(const DirectReference& reference, const std::byte** data) noexcept override {
    *data = stream_->locate(reference);
    if (*data != nullptr) return kOkStatus;
    return {StatusCode::kRemoteError, session_.peer(), "a message lies outside of its slots"};
  }
  void nudge() noexcept override {
    if (!stream_->credit_is_due()) return;
    const std::lock_guard lock(endpoint_->mutex());
    session_.pump(false);
    endpoint_->leave_to_thread();
  }

 private:
  std::shared_ptr<Endpoint> endpoint_;  // as above
  Session& session_;
  std::shared_ptr<RecvStream> stream_;
  MemoryCharge charge_;
};

class NetworkTransport final : public Transport {
 public:
  NetworkTransport(const TransportOptions& options, std::unique_ptr<Carrier> carrier)
      : endpoint_(std::make_shared<Endpoint>(options, std::move(carrier))) {}
  ~NetworkTransport() override { endpoint_->close(); }

  std::string_view name() const noexcept override { return endpoint_->carrier().name(); }
  std::vector<std::byte> address() const override { return endpoint_->carrier().address(); }
  Reach reach(const Peer& peer) const override { return endpoint_->carrier().reach(peer); }
  void start() override { endpoint_->start(); }
  bool crosses_hosts() const noexcept override { return true; }
  std::string direct_capability() const override { return endpoint_->describe(); }

  std::unique_ptr<SendConnection> connect(const ConnectionId& id, const Peer& to,
                                          const FifoLayout& layout) override {
    if (!is_valid(layout)) {
      throw Error(StatusCode::kInvalidArgument, std::string("connection layout: ") + kLayoutRules);
    }
    expect_reach(to);
    StagingCharge charge(endpoint_->budget(), layout, to.rank);
    const std::lock_guard lock(endpoint_->mutex());
    Session& session = endpoint_->session(to);
    auto stream = session.open(id, layout);
    endpoint_->begin(session);
    return std::make_unique<NetworkSend>(endpoint_, session, std::move(stream), std::move(charge));
  }

  std::unique_ptr<RecvConnection> try_accept(const ConnectionId& id, const Peer& from) override {
    const std::lock_guard lock(endpoint_->mutex());
    Session& session = endpoint_->session(from);
    auto stream = session.take_offer(id);
    if (stream == nullptr) {
      (void)endpoint_->move(&session, false);
      endpoint_->leave_to_thread();
      stream = session.take_offer(id);
    }
    if (stream == nullptr && !session.status().ok())
      throw Error(session.status().code, session.status().reason);
    if (stream == nullptr) return nullptr;
    MemoryCharge charge(endpoint_->budget(), MemoryUse::kPeerConnections,
                        stream->mirror.layout().total_bytes(), "");
    return std::make_unique<NetworkRecv>(endpoint_, session, std::move(stream), std::move(charge));
  }

  std::vector<std::byte> export_region(const void* base, size_t bytes) override {
    const std::lock_guard lock(endpoint_->mutex());
    const WindowToken token{.comm_id = endpoint_->comm_id(),
                            .bytes = bytes,
                            .rank = endpoint_->rank(),
                            .number = endpoint_->exports().add(base, bytes)};
    std::vector<std::byte> encoded(sizeof token);
    std::memcpy(encoded.data(), &token, sizeof token);
    return encoded;
  }
  std::unique_ptr<RemoteRegion> import_region(const Peer& from, std::span<const std::byte> token,
                                              Deadline deadline) override {
    expect_reach(from);
    return import_window(endpoint_, from, token, deadline);
  }

  PathsReport paths(const Peer& peer) const override {
    const std::lock_guard lock(endpoint_->mutex());
    PathsReport report{.open = {}, .wanted = endpoint_->carrier().paths_to(peer)};
    if (const Session* const session = endpoint_->find_session(peer.rank); session != nullptr)
      report.open = session->open_paths();
    return report;
  }
  Status peer_failure(int rank) const noexcept override { return endpoint_->peer_failure(rank); }
  void give_up(int rank) noexcept override {
    const std::lock_guard lock(endpoint_->mutex());
    if (Session* const session = endpoint_->find_session(rank)) session->give_up();
  }

  bool sabotage(int peer, size_t nth) noexcept {
    const std::lock_guard lock(endpoint_->mutex());
    Session* const session = endpoint_->find_session(peer);
    return session != nullptr && session->sabotage(nth);
  }

 private:
  void expect_reach(const Peer& peer) const {
    const Reach reached = reach(peer);
    if (!reached.reachable)
      throw Error(StatusCode::kInvalidArgument, std::string(name()) + ": " + reached.reason);
  }
  std::shared_ptr<Endpoint> endpoint_;  // shared with connections and windows
};

}  // namespace

std::unique_ptr<Transport> make_network_transport(const TransportOptions& options,
                                                  std::unique_ptr<Carrier> carrier) {
  return std::make_unique<NetworkTransport>(options, std::move(carrier));
}

bool sabotage_path(Transport& transport, int peer, size_t nth) noexcept {
  auto* const network = dynamic_cast<NetworkTransport*>(&transport);
  return network != nullptr && network->sabotage(peer, nth);
}

}  // namespace tutti::transport::network
