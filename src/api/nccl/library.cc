// SPDX-License-Identifier: Apache-2.0
// Version, errors and operations of NCCL, and its device-side API, which is refused.
#include "src/api/nccl/forward.h"

namespace tutti::nccl {
namespace {

constexpr int kVersion = 22809;  // what programs take this library for

ncclResult_t no_device_api(const char* name) noexcept {
  return not_supported(name,
                       "the device-side API is not part of this library: its kernels are not "
                       "NCCL's. Use the calls of the host");
}

}  // namespace
}  // namespace tutti::nccl

using namespace tutti::nccl;  // NOLINT(google-build-using-namespace): the C functions below are
                              // outside of any namespace

TUTTI_NCCL_API ncclResult_t ncclGetVersion(int* version) {
  return theirs(tutti::api::guard("ncclGetVersion", [&] {
    if (version == nullptr)
      throw tutti::Error(tutti::StatusCode::kInvalidArgument, "version is NULL");
    *version = kVersion;
  }));
}
TUTTI_NCCL_TWIN(ncclGetVersion);

TUTTI_NCCL_API const char* ncclGetErrorString(ncclResult_t result) {
  return tuttiGetErrorString(std::bit_cast<tuttiResult_t>(result));
}
TUTTI_NCCL_TWIN(ncclGetErrorString);

TUTTI_NCCL_API const char* ncclGetLastError(ncclComm_t comm) {
  return tuttiGetLastError(ours(comm));
}
TUTTI_NCCL_TWIN(ncclGetLastError);

// NCCL's manual calls it unsupported. Levels are read at the first line of the log.
TUTTI_NCCL_API void ncclResetDebugInit() {}
TUTTI_NCCL_TWIN(ncclResetDebugInit);

TUTTI_NCCL_API ncclResult_t ncclRedOpCreatePreMulSum(ncclRedOp_t* op, void* scalar,
                                                     ncclDataType_t datatype,
                                                     ncclScalarResidence_t residence,
                                                     ncclComm_t comm) {
  return theirs(
      tuttiRedOpCreatePreMulSum(reinterpret_cast<tuttiRedOp_t*>(op), scalar, ours(datatype),
                                std::bit_cast<tuttiScalarResidence_t>(residence), ours(comm)));
}
TUTTI_NCCL_TWIN(ncclRedOpCreatePreMulSum);

TUTTI_NCCL_API ncclResult_t ncclRedOpDestroy(ncclRedOp_t op, ncclComm_t comm) {
  return theirs(tuttiRedOpDestroy(ours(op), ours(comm)));
}
TUTTI_NCCL_TWIN(ncclRedOpDestroy);

TUTTI_NCCL_API ncclResult_t ncclDevCommCreate(ncclComm_t, const void*, void*) {
  return no_device_api("ncclDevCommCreate");
}
TUTTI_NCCL_TWIN(ncclDevCommCreate);

TUTTI_NCCL_API ncclResult_t ncclDevCommDestroy(ncclComm_t, const void*) {
  return no_device_api("ncclDevCommDestroy");
}
TUTTI_NCCL_TWIN(ncclDevCommDestroy);

TUTTI_NCCL_API ncclResult_t ncclCommQueryProperties(ncclComm_t, void*) {
  return no_device_api("ncclCommQueryProperties");
}
TUTTI_NCCL_TWIN(ncclCommQueryProperties);

TUTTI_NCCL_API ncclResult_t ncclGetLsaMultimemDevicePointer(ncclWindow_t, size_t, void**) {
  return no_device_api("ncclGetLsaMultimemDevicePointer");
}
TUTTI_NCCL_TWIN(ncclGetLsaMultimemDevicePointer);

TUTTI_NCCL_API ncclResult_t ncclGetLsaDevicePointer(ncclWindow_t, size_t, int, void**) {
  return no_device_api("ncclGetLsaDevicePointer");
}
TUTTI_NCCL_TWIN(ncclGetLsaDevicePointer);

TUTTI_NCCL_API ncclResult_t ncclGetPeerDevicePointer(ncclWindow_t, size_t, int, void**) {
  return no_device_api("ncclGetPeerDevicePointer");
}
TUTTI_NCCL_TWIN(ncclGetPeerDevicePointer);
