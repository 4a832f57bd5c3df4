// SPDX-License-Identifier: Apache-2.0
// Messages to frames.
#include "transport/rdma/receiver.h"

#include <cstring>

namespace tutti::transport::rdma {

const char* Receiver::take_fragment(network::Path& path, const WireMessage& message,
                                    const std::byte* piece) noexcept {
  const WirePrefix& prefix = message.prefix;
  if (prefix.offset != expected_offset_ || prefix.bytes == 0 ||
      prefix.bytes > message.header.payload_bytes - prefix.offset)
    return "a fragment is not the one that is due";
  if (prefix.offset == 0) place_ = path.sink().place(message.header);
  if (place_ != nullptr) std::memcpy(place_ + prefix.offset, piece, prefix.bytes);
  expected_offset_ += prefix.bytes;
  if (expected_offset_ < message.header.payload_bytes) return nullptr;
  expected_offset_ = 0;
  path.sink().arrived(path, message.header, nullptr);
  return nullptr;
}

const char* Receiver::take(network::Path& path, uint32_t slot, size_t bytes,
                           uint32_t* granted) noexcept {
  if (slot >= pair_.receive_depth() || n_taken_ == taken_.size())
    return "a completion names a receive buffer that was not posted";
  taken_[n_taken_++] = slot;
  const std::byte* const at = pair_.receive_slot(slot);
  WireMessage message;
  if (bytes < sizeof message) return "a message is shorter than its header";
  std::memcpy(&message, at, sizeof message);
  *granted = message.prefix.granted;
  if (message.prefix.bytes != bytes - sizeof message) return "a message is not as long as it says";
  const std::byte* const payload = at + sizeof message;
  const bool placed = (message.header.flags & network::kPlaced) != 0;
  switch (static_cast<WireKind>(message.prefix.kind)) {
    case WireKind::kCredit:
      return nullptr;
    case WireKind::kFragment:
      if (placed) return "a fragment of a placed payload";
      return take_fragment(path, message, payload);
    case WireKind::kWhole:
      if (expected_offset_ != 0) return "a frame amid the fragments of another";
      if (message.prefix.bytes != (placed ? 0 : message.header.payload_bytes))
        return "a frame's payload is not as long as its header says";
      path.sink().arrived(path, message.header, message.prefix.bytes > 0 ? payload : nullptr);
      return nullptr;
  }
  return "a message of unknown kind; is the peer of another version?";
}

size_t Receiver::post_again(int* error) noexcept {
  *error = pair_.post_receives(taken_.data(), n_taken_);
  const size_t posted = n_taken_;
  n_taken_ = 0;
  return *error == 0 ? posted : 0;
}

}  // namespace tutti::transport::rdma
