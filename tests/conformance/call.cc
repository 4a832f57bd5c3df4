// SPDX-License-Identifier: Apache-2.0
// One small function per kind of collective, written from the API's documentation alone.
#include "tests/conformance/call.h"

namespace tutti::conformance {
namespace {

// Uneven counts around `count`, zero among them.
size_t uneven(size_t count, int a, int b) {
  const int by = (a * 7 + b * 3) % 4;
  return by == 0 ? count : by == 1 ? 0 : by == 2 ? count / 2 + 1 : count + 3;
}
std::vector<size_t> owner_counts(const Case& c) {
  std::vector<size_t> counts;
  for (int r = 0; r < c.n_ranks; ++r) counts.push_back(uneven(c.count(), r, 0));
  return counts;
}
// Blocks with gaps between them.
std::vector<size_t> displacements(const std::vector<size_t>& counts) {
  std::vector<size_t> displs;
  size_t at = 1;
  for (const size_t count : counts) {
    displs.push_back(at);
    at += count + 2;
  }
  return displs;
}
size_t span(const std::vector<size_t>& counts, const std::vector<size_t>& displs) {
  return displs.back() + counts.back();
}

bool is_uneven(Kind kind) {
  return kind == Kind::kAllGatherv || kind == Kind::kReduceScatterv || kind == Kind::kGatherv ||
         kind == Kind::kScatterv;
}
// Counts and displacements of the n blocks of a gathered or scattered buffer.
void set_blocks(const Case& c, Call& call) {
  const size_t n = static_cast<size_t>(c.n_ranks);
  if (is_uneven(rows()[c.row].kind)) {
    call.counts = owner_counts(c);
    call.displs = displacements(call.counts);
    return;
  }
  call.counts.assign(n, c.count());
  for (size_t r = 0; r < n; ++r) call.displs.push_back(r * c.count());
}

Call all_reduce(const Case& c, int rank) {
  const Kind kind = rows()[c.row].kind;
  const size_t count = c.count();
  Call call;
  call.send_elems = kind != Kind::kBroadcast || rank == c.root() ? count : 0;
  call.recv_elems = kind != Kind::kReduce || rank == c.root() ? count : 0;
  const int source = kind == Kind::kBroadcast ? c.root() : Piece::kReduction;
  if (call.recv_elems != 0) call.pieces.push_back({0, count, source, 0});
  return call;
}

Call gather(const Case& c, int rank) {
  const Kind kind = rows()[c.row].kind;
  const bool receives = kind == Kind::kAllGather || kind == Kind::kAllGatherv || rank == c.root();
  Call call;
  set_blocks(c, call);
  call.send_elems = call.counts[rank];
  call.in_place_at = call.displs[rank];
  if (!receives) return call;
  call.recv_elems = span(call.counts, call.displs);
  for (int r = 0; r < c.n_ranks; ++r) call.pieces.push_back({call.displs[r], call.counts[r], r, 0});
  return call;
}

Call scatter(const Case& c, int rank) {
  const Kind kind = rows()[c.row].kind;
  const bool reduce = kind == Kind::kReduceScatter || kind == Kind::kReduceScatterv;
  Call call;
  set_blocks(c, call);
  call.send_elems = reduce || rank == c.root() ? span(call.counts, call.displs) : 0;
  call.recv_elems = call.counts[rank];
  call.in_place_at = call.displs[rank];
  call.send_is_inner = false;
  call.pieces.push_back(
      {0, call.counts[rank], reduce ? Piece::kReduction : c.root(), call.displs[rank]});
  return call;
}

Call all_to_all(const Case& c, int rank) {
  const size_t n = static_cast<size_t>(c.n_ranks);
  Call call;
  std::vector<std::vector<size_t>> sent(n);  // by source, then destination
  for (int s = 0; s < c.n_ranks; ++s) {
    for (int d = 0; d < c.n_ranks; ++d) {
      sent[s].push_back(rows()[c.row].kind == Kind::kAllToAllv ? uneven(c.count(), s, d)
                                                               : c.count());
    }
  }
  const auto lay_out = [&](const std::vector<size_t>& counts) {
    if (rows()[c.row].kind == Kind::kAllToAllv) return displacements(counts);
    std::vector<size_t> packed;
    for (size_t r = 0; r < n; ++r) packed.push_back(r * c.count());
    return packed;
  };
  call.counts = sent[rank];
  call.displs = lay_out(call.counts);
  for (size_t s = 0; s < n; ++s) call.recv_counts.push_back(sent[s][rank]);
  call.recv_displs = lay_out(call.recv_counts);
  call.send_elems = span(call.counts, call.displs);
  call.recv_elems = span(call.recv_counts, call.recv_displs);
  for (int s = 0; s < c.n_ranks; ++s) {
    call.pieces.push_back({call.recv_displs[s], call.recv_counts[s], s, lay_out(sent[s])[rank]});
  }
  return call;
}

// Each rank sends to the next and receives from the one before.
Call send_recv(const Case& c, int rank) {
  Call call;
  call.send_elems = call.recv_elems = c.count();
  call.pieces.push_back({0, c.count(), (rank + c.n_ranks - 1) % c.n_ranks, 0});
  return call;
}

tuttiResult_t issue_send_recv(const Case& c, const Call& call, int rank, tuttiDataType_t type,
                              tuttiComm_t comm) {
  const int next = (rank + 1) % c.n_ranks, previous = (rank + c.n_ranks - 1) % c.n_ranks;
  tuttiResult_t result = tuttiGroupStart();
  if (result == tuttiSuccess)
    result = tuttiSend(call.send, c.count(), type, next, comm, call.stream);
  if (result == tuttiSuccess)
    result = tuttiRecv(call.recv, c.count(), type, previous, comm, call.stream);
  const tuttiResult_t end = tuttiGroupEnd();
  return result == tuttiSuccess ? end : result;
}

tuttiResult_t issue_uneven(const Case& c, const Call& call, int rank, tuttiRedOp_t op,
                           tuttiDataType_t type, tuttiComm_t comm) {
  const bool at_root = rank == c.root();
  const size_t* counts = call.counts.data();
  const size_t* displs = call.displs.data();
  switch (rows()[c.row].kind) {
    case Kind::kAllGatherv:
      return tuttiAllGatherv(call.send, counts[rank], call.recv, counts, displs, type, comm,
                             call.stream);
    case Kind::kReduceScatterv:
      return tuttiReduceScatterv(call.send, counts, displs, call.recv, type, op, comm, call.stream);
    case Kind::kGatherv:
      return tuttiGatherv(call.send, counts[rank], call.recv, at_root ? counts : nullptr,
                          at_root ? displs : nullptr, type, c.root(), comm, call.stream);
    case Kind::kScatterv:
      return tuttiScatterv(call.send, at_root ? counts : nullptr, at_root ? displs : nullptr,
                           call.recv, counts[rank], type, c.root(), comm, call.stream);
    default:
      return tuttiAllToAllv(call.send, counts, displs, call.recv, call.recv_counts.data(),
                            call.recv_displs.data(), type, comm, call.stream);
  }
}

}  // namespace

Call describe(const Case& c, int rank) {
  switch (rows()[c.row].kind) {
    case Kind::kAllReduce:
    case Kind::kReduce:
    case Kind::kBroadcast:
      return all_reduce(c, rank);
    case Kind::kAllGather:
    case Kind::kAllGatherv:
    case Kind::kGather:
    case Kind::kGatherv:
      return gather(c, rank);
    case Kind::kReduceScatter:
    case Kind::kReduceScatterv:
    case Kind::kScatter:
    case Kind::kScatterv:
      return scatter(c, rank);
    case Kind::kAllToAll:
    case Kind::kAllToAllv:
      return all_to_all(c, rank);
    case Kind::kSendRecv:
      break;
  }
  return send_recv(c, rank);
}

tuttiResult_t issue(const Case& c, const Call& call, int rank, tuttiRedOp_t op, tuttiComm_t comm) {
  const auto type = static_cast<tuttiDataType_t>(c.dtype);
  const size_t count = c.count();
  switch (rows()[c.row].kind) {
    case Kind::kAllReduce:
      return tuttiAllReduce(call.send, call.recv, count, type, op, comm, call.stream);
    case Kind::kReduce:
      return tuttiReduce(call.send, call.recv, count, type, op, c.root(), comm, call.stream);
    case Kind::kBroadcast:
      return tuttiBroadcast(call.send, call.recv, count, type, c.root(), comm, call.stream);
    case Kind::kAllGather:
      return tuttiAllGather(call.send, call.recv, count, type, comm, call.stream);
    case Kind::kReduceScatter:
      return tuttiReduceScatter(call.send, call.recv, count, type, op, comm, call.stream);
    case Kind::kAllToAll:
      return tuttiAllToAll(call.send, call.recv, count, type, comm, call.stream);
    case Kind::kGather:
      return tuttiGather(call.send, call.recv, count, type, c.root(), comm, call.stream);
    case Kind::kScatter:
      return tuttiScatter(call.send, call.recv, count, type, c.root(), comm, call.stream);
    case Kind::kSendRecv:
      return issue_send_recv(c, call, rank, type, comm);
    default:
      return issue_uneven(c, call, rank, op, type, comm);
  }
}

}  // namespace tutti::conformance
