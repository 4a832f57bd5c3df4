// SPDX-License-Identifier: Apache-2.0
// Sending over a link without ever blocking.
#include "transport/shm/link.h"

#include <fcntl.h>

#include <cerrno>
#include <exception>

#include "src/base/error.h"
#include "src/base/log.h"

namespace tutti::transport::shm {
namespace {

constexpr size_t kMaxOutbox = 8192;  // packets; a peer that lets more pile up is not reading

FileDescriptor duplicate(int fd) {
  FileDescriptor copy{::fcntl(fd, F_DUPFD_CLOEXEC, 0)};
  if (!copy)
    throw system_error("can't duplicate a file descriptor for a packet that has to wait", errno);
  return copy;
}

}  // namespace

bool Link::try_send_locked(std::span<const std::byte> packet, std::span<const int> descriptors) {
  return flush_locked() && socket_.try_send_packet(packet, descriptors);
}

void Link::queue_locked(std::span<const std::byte> packet, std::span<const int> descriptors) {
  if (outbox_.size() >= kMaxOutbox) {
    throw Error(StatusCode::kRemoteError,
                "the peer has not read its last " + std::to_string(kMaxOutbox) + " packets");
  }
  Outgoing outgoing;
  outgoing.packet.assign(packet.begin(), packet.end());
  for (size_t i = 0; i < descriptors.size(); ++i)
    outgoing.descriptors[i] = duplicate(descriptors[i]);
  outbox_.push_back(std::move(outgoing));
}

bool Link::flush_locked() {
  while (!outbox_.empty()) {
    const Outgoing& next = outbox_.front();
    std::array<int, 2> raw{};
    size_t count = 0;
    for (const FileDescriptor& descriptor : next.descriptors) {
      if (descriptor) raw[count++] = descriptor.get();
    }
    if (!socket_.try_send_packet(next.packet, std::span(raw).first(count))) return false;
    outbox_.pop_front();
  }
  return true;
}

void Link::disconnect() noexcept {
  close();
  const std::lock_guard lock(mutex_);
  socket_ = Socket();
  outbox_.clear();
}

void Link::send(std::span<const std::byte> packet, std::span<const int> descriptors) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (closed()) return;
    if (!try_send_locked(packet, descriptors)) queue_locked(packet, descriptors);
  } catch (const std::exception& error) {
    log(LogLevel::kInfo, "shm", -1, "a link is given up: {}", error.what());
    close();
  }
}

bool Link::flush() noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (closed()) return true;
    return flush_locked();
  } catch (const std::exception& error) {
    log(LogLevel::kInfo, "shm", -1, "a link is given up: {}", error.what());
    close();
    return true;
  }
}

bool Link::announce(const device::SharedRegion& region) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    if (closed()) return false;
    if (announced_.contains(region.id)) return true;
    const RegionPacket packet{.region = region.id, .bytes = region.bytes};
    if (!try_send_locked(bytes_of(packet), std::span(&region.fd, 1))) return false;
    announced_.insert(region.id);
    return true;
  } catch (const std::exception& error) {
    log(LogLevel::kInfo, "shm", -1, "a link is given up: {}", error.what());
    close();
    return false;
  }
}

void Link::note_announced(uint64_t region_id) {
  const std::lock_guard lock(mutex_);
  announced_.insert(region_id);
}

void Link::withdraw(uint64_t region_id, device::Loss loss) noexcept {
  const bool freed = loss == device::Loss::kFreed;
  {
    const std::lock_guard lock(mutex_);
    if (!announced_.contains(region_id)) return;
    if (freed) announced_.erase(region_id);
  }
  const UnmapPacket packet{.region = region_id, .freed = freed ? 1U : 0U};
  send(bytes_of(packet));
}

}  // namespace tutti::transport::shm
