// SPDX-License-Identifier: Apache-2.0
// A small message allocates nothing: calls that were made before take no memory from the heap.
#include <barrier>
#include <cstdlib>
#include <new>

#include "tests/unit/api_support.h"

namespace {

thread_local long allocations = 0;  // of the calling thread, in this program and in the library

}  // namespace

// Not inlined: the compiler takes the pair apart and warns of its halves.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace tutti::testing {
namespace {

constexpr int kRanks = 3;
constexpr int kRounds = 20;

using Body = std::function<void(int rank, tuttiComm_t comm)>;

struct SmallCall {
  const char* name;
  Body body;
};

void PrintTo(const SmallCall& call, std::ostream* out) { *out << call.name; }

class SmallMessage : public ::testing::TestWithParam<SmallCall> {};

TEST_P(SmallMessage, MadeBefore_AllocatesNothing) {
  World world(kRanks);
  const Body& body = GetParam().body;
  world.each([&](int rank, tuttiComm_t comm) {
    for (int round = 0; round < kRounds; ++round) body(rank, comm);
    const long before = allocations;
    for (int round = 0; round < kRounds; ++round) body(rank, comm);
    EXPECT_EQ(allocations - before, 0) << "in " << kRounds << " calls of rank " << rank;
  });
}

TEST(AllocationCounter, LibraryThatAllocates_IsSeen) {
  const long before = allocations;
  const StreamHandle stream;
  EXPECT_GT(allocations, before);
}

int next(int rank) { return (rank + 1) % kRanks; }
int previous(int rank) { return (rank + kRanks - 1) % kRanks; }

const SmallCall kCalls[] = {
    {"AllReduce",
     [](int rank, tuttiComm_t comm) {
       int x = rank;
       EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, comm, nullptr));
       EXPECT_EQ(x, 3);
     }},
    {"AllGather",
     [](int rank, tuttiComm_t comm) {
       int all[kRanks];
       EXPECT_TUTTI(tuttiAllGather(&rank, all, 1, tuttiInt32, comm, nullptr));
       EXPECT_EQ(all[2], 2);
     }},
    {"AllToAll",
     [](int rank, tuttiComm_t comm) {
       const int in[kRanks] = {rank, rank, rank};
       int out[kRanks];
       EXPECT_TUTTI(tuttiAllToAll(in, out, 1, tuttiInt32, comm, nullptr));
       EXPECT_EQ(out[1], 1);
     }},
    {"Barrier", [](int, tuttiComm_t comm) { EXPECT_TUTTI(tuttiBarrier(comm, nullptr)); }},
    {"SendThenRecv",
     [](int rank, tuttiComm_t comm) {
       int got = -1;
       EXPECT_TUTTI(tuttiSend(&rank, 1, tuttiInt32, next(rank), comm, nullptr));
       EXPECT_TUTTI(tuttiRecv(&got, 1, tuttiInt32, previous(rank), comm, nullptr));
       EXPECT_EQ(got, previous(rank));
     }},
    {"Signal",
     [](int rank, tuttiComm_t comm) {
       EXPECT_TUTTI(tuttiSignal(next(rank), 0, 0, 0, comm, nullptr));
     }},
};
INSTANTIATE_TEST_SUITE_P(Calls, SmallMessage, ::testing::ValuesIn(kCalls),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace tutti::testing
