// SPDX-License-Identifier: Apache-2.0
// One-way streams of messages over a plugin's comms: a ring of registered buffers at each end.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "transport/nccl_net/plugin.h"

namespace tutti::transport::nccl_net {

inline constexpr size_t kMessageBytes = 64u << 10;
// Plugins bear 8 requests per comm at least (32 from version 7 or so).
inline constexpr int kRing = 8;

// Buffers that are registered with a comm. The k-th use is of slot k % kRing.
class Ring {
 public:
  explicit Ring(Plugin& plugin) : plugin_(plugin) {}
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  // False: the plugin refuses.
  bool attach(void* comm);
  void detach() noexcept;  // before the comm is closed
  std::byte* slot(uint64_t use) noexcept { return memory_.get() + use % kRing * kMessageBytes; }
  void* handle() const noexcept { return handle_; }

 private:
  struct Free {
    void operator()(std::byte* data) const noexcept;
  };
  Plugin& plugin_;
  void* comm_ = nullptr;
  void* handle_ = nullptr;
  bool registered_ = false;
  std::unique_ptr<std::byte, Free> memory_;
};

// The sender's end. Messages leave in the order in which they were begun.
class Sender {
 public:
  explicit Sender(Plugin& plugin) : plugin_(plugin), ring_(plugin) {}
  ~Sender() { close(); }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  // Tries to connect; false: the plugin reports an error. `handle` is the caller's copy of the
  // peer's, the same in every try.
  bool connect(int device, Handle* handle) noexcept;
  bool connected() const noexcept { return comm_ != nullptr; }
  int room() const noexcept { return connected() ? kRing - static_cast<int>(written_ - done_) : 0; }
  std::byte* begin() noexcept { return ring_.slot(written_); }  // room() > 0
  void commit(size_t bytes) noexcept { sizes_[written_++ % kRing] = bytes; }
  bool turn(bool* moved) noexcept;  // false: broken
  bool idle() const noexcept { return done_ == written_; }
  size_t backlog_bytes() const noexcept;
  uint64_t delivered_bytes() const noexcept { return delivered_bytes_; }
  void close() noexcept;

 private:
  Plugin& plugin_;
  void* comm_ = nullptr;
  Ring ring_;
  std::array<void*, kRing> requests_{};
  std::array<size_t, kRing> sizes_{};
  uint64_t written_ = 0;  // messages; done_ <= posted_ <= written_
  uint64_t posted_ = 0;
  uint64_t done_ = 0;
  uint64_t delivered_bytes_ = 0;
};

// The receiver's end: posts every buffer that is free.
class Receiver {
 public:
  explicit Receiver(Plugin& plugin) : plugin_(plugin), ring_(plugin) {}
  ~Receiver() { close(); }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  bool adopt(void* comm) noexcept;  // closes it; false: the plugin refuses
  bool connected() const noexcept { return comm_ != nullptr; }
  bool turn(bool* moved) noexcept;  // posts; false: broken
  // The next message; empty when there is none, or *broken. Stays until release().
  std::span<const std::byte> next(bool* broken) noexcept;
  void release() noexcept {
    ++taken_;
    is_here_ = false;
  }
  void close() noexcept;

 private:
  Plugin& plugin_;
  void* comm_ = nullptr;
  Ring ring_;
  std::array<void*, kRing> requests_{};
  uint64_t posted_ = 0;
  uint64_t taken_ = 0;
  bool is_here_ = false;  // the message that is taken next
  size_t bytes_ = 0;      // of it
};

}  // namespace tutti::transport::nccl_net
