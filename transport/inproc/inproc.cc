// SPDX-License-Identifier: Apache-2.0
// Connections and windows between threads of one process. Every reference is an address, so direct
// works for any memory.
#include "transport/inproc/inproc.h"

#include <atomic>
#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include <sys/mman.h>

#include "src/device/device.h"
#include "transport/inproc/board.h"
#include "transport/layout_check.h"
#include "transport/staging_charge.h"
#include "transport/words.h"

namespace tutti::transport {
namespace {

using inproc::Pipe;

class InprocSend final : public SendConnection {
 public:
  InprocSend(const ConnectionId& id, std::shared_ptr<Pipe> pipe, StagingCharge charge)
      : sink_(sink_of(id)), pipe_(std::move(pipe)), charge_(std::move(charge)) {
    view.attach(pipe_->base(), pipe_->layout(), nullptr);
    same_process = true;
  }

  Status ready(bool* is_ready) noexcept override {
    if (!bell_) {
      bell_ = inproc::find_receiver(sink_, *pipe_);
      view.peer_bell = bell_.bell;
    }
    *is_ready = static_cast<bool>(bell_);
    return kOkStatus;
  }

  bool reference(const void* data, size_t bytes, bool, MessageKind* kind,
                 DirectReference* reference) noexcept override {
    *kind = MessageKind::kMapped;
    *reference = {.region = 0, .offset = reinterpret_cast<uintptr_t>(data), .bytes = bytes};
    return true;
  }

  size_t rest() noexcept override { return charge_.rest(view.areas, MADV_DONTNEED); }
  void resume() override { charge_.resume(); }

 private:
  EndpointKey sink_;
  std::shared_ptr<Pipe> pipe_;
  BellHandle bell_;  // the receiver's; empty until it is there
  StagingCharge charge_;
};

class InprocRecv final : public RecvConnection {
 public:
  InprocRecv(std::shared_ptr<Pipe> pipe, MemoryCharge charge)
      : pipe_(std::move(pipe)), charge_(std::move(charge)) {
    view.attach(pipe_->base(), pipe_->layout(), pipe_->sender_bell().bell);
  }
  Status map(const DirectReference& reference, const std::byte** data) noexcept override {
    *data = std::bit_cast<const std::byte*>(reference.offset);
    return kOkStatus;
  }

 private:
  std::shared_ptr<Pipe> pipe_;
  MemoryCharge charge_;
};

// What export_region hands to the peers.
struct WindowToken {
  static constexpr uint64_t kMagic = 0x7475'7469'696e'7031;  // "tutiinp1"
  uint64_t magic;
  uint64_t process_uid;
  uint64_t region;  // device::SharedRegion::id; 0 when bytes is 0
  uint64_t base;    // of the region
  uint64_t offset;  // of the window in it
  uint64_t bytes;
};
static_assert(sizeof(WindowToken) == 48 && std::is_trivially_copyable_v<WindowToken>);

class InprocRegion final : public RemoteRegion {
 public:
  InprocRegion(int rank, const WindowToken& token, BellHandle bell)
      : rank_(rank), token_(token), bell_(std::move(bell)) {}
  size_t bytes() const noexcept override { return token_.bytes; }

  Status put(size_t offset, const void* data, size_t bytes) noexcept override {
    if (offset > token_.bytes || bytes > token_.bytes - offset) return out_of_range();
    if (bytes == 0) return kOkStatus;
    return use([&] { std::memcpy(memory() + offset, data, bytes); });
  }

  Status read(size_t offset, std::span<uint64_t> words, Deadline) const noexcept override {
    if (offset % sizeof(uint64_t) != 0 || offset > token_.bytes ||
        words.size_bytes() > token_.bytes - offset) {
      return out_of_range();
    }
    return use([&] { load_words(memory() + offset, words); });
  }

  Status add_signal(size_t offset, uint64_t value) noexcept override {
    constexpr size_t kWord = sizeof(uint64_t);
    if (offset % kWord != 0 || offset > token_.bytes || kWord > token_.bytes - offset)
      return out_of_range();
    const Status status = use([&] {
      auto& counter = *reinterpret_cast<uint64_t*>(memory() + offset);
      // Release: pairs with the acquire load of whoever waits for the signal.
      std::atomic_ref<uint64_t>(counter).fetch_add(value, std::memory_order_release);
    });
    if (status.ok() && bell_) ring(*bell_.bell);
    return status;
  }

