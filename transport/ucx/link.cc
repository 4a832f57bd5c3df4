// SPDX-License-Identifier: Apache-2.0
// What a path of UCX does with what comes: the order in which it is handed over, and how it ends.
#include "transport/ucx/link.h"

#include <cstring>
#include <exception>
#include <utility>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "transport/ucx/ucx_carrier.h"

namespace tutti::transport::ucx {
namespace {

// UCX gives memory back soon after an endpoint was closed by force; this is for the day it does
// not.
constexpr int64_t kLongestFailingNs = 5 * kNsPerSecond;

// Where the payload of a later frame shall lie depends on such a frame, so it is handed over first.
bool decides_places(network::FrameKind kind) {
  using network::FrameKind;
  return kind != FrameKind::kMessage && kind != FrameKind::kCredit && kind != FrameKind::kAck &&
         kind != FrameKind::kPut && kind != FrameKind::kWords;
}

}  // namespace

Link::~Link() {
  if (remote_ != nullptr) --remote_->links;
}

void Link::attach(Remote& remote) noexcept {
  remote_ = &remote;
  ++remote.links;
}

std::string Link::describe() const {
  return fmt::format("ucx rank {} - rank {} path {}{} endpoint {}", carrier_.rank(), peer_rank_,
                     in_ >> 1 & 0x7fffffff, dialled_ ? " dialled" : " accepted",
                     remote_ == nullptr ? 0 : remote_->generation);
}

std::vector<std::byte> Link::dialler_address() const {
  const auto first = arrivals_.find(0);
  if (first == arrivals_.end()) return {};
  const Arrival& arrival = first->second;
  const size_t bytes = arrival.header.address_bytes;
  const size_t padding = arrival.header.address_padding;
  if (arrival.state != Arrival::State::kComplete || bytes > arrival.bytes || padding > bytes)
    return {};
  const auto* const data = static_cast<const std::byte*>(arrival.data);
  return {data, data + bytes - padding};
}

uint32_t Link::dialler_generation() const noexcept {
  const auto first = arrivals_.find(0);
  return first == arrivals_.end() ? 0 : first->second.header.generation;
}

// ---- arrivals

ucs_status_t Link::take(const AmHeader& header, void* data, size_t bytes, bool rendezvous) {
  heard_ = true;
  if (header.sequence < next_in_ || arrivals_.contains(header.sequence)) return UCS_OK;
  const auto state = rendezvous ? Arrival::State::kOffered : Arrival::State::kComplete;
  arrivals_.emplace(header.sequence, Arrival{.link = this,
                                             .header = header,
                                             .state = state,
                                             .data = bytes > 0 ? data : nullptr,
                                             .bytes = bytes});
  if (remote_ != nullptr && header.generation > remote_->heard_generation)
    remote_->heard_generation = header.generation;
  carrier_.mark(*this);
  return bytes > 0 ? UCS_INPROGRESS : UCS_OK;
}

void Link::release(Arrival& arrival) noexcept {
  if (arrival.data != nullptr) carrier_.api().am_data_release(carrier_.worker(), arrival.data);
  arrival.data = nullptr;
}

// Tells the senders of rendezvous where their payloads shall lie, in order, as far as that is
// known.
void Link::start_receiving() noexcept {
  uint64_t sequence = next_in_;
  for (auto& [at, arrival] : arrivals_) {
    if (at != sequence++) return;
    if (arrival.state == Arrival::State::kOffered) receive(arrival);
    if (decides_places(arrival.header.frame.kind)) return;
  }
}

void Link::receive(Arrival& arrival) noexcept {
  std::byte* const into =
      path != nullptr && state_ == State::kUp ? path->sink().place(arrival.header.frame) : nullptr;
  if (into == nullptr) {
    release(arrival);
    arrival.state = Arrival::State::kComplete;
    return;
  }
  size_t length = 0;
  ucp_request_param_t parameters{};
  parameters.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_RECV_INFO;
  parameters.cb.recv_am = on_received;
  parameters.user_data = &arrival;
  parameters.recv_info.length = &length;
  carrier_.describe_memory(&parameters);
  void* const descriptor = std::exchange(arrival.data, nullptr);
  const ucs_status_ptr_t request =
      carrier_.api().am_recv_data(carrier_.worker(), descriptor, into, arrival.bytes, &parameters);
  arrival.state = request == nullptr || UCS_PTR_IS_ERR(request) ? Arrival::State::kComplete
                                                                : Arrival::State::kReceiving;
  if (UCS_PTR_IS_ERR(request)) {
    arrival.broken = true;
    carrier_.fail(*remote_, UCS_PTR_STATUS(request), "receiving");
  }
  if (arrival.state == Arrival::State::kReceiving) {
    ++receives_;
  } else {
    carrier_.mark(*this);
  }
}

void Link::on_received(void* request, ucs_status_t status, size_t, void* user) noexcept {
  Arrival& arrival = *static_cast<Arrival*>(user);
  Link& link = *arrival.link;
  link.carrier_.api().request_free(request);
  --link.receives_;
  arrival.state = Arrival::State::kComplete;
  arrival.broken = status != UCS_OK;
  if (arrival.broken && status != UCS_ERR_CANCELED)
    link.carrier_.fail(*link.remote_, status, "receiving");
  link.carrier_.mark(link);
}

void Link::hand_over(Arrival& arrival) noexcept {
  if (arrival.header.message == Message::kClose) {
    fail("the peer has closed the path");
  } else if (arrival.broken) {
    fail("the payload of a frame did not arrive");
  } else if (path != nullptr && state_ != State::kBroken) {
    const auto* data = static_cast<const std::byte*>(arrival.data);
    if (data != nullptr) data += arrival.header.address_bytes;
    const network::FrameHeader& frame = arrival.header.frame;
    const bool has_payload = frame.payload_bytes > 0 && (frame.flags & network::kPlaced) == 0;
    path->sink().arrived(*path, frame, has_payload ? data : nullptr);
  }
  release(arrival);
}

void Link::drop_arrivals() noexcept {
  if (receives_ != 0) return;  // UCX holds records of theirs
  for (auto& [at, arrival] : arrivals_) release(arrival);
  arrivals_.clear();
}

bool Link::settle() noexcept {
  bool moved = !tokens_.empty() || !put_done_.empty();
  while (!put_done_.empty()) {
    Send* const send = put_done_.back();
    put_done_.pop_back();
    if (remote_->failed) {
      abandon(*send, UCS_ERR_CANCELED);
    } else {
      post(*send);
    }
  }
  std::swap(tokens_, told_tokens_);
  for (const uint64_t token : told_tokens_) {
    if (path != nullptr && state_ != State::kBroken) path->sink().sent(*path, token);
  }
  told_tokens_.clear();
  while (!arrivals_.empty() && arrivals_.begin()->first == next_in_ &&
         arrivals_.begin()->second.state == Arrival::State::kComplete) {
    auto first = arrivals_.extract(arrivals_.begin());
    ++next_in_;
    moved = true;
    hand_over(first.mapped());
  }
  start_receiving();
  if (state_ == State::kFailing) end();
  if (path == nullptr && !fresh) drop_arrivals();
  return moved;
}

// ---- the end

void Link::fail(const std::string& why) noexcept {
  if (state_ != State::kUp) return;
  state_ = State::kFailing;
  failing_since_ns_ = now_ns();
  try {
    why_ = fmt::format(
        "{}: {}; look whether that rank's process and its devices are up (UCX_LOG_LEVEL=info, "
        "TUTTI_UCX_TLS)",
        describe(), why);
  } catch (const std::exception&) {
    why_.clear();
  }
  carrier_.mark(*this);
}

void Link::end() noexcept {
  if (reads_user_memory()) {
    carrier_.mark(*this);  // looked at again
    // A path that ends by itself has its peer's close, and nobody who would make UCX let go.
    if (!remote_->failed) carrier_.fail(*remote_, UCS_ERR_CONNECTION_RESET, "closing");
    if (now_ns() - failing_since_ns_ < kLongestFailingNs) return;
    log(LogLevel::kError, "transport", carrier_.rank(),
        "{}: UCX still holds {} payloads {} s after its endpoint was closed", describe(),
        reading_ + receives_, kLongestFailingNs / kNsPerSecond);
  }
  state_ = State::kBroken;
  if (path != nullptr) path->sink().broken(*path, why_);
}

bool Link::refused() const noexcept {
  if (!dialled_ || heard_ || remote_ == nullptr || !remote_->failed) return false;
  const ucs_status_t status = remote_->status;
  return status == UCS_ERR_CONNECTION_RESET || status == UCS_ERR_REJECTED ||
         status == UCS_ERR_NOT_CONNECTED;
}

bool Link::sabotage() noexcept {
  if (state_ != State::kUp || remote_->failed) return false;
  carrier_.fail(*remote_, UCS_ERR_CONNECTION_RESET, "sabotaged on purpose");
  return true;
}

void Link::retire() noexcept {
  path = nullptr;
  if (state_ != State::kUp || remote_ == nullptr || remote_->failed) return;
  state_ = State::kBroken;
  if (next_out_ == 0) return;  // the peer has never heard of it
  try {
    post(begin(Message::kClose));
  } catch (const std::exception&) {
    carrier_.fail(*remote_, UCS_ERR_NO_MEMORY, "closing");
  }
}

UcxPath::~UcxPath() { link_->carrier().retire(*link_); }

}  // namespace tutti::transport::ucx
