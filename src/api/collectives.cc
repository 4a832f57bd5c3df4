// SPDX-License-Identifier: Apache-2.0
// The collectives of the C API whose blocks are all alike.
#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/comm/group.h"
#include "src/comm/pair_call.h"
#include "src/comm/repeated_call.h"

namespace tutti::api {
namespace {

using plan::Collective;

// What a call says before its collective's own rules are applied.
struct Request {
  const char* name = "";
  Collective collective = Collective::kBarrier;
  BufferArgument in;  // its base, name and blocks
  BufferArgument out;
  int in_own = 0;  // see check_in_place()
  int out_own = 0;
  int root = 0;
};

void run(const Request& request, size_t count, DType dtype, const comm::ResolvedOp& op,
         comm::Communicator& comm, tuttiStream_t stream) {
  BufferArgument in = request.in;
  BufferArgument out = request.out;
  in.elem_bytes = out.elem_bytes = size_of(dtype);
  in.count = out.count = count;
  check_buffer(in);
  check_buffer(out);
  comm::CollectiveCall call{.name = request.name,
                            .collective = request.collective,
                            .input = in.n_blocks == 0 ? nullptr : in.base,
                            .output = out.n_blocks == 0 ? nullptr : const_cast<void*>(out.base),
                            .count = count,
                            .dtype = dtype,
                            .op = op.op,
                            .root = request.root,
                            .in_place = check_in_place(in, request.in_own, out, request.out_own),
                            .scaling = op.scaling,
                            .late_scalar = op.late_scalar};
  const StreamArgument into = stream_of(stream, comm);
  call.device_stream = into.device;
  comm::issue(comm, std::move(call), into.host);
}

// A call as the C API has it: nothing has been checked but the handle.
struct Repeated {
  const char* name = "";
  Collective collective = Collective::kBarrier;
  const void* input = nullptr;
  void* output = nullptr;
  size_t count = 0;
  int dtype = 0;
  int op = 0;
  int root = 0;
};

[[gnu::noinline]] tuttiResult_t finish(const char* function, comm::Communicator& comm,
                                       const comm::LatePair& late) noexcept {
  return guard_call(function, [&] { complete_late(comm, late); });
}

// True when that was all (see comm::run_repeated).
[[gnu::always_inline]] inline bool repeated(const Repeated& call, comm::Communicator& comm,
                                            tuttiStream_t stream) {
  if (stream != nullptr || comm::Group::active() ||
      static_cast<unsigned>(call.dtype) >= kDTypeCount ||
      static_cast<unsigned>(call.op) >= static_cast<unsigned>(Op::kPreMulSum)) {
    return false;
  }
  const comm::CallKey key =
      comm::make_key(call.count, call.collective, static_cast<DType>(call.dtype),
                     static_cast<Op>(call.op), call.root);
  return comm::run_repeated(comm, call.name, key, call.input, call.output);
}

// The body of a C function for what may be the last call once more; `whole` is what it does when it
// is not.
template <typename Whole>
[[gnu::always_inline]] inline tuttiResult_t again_or(const char* function, const comm::PairKey& key,
                                                     const void* input, void* output,
                                                     tuttiComm_t comm, tuttiStream_t stream,
                                                     Whole whole) noexcept {
  // Of this process if run_pair() takes it: a forked child's thread goes on with nothing.
  const comm::Handle* const handle = Handles<tuttiComm>::find_of_any_process(comm);
  comm::Communicator* const c = handle == nullptr ? nullptr : handle->ready_or_null();
  if (c == nullptr || stream != nullptr) [[unlikely]]
    return whole();
  comm::LatePair late;
  switch (comm::run_pair(*c, key, input, output, &late)) {
    [[likely]] case comm::PairOutcome::kDone : return tuttiSuccess;
    case comm::PairOutcome::kLate:
      return finish(function, *c, late);
    case comm::PairOutcome::kNotTaken:
      break;
  }
  return whole();
}

// Of collectives that do not reduce.
constexpr comm::ResolvedOp kNoOp{};

size_t blocks_if(bool significant, int n = 1) { return significant ? static_cast<size_t>(n) : 0; }

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace
using tutti::plan::Collective;

namespace {

[[gnu::noinline]] tuttiResult_t all_reduce(const void* sendbuff, void* recvbuff, size_t count,
                                           int datatype, int op, tuttiComm_t comm,
                                           tuttiStream_t stream) noexcept {
  return guard_call("tuttiAllReduce", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "AllReduce",
                  .collective = Collective::kAllReduce,
                  .input = sendbuff,
                  .output = recvbuff,
                  .count = count,
                  .dtype = datatype,
                  .op = op},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    run({.name = "AllReduce",
         .collective = Collective::kAllReduce,
         .in = {"sendbuff", sendbuff},
         .out = {"recvbuff", recvbuff}},
        count, dtype, c.red_ops().resolve(op, dtype, c.n_ranks()), c, stream);
  });
}

}  // namespace

