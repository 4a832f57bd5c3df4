// SPDX-License-Identifier: Apache-2.0
// Serves peers' frames on this rank's windows, and uses theirs.
#include "transport/network/windows.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>

#include "src/device/device.h"
#include "transport/network/endpoint.h"
#include "transport/words.h"

namespace tutti::transport::network {
namespace {

constexpr size_t kPutBytes = 64 << 10;   // of one frame
constexpr size_t kMostPosted = 4 << 20;  // waiting for room before a put waits too
constexpr int64_t kNapNs = 50 * kNsPerUs;
constexpr size_t kMostWords = 8192;  // of one read

class NetworkRegion final : public RemoteRegion {
 public:
  NetworkRegion(std::shared_ptr<Endpoint> endpoint, const Peer& owner, const WindowToken& token)
      : endpoint_(std::move(endpoint)), owner_(owner), token_(token) {}

  size_t bytes() const noexcept override { return token_.bytes; }

  Status put(size_t offset, const void* data, size_t bytes) noexcept override {
    if (offset > token_.bytes || bytes > token_.bytes - offset) return out_of_range();
    const auto* from = static_cast<const std::byte*>(data);
    while (bytes != 0) {
      const size_t piece = std::min(bytes, kPutBytes);
      const Status status =
          post({.kind = FrameKind::kPut, .stream = token_.number, .number = offset}, from, piece);
      if (!status.ok()) return status;
      offset += piece;
      from += piece;
      bytes -= piece;
    }
    return kOkStatus;
  }

  Status add_signal(size_t offset, uint64_t value) noexcept override {
    constexpr size_t kWord = sizeof(uint64_t);
    if (offset % kWord != 0 || offset > token_.bytes || kWord > token_.bytes - offset)
      return out_of_range();
    return post(
        {.kind = FrameKind::kSignal, .stream = token_.number, .number = offset, .place = value},
        nullptr, 0);
  }

  Status read(size_t offset, std::span<uint64_t> words, Deadline deadline) const noexcept override {
    if (offset % sizeof(uint64_t) != 0 || offset > token_.bytes ||
        words.size_bytes() > token_.bytes - offset) {
      return out_of_range();
    }
    for (size_t done = 0; done < words.size() || words.empty(); done += kMostWords) {
      const auto piece = words.subspan(done, std::min(kMostWords, words.size() - done));
      const Status status = ask(offset + done * sizeof(uint64_t), piece, deadline);
      if (!status.ok() || words.empty()) return status;
    }
    return kOkStatus;
  }

  Status ask(size_t offset, std::span<uint64_t> words, Deadline deadline) const noexcept {
    uint64_t request = 0;
    {
      const std::lock_guard lock(endpoint_->mutex());
      Session& session = endpoint_->session(owner_);
      request = session.inquiries().ask();
      session.post({.kind = FrameKind::kRead,
                    .stream = token_.number,
                    .word = static_cast<uint32_t>(words.size()),
                    .number = offset,
                    .place = request},
                   nullptr, 0);
    }
    while (true) {
      {
        const std::lock_guard lock(endpoint_->mutex());
        Session& session = endpoint_->session(owner_);
        const Status status = endpoint_->move(&session, true);
        const Inquiries::Answer* const answer = session.inquiries().find(request);
        if (answer->here || !status.ok() || session.peer_left() || deadline.expired()) {
          const Status result =
              !answer->here && session.peer_left() ? gone() : conclude(*answer, status, words);
          session.inquiries().forget(request);
          return result;
        }
      }
      sleep_ns(kNapNs);
    }
  }

 private:
  Status post(FrameHeader header, const std::byte* data, size_t bytes) noexcept {
    const Deadline deadline = Deadline::after_ns(endpoint_->patience_ns() * 2);
    while (true) {
      {
        const std::lock_guard lock(endpoint_->mutex());
        Session& session = endpoint_->session(owner_);
        if (!session.status().ok()) return session.status();
        if (session.inquiries().loss(token_.number) != StatusCode::kOk) return gone();
        const bool room = session.posted_bytes() < kMostPosted;
        if (room) {
          auto copy = std::make_unique<std::byte[]>(bytes);
          if (bytes != 0) std::memcpy(copy.get(), data, bytes);
          session.post(header, std::move(copy), bytes);
        }
        const Status status = endpoint_->move(&session, true);
        endpoint_->leave_to_thread();
        if (room || !status.ok()) return status;
      }
      if (deadline.expired())
        return {StatusCode::kRemoteError, owner_.rank, "puts are not taken by the peer"};
      sleep_ns(kNapNs);
    }
  }
  Status conclude(const Inquiries::Answer& answer, const Status& session,
                  std::span<uint64_t> words) const noexcept {
    if (!answer.here && !session.ok()) return session;
    if (!answer.here)
      return {StatusCode::kRemoteError, owner_.rank, "the peer does not answer questions"};
    if (answer.code == StatusCode::kInvalidUsage) return gone();
    if (answer.code != StatusCode::kOk || answer.words.size() != words.size())
      return {StatusCode::kRemoteError, owner_.rank, "the peer refuses to be read"};
    std::copy(answer.words.begin(), answer.words.end(), words.begin());
    return kOkStatus;
  }
  Status gone() const noexcept {
    return {StatusCode::kInvalidUsage, owner_.rank, "the peer has freed the memory of its window"};
  }
  Status out_of_range() const noexcept {
    return {StatusCode::kInvalidArgument, owner_.rank,
            "expected a range inside the peer's window (signals at multiples of 8)"};
  }

