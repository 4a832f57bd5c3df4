// SPDX-License-Identifier: Apache-2.0
// Routes what is host memory (windows, liveness, notes) to inproc or shm, and makes connections in
// GPU memory.
#include "transport/cuda_p2p/cuda_p2p.h"

#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "transport/cuda_p2p/address.h"
#include "transport/cuda_p2p/connection.h"
#include "transport/cuda_p2p/memory.h"
#include "transport/inproc/inproc.h"
#include "transport/layout_check.h"
#include "transport/shm/shm.h"

namespace tutti::transport {
namespace {

using namespace cuda_p2p;  // NOLINT(google-build-using-namespace): its own parts

TransportOptions for_host(TransportOptions options) {
  options.comm_id = host_comm_id(options.comm_id);
  return options;
}

std::shared_ptr<const cuda::Gpu> gpu_of(const TransportOptions& options) {
  if (options.device < 0) throw Error(StatusCode::kInvalidUsage, "this rank has no GPU");
  return std::make_shared<const cuda::Gpu>(options.device);
}

class CudaP2pTransport final : public Transport {
 public:
  explicit CudaP2pTransport(const TransportOptions& options)
      : gpu_(gpu_of(options)),
        inproc_(create_inproc(for_host(options))),
        shm_(create_shm(for_host(options))),
        address_(address_of(*gpu_, shm_->address())),
        pool_(gpu_) {
    (void)sweep();
  }
  ~CudaP2pTransport() override { (void)sweep(); }

  std::string_view name() const noexcept override { return "cuda_p2p"; }
  std::vector<std::byte> address() const override { return encode(address_); }
  Reach reach(const Peer& peer) const override;
  void start() override {
    inproc_->start();
    shm_->start();
  }
  std::string direct_capability() const override {
    return "mapped: never; pulled: never; staged: always, in the receiver's GPU memory";
  }
  std::unique_ptr<SendConnection> connect(const ConnectionId& id, const Peer& to,
                                          const FifoLayout& layout) override;
  std::unique_ptr<RecvConnection> try_accept(const ConnectionId& id, const Peer& from) override;
  std::vector<std::byte> export_region(const void* base, size_t bytes) override;
  std::unique_ptr<RemoteRegion> import_region(const Peer& from, std::span<const std::byte> token,
                                              Deadline deadline) override;
  PathsReport paths(const Peer& peer) const override { return host_to(peer)->paths(peer); }
  Status peer_failure(int rank) const noexcept override { return shm_->peer_failure(rank); }
  void give_up(int rank) noexcept override {
    inproc_->give_up(rank);
    shm_->give_up(rank);
  }

 private:
  // A connection that is being made to this rank.
  struct Accepting {
    std::unique_ptr<RecvConnection> request;
    std::unique_ptr<P2pRecv> made;           // null: the request has not been read
    std::unique_ptr<SendConnection> answer;  // until it has been sent
  };

  static bool is_here(const Peer& peer) {
    return peer.process.process_uid == this_process().process_uid;
  }
  const std::shared_ptr<Transport>& host_to(const Peer& peer) const {
    return is_here(peer) ? inproc_ : shm_;
  }
  Pair pair_with(const Peer& peer) const;
  // True: the sender has reached the FIFO. Throws.
  bool advance(const ConnectionId& id, const Peer& from, Accepting& accepting);

