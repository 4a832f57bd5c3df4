// SPDX-License-Identifier: Apache-2.0
// What happens between ranks: delivery of writes, faults, and whose bell a ring is for.
#include "tests/sim/network.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "src/device/device.h"

namespace tutti::sim {

Network::Network() : rings_(std::make_unique<Doorbell[]>(2 * kMaxWires)) {
  wires_.reserve(kMaxWires);
  for (size_t i = 0; i < 2 * kMaxWires; ++i) rings_[i].sleepers.store(1, std::memory_order_relaxed);
}

void Network::begin(World& world, const NetworkShape& shape) {
  world_ = &world;
  shape_ = shape;
  n_wires_ = 0;
  for (auto& wires : outgoing_) wires.clear();
  for (auto& wires : incoming_) wires.clear();
  bells_.clear();
  for (Route& route : routes_) {
    route.writes.clear();
    route.last_ns = 0;
  }
  dead_.fill(false);
  parted_hosts_ = 0;
  parted_until_ns_ = 0;
  for (auto& triggers : triggers_) triggers.clear();
  stalls_.fill(0);
  world.set_ring_sink(this);
}

void Network::end() { world_->set_ring_sink(nullptr); }

bool Network::on_ring(const std::atomic<uint32_t>& word) {
  const auto* at = reinterpret_cast<const std::byte*>(&word);
  const auto* first = reinterpret_cast<const std::byte*>(rings_.get());
  if (at < first || at >= first + 2 * kMaxWires * sizeof(Doorbell)) return false;
  const auto index = static_cast<size_t>(at - first) / sizeof(Doorbell);
  Wire& wire = *wires_[index / 2];
  if (index % 2 == 0) {
    wire.carry_forward(true);
    act(wire.source());
  } else {
    wire.carry_back(true);
    act(wire.sink());
  }
  return true;
}

void Network::on_barrier(int rank, bool begins) {
  for (const Bell& b : bells_) {
    if (b.rank != rank) continue;
    if (begins) {
      b.bell->sleepers.fetch_sub(1, std::memory_order_relaxed);
    } else {
      b.bell->sleepers.fetch_add(1, std::memory_order_relaxed);
    }
  }
}

void Network::on_wait(int rank) {
  for (Wire* wire : outgoing_[static_cast<size_t>(rank)]) wire->carry_forward(false);
  for (Wire* wire : incoming_[static_cast<size_t>(rank)]) wire->carry_back(false);
}

void Network::act(int rank) {
  auto& triggers = triggers_[static_cast<size_t>(rank)];
  for (size_t i = 0; i < triggers.size(); ++i) {
    if (--triggers[i].left != 0) continue;
    const auto then = std::exchange(triggers[i].then, nullptr);
    then();
  }
  world_->preempt();
}

void Network::on_nth_act(int rank, int64_t n, std::function<void()> then) {
  triggers_[static_cast<size_t>(rank)].push_back({n, std::move(then)});
}

void Network::add_bell(uint64_t comm_id, int rank, Doorbell& bell) {
  bells_.push_back({comm_id, rank, &bell});
}

void Network::remove_bell(uint64_t comm_id, int rank) {
  std::erase_if(bells_, [&](const Bell& b) { return b.comm_id == comm_id && b.rank == rank; });
}

void Network::arrived(uint64_t comm_id, int rank, bool rung) {
  world_->note_arrival(rank);
  if (!rung) return;
  for (const Bell& b : bells_) {
    if (b.comm_id == comm_id && b.rank == rank) return ring(*b.bell);
  }
}

Wire& Network::open(const transport::ConnectionId& id, Wire::Ends ends,
                    const transport::FifoLayout& layout) {
  if (n_wires_ == kMaxWires)
    throw Error(StatusCode::kSystemError, "the simulated network has no more connections");
  if (n_wires_ == wires_.size()) wires_.push_back(std::make_unique<Wire>());
  Wire& wire = *wires_[n_wires_];
  wire.open(*this, id, ends, layout, &rings_[2 * n_wires_]);
  outgoing_[static_cast<size_t>(ends.source)].push_back(&wire);
  incoming_[static_cast<size_t>(ends.sink)].push_back(&wire);
  ++n_wires_;
  return wire;
}

Wire* Network::find(const transport::ConnectionId& id) noexcept {
  for (size_t i = 0; i < n_wires_; ++i) {
    if (wires_[i]->id() == id) return wires_[i].get();
  }
  return nullptr;
}

int64_t Network::draw_delay(int from, int to) {
  Rng& rng = world_->rng();
  int64_t delay = world_->host(from) == world_->host(to)
                      ? rng.between(0, 400)
                      : rng.between(shape_.delay_min_ns, shape_.delay_max_ns);
  if (shape_.slow_percent > 0 && rng.chance(shape_.slow_percent))
    delay += rng.between(0, shape_.slow_max_ns);
  return delay + std::exchange(stalls_[static_cast<size_t>(from)], 0);
}

bool Network::known_dead(int observer, int rank) const noexcept {
  return dead_[pair(observer, rank)];
}

bool Network::separated(int a, int b) const noexcept {
  if (world_->now() >= parted_until_ns_) return false;
  return ((parted_hosts_ >> world_->host(a) ^ parted_hosts_ >> world_->host(b)) & 1) != 0;
}

void Network::write(int from, int to, Write write) {
  if (mute(from)) return;
  Route& route = routes_[pair(from, to)];
  if (world_->host(from) == world_->host(to)) return apply(write, to);
  route.last_ns = std::max(route.last_ns, world_->now() + draw_delay(from, to));
  route.writes.push_back(std::move(write));
  world_->at(route.last_ns, this, kWrite, pair(from, to));
}

int64_t Network::settled_ns(int from, int to) const noexcept {
  int64_t due = routes_[pair(from, to)].last_ns;
  for (const Wire* wire : outgoing_[static_cast<size_t>(from)])
    if (wire->sink() == to) due = std::max(due, wire->due_ns(true));
  for (const Wire* wire : incoming_[static_cast<size_t>(from)])
    if (wire->source() == to) due = std::max(due, wire->due_ns(false));
  return due;
}

void Network::apply(const Write& write, int to) {
  const bool there = device::with_shared(write.region, write.region_id, [&] {
    std::byte* at = write.region + write.offset;
    if (write.bytes.empty()) {
      std::atomic_ref(*reinterpret_cast<uint64_t*>(at)).fetch_add(write.add);
    } else {
      std::memcpy(at, write.bytes.data(), write.bytes.size());
    }
  });
  if (there && write.bytes.empty()) arrived(write.comm_id, to, true);
}

void Network::on_event(uint32_t what, uint64_t argument) {
  if (what == kWrite) {
    const int from = static_cast<int>(argument) / kMaxRanks;
    const int to = static_cast<int>(argument) % kMaxRanks;
    if (separated(from, to)) return world_->at(parted_until_ns_, this, kWrite, argument);
    Route& route = routes_[argument];
    const Write write = std::move(route.writes.front());
    route.writes.pop_front();
    return apply(write, to);
  }
  if (what == kDetect) {
    dead_[argument] = true;
    if (world_->verbose()) {
      world_->say("rank " + std::to_string(argument / kMaxRanks) + " can tell that rank " +
                  std::to_string(argument % kMaxRanks) + " is gone");
    }
  }
}

void Network::crash(int rank, bool silent) {
  world_->crash(rank);
  const bool lossy = world_->rng().chance(50);
  for (size_t i = 0; i < n_wires_; ++i) {
    Wire& wire = *wires_[i];
    if (lossy && wire.source() == rank && !wire.shared_memory()) wire.cut();
  }
  if (silent) return;
  for (int observer = 0; observer < world_->n_ranks(); ++observer) {
    if (observer == rank) continue;
    const int64_t delay = world_->rng().between(0, shape_.detect_max_ns);
    world_->at(world_->now() + delay, this, kDetect, pair(observer, rank));
  }
}

void Network::break_connections(int a, int b) {
  for (size_t i = 0; i < n_wires_; ++i) {
    Wire& wire = *wires_[i];
    const bool between =
        (wire.source() == a && wire.sink() == b) || (wire.source() == b && wire.sink() == a);
    if (between && !wire.shared_memory()) wire.break_off();
  }
}

void Network::part(uint32_t hosts, int64_t duration_ns) {
  if (parted_until_ns_ == INT64_MAX) return;
  parted_hosts_ = hosts;
  parted_until_ns_ =
      duration_ns > INT64_MAX - world_->now() ? INT64_MAX : world_->now() + duration_ns;
}

void Network::stall(int from, int64_t duration_ns) {
  stalls_[static_cast<size_t>(from)] = duration_ns;
}

}  // namespace tutti::sim
