// SPDX-License-Identifier: Apache-2.0
// A session's part in one-sided transfers: frames out of user memory, and having that memory back.
#include <algorithm>

#include "transport/network/endpoint.h"
#include "transport/network/session.h"

namespace tutti::transport::network {
namespace {

constexpr size_t kPieceBytes = 256 << 10;  // of one frame: what the tcp window's slots have shown

}  // namespace

bool Session::pump_transfers() noexcept {
  Transfers* const transfers = endpoint_.transfers();
  if (transfers == nullptr || !any_path(SessionPath::State::kOpen)) return true;
  OutgoingFrame frame;
  bool room = true;
  size_t run_bytes = 0;
  const size_t most = std::min(kPieceBytes, most_part_bytes_);
  while (room && transfers->next(peer_, most, &frame)) {
    frame.more = true;  // so that small ones share the network's packets
    room = send(frame);
    if (!room && run_ != nullptr) {  // another path may have room
      run_ = nullptr;
      room = send(frame);
    }
    if (!room) break;
    transfers->handed(peer_);
    // Small ones go by the same path for a while: fewer and longer reads at the other end.
    run_bytes += frame.header.payload_bytes;
    const bool goes_on = run_bytes < kPieceBytes;
    if (!goes_on) run_bytes = 0;
    run_ = goes_on ? last_path() : nullptr;
  }
  run_ = nullptr;
  for (auto& path : paths_) {
    if (path->state == SessionPath::State::kOpen) path->path->push();
  }
  return room;
}

// By which the last frame went; null when it has broken meanwhile.
SessionPath* Session::last_path() noexcept {
  const Sent* const sent = outbox_.find(outbox_.next() - 1);
  return sent != nullptr ? sent->path : nullptr;
}

bool Session::withdraw(const std::function<bool(const OutgoingFrame&)>& matches) {
  bool free = true;
  outbox_.for_each([&](Sent& sent) {
    if (!matches(sent.frame)) return;
    if (sent.reader != nullptr) {
      free = false;
    } else {
      // Whether it has arrived or not: if it is sent again, then as nothing.
      sent.frame = {.header = {.sequence = sent.frame.header.sequence, .kind = FrameKind::kNone}};
    }
  });
  return free;
}

// Broken paths count until reap() has destroyed them.
bool Session::is_placing(uint64_t tag) const noexcept {
  return std::ranges::any_of(paths_, [&](const auto& path) { return path->placing == tag; });
}

void Session::break_paths(const std::function<bool(const OutgoingFrame&)>& reading,
                          uint64_t placing, const std::string& why) {
  std::vector<SessionPath*> busy;
  outbox_.for_each([&](Sent& sent) {
    if (sent.reader != nullptr && reading(sent.frame)) busy.push_back(sent.reader);
  });
  for (auto& path : paths_) {
    if (path->placing == placing) busy.push_back(path.get());
  }
  for (SessionPath* path : busy) lost(*path, why, false);
}

}  // namespace tutti::transport::network
