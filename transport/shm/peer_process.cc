// SPDX-License-Identifier: Apache-2.0
// process_vm_readv, guarded so that a recycled pid or a new program is never mistaken for the peer.
#include "transport/shm/peer_process.h"

#include <array>
#include <bit>
#include <cerrno>

#include <sys/uio.h>

namespace tutti::transport::shm {
namespace {

iovec remote_piece(uint64_t address, size_t bytes) noexcept {
  return {.iov_base = std::bit_cast<void*>(address), .iov_len = bytes};
}

// Reads the pieces, then the cookie, going on after partial reads. 0 or an errno.
int read_guarded(int32_t pid, const Cookie& cookie, std::span<const MemoryPiece> pieces,
                 uint64_t* cookie_seen) noexcept {
  std::array<iovec, kMostPieces + 1> local{}, remote{};
  size_t n = 0, left = sizeof *cookie_seen;
  for (const MemoryPiece& piece : pieces) {
    local[n] = {.iov_base = piece.into, .iov_len = piece.bytes};
    remote[n++] = remote_piece(piece.address, piece.bytes);
    left += piece.bytes;
  }
  local[n] = {.iov_base = cookie_seen, .iov_len = sizeof *cookie_seen};
  remote[n++] = remote_piece(cookie.address, sizeof *cookie_seen);
  for (size_t first = 0; left != 0;) {
    const ssize_t got =
        ::process_vm_readv(pid, &local[first], n - first, &remote[first], n - first, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EFAULT;
    auto done = static_cast<size_t>(got);
    left -= done;
    for (; first < n && done >= local[first].iov_len; ++first) done -= local[first].iov_len;
    if (first == n) break;
    for (iovec* at : {&local[first], &remote[first]}) {
      at->iov_base = static_cast<std::byte*>(at->iov_base) + done;
      at->iov_len -= done;
    }
  }
  return 0;
}

}  // namespace

Status read_memory(const PeerProcess& peer, const Cookie& cookie, uint64_t address, std::byte* into,
                   size_t bytes) noexcept {
  const MemoryPiece piece{.address = address, .into = into, .bytes = bytes};
  return read_memory(peer, cookie, {&piece, 1});
}

Status read_memory(const PeerProcess& peer, const Cookie& cookie,
                   std::span<const MemoryPiece> pieces) noexcept {
  uint64_t seen = 0;
  const int error_number = read_guarded(peer.who.pid, cookie, pieces, &seen);
  if (error_number == ESRCH || peer.watch.exited()) {
    return {StatusCode::kRemoteError, -1, "the process has ended while its memory was being read"};
  }
  if (error_number == EPERM) {
    return {StatusCode::kRemoteError, -1,
            "the kernel no longer permits reading the process's memory"};
  }
  if (error_number == EFAULT) {
    return {StatusCode::kRemoteError, -1,
            "the process has unmapped a buffer that it had sent by reference"};
  }
  if (error_number != 0) return {StatusCode::kSystemError, -1, "process_vm_readv failed"};
  if (seen != cookie.value) {
    return {StatusCode::kRemoteError, -1,
            "the process runs another program or has closed its transport"};
  }
  return kOkStatus;
}

int probe_memory(const PeerProcess& peer, const Cookie& cookie) noexcept {
  uint64_t seen = 0;
  const int error_number = read_guarded(peer.who.pid, cookie, {}, &seen);
  if (error_number != 0) return error_number;
  return seen == cookie.value && !peer.watch.exited() ? 0 : ESRCH;
}

}  // namespace tutti::transport::shm
