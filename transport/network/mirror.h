// SPDX-License-Identifier: Apache-2.0
// One end's copy of a connection's memory (transport/fifo.h): the user's end works on it as if the
// peer were on the other side; what really is there is a stream that carries it over a network.
//
// Who writes what. In the sender's mirror the executor writes lines, slots and the first failure
// word; the stream writes `released`, and the second failure word. In the receiver's mirror the
// stream writes lines, slots and the first failure word, the executor `released` and the second.
// The orders are those of fifo.h: header and `released` are stored with release and loaded with
// acquire, so the stream, which runs on whatever thread holds the endpoint's lock, needs no other
// understanding with the executor.
#pragma once

#include <cstddef>

#include "transport/fifo.h"

namespace tutti::transport::network {

class Mirror {
 public:
  explicit Mirror(const FifoLayout& layout);  // zeroed pages; throws SystemError
  ~Mirror();
  Mirror(const Mirror&) = delete;
  Mirror& operator=(const Mirror&) = delete;

  const FifoLayout& layout() const noexcept { return layout_; }
  std::byte* base() const noexcept { return base_; }
  SlotLine& line(uint64_t message) const noexcept {
    return reinterpret_cast<SlotLine*>(base_)[message & (layout_.n_lines - 1)];
  }
  ReleaseWord& release_word() const noexcept {
    return *reinterpret_cast<ReleaseWord*>(base_ + layout_.release_offset());
  }
  FailureWord& failure(int end) const noexcept {  // 0: the sender's, 1: the receiver's
    return reinterpret_cast<FailureWord*>(base_ + layout_.failure_offset())[end];
  }
  std::byte* areas() const noexcept { return base_ + layout_.areas_offset(); }
  std::byte* area(uint32_t index) const noexcept {
    return areas() + size_t{index} * layout_.area_bytes;
  }

 private:
  FifoLayout layout_;
  std::byte* base_;
};

}  // namespace tutti::transport::network
