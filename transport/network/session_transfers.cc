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
  while (room && transfers->next(peer_, std::min(kPieceBytes, most_part_bytes_), &frame)) {
    frame.more = true;  // so that small ones share the network's packets
    room = send(frame);
    if (room) transfers->handed(peer_);
  }
  for (auto& path : paths_) {
    if (path->state == SessionPath::State::kOpen) path->path->push();
  }
  return room;
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
