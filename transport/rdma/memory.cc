// SPDX-License-Identifier: Apache-2.0
// Registering, finding and giving up memory.
#include "transport/rdma/memory.h"

#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/log.h"

namespace tutti::transport::rdma {
namespace {

constexpr uint32_t kKeyMagic = 0x314b5254;
constexpr size_t kMostCached = 64;

}  // namespace

ibv_mr* register_host(Device& device, std::byte* base, size_t bytes, bool remote) noexcept {
  unsigned access = IBV_ACCESS_LOCAL_WRITE;
  if (remote) access |= IBV_ACCESS_REMOTE_WRITE;
  const auto address = reinterpret_cast<uint64_t>(base);
  ibv_mr* const relaxed = verbs().reg_mr_iova2(device.domain(), base, bytes, address,
                                               access | IBV_ACCESS_RELAXED_ORDERING);
  if (relaxed != nullptr || (errno != EINVAL && errno != EOPNOTSUPP)) return relaxed;
  return verbs().reg_mr(device.domain(), base, bytes, static_cast<int>(access));
}

Owned<ibv_mr> register_dmabuf(Device& device, int fd, uint64_t offset, size_t bytes,
                              uint64_t iova) {
  const auto dereg = [](ibv_mr* mr) { verbs().dereg_mr(mr); };
  if (verbs().reg_dmabuf_mr == nullptr)
    throw Error(StatusCode::kSystemError,
                "libibverbs has no ibv_reg_dmabuf_mr (rdma-core 34 has); memory of other devices "
                "goes through host memory");
  Owned<ibv_mr> mr{verbs().reg_dmabuf_mr(device.domain(), offset, bytes, iova, fd,
                                         IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE),
                   dereg};
  if (!mr)
    throw system_error(device.name() +
                           " can't register a dma-buf; memory of other devices goes "
                           "through host memory",
                       errno);
  return mr;
}

bool read_key(const network::MemoryKey& key, WireKey* wire) noexcept {
  *wire = std::bit_cast<WireKey>(key);
  return wire->magic == kKeyMagic && wire->n_rails >= 1 && wire->n_rails <= kMaxRails;
}

Memory::Memory(Rails& rails) : rails_(rails) {
  lost_.reserve(64);
  listener_ = device::add_loss_listener(&Memory::lose, this);
}

Memory::~Memory() {
  device::remove_loss_listener(listener_);
  for (auto& [base, registration] : exposed_) forget(registration);
  for (auto& [region, registration] : cache_) forget(registration);
}

void Memory::lose(void* self, uint64_t region, device::Loss) {
  auto& memory = *static_cast<Memory*>(self);
  const std::lock_guard lock(memory.lost_mutex_);
  memory.lost_.push_back(region);
  memory.any_lost_.store(true, std::memory_order_release);  // pairs with drop_lost()
}

void Memory::forget(Registration& registration) noexcept {
  for (auto& on : registration.devices) {
    if (on.mr != nullptr) verbs().dereg_mr(std::exchange(on.mr, nullptr));
  }
}

void Memory::drop_lost() noexcept {
  if (!any_lost_.load(std::memory_order_acquire)) return;  // pairs with lose()
  const std::lock_guard lock(lost_mutex_);
  for (const uint64_t region : lost_) {
    const auto found = cache_.find(region);
    if (found == cache_.end()) continue;
    found->second.gone = true;
    if (found->second.uses > 0) continue;
    forget(found->second);
    cache_.erase(found);
  }
  lost_.clear();
  any_lost_.store(false, std::memory_order_relaxed);  // under the lock that lose() takes
}

bool Memory::on_device(Registration& registration, size_t device) noexcept {
  auto& on = registration.devices[device];
  if (on.mr != nullptr) return true;
  if (on.refused) return false;
  on.mr = register_host(*rails_.devices[device], registration.base, registration.bytes,
                        registration.remote);
  if (on.mr != nullptr) return true;
  const int error = errno;
  on.refused = true;
  ++refusals_;
  log(LogLevel::kWarn, "transport", -1,
      "{} can't register {} bytes ({}), so they are copied before they are sent; raise the limit "
      "of locked memory (ulimit -l)",
      rails_.devices[device]->name(), registration.bytes, error_text(error));
  return false;
}

network::MemoryKey Memory::expose(std::byte* base, size_t bytes) {
  auto [at, fresh] = exposed_.try_emplace(base);
  Registration& registration = at->second;
  if (!fresh)
    throw Error(StatusCode::kInvalidUsage, "memory is exposed to peers that is exposed already");
  registration.base = base;
  registration.bytes = bytes;
  registration.remote = true;
  registration.devices.resize(rails_.devices.size());
  WireKey wire{.base = reinterpret_cast<uint64_t>(base),
               .magic = kKeyMagic,
               .n_rails = static_cast<uint32_t>(rails_.rails.size())};
  for (size_t d = 0; d < rails_.devices.size(); ++d) {
    if (on_device(registration, d)) continue;
    const int error = errno;
    const std::string name = rails_.devices[d]->name();
    forget(registration);
    exposed_.erase(at);
    throw system_error(fmt::format("{} can't register {} bytes for peers to write to; raise the "
                                   "limit of locked memory (ulimit -l)",
                                   name, bytes),
                       error);
  }
  for (size_t r = 0; r < rails_.rails.size(); ++r) {
    for (size_t d = 0; d < rails_.devices.size(); ++d) {
      if (rails_.devices[d].get() == rails_.rails[r].device)
        wire.rkeys[r] = registration.devices[d].mr->rkey;
    }
  }
  return std::bit_cast<network::MemoryKey>(wire);
}

bool Memory::lend(std::byte* base, size_t bytes) noexcept {
  try {
    auto [at, fresh] = exposed_.try_emplace(base);
    if (!fresh) return true;  // exposed, so it stays anyway
    at->second.base = base;
    at->second.bytes = bytes;
    at->second.devices.resize(rails_.devices.size());
    return true;
  } catch (const std::bad_alloc&) {
    exposed_.erase(base);
    return false;
  }
}

Registration* Memory::find_exposed(const std::byte* data, size_t bytes) noexcept {
  auto after = exposed_.upper_bound(const_cast<std::byte*>(data));
  if (after == exposed_.begin()) return nullptr;
  Registration& candidate = std::prev(after)->second;
  return data + bytes <= candidate.base + candidate.bytes ? &candidate : nullptr;
}

// Makes room for one more by giving up the one that has not been used for longest.
void Memory::make_room() noexcept {
  if (cache_.size() < kMostCached) return;
  auto oldest = cache_.end();
  for (auto it = cache_.begin(); it != cache_.end(); ++it) {
    if (it->second.uses > 0) continue;
    if (oldest == cache_.end() || it->second.last_use < oldest->second.last_use) oldest = it;
  }
  if (oldest == cache_.end()) return;
  forget(oldest->second);
  cache_.erase(oldest);
}

Registration* Memory::find_region(const std::byte* data, size_t bytes) {
  const auto region = device::find_shared(data, bytes);
  if (!region) return nullptr;
  if (const auto found = cache_.find(region->id); found != cache_.end())
    return found->second.gone ? nullptr : &found->second;
  make_room();
  Registration& fresh = cache_[region->id];
  fresh.base = region->base;
  fresh.bytes = region->bytes;
  fresh.region = region->id;
  fresh.devices.resize(rails_.devices.size());
  return &fresh;
}

Registration* Memory::find(size_t device, const std::byte* data, size_t bytes) noexcept {
  try {
    drop_lost();
    Registration* found = find_exposed(data, bytes);
    if (found == nullptr) found = find_region(data, bytes);
    if (found == nullptr || !on_device(*found, device)) return nullptr;
    ++found->uses;
    found->last_use = ++clock_;
    return found;
  } catch (const std::exception&) {
    return nullptr;  // no memory for the cache: a copy will do
  }
}

void Memory::release(Registration* used) noexcept {
  if (--used->uses > 0 || !used->gone) return;
  forget(*used);
  cache_.erase(used->region);
}

}  // namespace tutti::transport::rdma
