// SPDX-License-Identifier: Apache-2.0
// Moves frames between two queues.
#include "tests/unit/transport_fake.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tutti::transport::testing {

using network::FrameHeader;
using network::MemoryKey;
using network::OutgoingFrame;

size_t FakeLink::waiting_bytes(int end) const {
  size_t bytes = 0;
  for (const FakeFrame& frame : frames[static_cast<size_t>(end)])
    bytes += sizeof frame.header + frame.header.payload_bytes;
  return bytes;
}

std::vector<FakeLink*> FakeNet::open_links() const {
  std::vector<FakeLink*> open;
  for (const auto& link : links) {
    if (link->accepted && !link->cut && link->path[0] != nullptr && link->path[1] != nullptr)
      open.push_back(link.get());
  }
  return open;
}

// FakePath

FakePath::FakePath(network::FrameSink& sink, FakeCarrier& carrier, FakeLink& link, int end)
    : Path(sink), carrier_(carrier), link_(link), end_(end) {
  link_.path[static_cast<size_t>(end_)] = this;
  carrier_.paths.push_back(this);
}

FakePath::~FakePath() {
  drop_unread();
  link_.path[static_cast<size_t>(end_)] = nullptr;
  std::erase(carrier_.paths, this);
}

int FakePath::rail() const noexcept { return link_.index % carrier_.net.n_rails; }

std::string FakePath::describe() const {
  return "fake link " + std::to_string(link_.number) + " end " + std::to_string(end_);
}

bool FakePath::sabotage() noexcept {
  FakeNet::cut(link_);
  return true;
}

bool FakePath::allows(FakeEvent event) const { return carrier_.net.allows(event, link_, end_); }

void FakePath::drop_unread() {
  std::erase_if(link_.frames[static_cast<size_t>(end_)],
                [](const FakeFrame& frame) { return !frame.read; });
}

void FakePath::break_down(const std::string& why) noexcept {
  if (std::exchange(broken_, true)) return;
  link_.cut = true;
  drop_unread();
  sink().broken(*this, why);
}

bool FakePath::send(const OutgoingFrame& frame) noexcept {
  if (broken_ || !link_.accepted) return false;
  auto& queue = link_.frames[static_cast<size_t>(end_)];
  const size_t bytes = sizeof frame.header + frame.header.payload_bytes;
  FakeFrame sent{.header = frame.header, .payload = frame.payload, .token = frame.token};
  if (frame.into != nullptr && frame.header.payload_bytes != 0) {
    std::memcpy(&sent.target, frame.into->bytes, sizeof sent.target);
    sent.target += frame.into_offset;
  }
  int& countdown = link_.break_at[static_cast<size_t>(end_)];
  if (countdown != 0 && --countdown == 0) {
    if (link_.keeps_broken_send) {
      sent.bytes.assign(sent.payload, sent.payload + sent.header.payload_bytes);
      sent.read = true;
      queue.push_back(std::move(sent));
    }
    break_down("broken inside of send()");
    return false;
  }
  if (!queue.empty() && link_.waiting_bytes(end_) + bytes > carrier_.net.capacity_bytes)
    return false;
  handed_ += bytes;
  // Without a token nobody says when the payload may go, so it is copied at once.
  if (frame.token == 0 || frame.header.payload_bytes == 0) {
    sent.bytes.assign(sent.payload, sent.payload + sent.header.payload_bytes);
    sent.read = true;
  }
  queue.push_back(std::move(sent));
  return true;
}

void FakePath::serve(bool* moved) noexcept {
  if (broken_) return;
  const FakeNet& net = carrier_.net;
  if (!link_.accepted) {
    if (net.answers || !allows(FakeEvent::kNotice)) return;
    refused_ = net.refuses;
    return break_down(net.refuses ? "connection refused" : "no answer");
  }
  while (!broken_ && read_one()) *moved = true;
  while (!broken_ && deliver_half()) *moved = true;
  if (broken_) return;
  const bool closed = link_.path[static_cast<size_t>(1 - end_)] == nullptr &&
                      link_.frames[static_cast<size_t>(1 - end_)].empty();
  if ((!link_.cut && !closed) || !allows(FakeEvent::kNotice)) return;
  *moved = true;
  break_down(link_.cut ? "cut" : "the peer closed it");
}

