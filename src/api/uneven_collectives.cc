// SPDX-License-Identifier: Apache-2.0
// The v-variants of the C API: collectives whose blocks differ in size and place.
#include <memory>
#include <vector>

#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/comm/group.h"

namespace tutti::api {
namespace {

using comm::UnevenBlocks;
using plan::Collective;

std::vector<size_t> copy_of(const size_t* values, int n) { return {values, values + n}; }

// Names of the arrays that describe one side of a call.
struct Arrays {
  const char* counts;
  const char* displs;
};
constexpr Arrays kSends{"sendcounts", "displs"};
constexpr Arrays kReceives{"recvcounts", "displs"};
constexpr Arrays kAllToAllSends{"sendcounts", "sdispls"};
constexpr Arrays kAllToAllReceives{"recvcounts", "rdispls"};

// Displacements as given, or packed.
std::vector<size_t> offsets_of(const size_t* displacements, const std::vector<size_t>& counts,
                               const Arrays& names) {
  if (displacements != nullptr) return {displacements, displacements + counts.size()};
  std::vector<size_t> offsets(counts.size());
  size_t next = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    offsets[i] = next;
    if (__builtin_add_overflow(next, counts[i], &next)) {
      refuse(std::string(names.counts) + "[" + std::to_string(i) + "] is " +
             std::to_string(counts[i]) +
             "; with the counts before it, that is more than fits in memory");
    }
  }
  return offsets;
}

// Counts of which this rank knows only its own.
std::vector<size_t> only_own(const comm::Communicator& comm, size_t count) {
  std::vector<size_t> counts(static_cast<size_t>(comm.n_ranks()));
  counts[static_cast<size_t>(comm.rank())] = count;
  return counts;
}

void require_own_count(size_t count, const char* name, const size_t* counts,
                       const char* counts_name, int rank) {
  if (count == counts[rank]) return;
  refuse(std::string(name) + " is " + std::to_string(count) + "; it must be " + counts_name + "[" +
         std::to_string(rank) + "], which is " + std::to_string(counts[rank]));
}

BufferArgument one_block(const char* name, const void* base, size_t elem_bytes, size_t count) {
  return {.name = name, .base = base, .elem_bytes = elem_bytes, .n_blocks = 1, .count = count};
}

// A side whose block of rank r has counts[r] elements at offsets[r].
BufferArgument blocks(const BufferArgument& buffer, const std::vector<size_t>& counts,
                      const std::vector<size_t>& offsets, const Arrays& names) {
  BufferArgument result = buffer;
  result.n_blocks = offsets.size();
  result.counts = counts.data();
  result.offsets = offsets.data();
  result.counts_name = names.counts;
  result.offsets_name = names.displs;
  return result;
}

struct Sides {
  BufferArgument in;
  BufferArgument out;
  int in_own = 0;
  int out_own = 0;
};

void run(comm::CollectiveCall call, const Sides& sides, comm::Communicator& comm,
         tuttiStream_t stream) {
  check_buffer(sides.in);
  check_buffer(sides.out);
  check_apart(sides.out);
  call.input = sides.in.n_blocks == 0 ? nullptr : sides.in.base;
  call.output = sides.out.n_blocks == 0 ? nullptr : const_cast<void*>(sides.out.base);
  call.in_place = check_in_place(sides.in, sides.in_own, sides.out, sides.out_own);
  const StreamArgument into = stream_of(stream, comm);
  call.device_stream = into.device;
  comm::issue(comm, std::move(call), into.host);
}

void all_gather_v(const void* sendbuff, size_t sendcount, void* recvbuff, const size_t* recvcounts,
                  const size_t* displs, DType dtype, comm::Communicator& c, tuttiStream_t stream) {
  require(recvcounts, "recvcounts");
  require_own_count(sendcount, "sendcount", recvcounts, "recvcounts", c.rank());
  auto uneven = std::make_unique<UnevenBlocks>();
  uneven->counts = copy_of(recvcounts, c.n_ranks());
  uneven->output_offsets = offsets_of(displs, uneven->counts, kReceives);
  uneven->agreed = true;
  const Sides sides{
      .in = one_block("sendbuff", sendbuff, size_of(dtype), sendcount),
      .out = blocks({.name = "recvbuff", .base = recvbuff, .elem_bytes = size_of(dtype)},
                    uneven->counts, uneven->output_offsets, kReceives),
      .out_own = c.rank()};
  run({.name = "AllGatherv",
       .collective = Collective::kAllGather,
       .dtype = dtype,
       .uneven = std::move(uneven)},
      sides, c, stream);
}

void reduce_scatter_v(const void* sendbuff, const size_t* recvcounts, const size_t* displs,
                      void* recvbuff, DType dtype, const comm::ResolvedOp& op,
                      comm::Communicator& c, tuttiStream_t stream) {
  require(recvcounts, "recvcounts");
  auto uneven = std::make_unique<UnevenBlocks>();
  uneven->counts = copy_of(recvcounts, c.n_ranks());
  uneven->input_offsets = offsets_of(displs, uneven->counts, kReceives);
  uneven->agreed = true;
  const Sides sides{
      .in = blocks({.name = "sendbuff", .base = sendbuff, .elem_bytes = size_of(dtype)},
                   uneven->counts, uneven->input_offsets, kReceives),
      .out = one_block("recvbuff", recvbuff, size_of(dtype), recvcounts[c.rank()]),
      .in_own = c.rank()};
  run({.name = "ReduceScatterv",
       .collective = Collective::kReduceScatter,
       .dtype = dtype,
       .op = op.op,
       .scaling = op.scaling,
       .late_scalar = op.late_scalar,
       .uneven = std::move(uneven)},
      sides, c, stream);
}

struct AllToAllvArguments {
  const void* sendbuff;
  const size_t* sendcounts;
  const size_t* sdispls;
  void* recvbuff;
  const size_t* recvcounts;
  const size_t* rdispls;
};

void all_to_all_v(const AllToAllvArguments& a, DType dtype, comm::Communicator& c,
                  tuttiStream_t stream) {
  require(a.sendcounts, "sendcounts");
  require(a.recvcounts, "recvcounts");
  require_own_count(a.recvcounts[c.rank()], "recvcounts[rank]", a.sendcounts, "sendcounts",
                    c.rank());
  auto uneven = std::make_unique<UnevenBlocks>();
  const std::vector<size_t> sends = copy_of(a.sendcounts, c.n_ranks());
  const std::vector<size_t> recvs = copy_of(a.recvcounts, c.n_ranks());
  uneven->input_offsets = offsets_of(a.sdispls, sends, kAllToAllSends);
  uneven->output_offsets = offsets_of(a.rdispls, recvs, kAllToAllReceives);
  uneven->counts = sends;
  uneven->counts.insert(uneven->counts.end(), recvs.begin(), recvs.end());
  const Sides sides{
      .in = blocks({.name = "sendbuff", .base = a.sendbuff, .elem_bytes = size_of(dtype)}, sends,
                   uneven->input_offsets, kAllToAllSends),
      .out = blocks({.name = "recvbuff", .base = a.recvbuff, .elem_bytes = size_of(dtype)}, recvs,
                    uneven->output_offsets, kAllToAllReceives),
      .in_own = -1};
  run({.name = "AllToAllv",
       .collective = Collective::kAllToAll,
       .dtype = dtype,
       .uneven = std::move(uneven)},
      sides, c, stream);
}

struct RootedArguments {
  const void* sendbuff;
  void* recvbuff;
  size_t own_count;      // of the side that every rank has
  const size_t* counts;  // at the root
  const size_t* displs;
  int root;
};

void gather_v(const RootedArguments& a, DType dtype, comm::Communicator& c, tuttiStream_t stream) {
  require_rank(a.root, c.n_ranks(), "root");
  auto uneven = std::make_unique<UnevenBlocks>();
  Sides sides{.in = one_block("sendbuff", a.sendbuff, size_of(dtype), a.own_count),
              .out = {.name = "recvbuff", .n_blocks = 0},
              .out_own = c.rank()};
  if (c.rank() == a.root) {
    require(a.counts, "recvcounts");
    require_own_count(a.own_count, "sendcount", a.counts, "recvcounts", c.rank());
    uneven->counts = copy_of(a.counts, c.n_ranks());
    uneven->output_offsets = offsets_of(a.displs, uneven->counts, kReceives);
    sides.out = blocks({.name = "recvbuff", .base = a.recvbuff, .elem_bytes = size_of(dtype)},
                       uneven->counts, uneven->output_offsets, kReceives);
  } else {
    uneven->counts = only_own(c, a.own_count);
  }
  run({.name = "Gatherv",
       .collective = Collective::kGather,
       .dtype = dtype,
       .root = a.root,
       .uneven = std::move(uneven)},
      sides, c, stream);
}

void scatter_v(const RootedArguments& a, DType dtype, comm::Communicator& c, tuttiStream_t stream) {
  require_rank(a.root, c.n_ranks(), "root");
  auto uneven = std::make_unique<UnevenBlocks>();
  Sides sides{.in = {.name = "sendbuff", .n_blocks = 0},
              .out = one_block("recvbuff", a.recvbuff, size_of(dtype), a.own_count),
              .in_own = c.rank()};
  if (c.rank() == a.root) {
    require(a.counts, "sendcounts");
    require_own_count(a.own_count, "recvcount", a.counts, "sendcounts", c.rank());
    uneven->counts = copy_of(a.counts, c.n_ranks());
    uneven->input_offsets = offsets_of(a.displs, uneven->counts, kSends);
    sides.in = blocks({.name = "sendbuff", .base = a.sendbuff, .elem_bytes = size_of(dtype)},
                      uneven->counts, uneven->input_offsets, kSends);
  } else {
    uneven->counts = only_own(c, a.own_count);
  }
  run({.name = "Scatterv",
       .collective = Collective::kScatter,
       .dtype = dtype,
       .root = a.root,
       .uneven = std::move(uneven)},
      sides, c, stream);
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace

tuttiResult_t tuttiAllGatherv(const void* sendbuff, size_t sendcount, void* recvbuff,
                              const size_t* recvcounts, const size_t* displs,
                              tuttiDataType_t datatype, tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiAllGatherv", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    all_gather_v(sendbuff, sendcount, recvbuff, recvcounts, displs, dtype_of(datatype), c, stream);
  });
}

