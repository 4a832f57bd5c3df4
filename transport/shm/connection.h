// SPDX-License-Identifier: Apache-2.0
// The two ends of an shm connection.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "src/base/file.h"
#include "src/base/memory_budget.h"
#include "transport/shm/hub.h"
#include "transport/shm/link.h"
#include "transport/staging_charge.h"
#include "transport/transport.h"

namespace tutti::transport::shm {

class ShmSend final : public SendConnection {
 public:
  struct Parts {
    std::shared_ptr<Hub> hub;  // shared: ends may outlive their Transport
    std::shared_ptr<Link> link;
    std::shared_ptr<Handshake> handshake;
    Mapping memory;
    StagingCharge charge;
  };
  ShmSend(Parts parts, const FifoLayout& layout);
  ~ShmSend() override;
  Status ready(bool* is_ready) noexcept override;
  size_t rest() noexcept override;
  void resume() override { parts_.charge.resume(); }
  bool reference(const void* data, size_t bytes, bool allow_pull, MessageKind* kind,
                 DirectReference* reference) noexcept override;

 private:
  // A region that the peer has been told of. Plain values: holding the region would keep freed
  // memory in use.
  struct Known {
    uint64_t id = 0;
    uintptr_t base = 0;
    size_t bytes = 0;
    bool holds(uintptr_t data, size_t count) const noexcept {
      return data >= base && data - base < bytes && count <= bytes - (data - base);
    }
  };
  const Known* find_region(const void* data, size_t bytes) noexcept;

  Parts parts_;
  bool can_pull_ = false;         // the receiver can read this process's memory
  std::array<Known, 4> known_{};  // valid while shared_generation() is generation_
  uint64_t generation_ = 0;
  uint32_t next_known_ = 0;
};

class ShmRecv final : public RecvConnection {
 public:
  struct Parts {
    std::shared_ptr<Hub> hub;          // shared: as above
    std::shared_ptr<Arrival> arrival;  // shared with the hub until it is accepted
    MemoryCharge charge;
  };
  explicit ShmRecv(Parts parts);
  Status map(const DirectReference& reference, const std::byte** data) noexcept override;
  Status pull(const DirectReference& reference, size_t offset, std::byte* into,
              size_t bytes) noexcept override;

 private:
  struct Known {
    uint64_t id = 0;  // 0: none
    std::shared_ptr<PeerRegion> region;
  };
  // Null while the region has not been announced.
  PeerRegion* find_region(uint64_t id) noexcept;
  Status failure(StatusCode code, const char* reason) const noexcept {
    return {code, parts_.arrival->id.source_rank, reason};
  }

  Parts parts_;
  std::array<Known, 4> known_{};
  uint32_t next_known_ = 0;
};

}  // namespace tutti::transport::shm
