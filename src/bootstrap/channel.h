// SPDX-License-Identifier: Apache-2.0
// Byte streams read by the control thread without blocking, and how other threads hand work to it
// and wait for it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>

#include "src/base/clock.h"
#include "src/base/control_thread.h"
#include "src/base/monitor.h"
#include "src/base/socket.h"
#include "src/bootstrap/wire.h"

namespace tutti::bootstrap {

// Runs task on the control thread and returns when it has run; rethrows what it threw. All state of
// the rendezvous and of the tree is touched by the control thread only, so it has no locks; other
// threads reach it through here.
void run_on(ControlThread& control, std::function<void()> task);
// The same for destructors. Does nothing in a forked child, which has the object but not the
// thread.
void run_on_at_end(ControlThread& control, std::function<void()> task) noexcept;

// How long a caller is willing to wait.
struct Patience {
  Deadline deadline;
  const std::atomic<bool>* aborted = nullptr;  // may be null
  // Acquire: pairs with the store of whoever aborts the communicator.
  bool is_aborted() const noexcept {
    return aborted != nullptr && aborted->load(std::memory_order_acquire);
  }
};

enum class Woken : uint8_t { kNotified, kExpired, kAborted };

// Tells one waiting thread that the control thread has news for it. Notifications add up until they
// are waited for.
class Signal {
 public:
  void notify();
  Woken wait(const Patience& patience);

 private:
  Monitor monitor_;
  bool notified_ = false;  // guarded by monitor_
};

// One connection. Every member is called on the control thread, except the destructor and what says
// otherwise.
class Channel {
 public:
  Channel(std::shared_ptr<ControlThread> control, Socket socket)
      : control_(std::move(control)), socket_(std::move(socket)) {}
  ~Channel();  // any thread
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // Calls `then` once, with the next `count` bytes. `then` may destroy the channel. Memory is taken
  // as bytes come, not as they are announced.
  void expect(size_t count, std::function<void(Bytes)> then);
  // Calls `handler` with each frame from now on; a frame longer than kMaxFrameBytes ends the
  // connection.
  void expect_frames(std::function<void(Frame)> handler);
  // Called once when the peer closes or the connection breaks. May destroy the channel.
  void on_end(std::function<void()> handler) { on_end_ = std::move(handler); }
  // Never blocks. False when the connection is broken or the socket's buffer full; then nothing
  // more is to be sent.
  bool try_send(std::span<const std::byte> bytes) noexcept;
  bool ended() const noexcept { return ended_; }
  // For blocking sends from another thread; the caller makes sure that nobody else sends at the
  // same time.
  Socket& socket() noexcept { return socket_; }
  const std::shared_ptr<ControlThread>& control() const noexcept { return control_; }

 private:
  void on_readable();
  void make_room();
  void stop_watching();
  void end();
  void expect_next_frame(std::shared_ptr<const std::function<void(Frame)>> handler);

  const std::shared_ptr<ControlThread> control_;  // shared: see ControlThread::shared
  Socket socket_;
  ControlThread::Id watch_ = 0;  // 0: not watched
  bool ended_ = false;
  size_t expected_ = 0;
  Bytes input_;                      // room for the next bytes; grows with what has come
  size_t arrived_ = 0;               // bytes of input_ that have come
  std::function<void(Bytes)> then_;  // empty: nothing is expected
  std::function<void()> on_end_;
};

inline constexpr size_t kMaxFrameBytes = 2 * kMaxGatherBytes;  // contributions and their headers

}  // namespace tutti::bootstrap
