// SPDX-License-Identifier: Apache-2.0
// A program against NCCL's interface as its manual teaches it. The build replaces the prefixes (nccl, NCCL_ and cuda's of streams) and nothing
// else, which is all that porting may take.
#include "nccl.h"
#include <stdio.h>
#include <stdlib.h>

#define CHECK(call)                                                                                 \
  do {                                                                                              \
    ncclResult_t result = (call);                                                                   \
    if (result != ncclSuccess && result != ncclInProgress) {                                        \
      fprintf(stderr, "%d: %s: %s\n", __LINE__, ncclGetErrorString(result), ncclGetLastError(NULL)); \
      exit(1);                                                                                      \
    }                                                                                               \
  } while (0)

enum { kDevices = 4, kCount = 1000 };

// One thread, several devices.
static int several_devices(void) {
  ncclComm_t comms[kDevices];
  cudaStream_t streams[kDevices];
  int devices[kDevices] = {0, 1, 2, 3};
  static float send[kDevices][kDevices * kCount], receive[kDevices][kDevices * kCount];
  int wrong = 0;
  CHECK(ncclCommInitAll(comms, kDevices, devices));
  for (int i = 0; i < kDevices; ++i) {
    CHECK(cudaStreamCreate(&streams[i]));
    for (int k = 0; k < kDevices * kCount; ++k) send[i][k] = (float)(i + 1);
  }
  CHECK(ncclGroupStart());
  for (int i = 0; i < kDevices; ++i)
    CHECK(ncclAllReduce(send[i], receive[i], kCount, ncclFloat, ncclSum, comms[i], streams[i]));
  CHECK(ncclGroupEnd());
  for (int i = 0; i < kDevices; ++i) CHECK(cudaStreamSynchronize(streams[i]));
  for (int i = 0; i < kDevices; ++i) wrong += receive[i][kCount - 1] != 10;
  CHECK(ncclGroupStart());
  for (int i = 0; i < kDevices; ++i)
    CHECK(ncclAlltoAll(send[i], receive[i], kCount, ncclFloat32, comms[i], streams[i]));
  CHECK(ncclGroupEnd());
  for (int i = 0; i < kDevices; ++i) {
    int device, rank, count;
    CHECK(cudaStreamSynchronize(streams[i]));
    for (int from = 0; from < kDevices; ++from) wrong += receive[i][from * kCount] != (float)(from + 1);
    CHECK(ncclCommCuDevice(comms[i], &device));
    CHECK(ncclCommUserRank(comms[i], &rank));
    CHECK(ncclCommCount(comms[i], &count));
    wrong += rank != i || count != kDevices;
    CHECK(cudaStreamDestroy(streams[i]));
    CHECK(ncclCommFinalize(comms[i]));
    CHECK(ncclCommDestroy(comms[i]));
  }
  return wrong;
}

// Options, and initialisation that does not block.
static int with_config(void) {
  ncclUniqueId id;
  ncclComm_t comm, part;
  ncclResult_t state;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  ncclRedOp_t scaled;
  double half = 0.5, x = 6, y = 0;
  config.blocking = 0;
  config.minCTAs = 1;
  config.maxCTAs = 16;
  config.cgaClusterSize = 2;
  config.trafficClass = NCCL_CONFIG_UNDEF_INT;
  config.CTAPolicy = 0;
  config.collnetEnable = 0;
  config.shrinkShare = 1;
  config.nvlsCTAs = 4;
  config.splitShare = 1;
  config.commName = "port";
  CHECK(ncclGetUniqueId(&id));
  CHECK(ncclCommInitRankConfig(&comm, 1, id, 0, &config));
  do {
    CHECK(ncclCommGetAsyncError(comm, &state));
  } while (state == ncclInProgress);
  CHECK(state);
  CHECK(ncclRedOpCreatePreMulSum(&scaled, &half, ncclDouble, ncclScalarHostImmediate, comm));
  CHECK(ncclAllReduce(&x, &y, 1, ncclDouble, scaled, comm, NULL));
  CHECK(ncclRedOpDestroy(scaled, comm));
  CHECK(ncclCommSplit(comm, NCCL_SPLIT_NOCOLOR, 0, &part, NULL));
  CHECK(ncclCommAbort(comm));
  return y != 3 || part != NULL;
}

int main(void) {
  int version;
  CHECK(ncclGetVersion(&version));
  return version != NCCL_VERSION_CODE || several_devices() != 0 || with_config() != 0;
}
