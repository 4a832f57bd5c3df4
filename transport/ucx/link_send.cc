// SPDX-License-Identifier: Apache-2.0
// What a path of UCX does with frames that are to be sent: active messages and puts.
#include <algorithm>
#include <array>
#include <cstring>
#include <exception>
#include <utility>

#include "transport/ucx/link.h"
#include "transport/ucx/ucx_carrier.h"

namespace tutti::transport::ucx {

bool Link::has_room(size_t bytes) const noexcept {
  return sends_ < kMostSends && tokens_.size() < kMostSends &&
         (backlog_bytes_ == 0 || backlog_bytes_ + bytes <= kMostBytes);
}

bool Link::send(const network::OutgoingFrame& frame) noexcept {
  const LogToUs inside;
  const size_t bytes = frame.header.payload_bytes;
  if (state_ != State::kUp || remote_ == nullptr || remote_->failed || !has_room(bytes))
    return false;
  try {
    Send& send = begin(Message::kFrame);
    load(send, frame);
    if (send.copy.empty() && frame.into != nullptr && bytes > 0) {
      bool put = false;
      if (!post_put(send, frame, &put)) return false;
      if (put) return true;
    }
    return post(send);
  } catch (const std::exception&) {
    return false;  // no memory now
  }
}

Send& Link::begin(Message message) {
  tokens_.reserve(tokens_.size() + static_cast<size_t>(sends_) + 1);
  put_done_.reserve(static_cast<size_t>(sends_) + 1);
  if (spare_.empty()) {
    all_sends_.push_back(std::make_unique<Send>());
    spare_.reserve(all_sends_.size());
    spare_.push_back(all_sends_.back().get());
  }
  Send& send = *spare_.back();
  spare_.pop_back();
  send.link = this;
  send.token = 0;
  send.payload = nullptr;
  send.bytes = 0;
  send.header = AmHeader{.path = in_ ^ 1,
                         .sequence = next_out_,
                         .generation = remote_->generation,
                         .message = message};
  ++sends_;
  ++next_out_;
  return send;
}

void Link::load(Send& send, const network::OutgoingFrame& frame) {
  send.header.frame = frame.header;
  send.token = frame.token;
  send.bytes = frame.header.payload_bytes;
  send.payload = frame.payload;
  if (send.bytes > 0) {
    send.reading = true;
    ++reading_;
    backlog_bytes_ += send.bytes;
  }
  const bool introduces = dialled_ && send.header.sequence == 0;
  // Without a token the sender does not wait for the payload to have been read.
  if (introduces || (send.token == 0 && send.bytes > 0)) copy_payload(send, introduces);
}

// What is sent is memory of its own: the payload, after the worker's address in the first message
// of a dialler.
void Link::copy_payload(Send& send, bool with_address) {
  try {
    if (with_address) send.copy = carrier_.worker_address();
    const size_t aligned = (send.copy.size() + 7) / 8 * 8;
    send.header.address_padding = static_cast<uint32_t>(aligned - send.copy.size());
    send.copy.resize(aligned + send.bytes);
  } catch (const std::exception&) {
    finish(send);
    --next_out_;
    throw;
  }
  const size_t address_bytes = send.copy.size() - send.bytes;
  if (send.bytes > 0) std::memcpy(send.copy.data() + address_bytes, send.payload, send.bytes);
  send.header.address_bytes = static_cast<uint32_t>(address_bytes);
}

// True when UCX has it; false when the endpoint has broken.
bool Link::post(Send& send) noexcept {
  ucp_request_param_t parameters{};
  parameters.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  parameters.cb.send = on_sent;
  parameters.user_data = &send;
  const void* data = send.payload;
  size_t bytes = send.bytes;
  if (!send.copy.empty()) {
    data = send.copy.data();
    bytes = send.copy.size();
    // With the address, or nobody can answer.
    if (send.header.address_bytes > 0) parameters.flags = UCP_AM_SEND_FLAG_EAGER;
    give_back_payload(send);
  } else if ((send.header.frame.flags & network::kPlaced) != 0) {
    data = nullptr;
    bytes = 0;
  }
  carrier_.describe_memory(&parameters);
  const ucs_status_ptr_t request =
      carrier_.api().am_send(remote_->endpoint, kActiveMessage, &send.header, sizeof send.header,
                             data, bytes, &parameters);
  if (UCS_PTR_IS_ERR(request)) {
    abandon(send, UCS_PTR_STATUS(request));
    return false;
  }
  if (request == nullptr) {
    delivered_bytes_ += send.bytes + sizeof send.header;
    finish(send);
  }
  return true;
}

ucp_rkey_h Link::key_for(const network::MemoryKey& key) noexcept {
  const auto bytes = std::to_array(key.bytes);
  const auto known = remote_->keys.find(bytes);
  if (known != remote_->keys.end()) return known->second;
  ucp_rkey_h unpacked = nullptr;
  const auto length = std::to_integer<size_t>(key.bytes[kKeyLengthAt]);
  if (length == 0 || length > sizeof key.bytes - kKeyLengthAt - 1) return nullptr;
  if (carrier_.api().rkey_unpack(remote_->endpoint, key.bytes + kKeyLengthAt + 1, &unpacked) !=
      UCS_OK)
    return nullptr;
  try {
    remote_->keys.emplace(bytes, unpacked);
  } catch (const std::exception&) {
    carrier_.api().rkey_destroy(unpacked);
    return nullptr;
  }
  return unpacked;
}

// *put: the payload goes by itself; the header follows when it is there. False: broken.
bool Link::post_put(Send& send, const network::OutgoingFrame& frame, bool* put) noexcept {
  const ucp_rkey_h key = key_for(*frame.into);
  *put = key != nullptr;
  if (!*put) return true;
  uint64_t base = 0;
  std::memcpy(&base, frame.into->bytes, sizeof base);
  send.header.frame.flags |= network::kPlaced;
  ucp_request_param_t parameters{};
  parameters.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  parameters.cb.send = on_put;
  parameters.user_data = &send;
  carrier_.describe_memory(&parameters);
  const ucs_status_ptr_t request = carrier_.api().put(remote_->endpoint, send.payload, send.bytes,
                                                      base + frame.into_offset, key, &parameters);
  if (UCS_PTR_IS_ERR(request)) {
    abandon(send, UCS_PTR_STATUS(request));
    return false;
  }
  return request != nullptr || post_flush(send);
}

// A put is at the peer when the endpoint has been flushed after it.
bool Link::post_flush(Send& send) noexcept {
  give_back_payload(send);
  ucp_request_param_t parameters{};
  parameters.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  parameters.cb.send = on_flushed;
  parameters.user_data = &send;
  const ucs_status_ptr_t request = carrier_.api().ep_flush(remote_->endpoint, &parameters);
  if (UCS_PTR_IS_ERR(request)) {
    abandon(send, UCS_PTR_STATUS(request));
    return false;
  }
  if (request == nullptr) {
    put_done_.push_back(&send);
    carrier_.mark(*this);
  }
  return true;
}

void Link::give_back_payload(Send& send) noexcept {
  if (send.reading) {
    send.reading = false;
    --reading_;
    backlog_bytes_ -= send.bytes;
  }
  if (const uint64_t token = std::exchange(send.token, 0); token != 0) tokens_.push_back(token);
  carrier_.mark(*this);
}

void Link::finish(Send& send) noexcept {
  give_back_payload(send);
  send.copy.clear();
  spare_.push_back(&send);
  --sends_;
  carrier_.mark(*this);
}

// The payload is not read any more, but it has not been sent either: the path is broken.
void Link::abandon(Send& send, ucs_status_t status) noexcept {
  send.token = 0;
  finish(send);
  if (status != UCS_ERR_CANCELED) carrier_.fail(*remote_, status, "sending");
}

void Link::on_sent(void* request, ucs_status_t status, void* user) noexcept {
  Send& send = *static_cast<Send*>(user);
  Link& link = *send.link;
  link.carrier_.api().request_free(request);
  if (status == UCS_OK) {
    link.delivered_bytes_ += send.bytes + sizeof send.header;
    link.finish(send);
  } else {
    link.abandon(send, status);
  }
}

void Link::on_put(void* request, ucs_status_t status, void* user) noexcept {
  Send& send = *static_cast<Send*>(user);
  Link& link = *send.link;
  link.carrier_.api().request_free(request);
  if (status == UCS_OK && !link.remote_->failed) {
    link.post_flush(send);
  } else {
    link.abandon(send, status == UCS_OK ? UCS_ERR_CANCELED : status);
  }
}

void Link::on_flushed(void* request, ucs_status_t status, void* user) noexcept {
  Send& send = *static_cast<Send*>(user);
  Link& link = *send.link;
  link.carrier_.api().request_free(request);
  if (status != UCS_OK) {
    link.abandon(send, status);
    return;
  }
  link.put_done_.push_back(&send);
  link.carrier_.mark(link);
}

}  // namespace tutti::transport::ucx
