// SPDX-License-Identifier: Apache-2.0
// How a function of NCCL becomes one of the C API: types, streams, and the twin that profilers
// call.
#pragma once

#include <bit>
#include <string>

#include "src/api/guard.h"
#include "src/api/nccl/layout.h"
#include "src/base/error.h"
#include "tutti/tutti.h"

#define TUTTI_NCCL_API extern "C" __attribute__((visibility("default")))
// Behind the definition of `name`: pname, the same function, for libraries that stand before this
// one and define `name` themselves. Without `copy` g++ misses what it has found out about `name`.
#ifdef __clang__
#define TUTTI_NCCL_ALIAS(name) __attribute__((visibility("default"), alias(#name)))
#else
#define TUTTI_NCCL_ALIAS(name) __attribute__((visibility("default"), alias(#name), copy(name)))
#endif
#define TUTTI_NCCL_TWIN(name) extern "C" TUTTI_NCCL_ALIAS(name) __typeof__(name) p##name

namespace tutti::nccl {

inline tuttiComm_t ours(ncclComm_t comm) { return reinterpret_cast<tuttiComm_t>(comm); }
// Written now, or when the group ends.
inline tuttiComm_t* ours(ncclComm_t* comm) { return reinterpret_cast<tuttiComm_t*>(comm); }
inline tuttiWindow_t ours(ncclWindow_t win) { return reinterpret_cast<tuttiWindow_t>(win); }
// Any number that a C program passes is handed on; the C API checks it.
inline tuttiDataType_t ours(const ncclDataType_t& type) {
  return std::bit_cast<tuttiDataType_t>(type);
}
inline tuttiRedOp_t ours(const ncclRedOp_t& op) { return std::bit_cast<tuttiRedOp_t>(op); }
inline tuttiUniqueId ours(const ncclUniqueId& id) { return std::bit_cast<tuttiUniqueId>(id); }
inline ncclResult_t theirs(tuttiResult_t result) { return std::bit_cast<ncclResult_t>(result); }

// The stream of a call on `comm`, not NULL. The one place where CUDA's streams come in: a
// communicator of a device takes them as they are. Throws InvalidUsage for one of the host.
tuttiStream_t stream_of(ncclComm_t comm, cudaStream_t stream);

// Calls `call(stream)`. What stream_of() refuses refuses the group that the call is in.
template <typename Call>
ncclResult_t on_stream(const char* name, ncclComm_t comm, cudaStream_t stream,
                       const Call& call) noexcept {
  if (stream == nullptr) return theirs(call(static_cast<tuttiStream_t>(nullptr)));
  return theirs(api::guard_call(name, [&] { return call(stream_of(comm, stream)); }));
}

// What NCCL has and this library can't do: InvalidUsage, with `why` for ncclGetLastError.
ncclResult_t not_supported(const char* name, const char* why) noexcept;

}  // namespace tutti::nccl
