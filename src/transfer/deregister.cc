// SPDX-License-Identifier: Apache-2.0
// Having memory back: nobody else reads or writes a region any more when it is gone.
#include <algorithm>
#include <set>

#include <spdlog/fmt/fmt.h>

#include "src/base/log.h"
#include "src/device/device.h"
#include "src/transfer/agent.h"

namespace tutti::transfer {
namespace {

using network::OutgoingFrame;
using network::Session;

constexpr int64_t kLetGoNs = kNsPerSecond;          // for frames and neighbours in the middle of it
constexpr int64_t kOwnPieceNs = 10 * kNsPerSecond;  // for a piece that this process is reading

auto within(const std::byte* base, size_t bytes) {
  return [base, bytes](const OutgoingFrame& frame) {
    return frame.header.kind == network::FrameKind::kTransferData && frame.payload >= base &&
           frame.payload < base + bytes;
  };
}

}  // namespace

void Agent::deregister_region(uint32_t region) {
  std::byte* base = nullptr;
  size_t bytes = 0;
  {
    const Lock lock(endpoint_->mutex());
    const Region* const held = regions_.find(region);
    if (held == nullptr) {
      throw Error(StatusCode::kInvalidArgument,
                  fmt::format("{} has no region {}: it was deregistered, or never registered", who_,
                              region));
    }
    base = held->base;
    bytes = held->entry.bytes;
    regions_.close(region);
    fail_served(region);
  }
  const auto unused = [&] {
    const Lock lock(endpoint_->mutex());
    return !is_used(region, base, bytes);
  };
  if (!wait_until(Deadline::after_ns(kLetGoNs), unused)) expel(region, base, bytes);
  const Lock lock(endpoint_->mutex());
  regions_.erase(region);
}

// Operations of others that read from it.
void Agent::fail_served(uint32_t region) noexcept {
  for (auto& [peer, caller] : callers_) {
    std::set<uint64_t> numbers;
    for (const ServedGet& get : caller.gets) {
      if (std::ranges::any_of(get.ranges, [&](const auto& r) { return r.region == region; }))
        numbers.insert(get.number);
    }
    std::erase_if(caller.gets, [&](const ServedGet& get) { return numbers.contains(get.number); });
    Session* const session = endpoint_->find_session(peer);
    if (session != nullptr) tell_deregistered(*session, region, numbers);
  }
}

void Agent::tell_deregistered(Session& session, uint32_t region,
                              const std::set<uint64_t>& numbers) noexcept {
  for (const uint64_t number : numbers) {
    answer(session, number, StatusCode::kInvalidUsage,
           fmt::format("region {} of {} has been deregistered", region, who_));
  }
  if (!numbers.empty()) endpoint_->begin(session);
}

// By a path that is reading from it or writing to it, a neighbour, or a thread of our own.
bool Agent::is_used(uint32_t region, const std::byte* base, size_t bytes) noexcept {
  bool used = regions_.has_writers(region) || regions_.is_pulling(region);
  for (auto& [peer, caller] : callers_) {
    Session* const session = endpoint_->find_session(peer);
    if (session == nullptr) continue;
    // Those that ask for it learn that it may not come; who has got it all by then ignores that.
    std::set<uint64_t> numbers;
    const auto matches = [&, inside = within(base, bytes)](const OutgoingFrame& frame) {
      if (!inside(frame)) return false;
      numbers.insert(frame.header.place);
      return true;
    };
    used = !session->withdraw(matches) || session->is_placing(region) || used;
    tell_deregistered(*session, region, numbers);
  }
  return used;
}

// Somebody is in the middle of it and does not go on: a stopped process, a silent network. Its path
// breaks; a neighbour keeps the old pages.
void Agent::expel(uint32_t region, const std::byte* base, size_t bytes) noexcept {
  bool writers = false;
  {
    const Lock lock(endpoint_->mutex());
    for (auto& [peer, caller] : callers_) {
      Session* const session = endpoint_->find_session(peer);
      if (session == nullptr) continue;
      session->break_paths(within(base, bytes), region, "memory in its way was deregistered");
      session->pump(false);
    }
    writers = regions_.has_writers(region);
  }
  if (writers) {
    log(LogLevel::kWarn, "transport", -1,
        "region {}: a process is stopped, or has ended, in the middle of writing to it; its memory "
        "is withdrawn from all peers",
        region);
    try {
      device::detach_shared(base);
    } catch (const Error& e) {
      log(LogLevel::kError, "transport", -1, "region {}: {}", region, e.what());
    }
  }
  const auto read = [&] {
    const Lock lock(endpoint_->mutex());
    return !regions_.is_pulling(region);
  };
  (void)wait_until(Deadline::after_ns(kOwnPieceNs), read);
}

}  // namespace tutti::transfer
