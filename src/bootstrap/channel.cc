// SPDX-License-Identifier: Apache-2.0
// Non-blocking channels on the control thread.
#include "src/bootstrap/channel.h"

#include <algorithm>
#include <exception>

#include "src/base/log.h"

namespace tutti::bootstrap {
namespace {

constexpr int64_t kAbortPollNs = 20 * kNsPerMs;  // nobody rings when *aborted is set
constexpr size_t kLeastRoomBytes = 64 << 10;

}  // namespace

void run_on(ControlThread& control, std::function<void()> task) {
  if (control.is_current()) return task();
  struct Run {
    Monitor monitor;
    bool done = false;
    std::exception_ptr error;
  };
  const auto run = std::make_shared<Run>();  // shared: the control thread still notifies when the
                                             // waiter has gone on
  control.at(Deadline::at_ns(0), [run, task = std::move(task)] {
    try {
      task();
    } catch (...) {
      run->error = std::current_exception();
    }
    const Monitor::Lock lock = run->monitor.lock();
    run->done = true;
    run->monitor.notify_all();
  });
  Monitor::Lock lock = run->monitor.lock();
  // Without a deadline: callbacks never block, and `task` may refer to the caller's stack.
  run->monitor.wait(lock, Deadline::never(), [&] { return run->done; });
  if (run->error != nullptr) std::rethrow_exception(run->error);
}

void run_on_at_end(ControlThread& control, std::function<void()> task) noexcept {
  try {
    run_on(control, std::move(task));
  } catch (const std::exception& error) {
    log(LogLevel::kDebug, "bootstrap", -1, "nothing to end: {}", error.what());
  }
}

void Signal::notify() {
  const Monitor::Lock lock = monitor_.lock();
  notified_ = true;
  monitor_.notify_all();
}

Woken Signal::wait(const Patience& patience) {
  Monitor::Lock lock = monitor_.lock();
  for (;;) {
    if (patience.is_aborted()) return Woken::kAborted;
    const Deadline next_look =
        patience.aborted == nullptr || patience.deadline.left_ns() < kAbortPollNs
            ? patience.deadline
            : Deadline::after_ns(kAbortPollNs);
    if (monitor_.wait(lock, next_look, [&] { return notified_; })) break;
    if (patience.deadline.expired()) return Woken::kExpired;
  }
  notified_ = false;
  return Woken::kNotified;
}

Channel::~Channel() {
  run_on_at_end(*control_, [this] { stop_watching(); });
}

void Channel::expect(size_t count, std::function<void(Bytes)> then) {
  expected_ = count;
  input_.clear();
  arrived_ = 0;
  if (count == 0) return then({});
  then_ = std::move(then);
  make_room();
  if (watch_ == 0 && !ended_) watch_ = control_->watch(socket_.fd(), [this] { on_readable(); });
}

void Channel::expect_frames(std::function<void(Frame)> handler) {
  expect_next_frame(std::make_shared<const std::function<void(Frame)>>(std::move(handler)));
}

void Channel::expect_next_frame(std::shared_ptr<const std::function<void(Frame)>> handler) {
  static const size_t header_bytes = wire_bytes<FrameHeader>();
  expect(header_bytes, [this, handler = std::move(handler)](const Bytes& bytes) {
    const auto header = decode_as<FrameHeader>(bytes);
    if (header.bytes > kMaxFrameBytes) return end();
    expect(header.bytes, [this, header, handler](Bytes payload) {
      expect_next_frame(handler);  // first: the handler may destroy this channel
      (*handler)(Frame{.header = header, .payload = std::move(payload)});
    });
  });
}

void Channel::make_room() {
  if (arrived_ < input_.size()) return;
  input_.resize(std::min(expected_, std::max(kLeastRoomBytes, 2 * input_.size())));
}

// Reads at most once, so that no channel starves the others; called again when there is more.
void Channel::on_readable() {
  if (then_ == nullptr) return stop_watching();  // expect() resumes
  size_t received = 0;
  try {
    // "Packet" here: what has come so far, up to what is expected.
    const auto part = socket_.try_receive_packet(std::span(input_).subspan(arrived_));
    if (!part.has_value()) return;
    received = part->bytes;
  } catch (const Error&) {
    return end();
  }
  if (received == 0) return end();
  arrived_ += received;
  if (arrived_ < expected_) return make_room();
  const auto then = std::exchange(then_, nullptr);
  then(std::exchange(input_, {}));  // may destroy this
}

void Channel::stop_watching() {
  if (watch_ != 0) control_->remove(std::exchange(watch_, 0));
}

void Channel::end() {
  stop_watching();
  ended_ = true;
  if (const auto handler = std::exchange(on_end_, nullptr)) handler();  // may destroy this
}

bool Channel::try_send(std::span<const std::byte> bytes) noexcept {
  try {
    return !ended_ && socket_.try_send_packet(bytes);
  } catch (const std::exception&) {
    return false;  // the reading side notices too, and says who it was
  }
}

}  // namespace tutti::bootstrap
