// SPDX-License-Identifier: Apache-2.0
// Non-blocking channels on the control thread.
#include "src/bootstrap/channel.h"

#include <algorithm>
#include <exception>

namespace tutti::bootstrap {
namespace {

constexpr size_t kLeastRoomBytes = 64 << 10;

}  // namespace

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