 private:
  std::byte* memory() const noexcept {
    return std::bit_cast<std::byte*>(token_.base) + token_.offset;
  }
  // The owner may free the memory at any time, from its own thread.
  template <typename Access>
  Status use(Access access) const noexcept {
    if (device::with_shared(std::bit_cast<std::byte*>(token_.base), token_.region, access))
      return kOkStatus;
    return {StatusCode::kInvalidUsage, rank_, "the peer has freed the memory of its window"};
  }
  Status out_of_range() const noexcept {
    return {StatusCode::kInvalidArgument, rank_,
            "expected a range inside the peer's window (signals at multiples of 8)"};
  }

  int rank_;
  WindowToken token_;
  BellHandle bell_;
};

class InprocTransport final : public Transport {
 public:
  explicit InprocTransport(const TransportOptions& options)
      : options_(options),
        process_uid_(this_process().process_uid),
        bell_(map_bell(place_of(*options.bell), options.bell->fd())) {
    inproc::add_endpoint(self(), bell_);
  }
  ~InprocTransport() override { inproc::remove_endpoint(self()); }

  std::string_view name() const noexcept override { return "inproc"; }
  std::vector<std::byte> address() const override {
    return {};
  }  // the process identity says it all
  Reach reach(const Peer& peer) const override {
    if (peer.process.process_uid == process_uid_) return {.reachable = true, .reason = {}};
    return {.reachable = false,
            .reason = "rank " + std::to_string(peer.rank) + " is another process"};
  }
  std::string direct_capability() const override {
    return "mapped: any memory (one address space); pulled: never needed; staged: always";
  }

  std::unique_ptr<SendConnection> connect(const ConnectionId& id, const Peer& to,
                                          const FifoLayout& layout) override {
    expect_reach(to);
    if (!is_valid(layout)) {
      throw Error(StatusCode::kInvalidArgument, std::string("connection layout: ") + kLayoutRules);
    }
    StagingCharge charge(*options_.budget, layout, to.rank);
    auto pipe = std::make_shared<Pipe>(layout, bell_);
    auto connection = std::make_unique<InprocSend>(id, pipe, std::move(charge));
    inproc::offer(id, std::move(pipe));
    // The receiver may be asleep waiting for just this.
    if (const BellHandle sink = inproc::find_endpoint(sink_of(id))) ring(*sink.bell);
    return connection;
  }

  std::unique_ptr<RecvConnection> try_accept(const ConnectionId& id, const Peer&) override {
    std::shared_ptr<Pipe> pipe = inproc::peek_offer(id);
    if (pipe == nullptr) return nullptr;
    MemoryCharge charge(*options_.budget, MemoryUse::kPeerConnections, pipe->layout().total_bytes(),
                        "");
    auto connection = std::make_unique<InprocRecv>(std::move(pipe), std::move(charge));
    inproc::take_offer(id, bell_);
    return connection;
  }

  std::vector<std::byte> export_region(const void* base, size_t bytes) override {
    WindowToken token{.magic = WindowToken::kMagic, .process_uid = process_uid_, .bytes = bytes};
    if (const auto region = device::find_shared(base, bytes); region != nullptr) {
      token.region = region->id;
      token.base = reinterpret_cast<uintptr_t>(region->base);
      token.offset = reinterpret_cast<uintptr_t>(base) - token.base;
    } else if (bytes != 0) {
      throw Error(StatusCode::kInvalidArgument,
                  "a window must lie in memory of tuttiMemAlloc; got " + std::to_string(bytes) +
                      " bytes at an address outside of it");
    }
    std::vector<std::byte> encoded(sizeof token);
    std::memcpy(encoded.data(), &token, sizeof token);
    return encoded;
  }

  std::unique_ptr<RemoteRegion> import_region(const Peer& from, std::span<const std::byte> token,
                                              Deadline) override {
    expect_reach(from);
    WindowToken decoded{};
    if (token.size() == sizeof decoded) std::memcpy(&decoded, token.data(), sizeof decoded);
    if (decoded.magic != WindowToken::kMagic || decoded.process_uid != process_uid_) {
      throw Error(StatusCode::kInvalidArgument, "expected a window token of rank " +
                                                    std::to_string(from.rank) +
                                                    " made by inproc in this process; got another");
    }
    return std::make_unique<InprocRegion>(from.rank, decoded,
                                          inproc::find_endpoint({options_.comm_id, from.rank}));
  }

 private:
  EndpointKey self() const noexcept { return {options_.comm_id, options_.rank}; }
  void expect_reach(const Peer& peer) const {
    const Reach reached = reach(peer);
    if (!reached.reachable) throw Error(StatusCode::kInvalidArgument, "inproc: " + reached.reason);
  }

  const TransportOptions options_;
  const uint64_t process_uid_;
  const BellHandle bell_;  // this rank's own
};

}  // namespace

std::unique_ptr<Transport> create_inproc(const TransportOptions& options) {
  return std::make_unique<InprocTransport>(options);
}

}  // namespace tutti::transport
