// SPDX-License-Identifier: Apache-2.0
// Collectives, sends and receives, and groups of NCCL.
#include "src/api/nccl/forward.h"

using namespace tutti::nccl;  // NOLINT(google-build-using-namespace): the C functions below are
                              // outside of any namespace

TUTTI_NCCL_API ncclResult_t ncclReduce(const void* sendbuff, void* recvbuff, size_t count,
                                       ncclDataType_t datatype, ncclRedOp_t op, int root,
                                       ncclComm_t comm, cudaStream_t stream) {
  return on_stream("ncclReduce", comm, stream, [&](tuttiStream_t s) {
    return tuttiReduce(sendbuff, recvbuff, count, ours(datatype), ours(op), root, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclReduce);

TUTTI_NCCL_API ncclResult_t ncclBcast(void* buff, size_t count, ncclDataType_t datatype, int root,
                                      ncclComm_t comm, cudaStream_t stream) {
  return on_stream("ncclBcast", comm, stream, [&](tuttiStream_t s) {
    return tuttiBcast(buff, count, ours(datatype), root, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclBcast);

TUTTI_NCCL_API ncclResult_t ncclBroadcast(const void* sendbuff, void* recvbuff, size_t count,
                                          ncclDataType_t datatype, int root, ncclComm_t comm,
                                          cudaStream_t stream) {
  return on_stream("ncclBroadcast", comm, stream, [&](tuttiStream_t s) {
    return tuttiBroadcast(sendbuff, recvbuff, count, ours(datatype), root, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclBroadcast);

TUTTI_NCCL_API ncclResult_t ncclAllReduce(const void* sendbuff, void* recvbuff, size_t count,
                                          ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                                          cudaStream_t stream) {
  return on_stream("ncclAllReduce", comm, stream, [&](tuttiStream_t s) {
    return tuttiAllReduce(sendbuff, recvbuff, count, ours(datatype), ours(op), ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclAllReduce);

TUTTI_NCCL_API ncclResult_t ncclReduceScatter(const void* sendbuff, void* recvbuff,
                                              size_t recvcount, ncclDataType_t datatype,
                                              ncclRedOp_t op, ncclComm_t comm,
                                              cudaStream_t stream) {
  return on_stream("ncclReduceScatter", comm, stream, [&](tuttiStream_t s) {
    return tuttiReduceScatter(sendbuff, recvbuff, recvcount, ours(datatype), ours(op), ours(comm),
                              s);
  });
}
TUTTI_NCCL_TWIN(ncclReduceScatter);

TUTTI_NCCL_API ncclResult_t ncclAllGather(const void* sendbuff, void* recvbuff, size_t sendcount,
                                          ncclDataType_t datatype, ncclComm_t comm,
                                          cudaStream_t stream) {
  return on_stream("ncclAllGather", comm, stream, [&](tuttiStream_t s) {
    return tuttiAllGather(sendbuff, recvbuff, sendcount, ours(datatype), ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclAllGather);

TUTTI_NCCL_API ncclResult_t ncclAlltoAll(const void* sendbuff, void* recvbuff, size_t count,
                                         ncclDataType_t datatype, ncclComm_t comm,
                                         cudaStream_t stream) {
  return on_stream("ncclAlltoAll", comm, stream, [&](tuttiStream_t s) {
    return tuttiAlltoAll(sendbuff, recvbuff, count, ours(datatype), ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclAlltoAll);

TUTTI_NCCL_API ncclResult_t ncclGather(const void* sendbuff, void* recvbuff, size_t count,
                                       ncclDataType_t datatype, int root, ncclComm_t comm,
                                       cudaStream_t stream) {
  return on_stream("ncclGather", comm, stream, [&](tuttiStream_t s) {
    return tuttiGather(sendbuff, recvbuff, count, ours(datatype), root, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclGather);

TUTTI_NCCL_API ncclResult_t ncclScatter(const void* sendbuff, void* recvbuff, size_t count,
                                        ncclDataType_t datatype, int root, ncclComm_t comm,
                                        cudaStream_t stream) {
  return on_stream("ncclScatter", comm, stream, [&](tuttiStream_t s) {
    return tuttiScatter(sendbuff, recvbuff, count, ours(datatype), root, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclScatter);

TUTTI_NCCL_API ncclResult_t ncclSend(const void* sendbuff, size_t count, ncclDataType_t datatype,
                                     int peer, ncclComm_t comm, cudaStream_t stream) {
  return on_stream("ncclSend", comm, stream, [&](tuttiStream_t s) {
    return tuttiSend(sendbuff, count, ours(datatype), peer, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclSend);

TUTTI_NCCL_API ncclResult_t ncclRecv(void* recvbuff, size_t count, ncclDataType_t datatype,
                                     int peer, ncclComm_t comm, cudaStream_t stream) {
  return on_stream("ncclRecv", comm, stream, [&](tuttiStream_t s) {
    return tuttiRecv(recvbuff, count, ours(datatype), peer, ours(comm), s);
  });
}
TUTTI_NCCL_TWIN(ncclRecv);

TUTTI_NCCL_API ncclResult_t ncclGroupStart() { return theirs(tuttiGroupStart()); }
TUTTI_NCCL_TWIN(ncclGroupStart);

TUTTI_NCCL_API ncclResult_t ncclGroupEnd() { return theirs(tuttiGroupEnd()); }
TUTTI_NCCL_TWIN(ncclGroupEnd);

// The group is closed and does nothing, as with NCCL; the estimate is what is missing.
TUTTI_NCCL_API ncclResult_t ncclGroupSimulateEnd(ncclSimInfo_t* simInfo) {
  (void)simInfo;
  const ncclResult_t refused =
      not_supported("ncclGroupSimulateEnd",
                    "this library gives no estimate of a group's time; `tutti plan explain` gives "
                    "that of one collective. The group has been dropped");
  const tuttiResult_t ended = tuttiGroupEnd();
  return ended == tuttiSuccess ? refused : theirs(ended);
}
TUTTI_NCCL_TWIN(ncclGroupSimulateEnd);