  const std::shared_ptr<const cuda::Gpu> gpu_;  // shared: by memory and ends, which may outlive us
  const std::shared_ptr<Transport> inproc_;     // shared: ends ask whether it is there
  const std::shared_ptr<Transport> shm_;
  const Address address_;
  Pool pool_;
  std::map<ConnectionId, Accepting> accepting_;
};

Reach CudaP2pTransport::reach(const Peer& peer) const {
  try {
    const Address address = decode(peer.address, peer.rank);
    Peer by_host = peer;
    by_host.address = address.shm;
    Reach host = host_to(peer)->reach(by_host);
    if (!host.reachable) return host;
    Verdict verdict = judge(address_, address, peer.rank);
    return {.reachable = verdict.reaches, .reason = std::move(verdict.reason)};
  } catch (const Error& error) {
    return {.reachable = false, .reason = error.what()};
  }
}

Pair CudaP2pTransport::pair_with(const Peer& peer) const {
  const Address address = decode(peer.address, peer.rank);
  Pair pair{.gpu = gpu_,
            .host = host_to(peer),
            .peer = peer,
            .same_process = is_here(peer),
            .whole_lines = judge(address_, address, peer.rank).whole_lines};
  pair.peer.address = address.shm;
  return pair;
}

std::unique_ptr<SendConnection> CudaP2pTransport::connect(const ConnectionId& id, const Peer& to,
                                                          const FifoLayout& layout) {
  if (!is_valid(layout)) {
    throw Error(StatusCode::kInvalidArgument, std::string("connection layout: ") + kLayoutRules);
  }
  Pair pair = pair_with(to);
  auto request = host_to(to)->connect(request_of(id), pair.peer, kNoteLayout);
  Part words = pool_.cut(kWordsBytes);
  return std::make_unique<P2pSend>(id, std::move(pair), layout, std::move(words),
                                   std::move(request));
}

std::unique_ptr<RecvConnection> CudaP2pTransport::try_accept(const ConnectionId& id,
                                                             const Peer& from) {
  Accepting& accepting = accepting_[id];
  try {
    if (!advance(id, from, accepting)) return nullptr;
  } catch (const Error&) {
    accepting_.erase(id);
    throw;
  }
  std::unique_ptr<RecvConnection> made = std::move(accepting.made);
  accepting_.erase(id);
  return made;
}

bool CudaP2pTransport::advance(const ConnectionId& id, const Peer& from, Accepting& accepting) {
  if (accepting.made == nullptr) {
    Pair pair = pair_with(from);
    if (accepting.request == nullptr)
      accepting.request = host_to(from)->try_accept(request_of(id), pair.peer);
    Note request{};
    if (accepting.request == nullptr || !read_note(*accepting.request, from.rank, &request))
      return false;
    accepting.answer = host_to(from)->connect(answer_of(id), pair.peer, kNoteLayout);
    accepting.made = std::make_unique<P2pRecv>(std::move(pair), pool_, request);
  }
  if (accepting.answer != nullptr) {
    bool open = false;
    const Status status = accepting.answer->ready(&open);
    if (!status.ok()) throw Error(status.code, status.reason);
    if (!open) return false;
    send_note(*accepting.answer, accepting.made->answer());
    accepting.answer.reset();  // what was sent stays for the sender
  }
  return has_reached(*accepting.request, from.rank);
}

// Both tokens, since it is not known which process will import it: {bytes of the first}, the
// first, the second.
std::vector<std::byte> CudaP2pTransport::export_region(const void* base, size_t bytes) {
  const std::vector<std::byte> here = inproc_->export_region(base, bytes);
  const std::vector<std::byte> there = shm_->export_region(base, bytes);
  const auto size = static_cast<uint32_t>(here.size());
  std::vector<std::byte> token(sizeof size);
  std::memcpy(token.data(), &size, sizeof size);
  token.insert(token.end(), here.begin(), here.end());
  token.insert(token.end(), there.begin(), there.end());
  return token;
}

std::unique_ptr<RemoteRegion> CudaP2pTransport::import_region(const Peer& from,
                                                              std::span<const std::byte> token,
                                                              Deadline deadline) {
  uint32_t size = 0;
  if (token.size() >= sizeof size) std::memcpy(&size, token.data(), sizeof size);
  if (token.size() < sizeof size || size > token.size() - sizeof size) {
    throw Error(StatusCode::kInvalidArgument, "expected a window token of rank " +
                                                  std::to_string(from.rank) +
                                                  " made by cuda_p2p; got another");
  }
  const std::span<const std::byte> both = token.subspan(sizeof size);
  Peer by_host = from;
  by_host.address = decode(from.address, from.rank).shm;
  return host_to(from)->import_region(
      by_host, is_here(from) ? both.first(size) : both.subspan(size), deadline);
}

}  // namespace

std::unique_ptr<Transport> create_cuda_p2p(const TransportOptions& options) {
  return std::make_unique<CudaP2pTransport>(options);
}

}  // namespace tutti::transport
