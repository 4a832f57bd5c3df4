// SPDX-License-Identifier: Apache-2.0
// Streams, and the refusal of what is not supported.
#include "src/api/nccl/forward.h"

#include <spdlog/fmt/fmt.h>

namespace tutti::nccl {

tuttiStream_t stream_of(ncclComm_t comm, cudaStream_t stream) {
  int device = -1;
  // A dead handle is the call's own to refuse.
  if (tuttiCommDevice(ours(comm), &device) != tuttiSuccess) return nullptr;
  if (device >= 0) return reinterpret_cast<tuttiStream_t>(stream);
  throw Error(StatusCode::kInvalidUsage,
              fmt::format("stream is {}, but the communicator is one of host memory: a stream of "
                          "CUDA needs a CUDA device, and the communicator has none. Pass NULL, and "
                          "the call returns when the operation is complete",
                          static_cast<const void*>(stream)));
}

ncclResult_t not_supported(const char* name, const char* why) noexcept {
  return theirs(api::report_in_group(name, StatusCode::kInvalidUsage, why));
}

}  // namespace tutti::nccl
