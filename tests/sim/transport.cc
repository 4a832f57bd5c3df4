// SPDX-License-Identifier: Apache-2.0
// The transport of the simulated network, and the table in which the library finds it (in place of
// transport/registry.cc).
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "src/device/device.h"
#include "tests/sim/job.h"
#include "tests/sim/network.h"
#include "transport/words.h"

namespace tutti::sim {
namespace {

using transport::ConnectionId;
using transport::DirectReference;
using transport::MessageKind;

constexpr int64_t kAskAgainNs = 2 * kNsPerMs;
constexpr int64_t kUnansweredNs = 20 * kNsPerMs;  // after which a read of a peer's memory fails
constexpr size_t kPullPieceBytes = 32;            // between two of them the processor may be lost

Network& network() { return Job::current()->network(); }
World& world() { return network().world(); }

class SimSend final : public transport::SendConnection {
 public:
  explicit SimSend(Wire& wire) : wire_(wire) {
    wire.attach_sender(&view);
    needs_progress = !wire.shared_memory();
  }
  ~SimSend() override { wire_.detach_sender(); }
  Status ready(bool* is_ready) noexcept override {
    const Status status = progress();
    if (!status.ok()) return status;
    *is_ready = wire_.attached();
    if (*is_ready) view.peer_bell = wire_.send_ring();
    return kOkStatus;
  }
  Status progress() noexcept override {
    if (!wire_.broken()) return kOkStatus;
    return {StatusCode::kRemoteError, wire_.id().sink_rank, "the connection is broken"};
  }
  bool reference(const void* data, size_t bytes, bool allow_pull, MessageKind* kind,
                 DirectReference* reference) noexcept override {
    if (!wire_.shared_memory()) return false;
    // Drawn once per message, which may be tried again and again.
    Rng rng(wire_.draw() ^ view.committed);
    if (rng.chance(network().shape().unreferable_percent)) return false;
    const bool pull = allow_pull && rng.chance(50);
    *kind = pull ? MessageKind::kPulled : MessageKind::kMapped;
    *reference = {
        .region = pull ? 0U : 1U, .offset = reinterpret_cast<uintptr_t>(data), .bytes = bytes};
    return true;
  }

 private:
  Wire& wire_;
};

class SimRecv final : public transport::RecvConnection {
 public:
  explicit SimRecv(Wire& wire) : wire_(wire) {
    wire.attach_receiver(&view);
    needs_progress = !wire.shared_memory();
  }
  ~SimRecv() override { wire_.detach_receiver(); }
  Status progress() noexcept override {
    if (!wire_.broken()) return kOkStatus;
    return {StatusCode::kRemoteError, wire_.id().source_rank, "the connection is broken"};
  }
  Status map(const DirectReference& reference, const std::byte** data) noexcept override {
    if (!wire_.mapped()) return kInProgressStatus;
    *data = std::bit_cast<const std::byte*>(reference.offset);
    return kOkStatus;
  }
  Status pull(const DirectReference& reference, size_t offset, std::byte* into,
              size_t bytes) noexcept override {
    for (size_t done = 0; done < bytes; done += kPullPieceBytes) {
      const auto* from = std::bit_cast<const std::byte*>(reference.offset) + offset + done;
      std::memcpy(into + done, from, std::min(kPullPieceBytes, bytes - done));
      network().act(wire_.sink());
    }
    if (!world().crashed(wire_.source())) return kOkStatus;
    return {StatusCode::kRemoteError, wire_.id().source_rank, "the peer's process has ended"};
  }

 private:
  Wire& wire_;
};

struct Token {
  uint64_t region = 0;
  uint64_t base = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

class SimRegion final : public transport::RemoteRegion {
 public:
  // `rank` is of the communicator, `ends` of the world.
  SimRegion(uint64_t comm_id, int rank, Wire::Ends ends, const Token& token)
      : comm_id_(comm_id), rank_(rank), self_(ends.source), peer_(ends.sink), token_(token) {}
  size_t bytes() const noexcept override { return token_.bytes; }
  Status put(size_t offset, const void* data, size_t bytes) noexcept override {
    const auto* from = static_cast<const std::byte*>(data);
    return write({.offset = token_.offset + offset, .bytes = {from, from + bytes}});
  }
  Status add_signal(size_t offset, uint64_t value) noexcept override {
    return write({.offset = token_.offset + offset, .add = value});
  }
  Status read(size_t offset, std::span<uint64_t> words, Deadline) const noexcept override {
    const bool far = world().host(self_) != world().host(peer_);
    if (far) {
      world().sleep(network().draw_delay(self_, peer_));
      if (world().crashed(peer_) || network().separated(self_, peer_)) {
        world().sleep(kUnansweredNs);
        return {StatusCode::kRemoteError, rank_, "the peer's memory can't be reached"};
      }
    }
    const bool there = use([&] { transport::load_words(memory() + offset, words); });
    const int64_t answer = far ? network().draw_delay(peer_, self_) : 0;
    const int64_t settled = network().settled_ns(peer_, self_);
    world().sleep(std::max(answer, settled + 1 - world().now()));
    return there ? kOkStatus : freed();
  }