tuttiResult_t tuttiAllReduce(const void* sendbuff, void* recvbuff, size_t count,
                             tuttiDataType_t datatype, tuttiRedOp_t op, tuttiComm_t comm,
                             tuttiStream_t stream) {
  const int type = number_of(datatype);
  const int operation = number_of(op);
  return again_or(
      "tuttiAllReduce", {"AllReduce", count, type, operation}, sendbuff, recvbuff, comm, stream,
      [&] { return all_reduce(sendbuff, recvbuff, count, type, operation, comm, stream); });
}

tuttiResult_t tuttiReduce(const void* sendbuff, void* recvbuff, size_t count,
                          tuttiDataType_t datatype, tuttiRedOp_t op, int root, tuttiComm_t comm,
                          tuttiStream_t stream) {
  return guard_call("tuttiReduce", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "Reduce",
                  .collective = Collective::kReduce,
                  .input = sendbuff,
                  .output = recvbuff,
                  .count = count,
                  .dtype = number_of(datatype),
                  .op = number_of(op),
                  .root = root},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    require_rank(root, c.n_ranks(), "root");
    run({.name = "Reduce",
         .collective = Collective::kReduce,
         .in = {"sendbuff", sendbuff},
         .out = {.name = "recvbuff", .base = recvbuff, .n_blocks = blocks_if(c.rank() == root)},
         .root = root},
        count, dtype, c.red_ops().resolve(number_of(op), dtype, c.n_ranks()), c, stream);
  });
}

tuttiResult_t tuttiBroadcast(const void* sendbuff, void* recvbuff, size_t count,
                             tuttiDataType_t datatype, int root, tuttiComm_t comm,
                             tuttiStream_t stream) {
  return guard_call("tuttiBroadcast", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "Broadcast",
                  .collective = Collective::kBroadcast,
                  .input = sendbuff,
                  .output = recvbuff,
                  .count = count,
                  .dtype = number_of(datatype),
                  .root = root},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    require_rank(root, c.n_ranks(), "root");
    run({.name = "Broadcast",
         .collective = Collective::kBroadcast,
         .in = {.name = "sendbuff", .base = sendbuff, .n_blocks = blocks_if(c.rank() == root)},
         .out = {"recvbuff", recvbuff},
         .root = root},
        count, dtype, kNoOp, c, stream);
  });
}

tuttiResult_t tuttiBcast(void* buff, size_t count, tuttiDataType_t datatype, int root,
                         tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiBcast", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "Bcast",
                  .collective = Collective::kBroadcast,
                  .input = buff,
                  .output = buff,
                  .count = count,
                  .dtype = number_of(datatype),
                  .root = root},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    require_rank(root, c.n_ranks(), "root");
    run({.name = "Bcast",
         .collective = Collective::kBroadcast,
         .in = {.name = "buff", .base = buff, .n_blocks = blocks_if(c.rank() == root)},
         .out = {"buff", buff},
         .root = root},
        count, dtype, kNoOp, c, stream);
  });
}

tuttiResult_t tuttiAllGather(const void* sendbuff, void* recvbuff, size_t sendcount,
                             tuttiDataType_t datatype, tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiAllGather", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "AllGather",
                  .collective = Collective::kAllGather,
                  .input = sendbuff,
                  .output = recvbuff,
                  .count = sendcount,
                  .dtype = number_of(datatype)},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    run({.name = "AllGather",
         .collective = Collective::kAllGather,
         .in = {"sendbuff", sendbuff},
         .out = {.name = "recvbuff", .base = recvbuff, .n_blocks = blocks_if(true, c.n_ranks())},
         .out_own = c.rank()},
        sendcount, dtype, kNoOp, c, stream);
  });
}