  std::shared_ptr<Endpoint> endpoint_;  // shared with the transport, which may go first
  const Peer owner_;
  const WindowToken token_;
};

}  // namespace

uint32_t Exports::add(const void* base, size_t bytes) {
  if (bytes == 0) return 0;
  const auto region = device::find_shared(base, bytes);
  if (region == nullptr) {
    throw Error(StatusCode::kInvalidArgument, "a window must lie in memory of tuttiMemAlloc; got " +
                                                  std::to_string(bytes) +
                                                  " bytes at an address outside of it");
  }
  const auto offset = static_cast<size_t>(static_cast<const std::byte*>(base) - region->base);
  regions_.push_back({region->base, region->id, offset, bytes});
  return static_cast<uint32_t>(regions_.size());
}

template <typename Use>
StatusCode Exports::use(uint32_t number, uint64_t offset, size_t bytes, Use use) noexcept {
  if (number == 0 || number > regions_.size()) return StatusCode::kInvalidArgument;
  const Region& region = regions_[number - 1];
  if (offset > region.bytes || bytes > region.bytes - offset) return StatusCode::kInvalidArgument;
  std::byte* const at = region.base + region.offset + offset;
  return device::with_shared(region.base, region.id, [&] { use(at); }) ? StatusCode::kOk
                                                                       : StatusCode::kInvalidUsage;
}

StatusCode Exports::put(const FrameHeader& put, const std::byte* data) noexcept {
  return use(put.stream, put.number, put.payload_bytes, [&](std::byte* at) {
    if (put.payload_bytes != 0) std::memcpy(at, data, put.payload_bytes);
  });
}

StatusCode Exports::add_signal(const FrameHeader& signal) noexcept {
  if (signal.number % sizeof(uint64_t) != 0) return StatusCode::kInvalidArgument;
  return use(signal.stream, signal.number, sizeof(uint64_t), [&](std::byte* at) {
    // release: pairs with the acquire load of whoever waits for the signal
    std::atomic_ref(*reinterpret_cast<uint64_t*>(at))
        .fetch_add(signal.place, std::memory_order_release);
  });
}

StatusCode Exports::read(const FrameHeader& read, std::vector<uint64_t>* words) noexcept {
  if (read.number % sizeof(uint64_t) != 0 || read.word > kMostWords)
    return StatusCode::kInvalidArgument;
  words->resize(read.word);
  const StatusCode code = use(read.stream, read.number, read.word * sizeof(uint64_t),
                              [&](std::byte* at) { load_words(at, *words); });
  if (code != StatusCode::kOk) words->clear();
  return code;
}

void Inquiries::answer(const FrameHeader& words, const std::byte* payload) noexcept {
  const auto code = static_cast<StatusCode>(words.word);
  if (words.place == 0) return note_loss(words.stream, code);
  Answer* const answer = find(words.place);
  if (answer == nullptr) return;  // nobody waits any more
  answer->here = true;
  answer->code = code;
  answer->words.resize(words.payload_bytes / sizeof(uint64_t));
  if (!answer->words.empty())
    std::memcpy(answer->words.data(), payload, answer->words.size() * sizeof(uint64_t));
}

Inquiries::Answer* Inquiries::find(uint64_t request) noexcept {
  const auto at = open_.find(request);
  return at == open_.end() ? nullptr : &at->second;
}

std::unique_ptr<RemoteRegion> import_window(std::shared_ptr<Endpoint> endpoint, const Peer& from,
                                            std::span<const std::byte> token, Deadline deadline) {
  WindowToken decoded{.magic = 0};
  if (token.size() == sizeof decoded) std::memcpy(&decoded, token.data(), sizeof decoded);
  if (decoded.magic != WindowToken::kMagic || decoded.comm_id != endpoint->comm_id() ||
      decoded.rank != from.rank) {
    throw Error(StatusCode::kInvalidArgument,
                "expected a window token of rank " + std::to_string(from.rank) +
                    " made by a network transport of this communicator; got another");
  }
  auto region = std::make_unique<NetworkRegion>(std::move(endpoint), from, decoded);
  if (decoded.bytes == 0) return region;
  const Status status = region->ask(0, {}, deadline);
  if (!status.ok())
    throw Error(status.code, "the window of rank " + std::to_string(from.rank) +
                                 " can't be used: " + status.reason);
  return region;
}

}  // namespace tutti::transport::network
