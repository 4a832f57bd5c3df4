// SPDX-License-Identifier: Apache-2.0
// The shortest way of all: a message each way between two ranks, in one line each, and one fold.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/base/planted.h"
#include "src/base/traffic.h"
#include "src/exec/message.h"
#include "src/kernels/reduce_copy.h"

namespace tutti::exec {

// A straight line of two steps: what lies in the input is sent inline, and what comes is folded
// with what lies in the input, into the output. All that a call needs is side by side. Either
// half returns false when it has to wait, or when its message is not inline: then it has done
// nothing, and the line's step is for StraightLine.
class PairExchange {
  static_assert(transport::kInlineBytes <= kernels::kPairBytes);

 public:
  // Bytes from the start of the buffers.
  struct Parts {
    transport::SendView* send = nullptr;  // both views have a bell to ring
    transport::RecvView* receive = nullptr;
    PeerTraffic::Protocol* counted = nullptr;  // inline messages with that peer
    kernels::FoldPairFn fold = nullptr;
    size_t bytes = 0;          // of either message
    size_t sent = 0;           // offset in the input
    size_t own = 0;            // offset in the input
    size_t to = 0;             // offset in the output
    bool peer_second = false;  // in the fold
  };

  void set(const Parts& parts) noexcept { parts_ = parts; }

  // Of both messages of a call with that signature; what the halves are given.
  uint32_t signature_of(uint32_t operation_signature) const noexcept {
    return message_signature(operation_signature, parts_.bytes);
  }

  [[gnu::always_inline]] bool send(const std::byte* input, uint32_t signature) const noexcept {
    transport::SendView& view = *parts_.send;
    if (!view.line_free()) [[unlikely]]
      return false;
    transport::SlotLine& line = view.line();
    const size_t bytes = parts_.bytes;
    const std::byte* const from = input + parts_.sent;
    auto* const to = reinterpret_cast<unsigned char*>(line.inline_bytes);
    if (bytes - 8 <= 8) [[likely]]  // 8 to 16
      kernels::copy_two_words<uint64_t>(to, reinterpret_cast<const unsigned char*>(from), bytes);
    else
      copy_other(to, from, bytes);
    view.commit_silently(line, signature, transport::MessageKind::kInline);
    ring(*view.peer_bell);
    return true;
  }

  [[gnu::always_inline]] bool receive(const std::byte* input, std::byte* output,
                                      uint32_t signature) const noexcept {
    const transport::RecvView& view = *parts_.receive;
    const transport::SlotLine& line = view.line();
    if (!view.peek_inline(line, signature)) return false;
    const std::byte* const own = input + parts_.own;
    const std::byte* const left = parts_.peer_second ? own : line.inline_bytes;
    const std::byte* const right = parts_.peer_second ? line.inline_bytes : own;
    parts_.fold(left, right, output + parts_.to, parts_.bytes);
    transport::RecvView& same = *parts_.receive;  // loaded again: cheaper than to keep it meanwhile
    same.release_silently();
    if (!planted(PlantedBug::kReleaseWithoutRing)) ring(*same.peer_bell);
    return true;
  }

  // What is to be counted once it has sent, and once it has received as well.
  void count_sent() const noexcept {
    add(parts_.counted->sent_messages, 1);
    add(parts_.counted->sent_bytes, parts_.bytes);
  }
  void count_both() const noexcept {
    PeerTraffic::Protocol& counted = *parts_.counted;
    const size_t bytes = parts_.bytes;
    add(counted.sent_messages, 1);
    add(counted.sent_bytes, bytes);
    add(counted.received_messages, 1);
    add(counted.received_bytes, bytes);
  }

 private:
  // Apart, so that its branches take no registers from the most usual size's.
  [[gnu::noinline]] static void copy_other(void* to, const void* from, size_t bytes) noexcept {
    kernels::copy_small(to, from, bytes);
  }

  Parts parts_;
};

}  // namespace tutti::exec
