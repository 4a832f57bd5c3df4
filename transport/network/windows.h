// SPDX-License-Identifier: Apache-2.0
// Windows over a network: memory of this rank that peers write to and read by frames, and memory of
// peers.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "transport/network/frame.h"
#include "transport/transport.h"

namespace tutti::transport::network {

class Endpoint;

// What export_region hands to the peers.
struct WindowToken {
  static constexpr uint64_t kMagic = 0x7475'7469'6e65'7431;  // "tutinet1"
  uint64_t magic = kMagic;
  uint64_t comm_id = 0;
  uint64_t bytes = 0;
  int32_t rank = -1;
  uint32_t number = 0;  // in the exporter's table; 0: no memory
};
static_assert(sizeof(WindowToken) == 32 && std::is_trivially_copyable_v<WindowToken>);

// Memory of this rank that peers may use. Under the endpoint's lock.
class Exports {
 public:
  // Throws InvalidArgument when [base, base+bytes) is not from tuttiMemAlloc.
  uint32_t add(const void* base, size_t bytes);
  // Each kOk, InvalidUsage when the memory has been freed or taken away, InvalidArgument when the
  // range or alignment is wrong.
  StatusCode put(const FrameHeader& put, const std::byte* data) noexcept;
  StatusCode add_signal(const FrameHeader& signal) noexcept;
  StatusCode read(const FrameHeader& read, std::vector<uint64_t>* words) noexcept;

 private:
  struct Region {
    std::byte* base = nullptr;  // of the allocation
    uint64_t id = 0;            // device::SharedRegion::id
    size_t offset = 0;          // of the window in it
    size_t bytes = 0;
  };
  template <typename Use>
  StatusCode use(uint32_t number, uint64_t offset, size_t bytes, Use use) noexcept;
  std::vector<Region> regions_;  // number - 1
};

// Questions to a peer that wait for an answer. Under the endpoint's lock.
class Inquiries {
 public:
  struct Answer {
    bool here = false;
    StatusCode code = StatusCode::kOk;
    std::vector<uint64_t> words;
  };
  uint64_t ask() { return open_.emplace(++last_, Answer{}).first->first; }
  void answer(const FrameHeader& words, const std::byte* payload) noexcept;
  Answer* find(uint64_t request) noexcept;
  void forget(uint64_t request) noexcept { open_.erase(request); }
  // A put or signal to this region has failed there.
  void note_loss(uint32_t region, StatusCode code) { losses_[region] = code; }
  StatusCode loss(uint32_t region) const noexcept {
    const auto at = losses_.find(region);
    return at == losses_.end() ? StatusCode::kOk : at->second;
  }

 private:
  uint64_t last_ = 0;
  std::map<uint64_t, Answer> open_;
  std::map<uint32_t, StatusCode> losses_;
};

// Throws as Transport::import_region().
std::unique_ptr<RemoteRegion> import_window(std::shared_ptr<Endpoint> endpoint, const Peer& from,
                                            std::span<const std::byte> token, Deadline deadline);

}  // namespace tutti::transport::network
