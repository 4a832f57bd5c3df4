// SPDX-License-Identifier: Apache-2.0
// Mapping and revoking a peer's regions.
#include "transport/shm/region_table.h"

#include <string>
#include <utility>

#include <sys/mman.h>

#include "src/base/error.h"

namespace tutti::transport::shm {

PeerRegion::PeerRegion(int fd, size_t bytes) {
  if (bytes == 0 || !is_sealed_against_shrinking(fd) || file_bytes(fd) < bytes) {
    throw Error(StatusCode::kInvalidArgument, "expected a sealed memfd of at least " +
                                                  std::to_string(bytes) +
                                                  " bytes (not 0) as a peer's region");
  }
  mapping_ = Mapping(fd, bytes);
}

void PeerRegion::revoke() noexcept {
  revoked_.store(true, std::memory_order_release);
  // Should the kernel refuse, the old pages stay until the last holder lets go: memory is lost for
  // a while, nothing else.
  (void)::mmap(mapping_.data(), mapping_.bytes(), PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

std::shared_ptr<PeerRegion> RegionTable::add(uint64_t id, int fd, size_t bytes) {
  if (std::shared_ptr<PeerRegion> known = find(id)) return known;
  auto region = std::make_shared<PeerRegion>(fd, bytes);
  const std::lock_guard lock(mutex_);
  return regions_.emplace(id, std::move(region)).first->second;
}

std::shared_ptr<PeerRegion> RegionTable::find(uint64_t id) const noexcept {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(id);
  return found == regions_.end() ? nullptr : found->second;
}

void RegionTable::close_to_writes(uint64_t id) noexcept {
  if (const std::shared_ptr<PeerRegion> region = find(id)) region->close_to_writes();
}

void RegionTable::revoke(uint64_t id) noexcept {
  std::shared_ptr<PeerRegion> region;
  {
    const std::lock_guard lock(mutex_);
    const auto found = regions_.find(id);
    if (found == regions_.end()) return;
    region = std::move(found->second);
    regions_.erase(found);
  }
  region->revoke();
}

}  // namespace tutti::transport::shm