 private:
  std::byte* memory() const noexcept {
    return std::bit_cast<std::byte*>(token_.base) + token_.offset;
  }
  template <typename Access>
  bool use(Access access) const noexcept {
    return device::with_shared(std::bit_cast<std::byte*>(token_.base), token_.region, access);
  }
  Status freed() const noexcept {
    return {StatusCode::kInvalidUsage, rank_, "the peer has freed the memory of its window"};
  }
  Status write(Network::Write what) noexcept {
    if (!use([] {})) return freed();
    what.region = std::bit_cast<std::byte*>(token_.base);
    what.region_id = token_.region;
    what.comm_id = comm_id_;
    network().write(self_, peer_, std::move(what));
    return kOkStatus;
  }

  uint64_t comm_id_;
  int rank_, self_, peer_;
  Token token_;
};

// Ranks of a communicator are numbered anew; a world rank is known by its process.
class SimTransport final : public transport::Transport {
 public:
  explicit SimTransport(const transport::TransportOptions& options)
      : options_(options), self_(world().running_rank()) {
    network().add_bell(options.comm_id, self_, options.bell->bell());
  }
  ~SimTransport() override { network().remove_bell(options_.comm_id, self_); }

  std::string_view name() const noexcept override { return "simulated"; }
  std::vector<std::byte> address() const override { return {}; }
  transport::Reach reach(const transport::Peer& peer) const override {
    world_ranks_[static_cast<size_t>(peer.rank)] = world_rank(peer);
    return {.reachable = true, .reason = {}};
  }
  std::string direct_capability() const override { return "any memory of the same host"; }

  std::unique_ptr<transport::SendConnection> connect(const ConnectionId& id,
                                                     const transport::Peer& to,
                                                     const transport::FifoLayout& layout) override {
    transport::FifoLayout smaller = layout;
    smaller.n_lines = std::max(network().shape().n_lines, layout.n_areas);
    return std::make_unique<SimSend>(network().open(id, {self_, world_rank(to)}, smaller));
  }
  std::unique_ptr<transport::RecvConnection> try_accept(const ConnectionId& id,
                                                        const transport::Peer&) override {
    Wire* const wire = network().find(id);
    if (wire == nullptr || !wire->offered()) return nullptr;
    return std::make_unique<SimRecv>(*wire);
  }
  std::vector<std::byte> export_region(const void* base, size_t bytes) override {
    const auto region = device::find_shared(base, bytes);
    if (region == nullptr)
      throw Error(StatusCode::kInvalidArgument, "a window must lie in memory of tuttiMemAlloc");
    const auto first = reinterpret_cast<uintptr_t>(region->base);
    const Token token{region->id, first, reinterpret_cast<uintptr_t>(base) - first, bytes};
    std::vector<std::byte> encoded(sizeof token);
    std::memcpy(encoded.data(), &token, sizeof token);
    return encoded;
  }
  // The peer has to answer.
  std::unique_ptr<transport::RemoteRegion> import_region(const transport::Peer& from,
                                                         std::span<const std::byte> token,
                                                         Deadline deadline) override {
    Token decoded;
    std::memcpy(&decoded, token.data(), sizeof decoded);
    const int peer = world_rank(from);
    world().sleep(network().draw_delay(self_, peer) + network().draw_delay(peer, self_));
    while (world().crashed(peer) || world().paused(peer) || network().separated(self_, peer)) {
      if (deadline.expired() || network().known_dead(self_, peer) || world().burying()) {
        throw Error(StatusCode::kRemoteError,
                    "rank " + std::to_string(from.rank) + " does not answer");
      }
      world().sleep(kAskAgainNs);
    }
    world().sleep(network().settled_ns(peer, self_) + 1 - world().now());
    if (!device::with_shared(std::bit_cast<std::byte*>(decoded.base), decoded.region, [] {})) {
      throw Error(StatusCode::kInvalidUsage,
                  "rank " + std::to_string(from.rank) + " has freed the memory of its window");
    }
    return std::make_unique<SimRegion>(options_.comm_id, from.rank, Wire::Ends{self_, peer},
                                       decoded);
  }
  Status peer_failure(int rank) const noexcept override {
    if (!network().known_dead(self_, world_ranks_[static_cast<size_t>(rank)])) return kOkStatus;
    return {StatusCode::kRemoteError, rank, "the peer's process has ended"};
  }

 private:
  static int world_rank(const transport::Peer& peer) {
    return world().rank_of_pid(peer.process.pid);
  }
  const transport::TransportOptions options_;
  const int self_;
  mutable std::array<int, kMaxRanks> world_ranks_{};  // by rank; filled by reach()
};

std::unique_ptr<transport::Transport> create(const transport::TransportOptions& options) {
  return std::make_unique<SimTransport>(options);
}

}  // namespace
}  // namespace tutti::sim

namespace tutti::transport {

std::span<const TransportRow> transport_table() {
  static constexpr std::array kRows{
      TransportRow{"simulated", "between ranks of a simulated job", sim::create}};
  return kRows;
}

}  // namespace tutti::transport
