// SPDX-License-Identifier: Apache-2.0
// The numbers that the interface of NCCL stands for, held against whichever header declares it, and
// against those of the C API that the calls are handed to.
#pragma once

#include <cstddef>

#include "src/api/nccl/newer.h"
#include "tutti/tutti.h"

namespace tutti::nccl {

// Sizes and offsets of NCCL 2.28.9 on 64-bit machines.
static_assert(sizeof(ncclUniqueId) == 128 && sizeof(ncclUniqueId) == sizeof(tuttiUniqueId));
static_assert(sizeof(ncclResult_t) == 4 && sizeof(ncclDataType_t) == 4 && sizeof(ncclRedOp_t) == 4);
static_assert(sizeof(ncclScalarResidence_t) == 4 && sizeof(cudaStream_t) == sizeof(void*));
static_assert(sizeof(ncclConfig_t) >= 80);  // later versions append
static_assert(offsetof(ncclConfig_t, size) == 0 && offsetof(ncclConfig_t, magic) == 8);
static_assert(offsetof(ncclConfig_t, version) == 12 && offsetof(ncclConfig_t, blocking) == 16);
static_assert(offsetof(ncclConfig_t, cgaClusterSize) == 20 &&
              offsetof(ncclConfig_t, minCTAs) == 24);
static_assert(offsetof(ncclConfig_t, maxCTAs) == 28 && offsetof(ncclConfig_t, netName) == 32);
static_assert(offsetof(ncclConfig_t, splitShare) == 40);
static_assert(offsetof(ncclConfig_t, trafficClass) == 44 && offsetof(ncclConfig_t, commName) == 48);
static_assert(offsetof(ncclConfig_t, collnetEnable) == 56 &&
              offsetof(ncclConfig_t, CTAPolicy) == 60);
static_assert(offsetof(ncclConfig_t, shrinkShare) == 64 && offsetof(ncclConfig_t, nvlsCTAs) == 68);
static_assert(offsetof(ncclConfig_t, nChannelsPerNetPeer) == 72);
static_assert(offsetof(ncclConfig_t, nvlinkCentricSched) == 76);
static_assert(sizeof(ncclSimInfo_t) == 24 && offsetof(ncclSimInfo_t, estimatedTime) == 16);

// Numbers that pass through unchanged.
#define TUTTI_NCCL_SAME(theirs, ours) \
  static_assert(static_cast<long>(theirs) == static_cast<long>(ours))
TUTTI_NCCL_SAME(ncclSuccess, tuttiSuccess);
TUTTI_NCCL_SAME(ncclUnhandledCudaError, tuttiUnhandledCudaError);
TUTTI_NCCL_SAME(ncclSystemError, tuttiSystemError);
TUTTI_NCCL_SAME(ncclInternalError, tuttiInternalError);
TUTTI_NCCL_SAME(ncclInvalidArgument, tuttiInvalidArgument);
TUTTI_NCCL_SAME(ncclInvalidUsage, tuttiInvalidUsage);
TUTTI_NCCL_SAME(ncclRemoteError, tuttiRemoteError);
TUTTI_NCCL_SAME(ncclInProgress, tuttiInProgress);
TUTTI_NCCL_SAME(ncclInt8, tuttiInt8);
TUTTI_NCCL_SAME(ncclUint8, tuttiUint8);
TUTTI_NCCL_SAME(ncclInt32, tuttiInt32);
TUTTI_NCCL_SAME(ncclUint32, tuttiUint32);
TUTTI_NCCL_SAME(ncclInt64, tuttiInt64);
TUTTI_NCCL_SAME(ncclUint64, tuttiUint64);
TUTTI_NCCL_SAME(ncclFloat16, tuttiFloat16);
TUTTI_NCCL_SAME(ncclFloat32, tuttiFloat32);
TUTTI_NCCL_SAME(ncclFloat64, tuttiFloat64);
TUTTI_NCCL_SAME(ncclBfloat16, tuttiBfloat16);
TUTTI_NCCL_SAME(ncclFloat8e4m3, tuttiFloat8e4m3);
TUTTI_NCCL_SAME(ncclFloat8e5m2, tuttiFloat8e5m2);
TUTTI_NCCL_SAME(ncclNumTypes, tuttiNumTypes);
TUTTI_NCCL_SAME(ncclSum, tuttiSum);
TUTTI_NCCL_SAME(ncclProd, tuttiProd);
TUTTI_NCCL_SAME(ncclMax, tuttiMax);
TUTTI_NCCL_SAME(ncclMin, tuttiMin);
TUTTI_NCCL_SAME(ncclAvg, tuttiAvg);
TUTTI_NCCL_SAME(ncclNumOps, tuttiNumOps);
TUTTI_NCCL_SAME(ncclMaxRedOp, tuttiMaxRedOp);
TUTTI_NCCL_SAME(ncclScalarDevice, tuttiScalarDevice);
TUTTI_NCCL_SAME(ncclScalarHostImmediate, tuttiScalarHostImmediate);
TUTTI_NCCL_SAME(NCCL_SPLIT_NOCOLOR, TUTTI_SPLIT_NOCOLOR);
TUTTI_NCCL_SAME(NCCL_SHRINK_DEFAULT, TUTTI_SHRINK_DEFAULT);
TUTTI_NCCL_SAME(NCCL_SHRINK_ABORT, TUTTI_SHRINK_ABORT);
TUTTI_NCCL_SAME(NCCL_WIN_DEFAULT, TUTTI_WIN_DEFAULT);
TUTTI_NCCL_SAME(NCCL_WIN_COLL_SYMMETRIC, TUTTI_WIN_COLL_SYMMETRIC);
TUTTI_NCCL_SAME(NCCL_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_INT);
#undef TUTTI_NCCL_SAME

// Those of 2.30.7.
static_assert(ncclStatGpuMemSuspend == 0 && ncclStatGpuMemSuspended == 1);
static_assert(ncclStatGpuMemPersist == 2 && ncclStatGpuMemTotal == 3);
static_assert(sizeof(ncclWaitSignalDesc_t) == sizeof(tuttiWaitSignalDesc_t));
static_assert(offsetof(ncclWaitSignalDesc_t, opCnt) == offsetof(tuttiWaitSignalDesc_t, opCnt));
static_assert(offsetof(ncclWaitSignalDesc_t, peer) == offsetof(tuttiWaitSignalDesc_t, peer));
static_assert(offsetof(ncclWaitSignalDesc_t, sigIdx) == offsetof(tuttiWaitSignalDesc_t, sigIdx));
static_assert(offsetof(ncclWaitSignalDesc_t, ctx) == offsetof(tuttiWaitSignalDesc_t, ctx));

}  // namespace tutti::nccl
