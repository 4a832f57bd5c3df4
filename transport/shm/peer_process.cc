// SPDX-License-Identifier: Apache-2.0
// process_vm_readv, guarded so that a recycled pid or a new program is never mistaken for the peer.
#include "transport/shm/peer_process.h"

#include <bit>
#include <cerrno>

#include <sys/uio.h>

namespace tutti::transport::shm {
namespace {

iovec remote_piece(uint64_t address, size_t bytes) noexcept {
  return {.iov_base = std::bit_cast<void*>(address), .iov_len = bytes};
}

// Reads data, then the cookie, going on after partial reads. 0 or an errno.
int read_guarded(int32_t pid, const Cookie& cookie, uint64_t address, std::byte* into, size_t bytes,
                 uint64_t* cookie_seen) noexcept {
  size_t done = 0;
  const size_t total = bytes + sizeof *cookie_seen;
  while (done < total) {
    const size_t data_done = done < bytes ? done : bytes;
    const size_t cookie_done = done - data_done;
    const iovec local[2] = {{.iov_base = into + data_done, .iov_len = bytes - data_done},
                            {.iov_base = reinterpret_cast<std::byte*>(cookie_seen) + cookie_done,
                             .iov_len = sizeof *cookie_seen - cookie_done}};
    const iovec remote[2] = {
        remote_piece(address + data_done, bytes - data_done),
        remote_piece(cookie.address + cookie_done, sizeof *cookie_seen - cookie_done)};
    const ssize_t got = ::process_vm_readv(pid, local, 2, remote, 2, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EFAULT;
    done += static_cast<size_t>(got);
  }
  return 0;
}

}  // namespace

Status read_memory(const PeerProcess& peer, const Cookie& cookie, uint64_t address, std::byte* into,
                   size_t bytes) noexcept {
  uint64_t seen = 0;
  const int error_number = read_guarded(peer.who.pid, cookie, address, into, bytes, &seen);
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
  const int error_number = read_guarded(peer.who.pid, cookie, cookie.address, nullptr, 0, &seen);
  if (error_number != 0) return error_number;
  return seen == cookie.value && !peer.watch.exited() ? 0 : ESRCH;
}

}  // namespace tutti::transport::shm
