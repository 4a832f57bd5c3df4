// SPDX-License-Identifier: Apache-2.0
// Maps a neighbour's regions, and copies into and out of them.
#include "src/transfer/neighbour.h"

#include <cstring>
#include <utility>

#include "src/base/log.h"

namespace tutti::transfer {

using transport::EndpointKey;
using transport::Peer;
namespace shm = transport::shm;

Neighbour::Neighbour(std::shared_ptr<shm::Hub> hub, const Blob& blob, Deadline deadline)
    : hub_(std::move(hub)), cookie_(blob.cookie) {
  if (blob.process.host_id != this_process().host_id) {
    throw Error(StatusCode::kInvalidUsage,
                "it is on another host, or in another IPC or network namespace, or has another "
                "TUTTI_HOST_ID");
  }
  if (blob.process.uid != this_process().uid)
    throw Error(StatusCode::kInvalidUsage, "it runs as another user");
  if (blob.shm.name[sizeof blob.shm.name - 1] != '\0' || blob.shm.version != shm::kVersion)
    throw Error(StatusCode::kInvalidUsage, "its library has another shm");
  const Peer peer{.rank = 0, .process = blob.process};
  process_ = hub_->watch(blob.process);
  const auto link = hub_->link_to(peer, blob.shm);
  const EndpointKey key{blob.agent_id, 0};
  control_ = hub_->import(*link, key, blob.control_id, deadline);
  if (control_.region->bytes() < sizeof(ControlPage))
    throw Error(StatusCode::kInvalidUsage, "its control page is too small");
  page_ = reinterpret_cast<ControlPage*>(control_.region->data());
  for (const RegionEntry& region : blob.regions) {
    if (region.shared_id == 0 || mapped_.contains(region.shared_id)) continue;
    try {
      mapped_[region.shared_id] = {hub_->import(*link, key, region.shared_id, deadline).region};
    } catch (const Error& e) {
      // Freed since, or about to be: operations on it will be told.
      log(LogLevel::kInfo, "transport", -1, "a region of agent '{}' can't be mapped: {}", blob.name,
          e.what());
    }
  }
  read_errno_ = shm::probe_memory(*process_, cookie_);
}

std::string Neighbour::why_not() const {
  return std::string(std::strerror(read_errno_)) +
         "; see kernel.yama.ptrace_scope and the container's seccomp profile";
}

const Neighbour::Mapped* Neighbour::find(const RegionEntry& region) const noexcept {
  if (region.shared_id == 0) return nullptr;
  const auto at = mapped_.find(region.shared_id);
  if (at == mapped_.end()) return nullptr;
  const size_t there = at->second.memory->bytes();
  const bool inside = region.shared_offset <= there && region.bytes <= there - region.shared_offset;
  return inside ? &at->second : nullptr;
}

std::byte* Neighbour::mapped(const RegionEntry& region) const noexcept {
  const Mapped* const at = find(region);
  return at == nullptr ? nullptr : at->memory->data() + region.shared_offset;
}

Status Neighbour::status() const noexcept {
  if (process_->gone.load(std::memory_order_acquire) || process_->watch.exited())  // Hub::look_at
    return {StatusCode::kRemoteError, -1, "its process has ended"};
  // acquire: pairs with Agent::close().
  if (control_.region->revoked() || page_->leaving.load(std::memory_order_acquire) != 0)
    return {StatusCode::kRemoteError, -1, "the agent has been destroyed"};
  return kOkStatus;
}

Status Neighbour::check(const RegionEntry& region, bool writing) const noexcept {
  const Mapped* const at = find(region);
  // seq_cst: see control_page.h.
  const bool there =
      page_->regions[region.slot].region.load(std::memory_order_seq_cst) == region.id &&
      (at == nullptr || !at->memory->revoked());
  if (!there) {
    const Status alive = status();
    return alive.ok() ? Status{StatusCode::kInvalidUsage, -1, "the region has been deregistered"}
                      : alive;
  }
  if (writing && at != nullptr && !at->memory->writable()) {
    return {StatusCode::kInvalidUsage, -1,
            "the region's memory has been withdrawn from its peers; register it again"};
  }
  return kOkStatus;
}

Status Neighbour::write(const RegionEntry& region, uint64_t offset, const std::byte* from,
                        size_t bytes) noexcept {
  const Writing writing(page_->regions[region.slot], region.id);
  if (!writing.allowed()) return check(region, true);
  if (const Status before = check(region, true); !before.ok()) return before;
  std::memcpy(mapped(region) + offset, from, bytes);
  return check(region, true);  // what was taken away meanwhile has not arrived
}

Status Neighbour::read(const RegionEntry& region, uint64_t offset, std::byte* into,
                       size_t bytes) noexcept {
  if (const Status before = check(region, false); !before.ok()) return before;
  if (const std::byte* const here = mapped(region); here != nullptr) {
    std::memcpy(into, here + offset, bytes);
  } else if (const Status read =
                 shm::read_memory(*process_, cookie_, region.address + offset, into, bytes);
             !read.ok()) {
    return read;
  }
  // acq_rel, and changes nothing: the bytes are read before it, the look comes after.
  (void)page_->regions[region.slot].writers.fetch_add(0, std::memory_order_acq_rel);
  return check(region, false);
}

Status Neighbour::raise(uint32_t counter, uint64_t value) noexcept {
  if (const Status alive = status(); !alive.ok() || value == 0) return alive;
  // release: pairs with Agent::counter().
  page_->counters[counter].fetch_add(value, std::memory_order_release);
  ring(*control_.bell.bell);
  return kOkStatus;
}

}  // namespace tutti::transfer
