// SPDX-License-Identifier: Apache-2.0
// Put and signal on a mapped region of a peer.
#include "transport/shm/window.h"

#include <atomic>
#include <cstring>
#include <string>
#include <utility>

#include "transport/words.h"

namespace tutti::transport::shm {

std::vector<std::byte> encode(const WindowToken& token) {
  const auto bytes = std::as_bytes(std::span(&token, 1));
  return {bytes.begin(), bytes.end()};
}

WindowToken decode_window(std::span<const std::byte> bytes, const Peer& from) {
  WindowToken token;
  if (bytes.size() == sizeof token) std::memcpy(&token, bytes.data(), sizeof token);
  if (bytes.size() != sizeof token || token.magic != WindowToken::kMagic ||
      token.process_uid != from.process.process_uid) {
    throw Error(StatusCode::kInvalidArgument,
                "expected a window token made by shm in the process of rank " +
                    std::to_string(from.rank) + ", got another one of " +
                    std::to_string(bytes.size()) + " bytes");
  }
  return token;
}

ShmRegion::ShmRegion(std::shared_ptr<Hub> hub, int rank, Exposure exposure,
                     const WindowToken& token)
    : hub_(std::move(hub)), rank_(rank), exposure_(std::move(exposure)), bytes_(token.bytes) {
  if (bytes_ == 0) return;
  const size_t available = exposure_.region->bytes();
  if (token.offset > available || bytes_ > available - token.offset) {
    throw Error(StatusCode::kInvalidArgument,
                "window of rank " + std::to_string(rank) + ": " + std::to_string(bytes_) +
                    " bytes at " + std::to_string(token.offset) + " leave its region of " +
                    std::to_string(available) + " bytes");
  }
  base_ = exposure_.region->data() + token.offset;
}

Status ShmRegion::check(size_t offset, size_t bytes) const noexcept {
  if (offset > bytes_ || bytes > bytes_ - offset) {
    return {StatusCode::kInvalidArgument, rank_, "expected a range inside the peer's window"};
  }
  if (bytes != 0 && exposure_.region->revoked()) {
    return {StatusCode::kInvalidUsage, rank_, "the peer has freed the memory of its window"};
  }
  return kOkStatus;
}

Status ShmRegion::put(size_t offset, const void* data, size_t bytes) noexcept {
  const Status checked = check_write(offset, bytes);
  if (!checked.ok() || bytes == 0) return checked;
  std::memcpy(base_ + offset, data, bytes);
  return check_write(offset, bytes);  // what was withdrawn meanwhile has not arrived
}

Status ShmRegion::check_write(size_t offset, size_t bytes) const noexcept {
  const Status checked = check(offset, bytes);
  if (!checked.ok() || bytes == 0 || exposure_.region->writable()) return checked;
  return {StatusCode::kRemoteError, rank_,
          "the peer has withdrawn the memory of its window because a communicator that it was "
          "registered with has failed"};
}

Status ShmRegion::read(size_t offset, std::span<uint64_t> words, Deadline) const noexcept {
  if (offset % sizeof(uint64_t) != 0) {
    return {StatusCode::kInvalidArgument, rank_, "expected words at a multiple of 8 bytes"};
  }
  const Status checked = check(offset, words.size_bytes());
  if (checked.ok()) load_words(base_ + offset, words);
  return checked;
}

Status ShmRegion::add_signal(size_t offset, uint64_t value) noexcept {
  if (offset % sizeof(uint64_t) != 0) {
    return {StatusCode::kInvalidArgument, rank_, "expected a signal at a multiple of 8 bytes"};
  }
  const Status checked = check_write(offset, sizeof(uint64_t));
  if (!checked.ok()) return checked;
  auto& counter = *reinterpret_cast<uint64_t*>(base_ + offset);
  // Release: pairs with the acquire load of the peer that waits for the signal.
  std::atomic_ref<uint64_t>(counter).fetch_add(value, std::memory_order_release);
  ring(*exposure_.bell.bell);
  return kOkStatus;
}

}  // namespace tutti::transport::shm
