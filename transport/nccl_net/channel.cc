// SPDX-License-Identifier: Apache-2.0
// Posting, testing and closing of a plugin's requests.
#include "transport/nccl_net/channel.h"

#include <new>

namespace tutti::transport::nccl_net {
namespace {

constexpr std::align_val_t kPage{4096};

}  // namespace

void Ring::Free::operator()(std::byte* data) const noexcept { ::operator delete(data, kPage); }

bool Ring::attach(void* comm) {
  memory_.reset(static_cast<std::byte*>(::operator new(kRing* kMessageBytes, kPage)));
  comm_ = comm;
  registered_ = plugin_.register_memory(comm, memory_.get(), kRing * kMessageBytes, &handle_);
  return registered_;
}

void Ring::detach() noexcept {
  if (registered_) plugin_.deregister_memory(comm_, handle_);
  registered_ = false;
}

bool Sender::connect(int device, Handle* handle) noexcept {
  void* comm = nullptr;
  if (!plugin_.connect(device, handle, &comm)) return false;
  if (comm == nullptr) return true;
  comm_ = comm;
  try {
    return ring_.attach(comm);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

size_t Sender::backlog_bytes() const noexcept {
  size_t bytes = 0;
  for (uint64_t i = done_; i < written_; ++i) bytes += sizes_[i % kRing];
  return bytes;
}

bool Sender::turn(bool* moved) noexcept {
  while (posted_ < written_) {
    void*& request = requests_[posted_ % kRing];
    request = nullptr;
    if (!plugin_.send(comm_, ring_.slot(posted_), sizes_[posted_ % kRing], ring_.handle(),
                      &request))
      return false;
    if (request == nullptr) break;  // later
    ++posted_;
    *moved = true;
  }
  while (done_ < posted_) {
    bool done = false;
    size_t bytes = 0;
    if (!plugin_.test(requests_[done_ % kRing], &done, &bytes)) return false;
    if (!done) break;
    delivered_bytes_ += sizes_[done_ % kRing];
    ++done_;
    *moved = true;
  }
  return true;
}

void Sender::close() noexcept {
  if (comm_ == nullptr) return;
  ring_.detach();
  plugin_.close_send(comm_);
  comm_ = nullptr;
}

bool Receiver::adopt(void* comm) noexcept {
  comm_ = comm;
  try {
    return ring_.attach(comm);
  } catch (const std::bad_alloc&) {
    return false;
  }
}

bool Receiver::turn(bool* moved) noexcept {
  while (posted_ - taken_ < kRing) {
    void*& request = requests_[posted_ % kRing];
    request = nullptr;
    if (!plugin_.receive(comm_, ring_.slot(posted_), kMessageBytes, ring_.handle(), &request))
      return false;
    if (request == nullptr) break;
    ++posted_;
    *moved = true;
  }
  return true;
}

std::span<const std::byte> Receiver::next(bool* broken) noexcept {
  if (taken_ == posted_) return {};
  if (!is_here_) {
    bool done = false;
    if (!plugin_.test(requests_[taken_ % kRing], &done, &bytes_)) {
      *broken = true;
      return {};
    }
    if (!done) return {};
    is_here_ = true;
  }
  if (bytes_ == 0 || bytes_ > kMessageBytes) {
    *broken = true;
    return {};
  }
  return {ring_.slot(taken_), bytes_};
}

void Receiver::close() noexcept {
  if (comm_ == nullptr) return;
  ring_.detach();
  plugin_.close_receive(comm_);
  comm_ = nullptr;
}

}  // namespace tutti::transport::nccl_net
