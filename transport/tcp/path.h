// SPDX-License-Identifier: Apache-2.0
// One socket as a path: frames one after the other, each a header and its payload; sealed, each of
// the two has a tag behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/file.h"
#include "src/base/socket.h"
#include "transport/network/carrier.h"
#include "transport/tcp/seal.h"

namespace tutti::transport::tcp {

using network::FrameHeader;
using network::FrameSink;
using network::Key;
using network::OutgoingFrame;

inline constexpr size_t kMaxPayload = 256 << 20;

class TcpPath final : public network::Path {
 public:
  struct Place {
    FileDescriptor fd;
    int rail = 0;
    std::string interface;
    std::string to;  // the other end's address; empty when connected
    bool connecting = false;
  };
  TcpPath(FrameSink& sink, Place place, int silence_ms);
  ~TcpPath() override;

  // The path's name among the carrier's; the carrier forgets it when the path goes.
  using Forget = void (*)(void* carrier, TcpPath& path);
  void belong_to(void* carrier, Forget forget) noexcept {
    carrier_ = carrier;
    forget_ = forget;
  }

  int fd() const noexcept { return fd_.get(); }
  bool is_broken() const noexcept { return broken_; }
  // The socket is readable, writable or in error: moves what it can. True when something moved.
  bool serve() noexcept;
  // Breaks it when the other machine has acknowledged nothing for too long. Now and then.
  void check_silence(int64_t now) noexcept;
  // Frames wait until the socket is writable.
  bool wants_to_write() const noexcept {
    return !broken_ && (connecting_ || refused_room_ || has_pending());
  }
  bool polls_for_writing = false;  // of the carrier: what it has asked epoll for

  bool send(const OutgoingFrame& frame) noexcept override;
  void push() noexcept override;
  size_t backlog_bytes() const noexcept override;
  uint64_t delivered_bytes() const noexcept override;
  bool has_unsent() const noexcept override;
  bool encrypt(const Key& send_key, const Key& receive_key) noexcept override;
  size_t max_payload_bytes() const noexcept override { return kMaxPayload; }
  int rail() const noexcept override { return rail_; }
  std::string describe() const override;
  std::string rail_name() const override { return interface_; }
  bool refused() const noexcept override { return connection_refused_; }
  bool sabotage() noexcept override;

 private:
  struct Span {
    const std::byte* data = nullptr;
    size_t bytes = 0;
  };
  bool has_pending() const noexcept { return head_.bytes + body_.bytes != 0; }
  bool finish_connecting() noexcept;
  bool flush() noexcept;
  void complete() noexcept;
  void seal_frame(const OutgoingFrame& frame);
  bool receive() noexcept;
  bool receive_payload() noexcept;
  bool take_buffered() noexcept;
  bool begin_frame() noexcept;
  void begin_payload() noexcept;
  bool end_frame() noexcept;
  size_t header_bytes() const noexcept {
    return sizeof(FrameHeader) + (opener_.has_value() ? kTagBytes : 0);
  }
  void break_down(const std::string& why) noexcept;

  FileDescriptor fd_;
  const int rail_;
  const std::string interface_;
  const std::string name_;
  const int silence_ms_;
  bool connecting_;
  int64_t waiting_since_ns_ = 0;  // for more to be acknowledged; 0: nothing is to be
  uint64_t seen_delivered_ = 0;   // then
  bool broken_ = false;
  bool connection_refused_ = false;
  bool refused_room_ = false;  // a frame found no room since the socket was last writable
  void* carrier_ = nullptr;
  Forget forget_ = nullptr;

  // The frame that is being sent: what is left of it.
  FrameHeader header_;
  Span head_, body_;
  uint64_t token_ = 0;
  uint64_t handed_bytes_ = 0;  // to the kernel
  bool more_ = false;          // OutgoingFrame::more of this frame
  bool held_back_ = false;     // the kernel may keep the end of what it has got for more
  std::optional<Seal> sealer_;
  std::vector<std::byte> sealed_;  // the whole frame, when it is sealed

  // The frame that is arriving. Small reads go through `buffer_`; of a payload, what is not in it
  // goes straight to its place.
  FrameHeader arriving_;
  bool in_payload_ = false;
  std::byte* into_ = nullptr;  // null: thrown away
  size_t payload_left_ = 0;    // on the wire, with the tag
  size_t payload_done_ = 0;
  std::optional<Seal> opener_;
  std::vector<std::byte> ciphertext_;
  std::unique_ptr<std::byte[]> buffer_;
  size_t buffered_from_ = 0, buffered_to_ = 0;
};

}  // namespace tutti::transport::tcp
