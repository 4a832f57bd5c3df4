// SPDX-License-Identifier: Apache-2.0
// Makes connections on first use.
#include "src/comm/links.h"

#include <utility>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/wait.h"
#include "src/exec/message.h"

namespace tutti::comm {
namespace {

constexpr int64_t kReaderNs =
    10 * kNsPerSecond;  // more than a thread that runs at all needs for a chunk

}  // namespace

template <typename Do>
void Links::each_view(const Do& do_it) const noexcept {
  for (const auto& [key, connection] : sends_) do_it(peer_of(key), connection->view);
  for (const auto& [key, connection] : recvs_) do_it(peer_of(key), connection->view);
}

template <typename Do>
void Links::each_served_view(const Do& do_it) const noexcept {
  for (transport::SendConnection* connection : served_sends_)
    do_it(connection->peer(), connection->view);
  for (transport::RecvConnection* connection : served_recvs_)
    do_it(connection->peer(), connection->view);
}

void Links::note_direct_use(int peer) {
  const int transport = transports_.index_of(peer);
  used_.fetch_or(uint64_t{1} << transport, std::memory_order_relaxed);
  recorder_.set_transport(peer, std::string(transports_.name(transport)).c_str());
}

void Links::note_use(int peer, transport::Counted& connection, const char* direction, int channel) {
  note_direct_use(peer);
  connection.count_in(recorder_.peer(peer), rank_, peer);
  log(LogLevel::kDebug, "comm", rank_, "a connection {} rank {} by {}, channel {}", direction, peer,
      transports_.name(transports_.index_of(peer)), channel);
}

transport::SendConnection& Links::send_to(int peer, int channel,
                                          const transport::FifoLayout& layout) {
  const auto at = sends_.find(key(peer, channel));
  if (at != sends_.end()) return *at->second;
  const transport::ConnectionId id{comm_id_, rank_, peer, channel};
  auto made = transports_.to(peer).connect(id, transports_.peer(peer), layout);
  note_use(peer, *made, "to", channel);
  made->by_value = devices_[static_cast<size_t>(peer)];
  auto& kept = *sends_.emplace(key(peer, channel), std::move(made)).first->second;
  n_sends_.store(sends_.size(), std::memory_order_relaxed);
  return kept;
}

transport::RecvConnection* Links::try_recv_from(int peer, int channel) {
  const auto at = recvs_.find(key(peer, channel));
  if (at != recvs_.end()) return at->second.get();
  const transport::ConnectionId id{comm_id_, peer, rank_, channel};
  auto made = transports_.to(peer).try_accept(id, transports_.peer(peer));
  if (made == nullptr) return nullptr;
  note_use(peer, *made, "from", channel);
  auto* const kept = recvs_.emplace(key(peer, channel), std::move(made)).first->second.get();
  n_recvs_.store(recvs_.size(), std::memory_order_relaxed);
  return kept;
}

void Links::close(int channel) noexcept {
  const auto of_channel = [&](const auto& entry) { return channel_of(entry.first) == channel; };
  std::erase_if(sends_, of_channel);
  std::erase_if(recvs_, of_channel);
  n_sends_.store(sends_.size(), std::memory_order_relaxed);
  n_recvs_.store(recvs_.size(), std::memory_order_relaxed);
}

size_t Links::rest() noexcept {
  size_t bytes = 0;
  for (auto& [key, connection] : sends_) {
    if (connection->view.drained()) bytes += connection->rest();
  }
  resting_ = resting_ || bytes != 0;
  return bytes;
}

void Links::resume() {
  for (auto& [key, connection] : sends_) connection->resume();
  resting_ = false;
}

void Links::hand_over() {
  if (served_sends_.size() == sends_.size() && served_recvs_.size() == recvs_.size()) return;
  const std::lock_guard lock(mutex_);
  serves_ = true;
  served_sends_.clear();
  served_recvs_.clear();
  for (auto& [key, connection] : sends_) {
    bool ready = false;
    if (connection->ready(&ready).ok() && ready) served_sends_.push_back(connection.get());
  }
  for (auto& [key, connection] : recvs_) served_recvs_.push_back(connection.get());
}

void Links::serve_peers() noexcept {
  const std::lock_guard lock(mutex_);
  for (transport::SendConnection* connection : served_sends_) {
    if (connection->needs_progress) connection->nudge();
    if (connection->view.peer_bell != nullptr) ring(*connection->view.peer_bell);
  }
  for (transport::RecvConnection* connection : served_recvs_) {
    if (connection->needs_progress) {
      // Whether that has failed is found out where somebody needs the peer: see peer_failure().
      (void)connection->progress();
      connection->nudge();
    }
    if (connection->view.peer_bell != nullptr) ring(*connection->view.peer_bell);
  }
}

void Links::announce(const Notice& notice) noexcept {
  const std::lock_guard lock(mutex_);
  if (std::exchange(announced_, true)) return;
  const auto tell = [&](int, auto& view) {
    if (view.own_failure == nullptr) return;  // not attached
    view.own_failure->announce(pack(notice), notice.about);
    if (view.peer_bell != nullptr) ring(*view.peer_bell);
  };
  if (serves_) return each_served_view(tell);  // kernels send no references
  each_view(tell);
  // A reader is in the middle of one chunk; in another process it reads its own mapping, and finds
  // out afterwards.
  const Deadline deadline = Deadline::after_ns(kReaderNs);
  for (auto& [key, connection] : sends_) {
    while (connection->same_process && connection->view.peer_reads() && !deadline.expired())
      sleep_ns(20 * kNsPerUs);
  }
}

namespace {

// Keeps what the other end of a connection has announced, if it concerns a rank at this position.
auto listener(uint16_t position, std::optional<Notice>& found) {
  return [position, &found](int peer, const auto& view) {
    uint32_t word = 0;
    int32_t about = -1;
    if (view.peer_failure == nullptr || !view.peer_failure->read(&word, &about)) return;
    const Notice heard = unpack(word, peer, about);
    if (concerns(heard, position)) found = heard;
  };
}

}  // namespace

std::optional<Notice> Links::notice(uint16_t position) const noexcept {
  std::optional<Notice> found;
  each_view(listener(position, found));
  return found;
}

std::optional<Notice> Links::notice_to_kernels(uint16_t position) const noexcept {
  const std::lock_guard lock(mutex_);
  std::optional<Notice> found;
  each_served_view(listener(position, found));
  return found;
}

Status Links::Settling::progress(bool*) noexcept {
  for (auto& [key, connection] : links.sends_) {
    if (links.serves_) connection->view.follow();
    Status failure;
    if (!exec::consumed(*connection, &failure)) return failure.ok() ? kInProgressStatus : failure;
  }
  return kOkStatus;
}

int Links::Settling::waiting_for() const noexcept {
  for (auto& [key, connection] : links.sends_) {
    if (!connection->view.drained()) return peer_of(key);
  }
  return -1;
}

bool Links::Settling::needs(int rank) const noexcept {
  for (auto& [key, connection] : links.sends_) {
    if (peer_of(key) == rank && !connection->view.drained()) return true;
  }
  return false;
}

bool Links::reaches(int peer) const noexcept {
  const std::lock_guard lock(mutex_);
  if (serves_) {
    bool found = false;
    // Ends in GPU memory have no words for announcements.
    each_served_view([&](int to, const auto& view) {
      found = found || (to == peer && view.own_failure != nullptr);
    });
    return found;
  }
  for (const auto& [key, connection] : sends_) {
    bool ready = false;
    if (peer_of(key) != peer || !connection->ready(&ready).ok() || !ready) continue;
    if (connection->view.own_failure != nullptr) return true;
  }
  for (const auto& [key, connection] : recvs_) {
    if (peer_of(key) == peer && connection->view.own_failure != nullptr) return true;
  }
  return false;
}

std::string Links::transports_in_use() const {
  std::string names;
  const uint64_t used = used_.load(std::memory_order_relaxed);
  for (int i = 0; used >> i != 0; ++i) {
    if ((used >> i & 1) != 0)
      names += (names.empty() ? "" : ",") + std::string(transports_.name(i));
  }
  return names;
}

}  // namespace tutti::comm
