// SPDX-License-Identifier: Apache-2.0
// Makes connections on first use.
#include "src/comm/links.h"

#include <utility>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/wait.h"

namespace tutti::comm {
namespace {

constexpr int64_t kReaderNs =
    10 * kNsPerSecond;  // more than a thread that runs at all needs for a chunk

}  // namespace

void Links::note_use(int peer, transport::Counted& connection, const char* direction, int channel) {
  const int transport = transports_.index_of(peer);
  used_.fetch_or(uint64_t{1} << transport, std::memory_order_relaxed);
  connection.count_in(recorder_.peer(peer), rank_, peer);
  const std::string name(transports_.name(transport));
  recorder_.set_transport(peer, name.c_str());
  log(LogLevel::kDebug, "comm", rank_, "a connection {} rank {} by {}, channel {}", direction, peer,
      name, channel);
}

transport::SendConnection& Links::send_to(int peer, int channel) {
  const auto at = sends_.find(key(peer, channel));
  if (at != sends_.end()) return *at->second;
  const transport::ConnectionId id{comm_id_, rank_, peer, channel};
  auto made = transports_.to(peer).connect(id, transports_.peer(peer), layout_);
  note_use(peer, *made, "to", channel);
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

void Links::announce(const Notice& notice) noexcept {
  if (std::exchange(announced_, true)) return;
  const auto tell = [&](auto& view) {
    if (view.own_failure == nullptr) return;  // not attached
    view.own_failure->announce(pack(notice), notice.about);
    if (view.peer_bell != nullptr) ring(*view.peer_bell);
  };
  for (auto& [key, connection] : sends_) tell(connection->view);
  for (auto& [key, connection] : recvs_) tell(connection->view);
  // A reader is in the middle of one chunk; in another process it reads its own mapping, and finds
  // out afterwards.
  const Deadline deadline = Deadline::after_ns(kReaderNs);
  for (auto& [key, connection] : sends_) {
    while (connection->same_process && connection->view.peer_reads() && !deadline.expired())
      sleep_ns(20 * kNsPerUs);
  }
}

std::optional<Notice> Links::notice(uint16_t position) const noexcept {
  std::optional<Notice> found;
  const auto look = [&](uint64_t key, const auto& view) {
    uint32_t word = 0;
    int32_t about = -1;
    if (view.peer_failure == nullptr || !view.peer_failure->read(&word, &about)) return;
    const Notice heard = unpack(word, peer_of(key), about);
    if (concerns(heard, position)) found = heard;
  };
  for (const auto& [key, connection] : sends_) look(key, connection->view);
  for (const auto& [key, connection] : recvs_) look(key, connection->view);
  return found;
}

Status Links::Settling::progress(bool*) noexcept {
  for (auto& [key, connection] : links.sends_) {
    if (connection->needs_progress) {
      const Status status = connection->progress();
      if (!status.ok()) return status;
    }
    if (!connection->view.drained()) return kInProgressStatus;
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
  for (const auto& [key, connection] : sends_) {
    bool ready = false;
    if (peer_of(key) == peer && connection->ready(&ready).ok() && ready) return true;
  }
  for (const auto& [key, connection] : recvs_) {
    if (peer_of(key) == peer) return true;
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
