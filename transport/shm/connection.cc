// SPDX-License-Identifier: Apache-2.0
// Handshake, references and pulls of an shm connection.
#include "transport/shm/connection.h"

#include <utility>

#include <sys/mman.h>

#include "src/device/device.h"

namespace tutti::transport::shm {
namespace {

const char* text_of(Refusal why) noexcept {
  switch (why) {
    case Refusal::kDuplicate:
      return "the receiver has a connection of this id already";
    case Refusal::kTooMany:
      return "the receiver has too many connections waiting for ranks that it does not know";
    case Refusal::kNoMemory:
      return "the receiver has no memory or descriptors left for a connection (see its log)";
    case Refusal::kMalformed:
      return "the receiver could not make sense of the connection; do both use one version?";
    case Refusal::kNone:
    case Refusal::kUnknown:
      break;
  }
  return "the receiver refused the connection";
}

}  // namespace

ShmSend::ShmSend(Parts parts, const FifoLayout& layout) : parts_(std::move(parts)) {
  view.attach(parts_.memory.data(), layout, nullptr);
}

ShmSend::~ShmSend() {
  if (!parts_.hub->inherited()) parts_.hub->cancel(*parts_.link, *parts_.handshake);
}

Status ShmSend::ready(bool* is_ready) noexcept {
  *is_ready = view.peer_bell != nullptr;
  if (*is_ready) return kOkStatus;
  const Handshake& handshake = *parts_.handshake;
  const int rank = handshake.id.sink_rank;
  // Read before the state: an answer that came before the peer closed counts.
  const bool lost =
      parts_.link->closed() || parts_.link->peer->gone.load(std::memory_order_acquire);
  switch (
      handshake.state.load(std::memory_order_acquire)) {  // pairs with Hub::finish_handshake_locked
    case Handshake::State::kAccepted:
      view.peer_bell = handshake.peer_bell.bell;
      can_pull_ = handshake.peer_can_pull;
      *is_ready = true;
      return kOkStatus;
    case Handshake::State::kRefused:
      return {StatusCode::kRemoteError, rank, text_of(handshake.why)};
    case Handshake::State::kWaiting:
      break;
  }
  if (lost)
    return {StatusCode::kRemoteError, rank,
            "the receiver ended, or closed its link, before it accepted the connection"};
  return kOkStatus;
}

// Punches a hole into the memfd, so the pages go for both ends.
size_t ShmSend::rest() noexcept { return parts_.charge.rest(view.areas, MADV_REMOVE); }

const ShmSend::Known* ShmSend::find_region(const void* data, size_t bytes) noexcept {
  const uint64_t generation = device::shared_generation();
  if (generation == 0) return nullptr;  // nothing has ever been shared
  if (generation != generation_) {
    known_ = {};
    generation_ = generation;
  }
  const auto address = reinterpret_cast<uintptr_t>(data);
  for (const Known& known : known_) {
    if (known.holds(address, bytes)) return &known;
  }
  const auto region = device::find_shared(data, bytes);
  if (region == nullptr || !parts_.link->announce(*region)) return nullptr;
  Known& slot = known_[next_known_++ % known_.size()];
  slot = {region->id, reinterpret_cast<uintptr_t>(region->base), region->bytes};
  return &slot;
}

bool ShmSend::reference(const void* data, size_t bytes, bool allow_pull, MessageKind* kind,
                        DirectReference* reference) noexcept {
  const auto address = reinterpret_cast<uintptr_t>(data);
  if (const Known* known = find_region(data, bytes)) {
    *kind = MessageKind::kMapped;
    *reference = {.region = known->id, .offset = address - known->base, .bytes = bytes};
    return true;
  }
  if (!allow_pull || !can_pull_) return false;
  *kind = MessageKind::kPulled;
  *reference = {.region = 0, .offset = address, .bytes = bytes};
  return true;
}

ShmRecv::ShmRecv(Parts parts) : parts_(std::move(parts)) {
  const Arrival& arrival = *parts_.arrival;
  view.attach(arrival.memory.data(), arrival.layout, arrival.sender_bell.bell);
}

PeerRegion* ShmRecv::find_region(uint64_t id) noexcept {
  for (const Known& known : known_) {
    if (known.id == id) return known.region.get();
  }
  std::shared_ptr<PeerRegion> region = parts_.arrival->link->regions()->find(id);
  if (region == nullptr) return nullptr;
  Known& slot = known_[next_known_++ % known_.size()];
  slot = {id, std::move(region)};
  return slot.region.get();
}

Status ShmRecv::map(const DirectReference& reference, const std::byte** data) noexcept {
  const Link& link = *parts_.arrival->link;
  // Read before the table: an announcement that came before the peer closed counts.
  const bool lost = link.closed() || link.peer->gone.load(std::memory_order_acquire);
  const PeerRegion* region = reference.region == 0 ? nullptr : find_region(reference.region);
  if (region == nullptr) {
    if (!lost) return kInProgressStatus;
    return failure(StatusCode::kRemoteError,
                   "the sender ended before it announced the memory it refers to");
  }
  if (region->revoked()) {
    return failure(StatusCode::kRemoteError,
                   "the sender has freed memory that it had sent by reference");
  }
  if (reference.offset > region->bytes() || reference.bytes > region->bytes() - reference.offset) {
    return failure(StatusCode::kRemoteError, "the sender's reference leaves its memory region");
  }
  *data = region->data() + reference.offset;
  return kOkStatus;
}

Status ShmRecv::pull(const DirectReference& reference, size_t offset, std::byte* into,
                     size_t bytes) noexcept {
  if (offset > reference.bytes || bytes > reference.bytes - offset) {
    return failure(StatusCode::kInternalError, "expected a piece inside the reference");
  }
  // Acquire: pairs with SendView::commit, before and after the read.
  const uint64_t before = view.line().header.load(std::memory_order_acquire);
  const Link& link = *parts_.arrival->link;
  Status status = read_memory(*link.peer, link.cookie, reference.offset + offset, into, bytes);
  status.rank = status.ok() ? -1 : parts_.arrival->id.source_rank;
  if (!status.ok()) return status;
  if (before >> 32 != ((view.consumed + 1) & UINT32_MAX) ||
      view.line().header.load(std::memory_order_acquire) != before) {
    return failure(StatusCode::kRemoteError,
                   "the sender reused the slot while its reference was being read");
  }
  return kOkStatus;
}

}  // namespace tutti::transport::shm
