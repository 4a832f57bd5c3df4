// SPDX-License-Identifier: Apache-2.0
// A set of descriptors behind one descriptor, which is readable when one of them is ready.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "src/base/file.h"

namespace tutti {

// Belongs to one thread. A descriptor must be removed before it is closed.
class PollSet {
 public:
  PollSet();  // throws SystemError
  // To be polled by others; readable when ready() would find something.
  int fd() const noexcept { return fd_.get(); }
  // Reports `key` while fd is readable, broken or closed by the peer, and with `writing` while it
  // can be written to. Throws SystemError.
  void add(int fd, uint64_t key, bool writing = false);
  void set_writing(int fd, uint64_t key, bool writing);
  void remove(int fd) noexcept;
  // The keys of descriptors that are ready now, never waiting; how many.
  size_t ready(std::span<uint64_t> keys) const noexcept;

 private:
  FileDescriptor fd_;
};

}  // namespace tutti
