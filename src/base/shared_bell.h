// SPDX-License-Identifier: Apache-2.0
// Doorbells that other processes can ring: one sealed memfd page per process, handed out bell by
// bell.
#pragma once

#include <cstdint>
#include <memory>

#include "src/base/wait.h"

namespace tutti {

// One bell of the process's page. Peers that map the page (fd, offset) may ring it at any time,
// also after it has been handed back: a ring of a bell that nobody waits on does nothing, and a
// ring of a bell handed out again is a spurious wake-up.
class SharedBell {
 public:
  // Throws SystemError when the page can't be made. Each page holds 256 bells; further pages are
  // made as needed.
  static SharedBell allocate();
  SharedBell(SharedBell&& other) noexcept;
  SharedBell& operator=(SharedBell&& other) noexcept;
  ~SharedBell();

  Doorbell& bell() const noexcept { return *bell_; }
  int fd() const noexcept { return fd_; }                 // owned by the page
  uint64_t page_id() const noexcept { return page_id_; }  // unique within the process
  uint32_t offset() const noexcept { return offset_; }
  uint32_t page_bytes() const noexcept { return page_bytes_; }

 private:
  SharedBell() noexcept = default;
  void swap(SharedBell& other) noexcept;

  Doorbell* bell_ = nullptr;
  int fd_ = -1;
  uint64_t page_id_ = 0;
  uint32_t offset_ = 0;
  uint32_t page_bytes_ = 0;
  std::shared_ptr<void> page_;  // shared: pages live until the last bell of theirs is handed back
};

}  // namespace tutti
