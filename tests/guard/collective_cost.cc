// SPDX-License-Identifier: Apache-2.0
// One rank of two that makes the same call again and again, so that its instructions can be
// counted: rank 0 runs under valgrind, rank 1 does not and is always there first
// (collective_cost_test.py).
//
//   collective_cost 0 CALL BYTES CALLS       prints the unique id in hexadecimal, then calls
//   collective_cost 1 CALL BYTES CALLS ID
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "tutti/tutti.h"

namespace {

struct Buffers {
  std::vector<float> in;
  std::vector<float> out;
  size_t count = 0;
};
using Issue = tuttiResult_t (*)(Buffers&, int rank, tuttiComm_t);

struct Row {
  std::string_view name;
  Issue issue;
};

tuttiResult_t all_reduce(Buffers& b, int /*rank*/, tuttiComm_t comm) {
  return tuttiAllReduce(b.in.data(), b.out.data(), b.count, tuttiFloat32, tuttiSum, comm, nullptr);
}
tuttiResult_t all_gather(Buffers& b, int /*rank*/, tuttiComm_t comm) {
  return tuttiAllGather(b.in.data(), b.out.data(), b.count, tuttiFloat32, comm, nullptr);
}
tuttiResult_t reduce_scatter(Buffers& b, int /*rank*/, tuttiComm_t comm) {
  return tuttiReduceScatter(b.in.data(), b.out.data(), b.count, tuttiFloat32, tuttiSum, comm,
                            nullptr);
}
tuttiResult_t all_to_all(Buffers& b, int /*rank*/, tuttiComm_t comm) {
  return tuttiAllToAll(b.in.data(), b.out.data(), b.count, tuttiFloat32, comm, nullptr);
}
// The peer is the root, so that rank 0 never waits; an AllReduce now and then keeps it in reach.
tuttiResult_t broadcast(Buffers& b, int /*rank*/, tuttiComm_t comm) {
  return tuttiBroadcast(b.in.data(), b.out.data(), b.count, tuttiFloat32, 1, comm, nullptr);
}
tuttiResult_t barrier(Buffers& /*b*/, int /*rank*/, tuttiComm_t comm) {
  return tuttiBarrier(comm, nullptr);
}
// From rank 0 to rank 1, and the other way.
tuttiResult_t transfer(Buffers& b, bool sends, int peer, tuttiComm_t comm) {
  return sends ? tuttiSend(b.in.data(), b.count, tuttiFloat32, peer, comm, nullptr)
               : tuttiRecv(b.out.data(), b.count, tuttiFloat32, peer, comm, nullptr);
}
tuttiResult_t send(Buffers& b, int rank, tuttiComm_t comm) {
  return transfer(b, rank == 0, 1 - rank, comm);
}
tuttiResult_t receive(Buffers& b, int rank, tuttiComm_t comm) {
  return transfer(b, rank == 1, 1 - rank, comm);
}

constexpr long kWarmUpCalls = 100;  // set up what later calls find

constexpr Row kRows[] = {{"AllReduce", all_reduce},
                         {"AllGather", all_gather},
                         {"ReduceScatter", reduce_scatter},
                         {"AllToAll", all_to_all},
                         {"Broadcast", broadcast},
                         {"Barrier", barrier},
                         {"Send", send},
                         {"Recv", receive}};

bool ok(const char* what, tuttiResult_t result) {
  if (result == tuttiSuccess) return true;
  std::fprintf(stderr, "%s: %s\n", what, tuttiGetLastError(nullptr));
  return false;
}

void print_id(const tuttiUniqueId& id) {
  for (const char c : id.internal) std::printf("%02x", static_cast<unsigned char>(c));
  std::printf("\n");
  std::fflush(stdout);
}

bool parse_id(std::string_view text, tuttiUniqueId* id) {
  if (text.size() != 2 * sizeof id->internal) return false;
  for (size_t i = 0; i < sizeof id->internal; ++i)
    id->internal[i] = static_cast<char>(std::stoi(std::string(text.substr(2 * i, 2)), nullptr, 16));
  return true;
}

tuttiResult_t repeat(const Row& row, Buffers& buffers, int rank, tuttiComm_t comm, long calls) {
  for (long i = 0; i < calls; ++i) {
    const tuttiResult_t result = row.issue(buffers, rank, comm);
    if (result != tuttiSuccess) return result;
  }
  return tuttiSuccess;
}

}  // namespace

// What callgrind counts, each by itself (--toggle-collect, --dump-after); outside of the namespace
// so that its name is known.
extern "C" [[gnu::noinline]] tuttiResult_t counted_call(const Row& row, Buffers& buffers, int rank,
                                                        tuttiComm_t comm) {
  return row.issue(buffers, rank, comm);
}

namespace {

int run(int rank, const Row& row, size_t bytes, long calls, const char* text) {
  tuttiUniqueId id;
  if (rank == 0) {
    if (!ok("tuttiGetUniqueId", tuttiGetUniqueId(&id))) return 1;
    print_id(id);
  } else if (text == nullptr || !parse_id(text, &id)) {
    std::fprintf(stderr, "rank 1 wants rank 0's id\n");
    return 2;
  }
  tuttiComm_t comm = nullptr;
  if (!ok("tuttiCommInitRank", tuttiCommInitRank(&comm, 2, id, rank))) return 1;
  Buffers buffers{.in = {}, .out = {}, .count = bytes / sizeof(float)};
  buffers.in.assign(2 * buffers.count, 1.0F);
  buffers.out.assign(2 * buffers.count, 0.0F);
  if (!ok("a first call", repeat(row, buffers, rank, comm, kWarmUpCalls))) return 1;
  for (long i = 0; i < calls; ++i) {
    if (!ok("a call", counted_call(row, buffers, rank, comm))) return 1;
  }
  return ok("tuttiCommDestroy", tuttiCommDestroy(comm)) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  for (const Row& row : kRows) {
    if (argc < 5 || row.name != argv[2]) continue;
    return run(std::atoi(argv[1]), row, std::strtoul(argv[3], nullptr, 10),
               std::strtol(argv[4], nullptr, 10), argc > 5 ? argv[5] : nullptr);
  }
  std::fprintf(stderr, "use: collective_cost RANK CALL BYTES CALLS [ID]\n");
  return 2;
}
