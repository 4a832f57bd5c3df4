// SPDX-License-Identifier: Apache-2.0
// The GPU of a rank of a device communicator: puts its calls into the user's streams. What kernels
// can't reach, pageable host memory, is copied to the GPU and back in the same stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "src/base/config.h"
#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/stream.h"
#include "src/exec/cuda/executor.h"
#include "src/exec/cuda/moe.h"
#include "src/exec/cuda/symmetric.h"

namespace tutti::comm {

// Of that GPU, "0000:1b:00.0".
std::string pci_address_of(int device);

// Does NVLink lead from this GPU to every other that the process sees, so that 128 bytes of a warp
// arrive whole? False where it sees none.
bool sends_whole_lines(int device);

// Memory that one call uses: extents of its buffers.
struct CallMemory {
  const std::byte* input = nullptr;
  size_t input_bytes = 0;
  std::byte* output = nullptr;
  size_t output_bytes = 0;
  bool output_is_whole = true;  // the call writes every byte of it
};

// As the number of the call, of launches that are no collective: for who watches.
inline constexpr uint64_t kTransfersCall = UINT64_MAX;
inline constexpr uint64_t kMoeDispatchCall = UINT64_MAX - 1;
inline constexpr uint64_t kMoeCombineCall = UINT64_MAX - 2;

// The sends to one peer, or the receives from it, of one group; in issue order.
using TransferLane = exec::DeviceTransfers;

// Owned by the communicator's progress. Launches are asynchronous; a DeviceWatch looks after them.
class DeviceCalls {
 public:
  // Throws UnhandledCudaError, or InvalidArgument: there is no such GPU.
  DeviceCalls(const LocalConfig& config, int rank, int n_ranks);
  ~DeviceCalls();

  exec::DeviceExecutor& executor() noexcept { return executor_; }
  // For calls that the library makes itself, and then waits for.
  cuda::Stream own_stream() const noexcept { return own_stream_.get(); }
  void await_own_stream() const { own_stream_.synchronize(); }

  // `launch.binding` without its buffers; `launch.pre_scalar` is any memory: what kernels can't
  // reach is read now. Throws InvalidArgument when a buffer is another GPU's memory. False: the
  // stream captures, so the call runs when its graph does.
  bool launch(exec::DeviceProgram& program, const exec::DeviceLaunch& launch,
              const CallMemory& memory);
  // The same on symmetric memory.
  bool launch(const exec::SymmetricRegion& region, const exec::SymmetricCall& call,
              const CallMemory& memory);
  bool launch(std::span<const TransferLane> lanes, size_t max_chunk_bytes, uint64_t call,
              cuda::Stream stream);
  // Kernels of a MoE layer. True: they will run. Addresses are those of reached().
  bool launch(exec::MoeLaunch& launch);
  // Where kernels reach the argument `name`, which lies where it is until they have ended. Throws
  // InvalidArgument: they can't. Any thread.
  std::byte* reached(const void* data, const char* name) const;
  // What is put into `stream` from now on waits for what `other` has now.
  void join(cuda::Stream stream, cuda::Stream other);
  // A send of a group to the rank itself, and its receive; sizes are equal.
  void copy_to_self(const exec::P2pTransfer& from, const exec::P2pTransfer& to,
                    cuda::Stream stream);

 private:
  struct Use {
    bool read = false;
    bool written = false;
  };
  struct Copied {
    std::byte* host = nullptr;
    cuda::DevicePtr device = 0;
    size_t bytes = 0;
    Use use;
  };
  void begin();
  std::byte* reachable_input(const CallMemory& memory);
  std::byte* reachable_output(const CallMemory& memory);
  std::byte* staging(size_t bytes);
  // The address for kernels: the memory's own, or of a copy, which is noted.
  std::byte* reachable(std::byte* data, size_t bytes, Use use);
  // Null where they can't reach it.
  std::byte* own_address(const std::byte* data) const;
  void copy_in(cuda::Stream stream);
  void copy_back(cuda::Stream stream);

  exec::DeviceExecutor executor_;
  cuda::OwnedStream own_stream_;
  cuda::OwnedEvent joining_;
  std::vector<Copied> copied_;  // of the call that is being launched
  struct Staging;
  std::vector<std::unique_ptr<Staging>> staging_;  // the last one is in use
};

}  // namespace tutti::comm
