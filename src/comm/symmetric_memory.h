// SPDX-License-Identifier: Apache-2.0
// Memory of every rank's GPU that the GPUs of all ranks reach, for exec::SymmetricRegion: made when
// a communicator is, of ranks of one host whose GPUs all reach each other.
//
// Each rank makes an allocation, zeroes it, and passes its descriptor to all others over Unix
// sockets; each maps all of them. An allocation lives until the last rank has unmapped it, so ranks
// end in any order. Multicast: rank 0 makes the object and passes it too; each rank adds its GPU,
// and when all have, binds its allocation.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/comm/peers.h"
#include "src/device/cuda/memory.h"
#include "src/exec/cuda/symmetric.h"

namespace tutti::comm {

class SymmetricMemory {
 public:
  // Calls of `exchange` by create().
  static constexpr int kExchanges = 3;
  struct Wanted {
    uint64_t comm_id = 0;
    int rank = 0;
    int n_ranks = 1;
    std::array<std::byte, 32> secret{};  // what only the communicator's ranks know
    size_t area_bytes = 0;               // equal on all ranks
    bool multicast = false;              // equal on all ranks
    unsigned most_blocks = 0;            // of a launch on this GPU
    std::string obstacle;  // why this rank can't take part; empty: it can, as far as it knows
  };
  // Collective. Null, and why, on all ranks alike when one of them can't. `gpu` is this rank's.
  // Throws what `exchange` throws.
  static std::unique_ptr<SymmetricMemory> create(const Wanted& wanted, const cuda::Gpu& gpu,
                                                 const Exchange& exchange, std::string* why_not);
  ~SymmetricMemory() = default;
  SymmetricMemory(const SymmetricMemory&) = delete;
  SymmetricMemory& operator=(const SymmetricMemory&) = delete;

  const exec::SymmetricRegion& region() const noexcept { return region_; }

 private:
  struct Offer;
  class Post;
  SymmetricMemory(const Wanted& wanted, const cuda::Gpu& gpu);
  size_t flags_offset() const noexcept { return wanted_.area_bytes; }
  size_t epochs_offset() const noexcept;
  size_t total_bytes() const noexcept;
  void allocate();
  void zero() const;
  void pass_around(Post& post, const std::vector<Offer>& offers);
  void take(int rank, int memory_fd, size_t bytes);
  void fill_region(const std::vector<Offer>& offers);
  void bind();

  const Wanted wanted_;
  const cuda::Gpu& gpu_;
  std::vector<cuda::Range> ranges_;             // by rank, mapped for this GPU
  std::shared_ptr<cuda::Multicast> multicast_;  // shared: with its range
  cuda::Range multicast_range_;
  exec::SymmetricRegion region_;
};

}  // namespace tutti::comm
