// SPDX-License-Identifier: Apache-2.0
// How the messages of one connection travel.
#include <algorithm>
#include <cstring>
#include <utility>

#include "tests/sim/network.h"

namespace tutti::sim {
namespace {

using transport::FailureWord;
using transport::MessageKind;
using transport::ReleaseWord;
using transport::SlotLine;

constexpr size_t kAlignment = 4096;
constexpr auto kSpoiled = std::byte{0xe5};

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

SlotLine& line_at(std::byte* base, uint64_t message, const transport::FifoLayout& layout) {
  return reinterpret_cast<SlotLine*>(base)[message & (layout.n_lines - 1)];
}
std::atomic<uint64_t>& failure_at(std::byte* base, const transport::FifoLayout& layout, bool sink) {
  return reinterpret_cast<FailureWord*>(base + layout.failure_offset())[sink ? 1 : 0].value;
}
std::atomic<uint64_t>& released_at(std::byte* base, const transport::FifoLayout& layout) {
  return reinterpret_cast<ReleaseWord*>(base + layout.release_offset())->released;
}

}  // namespace

Wire::Packet& Wire::Lane::push() {
  if (count == packets.size()) {
    std::rotate(packets.begin(), packets.begin() + static_cast<ptrdiff_t>(head), packets.end());
    head = 0;
    packets.emplace_back();
  }
  Packet& packet = packets[(head + count) % packets.size()];
  ++count;
  packet.area = UINT32_MAX;
  packet.rung = false;
  return packet;
}

void Wire::Lane::pop() {
  head = (head + 1) % packets.size();
  --count;
}

void Wire::open(Network& network, const transport::ConnectionId& id, Ends ends,
                const transport::FifoLayout& layout, Doorbell* rings) {
  network_ = &network;
  id_ = id;
  ends_ = ends;
  layout_ = layout;
  World& world = network.world();
  draw_ = world.rng().next();
  shared_memory_ = world.host(ends.source) == world.host(ends.sink);
  offered_ = attached_ = broken_ = cut_ = mapping_ = is_mapped_ = false;

  const size_t bytes = aligned(layout.total_bytes());
  if (memory_.size() < 2 * bytes + kAlignment) memory_.resize(2 * bytes + kAlignment);
  const size_t skew = reinterpret_cast<uintptr_t>(memory_.data()) % kAlignment;
  at_source_ = memory_.data() + (skew == 0 ? 0 : kAlignment - skew);
  at_sink_ = at_source_ + bytes;
  for (std::byte* base : {at_source_, at_sink_}) {
    std::memset(base, 0, layout.failure_offset() + 2 * sizeof(FailureWord));
  }
  send_ = nullptr;
  recv_ = nullptr;
  send_ring_ = &rings[0];
  recv_ring_ = &rings[1];
  offer_due_ns_ = attach_due_ns_ = 0;
  carried_ = returned_ = source_failure_ = sink_failure_ = 0;
  for (Lane* lane : {&forward_, &back_}) {
    lane->head = lane->count = 0;
    lane->last_ns = 0;
  }
  if (network.mute(ends.source)) return;
  offer_due_ns_ = world.now() + network.draw_delay(ends.source, ends.sink);
  world.at(offer_due_ns_, this, kOffered);
}

void Wire::attach_sender(transport::SendView* view) noexcept {
  send_ = view;
  view->attach(at_source_, layout_, nullptr);
}

void Wire::attach_receiver(transport::RecvView* view) {
  recv_ = view;
  view->attach(at_sink_, layout_, recv_ring_);
  if (shared_memory_) {
    auto* failures = reinterpret_cast<FailureWord*>(at_source_ + layout_.failure_offset());
    view->own_failure = &failures[1];
    view->peer_failure = &failures[0];
  }
  if (network_->mute(ends_.sink)) return;
  World& world = network_->world();
  attach_due_ns_ = world.now() + network_->draw_delay(ends_.sink, ends_.source);
  world.at(attach_due_ns_, this, kAttached);
}

void Wire::send(Lane& lane, What what) {
  const bool forward = what == kForward;
  const int from = forward ? ends_.source : ends_.sink;
  const int to = forward ? ends_.sink : ends_.source;
  World& world = network_->world();
  lane.last_ns = std::max(lane.last_ns, world.now() + network_->draw_delay(from, to));
  world.at(lane.last_ns, this, what);
}

void Wire::carry_forward(bool rung) {
  if (send_ == nullptr || network_->mute(ends_.source)) return;
  const bool moved = carried_ != send_->committed;
  if (moved) network_->world().note_progress();
  while (carried_ != send_->committed) {
    const SlotLine& line = line_at(at_source_, carried_, layout_);
    ++carried_;
    Packet& packet = forward_.push();
    packet.kind = Kind::kLine;
    packet.value = line.header.load(std::memory_order_acquire);
    std::memcpy(packet.line.data(), line.inline_bytes, transport::kInlineBytes);
    if (static_cast<MessageKind>(packet.value & 3) == MessageKind::kStaged) {
      packet.area = line.staged.area & (layout_.n_areas - 1);
      const size_t bytes = std::min<size_t>(line.staged.bytes, layout_.area_bytes);
      packet.offset = std::min<size_t>(line.staged.offset, layout_.area_bytes - bytes);
      const std::byte* area = at_source_ + layout_.areas_offset() +
                              size_t{packet.area} * layout_.area_bytes + packet.offset;
      packet.bytes.assign(area, area + bytes);
    }
    packet.rung = rung;
    send(forward_, kForward);
  }
  const uint64_t failure = failure_at(at_source_, layout_, false).load(std::memory_order_acquire);
  const bool failed = failure != source_failure_;
  if (failed || (rung && !moved)) {
    source_failure_ = failure;
    Packet& packet = forward_.push();
    packet.kind = failed ? Kind::kFailure : Kind::kRing;
    packet.value = failure;
    packet.rung = rung;
    send(forward_, kForward);
  }
}

// The sender may overwrite what the receiver has given back.
void Wire::spoil_released() {
  for (uint64_t message = returned_; message != recv_->consumed; ++message) {
    SlotLine& line = line_at(at_sink_, message, layout_);
    const uint64_t header = line.header.load(std::memory_order_relaxed);
    if (static_cast<MessageKind>(header & 3) == MessageKind::kStaged)
      std::memset(sink_area(line.staged.area), static_cast<int>(kSpoiled), layout_.area_bytes);
    std::memset(line.inline_bytes, static_cast<int>(kSpoiled), transport::kInlineBytes);
  }
}

std::byte* Wire::sink_area(uint32_t index) noexcept {
  return at_sink_ + layout_.areas_offset() +
         size_t{index & (layout_.n_areas - 1)} * layout_.area_bytes;
}

void Wire::carry_back(bool rung) {
  if (recv_ == nullptr || network_->mute(ends_.sink)) return;
  const bool moved = returned_ != recv_->consumed;
  if (moved) {
    network_->world().note_progress();
    spoil_released();
    returned_ = recv_->consumed;
    Packet& packet = back_.push();
    packet.kind = Kind::kReleased;
    packet.value = released_at(at_sink_, layout_).load(std::memory_order_acquire);
    packet.rung = rung;
    send(back_, kBackward);
  }
  if (shared_memory_) {
    const uint64_t failure = failure_at(at_source_, layout_, true).load(std::memory_order_acquire);
    if (std::exchange(sink_failure_, failure) == failure && (moved || !rung)) return;
  } else {
    const uint64_t failure = failure_at(at_sink_, layout_, true).load(std::memory_order_acquire);
    if (failure == sink_failure_ && (moved || !rung)) return;
    sink_failure_ = failure;
  }
  Packet& packet = back_.push();
  packet.kind = shared_memory_ ? Kind::kRing : Kind::kFailure;
  packet.value = sink_failure_;
  packet.rung = rung;
  send(back_, kBackward);
}

void Wire::on_event(uint32_t what, uint64_t) {
  World& world = network_->world();
  if (network_->separated(ends_.source, ends_.sink))
    return world.at(network_->parted_until_ns_, this, what);
  switch (what) {
    case kForward:
      return deliver_forward();
    case kBackward:
      return deliver_back();
    case kOffered:
      offered_ = true;
      return network_->arrived(id_.comm_id, ends_.sink, true);
    case kAttached:
      attached_ = true;
      return network_->arrived(id_.comm_id, ends_.source, true);
    default:
      is_mapped_ = true;
      return network_->arrived(id_.comm_id, ends_.sink, true);
  }
}

void Wire::deliver_forward() {
  Packet& packet = forward_.front();
  if (!broken_ && !cut_) {
    if (packet.kind == Kind::kLine) {
      const uint64_t message = (packet.value >> 32) - 1;
      if (packet.area != UINT32_MAX)
        std::memcpy(sink_area(packet.area) + packet.offset, packet.bytes.data(),
                    packet.bytes.size());
      SlotLine& line = line_at(at_sink_, message, layout_);
      std::memcpy(line.inline_bytes, packet.line.data(), transport::kInlineBytes);
      line.header.store(packet.value, std::memory_order_release);
    } else if (packet.kind == Kind::kFailure && !shared_memory_) {
      failure_at(at_sink_, layout_, false).store(packet.value, std::memory_order_release);
    }
    network_->arrived(id_.comm_id, ends_.sink, packet.rung);
  }
  forward_.pop();
}

void Wire::deliver_back() {
  Packet& packet = back_.front();
  if (!broken_) {
    if (packet.kind == Kind::kReleased) {
      released_at(at_source_, layout_).store(packet.value, std::memory_order_release);
    } else if (packet.kind == Kind::kFailure) {
      failure_at(at_source_, layout_, true).store(packet.value, std::memory_order_release);
    }
    network_->arrived(id_.comm_id, ends_.source, packet.rung);
  }
  back_.pop();
}

// A region's descriptor is on its way the first time that it is asked for.
bool Wire::mapped() {
  if (is_mapped_ || network_->world().burying()) return true;
  if (!std::exchange(mapping_, true)) {
    World& world = network_->world();
    world.at(world.now() + network_->draw_delay(ends_.source, ends_.sink), this, kMapped);
  }
  return false;
}

}  // namespace tutti::sim
