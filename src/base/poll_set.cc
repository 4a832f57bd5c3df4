// SPDX-License-Identifier: Apache-2.0
// PollSet over epoll.
#include "src/base/poll_set.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <sys/epoll.h>

#include "src/base/error.h"

namespace tutti {
namespace {

constexpr size_t kMostAtOnce = 64;

void control(int set, int operation, int fd, uint64_t key, bool writing) {
  epoll_event event{.events = EPOLLIN | (writing ? uint32_t{EPOLLOUT} : 0), .data = {.u64 = key}};
  if (::epoll_ctl(set, operation, fd, &event) != 0)
    throw system_error("can't watch a descriptor", errno);
}

}  // namespace

PollSet::PollSet() : fd_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!fd_) throw system_error("can't make a set of descriptors to watch", errno);
}

void PollSet::add(int fd, uint64_t key, bool writing) {
  control(fd_.get(), EPOLL_CTL_ADD, fd, key, writing);
}

void PollSet::set_writing(int fd, uint64_t key, bool writing) {
  control(fd_.get(), EPOLL_CTL_MOD, fd, key, writing);
}

void PollSet::remove(int fd) noexcept { ::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr); }

size_t PollSet::ready(std::span<uint64_t> keys) const noexcept {
  std::array<epoll_event, kMostAtOnce> events;
  const int most = static_cast<int>(std::min(keys.size(), events.size()));
  if (most == 0) return 0;
  const int found = ::epoll_wait(fd_.get(), events.data(), most, 0);
  for (int i = 0; i < found; ++i)
    keys[static_cast<size_t>(i)] = events[static_cast<size_t>(i)].data.u64;
  return static_cast<size_t>(std::max(found, 0));
}

}  // namespace tutti
