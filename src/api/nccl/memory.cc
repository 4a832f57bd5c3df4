// SPDX-License-Identifier: Apache-2.0
// Memory, registration, windows and one-sided calls of NCCL.
#include "src/api/arguments.h"
#include "src/api/handles.h"
#include "src/api/nccl/device.h"
#include "src/api/nccl/forward.h"

using namespace tutti::nccl;  // NOLINT(google-build-using-namespace): the C functions below are
                              // outside of any namespace

TUTTI_NCCL_API ncclResult_t ncclMemAlloc(void** ptr, size_t size) {
  return theirs(tutti::api::guard(
      "ncclMemAlloc", [&] { return tuttiMemAllocDevice(ptr, size, device_of_thread()); }));
}
TUTTI_NCCL_TWIN(ncclMemAlloc);

TUTTI_NCCL_API ncclResult_t ncclMemFree(void* ptr) { return theirs(tuttiMemFree(ptr)); }
TUTTI_NCCL_TWIN(ncclMemFree);

TUTTI_NCCL_API ncclResult_t ncclCommRegister(const ncclComm_t comm, void* buff, size_t size,
                                             void** handle) {
  return theirs(tuttiCommRegister(ours(comm), buff, size, handle));
}
TUTTI_NCCL_TWIN(ncclCommRegister);

TUTTI_NCCL_API ncclResult_t ncclCommDeregister(const ncclComm_t comm, void* handle) {
  return theirs(tuttiCommDeregister(ours(comm), handle));
}
TUTTI_NCCL_TWIN(ncclCommDeregister);

TUTTI_NCCL_API ncclResult_t ncclCommWindowRegister(ncclComm_t comm, void* buff, size_t size,
                                                   ncclWindow_t* win, int winFlags) {
  return theirs(tuttiCommWindowRegister(ours(comm), buff, size,
                                        reinterpret_cast<tuttiWindow_t*>(win), winFlags));
}
TUTTI_NCCL_TWIN(ncclCommWindowRegister);

TUTTI_NCCL_API ncclResult_t ncclCommWindowDeregister(ncclComm_t comm, ncclWindow_t win) {
  return theirs(tuttiCommWindowDeregister(ours(comm), ours(win)));
}
TUTTI_NCCL_TWIN(ncclCommWindowDeregister);

TUTTI_NCCL_API ncclResult_t ncclWinGetUserPtr(ncclComm_t comm, ncclWindow_t win,
                                              void** outUserPtr) {
  return theirs(tutti::api::guard("ncclWinGetUserPtr", [&] {
    if (outUserPtr == nullptr)
      throw tutti::Error(tutti::StatusCode::kInvalidArgument, "outUserPtr is NULL");
    const auto& owner = tutti::api::Handles<tuttiComm>::find(ours(comm), "comm").ready();
    *outUserPtr = tutti::api::window_of(ours(win), "win", owner)->base();
  }));
}
TUTTI_NCCL_TWIN(ncclWinGetUserPtr);

TUTTI_NCCL_API ncclResult_t ncclPutSignal(const void* localbuff, size_t count,
                                          ncclDataType_t datatype, int peer, ncclWindow_t peerWin,
                                          size_t peerWinOffset, int sigIdx, int ctx,
                                          unsigned int flags, ncclComm_t comm,
                                          cudaStream_t stream) {
  return on_stream("ncclPutSignal", comm, stream, [&](tuttiStream_t s) {
    return tuttiPutSignal(localbuff, count, ours(datatype), peer, ours(peerWin), peerWinOffset,
                          sigIdx, ctx, flags, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclPutSignal);

TUTTI_NCCL_API ncclResult_t ncclSignal(int peer, int sigIdx, int ctx, unsigned int flags,
                                       ncclComm_t comm, cudaStream_t stream) {
  return on_stream("ncclSignal", comm, stream, [&](tuttiStream_t s) {
    return tuttiSignal(peer, sigIdx, ctx, flags, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclSignal);

TUTTI_NCCL_API ncclResult_t ncclWaitSignal(int nDesc, ncclWaitSignalDesc_t* signalDescs,
                                           ncclComm_t comm, cudaStream_t stream) {
  return on_stream("ncclWaitSignal", comm, stream, [&](tuttiStream_t s) {
    return tuttiWaitSignal(nDesc, reinterpret_cast<tuttiWaitSignalDesc_t*>(signalDescs), ours(comm),
                           s);
  });
}
TUTTI_NCCL_TWIN(ncclWaitSignal);
