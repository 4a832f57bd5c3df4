// SPDX-License-Identifier: Apache-2.0
// Sends, receives and groups of the C API.
#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/comm/group.h"
#include "src/comm/repeated_p2p.h"

namespace tutti::api {
namespace {

void transfer(const BufferArgument& buffer, bool is_send, const tuttiDataType_t& datatype, int peer,
              tuttiComm_t comm, tuttiStream_t stream) {
  comm::Communicator& c = open_comm(comm);
  const DType dtype = dtype_of(datatype);
  require_rank(peer, c.n_ranks(), "peer");
  BufferArgument sized = buffer;
  sized.elem_bytes = size_of(dtype);
  check_buffer(sized);
  if (peer == c.rank() && !comm::Group::active()) {
    throw Error(
        StatusCode::kInvalidUsage,
        "peer is the calling rank itself; a send to self and its receive go into one group");
  }
  const StreamArgument into = stream_of(stream, c);
  const comm::P2pCall call{.name = is_send ? "Send" : "Recv",
                           .is_send = is_send,
                           .data = const_cast<void*>(buffer.base),
                           .count = buffer.count,
                           .dtype = dtype,
                           .peer = peer,
                           .device_stream = into.device};
  const bool plain = stream == nullptr && !comm::Group::active();
  if (plain && comm::run_repeated(c, call)) return;
  comm::issue(c, call, into.host);
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace

tuttiResult_t tuttiSend(const void* sendbuff, size_t count, tuttiDataType_t datatype, int peer,
                        tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiSend", [&] {
    transfer({.name = "sendbuff", .base = sendbuff, .count = count}, true, datatype, peer, comm,
             stream);
  });
}

tuttiResult_t tuttiRecv(void* recvbuff, size_t count, tuttiDataType_t datatype, int peer,
                        tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiRecv", [&] {
    transfer({.name = "recvbuff", .base = recvbuff, .count = count}, false, datatype, peer, comm,
             stream);
  });
}

tuttiResult_t tuttiGroupStart(void) {
  return guard("tuttiGroupStart", [] { tutti::comm::Group::start(); });
}

tuttiResult_t tuttiGroupEnd(void) {
  return guard("tuttiGroupEnd", [] { tutti::comm::Group::current().end(); });
}