// Reads the payload of one frame, in order.
bool FakePath::read_one() noexcept {
  auto& queue = link_.frames[static_cast<size_t>(end_)];
  const auto at = std::ranges::find_if(queue, [](const FakeFrame& f) { return !f.read; });
  if (at == queue.end() || link_.cut || !allows(FakeEvent::kRead)) return false;
  at->bytes.assign(at->payload, at->payload + at->header.payload_bytes);
  at->payload = nullptr;
  at->read = true;
  if (const uint64_t token = std::exchange(at->token, 0); token != 0) sink().sent(*this, token);
  return true;
}

bool FakePath::deliver_half() noexcept {
  auto& queue = link_.frames[static_cast<size_t>(1 - end_)];
  if (queue.empty() || !queue.front().read || !allows(FakeEvent::kDeliver)) return false;
  FakeFrame& frame = queue.front();
  const size_t bytes = frame.header.payload_bytes, half = bytes / 2;
  const bool lent = link_.lends && frame.target == nullptr;
  if (bytes != 0 && !lent && !std::exchange(half_, true)) {
    into_ = frame.target != nullptr ? frame.target : sink().place(frame.header);
    if (into_ != nullptr) std::memcpy(into_, frame.bytes.data(), half);
    return true;
  }
  half_ = false;
  if (into_ != nullptr) std::memcpy(into_ + half, frame.bytes.data() + half, bytes - half);
  into_ = nullptr;
  FakeFrame whole = std::move(frame);
  queue.pop_front();
  if (whole.target != nullptr) whole.header.flags |= network::kPlaced;
  if (whole.target == nullptr) repeat(whole);
  sink().arrived(*this, whole.header, lent && bytes != 0 ? whole.bytes.data() : nullptr);
  return true;
}

void FakePath::repeat(const FakeFrame& frame) {
  FakeLink* const other = carrier_.net.repeats(link_, end_);
  if (other == nullptr) return;
  const size_t sender = other->carrier[0] == &carrier_ ? 1 : 0;
  other->frames[sender].push_back(frame);
}

// FakeCarrier

FakeCarrier::FakeCarrier(FakeNet& net_, int rank_) : net(net_), rank(rank_) {
  net.carriers[rank] = this;
}

FakeCarrier::~FakeCarrier() {
  net.carriers.erase(rank);
  for (const auto& link : net.links) std::ranges::replace(link->carrier, this, nullptr);
  std::erase_if(net.links, [&](const auto& link) {
    return link->path[0] == nullptr && link->path[1] == nullptr;
  });
}

std::unique_ptr<network::Path> FakeCarrier::dial(const Peer& peer, int index,
                                                 network::FrameSink& sink, std::string*) {
  auto link = std::make_unique<FakeLink>();
  link->number = ++net.made_so_far;
  link->index = index;
  const auto other = net.carriers.find(peer.rank);
  link->carrier = {this, other == net.carriers.end() ? nullptr : other->second};
  net.made(*link);
  auto path = std::make_unique<FakePath>(sink, *this, *link, 0);
  net.links.push_back(std::move(link));
  return path;
}

Status FakeCarrier::progress(bool* moved) noexcept {
  for (size_t i = 0; i < net.links.size(); ++i) {
    FakeLink& link = *net.links[i];
    if (link.accepted || link.carrier[1] != this || link.path[0] == nullptr || !net.answers ||
        !net.allows(FakeEvent::kAccept, link, 1)) {
      continue;
    }
    link.accepted = true;
    *moved = true;
    acceptor_->accepted(std::make_unique<FakePath>(acceptor_->stranger_sink(), *this, link, 1));
  }
  const std::vector<FakePath*> all = paths;  // no callback destroys one
  for (FakePath* path : all) path->serve(moved);
  std::erase_if(net.links, [&](const auto& link) {
    return link->path[0] == nullptr && link->path[1] == nullptr;
  });
  return kOkStatus;
}

MemoryKey FakeCarrier::expose(std::byte* base, size_t) {
  MemoryKey key;
  if (net.writes_to_memory) std::memcpy(key.bytes, &base, sizeof base);
  return key;
}

// FakeRank

FakeRank::FakeRank(FakeNet& net, int rank_, int n_ranks, int64_t patience_ns)
    : rank(rank_), budget(SIZE_MAX) {
  config.net_timeout_ns = patience_ns;
  config.timeout_ns = 2 * patience_ns;
  endpoint = std::make_shared<network::Endpoint>(TransportOptions{.comm_id = kCommId,
                                                                  .rank = rank,
                                                                  .budget = &budget,
                                                                  .bell = &bell,
                                                                  .n_ranks = n_ranks,
                                                                  .config = &config},
                                                 std::make_unique<FakeCarrier>(net, rank));
}

}  // namespace tutti::transport::testing