namespace {

[[gnu::noinline]] tuttiResult_t reduce_scatter(const void* sendbuff, void* recvbuff,
                                               size_t recvcount, int datatype, int op,
                                               tuttiComm_t comm, tuttiStream_t stream) noexcept {
  return guard_call("tuttiReduceScatter", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "ReduceScatter",
                  .collective = Collective::kReduceScatter,
                  .input = sendbuff,
                  .output = recvbuff,
                  .count = recvcount,
                  .dtype = datatype,
                  .op = op},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    run({.name = "ReduceScatter",
         .collective = Collective::kReduceScatter,
         .in = {.name = "sendbuff", .base = sendbuff, .n_blocks = blocks_if(true, c.n_ranks())},
         .out = {"recvbuff", recvbuff},
         .in_own = c.rank()},
        recvcount, dtype, c.red_ops().resolve(op, dtype, c.n_ranks()), c, stream);
  });
}

}  // namespace

tuttiResult_t tuttiReduceScatter(const void* sendbuff, void* recvbuff, size_t recvcount,
                                 tuttiDataType_t datatype, tuttiRedOp_t op, tuttiComm_t comm,
                                 tuttiStream_t stream) {
  const int type = number_of(datatype);
  const int operation = number_of(op);
  return again_or(
      "tuttiReduceScatter", {"ReduceScatter", recvcount, type, operation}, sendbuff, recvbuff, comm,
      stream,
      [&] { return reduce_scatter(sendbuff, recvbuff, recvcount, type, operation, comm, stream); });
}

tuttiResult_t tuttiAllToAll(const void* sendbuff, void* recvbuff, size_t count,
                            tuttiDataType_t datatype, tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiAllToAll", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "AllToAll",
                  .collective = Collective::kAllToAll,
                  .input = sendbuff,
                  .output = recvbuff,
                  .count = count,
                  .dtype = number_of(datatype)},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    const size_t blocks = blocks_if(true, c.n_ranks());
    run({.name = "AllToAll",
         .collective = Collective::kAllToAll,
         .in = {.name = "sendbuff", .base = sendbuff, .n_blocks = blocks},
         .out = {.name = "recvbuff", .base = recvbuff, .n_blocks = blocks},
         .in_own = -1},
        count, dtype, kNoOp, c, stream);
  });
}

tuttiResult_t tuttiAlltoAll(const void* sendbuff, void* recvbuff, size_t count,
                            tuttiDataType_t datatype, tuttiComm_t comm, tuttiStream_t stream) {
  return tuttiAllToAll(sendbuff, recvbuff, count, datatype, comm, stream);
}

tuttiResult_t tuttiGather(const void* sendbuff, void* recvbuff, size_t sendcount,
                          tuttiDataType_t datatype, int root, tuttiComm_t comm,
                          tuttiStream_t stream) {
  return guard_call("tuttiGather", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "Gather",
                  .collective = Collective::kGather,
                  .input = sendbuff,
                  .output = recvbuff,
                  .count = sendcount,
                  .dtype = number_of(datatype),
                  .root = root},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    require_rank(root, c.n_ranks(), "root");
    run({.name = "Gather",
         .collective = Collective::kGather,
         .in = {"sendbuff", sendbuff},
         .out = {.name = "recvbuff",
                 .base = recvbuff,
                 .n_blocks = blocks_if(c.rank() == root, c.n_ranks())},
         .out_own = c.rank(),
         .root = root},
        sendcount, dtype, kNoOp, c, stream);
  });
}

tuttiResult_t tuttiScatter(const void* sendbuff, void* recvbuff, size_t recvcount,
                           tuttiDataType_t datatype, int root, tuttiComm_t comm,
                           tuttiStream_t stream) {
  return guard_call("tuttiScatter", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "Scatter",
                  .collective = Collective::kScatter,
                  .input = sendbuff,
                  .output = recvbuff,
                  .count = recvcount,
                  .dtype = number_of(datatype),
                  .root = root},
                 c, stream))
      return;
    const tutti::DType dtype = dtype_of(datatype);
    require_rank(root, c.n_ranks(), "root");
    run({.name = "Scatter",
         .collective = Collective::kScatter,
         .in = {.name = "sendbuff",
                .base = sendbuff,
                .n_blocks = blocks_if(c.rank() == root, c.n_ranks())},
         .out = {"recvbuff", recvbuff},
         .in_own = c.rank(),
         .root = root},
        recvcount, dtype, kNoOp, c, stream);
  });
}

tuttiResult_t tuttiBarrier(tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiBarrier", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    if (repeated({.name = "Barrier"}, c, stream)) return;
    run({.name = "Barrier", .in = {.n_blocks = 0}, .out = {.n_blocks = 0}}, 0, tutti::DType::kInt8,
        kNoOp, c, stream);
  });
}
