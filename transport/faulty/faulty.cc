// SPDX-License-Identifier: Apache-2.0
// Receivers see a copy of the message lines that lags behind; senders meet their fate before they
// commit.
#include "transport/faulty/faulty.h"

#include <csignal>
#include <vector>

namespace tutti::transport {
namespace {

// Draws for message `number` of a connection; `what` separates the kinds of faults.
class Dice {
 public:
  Dice(const Faults& faults, const ConnectionId& id)
      : seed_(faults.seed * 0x9e3779b97f4a7c15ULL ^ static_cast<uint64_t>(id.source_rank) << 40 ^
              static_cast<uint64_t>(id.sink_rank) << 20 ^ static_cast<uint64_t>(id.channel)) {}
  // In [0, 1).
  double roll(uint64_t number, uint64_t what) const noexcept {
    uint64_t z = seed_ + (number * 4 + what) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t seed_;
};
constexpr int64_t kSatOutNs = 200 * kNsPerUs;
constexpr uint64_t kDelay = 0, kStall = 1, kDrop = 2, kKill = 3;

class FaultySend final : public SendConnection {
 public:
  FaultySend(std::unique_ptr<SendConnection> inner, const ConnectionId& id, const Faults& faults)
      : inner_(std::move(inner)), dice_(faults, id), faults_(faults), sink_(id.sink_rank) {
    view = inner_->view;
    needs_progress = true;
    same_process = inner_->same_process;
    by_value = inner_->by_value;
  }
  Status ready(bool* is_ready) noexcept override {
    const Status status = inner_->ready(is_ready);
    view.peer_bell = inner_->view.peer_bell;
    device = inner_->device;  // what GPUs write there themselves meets no fault
    return status;
  }
  Status progress() noexcept override {
    if (dice_.roll(view.committed, kKill) < faults_.kill) std::raise(SIGKILL);
    if (dice_.roll(view.committed, kDrop) < faults_.drop)
      return {StatusCode::kRemoteError, sink_, "the connection was dropped (an injected fault)"};
    if (!inner_->needs_progress) return kOkStatus;
    inner_->view = view;  // what progress() goes by
    return inner_->progress();
  }
  void nudge() noexcept override { inner_->nudge(); }
  size_t rest() noexcept override { return inner_->rest(); }
  void resume() override { inner_->resume(); }
  bool reference(const void* data, size_t bytes, bool allow_pull, MessageKind* kind,
                 DirectReference* reference) noexcept override {
    return inner_->reference(data, bytes, allow_pull, kind, reference);
  }

 private:
  std::unique_ptr<SendConnection> inner_;
  Dice dice_;
  Faults faults_;
  int sink_;
};

class FaultyRecv final : public RecvConnection {
 public:
  FaultyRecv(std::unique_ptr<RecvConnection> inner, const ConnectionId& id, const Faults& faults)
      : inner_(std::move(inner)), dice_(faults, id), faults_(faults), lines_(inner_->view.n_lines) {
    view = inner_->view;
    view.lines = lines_.data();
    device = inner_->device;
    needs_progress = true;
  }

  Status progress() noexcept override {
    if (inner_->needs_progress) {
      const Status status = inner_->progress();
      if (!status.ok()) return status;
    }
    while (shown_ - view.consumed < view.n_lines && show_next()) {
    }
    return kOkStatus;
  }
  void nudge() noexcept override { inner_->nudge(); }
  Status map(const DirectReference& reference, const std::byte** data) noexcept override {
    inner_->view.consumed = view.consumed;
    return inner_->map(reference, data);
  }
  Status pull(const DirectReference& reference, size_t offset, std::byte* into,
              size_t bytes) noexcept override {
    inner_->view.consumed = view.consumed;
    return inner_->pull(reference, offset, into, bytes);
  }

 private:
  // Copies the next line once its time has come.
  bool show_next() noexcept {
    const size_t at = shown_ & (view.n_lines - 1);
    const SlotLine& from = inner_->view.lines[at];
    // acquire: pairs with SendView::commit
    const uint64_t header = from.header.load(std::memory_order_acquire);
    if (header >> 32 != ((shown_ + 1) & UINT32_MAX)) return false;
    int64_t now = now_ns();
    if (due_ns_ == 0) due_ns_ = now + lag_ns();
    // Nobody rings when the time has come, so a short one is sat out.
    while (now < due_ns_ && due_ns_ - now < kSatOutNs) now = now_ns();
    if (now < due_ns_) return false;
    std::memcpy(lines_[at].inline_bytes, from.inline_bytes, kInlineBytes);
    lines_[at].header.store(header, std::memory_order_release);  // pairs with RecvView::peek
    due_ns_ = 0;
    ++shown_;
    return true;
  }
  int64_t lag_ns() const noexcept {
    const auto delay =
        static_cast<int64_t>(dice_.roll(shown_, kDelay) * static_cast<double>(faults_.delay_ns));
    return delay + (dice_.roll(shown_, kStall) < faults_.stall ? faults_.stall_ns : 0);
  }

  std::unique_ptr<RecvConnection> inner_;
  Dice dice_;
  Faults faults_;
  std::vector<SlotLine> lines_;  // zeroed, as fresh lines are
  uint64_t shown_ = 0;           // lines copied so far
  int64_t due_ns_ = 0;           // of the next line; 0: it has not come yet
};

class FaultyTransport final : public Transport {
 public:
  FaultyTransport(std::unique_ptr<Transport> inner, const Faults& faults)
      : inner_(std::move(inner)), faults_(faults) {}

  std::string_view name() const noexcept override { return inner_->name(); }
  std::vector<std::byte> address() const override { return inner_->address(); }
  Reach reach(const Peer& peer) const override { return inner_->reach(peer); }
  void start() override { inner_->start(); }
  bool crosses_hosts() const noexcept override { return inner_->crosses_hosts(); }
  std::string direct_capability() const override { return inner_->direct_capability(); }
  std::unique_ptr<SendConnection> connect(const ConnectionId& id, const Peer& to,
                                          const FifoLayout& layout) override {
    return std::make_unique<FaultySend>(inner_->connect(id, to, layout), id, faults_);
  }
  std::unique_ptr<RecvConnection> try_accept(const ConnectionId& id, const Peer& from) override {
    auto connection = inner_->try_accept(id, from);
    if (connection == nullptr) return nullptr;
    return std::make_unique<FaultyRecv>(std::move(connection), id, faults_);
  }
  std::vector<std::byte> export_region(const void* base, size_t bytes) override {
    return inner_->export_region(base, bytes);
  }
  std::unique_ptr<RemoteRegion> import_region(const Peer& from, std::span<const std::byte> token,
                                              Deadline deadline) override {
    return inner_->import_region(from, token, deadline);
  }
  PathsReport paths(const Peer& peer) const override { return inner_->paths(peer); }
  Status peer_failure(int rank) const noexcept override { return inner_->peer_failure(rank); }
  void give_up(int rank) noexcept override { inner_->give_up(rank); }

 private:
  std::unique_ptr<Transport> inner_;
  Faults faults_;
};

}  // namespace

std::unique_ptr<Transport> make_faulty(std::unique_ptr<Transport> inner, const Faults& faults) {
  return std::make_unique<FaultyTransport>(std::move(inner), faults);
}

}  // namespace tutti::transport