tuttiResult_t tuttiReduceScatterv(const void* sendbuff, const size_t* recvcounts,
                                  const size_t* displs, void* recvbuff, tuttiDataType_t datatype,
                                  tuttiRedOp_t op, tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiReduceScatterv", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    const tutti::DType dtype = dtype_of(datatype);
    reduce_scatter_v(sendbuff, recvcounts, displs, recvbuff, dtype,
                     c.red_ops().resolve(number_of(op), dtype, c.n_ranks()), c, stream);
  });
}

tuttiResult_t tuttiAllToAllv(const void* sendbuff, const size_t* sendcounts, const size_t* sdispls,
                             void* recvbuff, const size_t* recvcounts, const size_t* rdispls,
                             tuttiDataType_t datatype, tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiAllToAllv", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    all_to_all_v({sendbuff, sendcounts, sdispls, recvbuff, recvcounts, rdispls}, dtype_of(datatype),
                 c, stream);
  });
}

tuttiResult_t tuttiGatherv(const void* sendbuff, size_t sendcount, void* recvbuff,
                           const size_t* recvcounts, const size_t* displs, tuttiDataType_t datatype,
                           int root, tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiGatherv", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    gather_v({sendbuff, recvbuff, sendcount, recvcounts, displs, root}, dtype_of(datatype), c,
             stream);
  });
}

tuttiResult_t tuttiScatterv(const void* sendbuff, const size_t* sendcounts, const size_t* displs,
                            void* recvbuff, size_t recvcount, tuttiDataType_t datatype, int root,
                            tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiScatterv", [&] {
    tutti::comm::Communicator& c = open_comm(comm);
    scatter_v({sendbuff, recvbuff, recvcount, sendcounts, displs, root}, dtype_of(datatype), c,
              stream);
  });
}
