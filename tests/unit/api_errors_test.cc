// SPDX-License-Identifier: Apache-2.0
// Each wrong argument is refused with a message that names it, its value and what is allowed.
#include <climits>
#include <cmath>
#include <cstdint>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

struct Wrong {
  const char* name;
  std::function<tuttiResult_t(tuttiComm_t)> call;
  tuttiResult_t result;
  std::vector<std::string> fragments;
};

int buffer[64];
const size_t kCounts[] = {4};
const size_t kHugeCounts[] = {SIZE_MAX};

constexpr auto kBadType = static_cast<tuttiDataType_t>(12);
constexpr auto kBadOp = static_cast<tuttiRedOp_t>(77);

std::vector<Wrong> collective_rows() {
  int* b = buffer;
  return {
      {"NullComm",
       [=](auto) { return tuttiAllReduce(b, b, 1, tuttiInt32, tuttiSum, nullptr, nullptr); },
       tuttiInvalidArgument,
       {"tuttiAllReduce", "comm is NULL"}},
      {"NullSend",
       [=](auto c) { return tuttiAllReduce(nullptr, b, 3, tuttiInt32, tuttiSum, c, nullptr); },
       tuttiInvalidArgument,
       {"sendbuff is NULL", "3 elements of 4 bytes"}},
      {"NullRecv",
       [=](auto c) { return tuttiAllReduce(b, nullptr, 3, tuttiInt32, tuttiSum, c, nullptr); },
       tuttiInvalidArgument,
       {"recvbuff is NULL"}},
      {"BadType",
       [=](auto c) { return tuttiAllReduce(b, b, 1, kBadType, tuttiSum, c, nullptr); },
       tuttiInvalidArgument,
       {"datatype is 12", "0 (tuttiInt8) to 11"}},
      {"BadOp",
       [=](auto c) { return tuttiAllReduce(b, b, 1, tuttiInt32, kBadOp, c, nullptr); },
       tuttiInvalidArgument,
       {"op is 77", "tuttiSum (0) to tuttiAvg (4)"}},
      {"NegativeRoot",
       [=](auto c) { return tuttiReduce(b, b, 1, tuttiInt32, tuttiSum, -1, c, nullptr); },
       tuttiInvalidArgument,
       {"root is -1", "ranks 0 to 0"}},
      {"BigRoot",
       [=](auto c) { return tuttiBroadcast(b, b, 1, tuttiInt32, 1, c, nullptr); },
       tuttiInvalidArgument,
       {"tuttiBroadcast", "root is 1"}},
      {"Overlap",
       [=](auto c) { return tuttiAllReduce(b, b + 1, 4, tuttiInt32, tuttiSum, c, nullptr); },
       tuttiInvalidArgument,
       {"sendbuff and recvbuff overlap"}},
      {"AllToAllInPlace",
       [=](auto c) { return tuttiAllToAll(b, b, 4, tuttiInt32, c, nullptr); },
       tuttiInvalidArgument,
       {"can't be done in place"}},
      {"HugeCount",
       [=](auto c) { return tuttiAllReduce(b, b, SIZE_MAX / 2, tuttiInt32, tuttiSum, c, nullptr); },
       tuttiInvalidArgument,
       {"count of sendbuff is", "fits in memory"}},
      {"HugeDisplacement",
       [=](auto c) {
         static const size_t far[] = {SIZE_MAX - 1};
         return tuttiAllGatherv(b, 4, b + 16, kCounts, far, tuttiInt32, c, nullptr);
       },
       tuttiInvalidArgument,
       {"displs[0] is 18446744073709551614", "recvcounts[0] is 4 elements of 4 bytes", "recvbuff"}},
      {"HugeDisplacementAllToAllv",
       [=](auto c) {
         static const size_t far[] = {SIZE_MAX / 4};
         return tuttiAllToAllv(b, kCounts, nullptr, b + 16, kCounts, far, tuttiInt32, c, nullptr);
       },
       tuttiInvalidArgument,
       {"rdispls[0] is 4611686018427387903", "recvcounts[0] is 4"}},
      {"CountsNull",
       [=](auto c) { return tuttiAllGatherv(b, 4, b, nullptr, nullptr, tuttiInt32, c, nullptr); },
       tuttiInvalidArgument,
       {"recvcounts is NULL"}},
      {"CountsDiffer",
       [=](auto c) {
         return tuttiAllGatherv(b, 3, b + 8, kCounts, nullptr, tuttiInt32, c, nullptr);
       },
       tuttiInvalidArgument,
       {"sendcount is 3", "recvcounts[0], which is 4"}},
      {"HugeCounts",
       [=](auto c) {
         return tuttiReduceScatterv(b, kHugeCounts, nullptr, b, tuttiInt32, tuttiSum, c, nullptr);
       },
       tuttiInvalidArgument,
       {"recvcounts[0] is 18446744073709551615", "sendbuff", "fits in memory"}},
      {"AllToAllvSelf",
       [=](auto c) {
         static const size_t other[] = {5};
         return tuttiAllToAllv(b, kCounts, nullptr, b + 16, other, nullptr, tuttiInt32, c, nullptr);
       },
       tuttiInvalidArgument,
       {"recvcounts[rank] is 5", "sendcounts[0], which is 4"}},
      {"ScattervCount",
       [=](auto c) {
         return tuttiScatterv(b, kCounts, nullptr, b + 16, 5, tuttiInt32, 0, c, nullptr);
       },
       tuttiInvalidArgument,
       {"recvcount is 5", "sendcounts[0]"}},
      {"BadPeer",
       [=](auto c) { return tuttiSend(b, 1, tuttiInt32, 9, c, nullptr); },
       tuttiInvalidArgument,
       {"peer is 9", "ranks 0 to 0"}},
      {"SelfWithoutGroup",
       [=](auto c) { return tuttiRecv(b, 1, tuttiInt32, 0, c, nullptr); },
       tuttiInvalidUsage,
       {"calling rank itself", "one group"}},
  };
}

std::vector<Wrong> other_rows() {
  int* b = buffer;
  return {
      {"WindowNull",
       [=](auto c) { return tuttiPutSignal(b, 1, tuttiInt32, 0, nullptr, 0, 0, 0, 0, c, nullptr); },
       tuttiInvalidArgument,
       {"peerWin is NULL"}},
      {"BadSignal",
       [=](auto c) { return tuttiSignal(0, 8, 0, 0, c, nullptr); },
       tuttiInvalidArgument,
       {"sigIdx is 8", "0 to 7"}},
      {"BadContext",
       [=](auto c) { return tuttiSignal(0, 0, 1, 0, c, nullptr); },
       tuttiInvalidArgument,
       {"ctx is 1", "must be 0"}},
      {"NegativeContext",
       [=](auto c) { return tuttiSignal(0, 0, -1, 0, c, nullptr); },
       tuttiInvalidArgument,
       {"ctx is -1;"}},
      {"WaitNull",
       [=](auto c) { return tuttiWaitSignal(1, nullptr, c, nullptr); },
       tuttiInvalidArgument,
       {"signalDescs is NULL"}},
      {"WindowFlags",
       [=](auto c) {
         tuttiWindow_t win;
         return tuttiCommWindowRegister(c, b, 4, &win, 6);
       },
       tuttiInvalidArgument,
       {"winFlags is 6"}},
      {"RedOpResidence",
       [=](auto c) {
         tuttiRedOp_t op;
         return tuttiRedOpCreatePreMulSum(&op, b, tuttiInt32,
                                          static_cast<tuttiScalarResidence_t>(2), c);
       },
       tuttiInvalidArgument,
       {"residence is 2"}},
      {"RedOpDestroyed",
       [=](auto c) {
         tuttiRedOp_t op;
         tuttiRedOpCreatePreMulSum(&op, b, tuttiInt32, tuttiScalarHostImmediate, c);
         tuttiRedOpDestroy(op, c);
         return tuttiRedOpDestroy(op, c);
       },
       tuttiInvalidArgument,
       {"op is 5", "allowed are only operations that tuttiRedOpCreatePreMulSum has made"}},
      {"RedOpDestroyBuiltIn",
       [=](auto c) { return tuttiRedOpDestroy(tuttiSum, c); },
       tuttiInvalidArgument,
       {"op is 0; allowed are only operations that tuttiRedOpCreatePreMulSum"}},
      {"NegativeEnumerations",
       [=](auto c) {
         return tuttiAllReduce(b, b, 1, static_cast<tuttiDataType_t>(-1), tuttiSum, c, nullptr);
       },
       tuttiInvalidArgument,
       {"datatype is -1;"}},
      {"RedOpOfOtherType",
       [=](auto c) {
         tuttiRedOp_t op;
         tuttiRedOpCreatePreMulSum(&op, b, tuttiFloat32, tuttiScalarHostImmediate, c);
         return tuttiAllReduce(b, b, 1, tuttiInt32, op, c, nullptr);
       },
       tuttiInvalidArgument,
       {"was made for float", "datatype is int32"}},
      {"SplitColor",
       [=](auto c) {
         tuttiComm_t part;
         return tuttiCommSplit(c, -7, 0, &part, nullptr);
       },
       tuttiInvalidArgument,
       {"color is -7"}},
      {"CountNull",
       [=](auto c) { return tuttiCommCount(c, nullptr); },
       tuttiInvalidArgument,
       {"count is NULL"}},
      {"FreeOfForeignMemory",
       [=](auto) { return tuttiMemFree(b); },
       tuttiInvalidArgument,
       {"tuttiMemFree", "ptr is 0x", "tuttiMemAlloc"}},
      {"MemoryOfNoSuchDevice",
       [=](auto) {
         void* memory = nullptr;
         return tuttiMemAllocDevice(&memory, 64, -3);
       },
       tuttiInvalidArgument,
       {"tuttiMemAllocDevice", "device is -3"}},
      {"StatsSize",
       [=](auto c) {
         tuttiCommStats_t stats = {};
         return tuttiCommGetStats(c, &stats);
       },
       tuttiInvalidArgument,
       {"stats.size is 0"}},
  };
}

tuttiResult_t init_with(const std::function<void(tuttiConfig_t&)>& change, int n = 1,
                        int rank = 0) {
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  change(config);
  tuttiComm_t comm = nullptr;
  const tuttiResult_t result = tuttiCommInitRankConfig(&comm, n, id, rank, &config);
  EXPECT_EQ(comm, nullptr);
  return result;
}

std::vector<Wrong> init_rows() {
  const auto nothing = [](tuttiConfig_t&) {};
  return {
      {"NoRanks",
       [=](auto) { return init_with(nothing, 0); },
       tuttiInvalidArgument,
       {"nranks is 0", "1 to 1048576"}},
      {"TooManyRanks",
       [=](auto) { return init_with(nothing, (1 << 20) + 1); },
       tuttiInvalidArgument,
       {"nranks is 1048577", "1 to 1048576"}},
      {"TooManyDevices",
       [=](auto) {
         tuttiComm_t one = nullptr;
         return tuttiCommInitAll(&one, INT_MAX, nullptr);
       },
       tuttiInvalidArgument,
       {"ndev is 2147483647", "allowed are 1 to "}},
      {"TimeoutNotANumber",
       [=](auto) { return init_with([](auto& c) { c.timeoutSeconds = std::nan(""); }); },
       tuttiInvalidArgument,
       {"config.timeoutSeconds is nan"}},
      {"TimeoutNegative",
       [=](auto) { return init_with([](auto& c) { c.initTimeoutSeconds = -0.5; }); },
       tuttiInvalidArgument,
       {"config.initTimeoutSeconds is -0.5", "more than 0"}},
      {"TimeoutHuge",
       [=](auto) { return init_with([](auto& c) { c.timeoutSeconds = 1e300; }); },
       tuttiInvalidArgument,
       {"config.timeoutSeconds is 1e+300;"}},
      {"InitTimeoutBelowANanosecond",  // a limit, however small, and not "no limit"
       [=](auto) { return init_with([](auto& c) { c.initTimeoutSeconds = 1e-12; }, 2); },
       tuttiRemoteError,
       {}},
      {"RankTooBig",
       [=](auto) { return init_with(nothing, 2, 2); },
       tuttiInvalidArgument,
       {"rank is 2", "0 to 1"}},
      {"BadMagic",
       [=](auto) { return init_with([](auto& c) { c.magic = 1; }); },
       tuttiInvalidArgument,
       {"TUTTI_CONFIG_INITIALIZER"}},
      {"BadBlocking",
       [=](auto) { return init_with([](auto& c) { c.blocking = 2; }); },
       tuttiInvalidArgument,
       {"config.blocking is 2"}},
      {"BadTransport",
       [=](auto) { return init_with([](auto& c) { c.transport = "pigeon"; }); },
       tuttiInvalidArgument,
       {"transport 'pigeon'", "TUTTI_TRANSPORT", "is unknown", "known are cuda_p2p, inproc, shm"}},
      {"MisspeltTransport",
       [=](auto) { return init_with([](auto& c) { c.transport = "shmm"; }); },
       tuttiInvalidArgument,
       {"'shmm'", "tcp; did you mean 'shm'?"}},
      {"MisspeltAlgorithm",
       [=](auto) { return init_with([](auto& c) { c.algorithm = "rnig"; }); },
       tuttiInvalidArgument,
       {"'rnig'", "config.algorithm or TUTTI_ALGO", "did you mean 'ring'?"}},
      {"MisspeltProtocol",
       [=](auto) { return init_with([](auto& c) { c.protocol = "inlne"; }); },
       tuttiInvalidArgument,
       {"'inlne'", "config.protocol or TUTTI_PROTO", "did you mean 'inline'?"}},
      {"BadAlgorithm",
       [=](auto) { return init_with([](auto& c) { c.algorithm = "magic"; }); },
       tuttiInvalidArgument,
       {"'magic'", "ring"}},
      {"BadProtocol",
       [=](auto) { return init_with([](auto& c) { c.protocol = "slow"; }); },
       tuttiInvalidArgument,
       {"'slow'", "inline, staged, direct"}},
      {"BadChannels",
       [=](auto) { return init_with([](auto& c) { c.channels = 0; }); },
       tuttiInvalidArgument,
       {"config.channels is 0"}},
      {"CtasCrossed",
       [=](auto) {
         return init_with([](auto& c) {
           c.minCTAs = 4;
           c.maxCTAs = 2;
         });
       },
       tuttiInvalidArgument,
       {"config.minCTAs is 4", "which is 2"}},
      {"MemoryCap",
       [=](auto) { return init_with([](auto& c) { c.memoryCapBytes = 16; }); },
       tuttiSystemError,
       {"memory cap", "16", "config.memoryCapBytes", "TUTTI_MEMORY_CAP"}},
      {"DamagedId",
       [=](auto) {
         tuttiUniqueId id = {};
         tuttiComm_t comm = nullptr;
         return tuttiCommInitRank(&comm, 1, id, 0);
       },
       tuttiInvalidArgument,
       {"not a Tutti unique id"}},
  };
}

class Refusal : public ::testing::TestWithParam<Wrong> {};

TEST_P(Refusal, WrongArgument_IsNamed) {
  World world(1);
  const Wrong& row = GetParam();
  expect_error(row.call(world[0]), row.result, row.fragments);
  int x = 1;
  EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, world[0],
                              nullptr));  // nothing was broken by it
}

std::string name_of(const ::testing::TestParamInfo<Wrong>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Calls, Refusal, ::testing::ValuesIn(collective_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Others, Refusal, ::testing::ValuesIn(other_rows()), name_of);
INSTANTIATE_TEST_SUITE_P(Init, Refusal, ::testing::ValuesIn(init_rows()), name_of);

// Rows of a call with three ranks whose blocks are written.
struct Overlap {
  const char* name;
  std::vector<size_t> counts;
  std::vector<size_t> displs;
  std::vector<std::string> fragments;  // none: the blocks are apart
};
class OverlappingBlocks : public ::testing::TestWithParam<Overlap> {};

TEST_P(OverlappingBlocks, OfOutputs_AreRefusedNamingTheRanks) {
  const Overlap& row = GetParam();
  World world(3);
  world.each([&](int r, tuttiComm_t comm) {
    const auto rank = static_cast<size_t>(r);
    std::vector<int> in(64), out(64);
    const std::vector<size_t> same(3, row.counts[rank]);
    const std::function<tuttiResult_t()> calls[] = {
        [&] {
          return tuttiAllGatherv(in.data(), row.counts[rank], out.data(), row.counts.data(),
                                 row.displs.data(), tuttiInt32, comm, nullptr);
        },
        [&] {
          return tuttiAllToAllv(in.data(), same.data(), nullptr, out.data(), row.counts.data(),
                                row.displs.data(), tuttiInt32, comm, nullptr);
        },
    };
    for (const auto& call : calls) {
      if (row.fragments.empty()) {
        EXPECT_TUTTI(call());
      } else {
        expect_error(call(), tuttiInvalidArgument, row.fragments);
      }
    }
    if (r != 0 && !row.fragments.empty()) return;  // only the root can tell
    const tuttiResult_t gathered =
        tuttiGatherv(in.data(), row.counts[rank], out.data(), row.counts.data(), row.displs.data(),
                     tuttiInt32, 0, comm, nullptr);
    if (row.fragments.empty()) {
      EXPECT_TUTTI(gathered);
    } else {
      expect_error(gathered, tuttiInvalidArgument, row.fragments);
    }
  });
}

INSTANTIATE_TEST_SUITE_P(
    Table, OverlappingBlocks,
    ::testing::Values(
        Overlap{"Ascending", {2, 3, 4}, {0, 2, 5}, {}},
        Overlap{"WithGaps", {2, 3, 4}, {1, 10, 20}, {}},
        Overlap{"Descending", {2, 3, 4}, {20, 10, 1}, {}},
        Overlap{"EmptyInsideAnother", {4, 0, 4}, {0, 2, 4}, {}},
        Overlap{"EmptyBetweenDescending", {4, 0, 4}, {4, 6, 0}, {}},
        Overlap{"Neighbours",
                {2, 3, 4},
                {0, 1, 5},
                {"rank 0 (", "displs[0] = 0, recvcounts[0] = 2)", "rank 1", "overlap in recvbuff"}},
        Overlap{"AcrossAnEmptyOne", {4, 0, 4}, {0, 50, 3}, {"rank 0", "rank 2", "overlap"}},
        Overlap{"Unordered", {2, 3, 4}, {20, 10, 7}, {"rank 1", "rank 2", "overlap"}},
        Overlap{"Same", {2, 2, 2}, {5, 0, 5}, {"rank 0", "rank 2", "overlap"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(PutSignal, OutsideTheWindow_IsRefused) {
  World world(1);
  void* memory = nullptr;
  EXPECT_TUTTI(tuttiMemAlloc(&memory, 64));
  tuttiWindow_t window = nullptr;
  EXPECT_TUTTI(tuttiCommWindowRegister(world[0], memory, 64, &window, 0));
  expect_error(tuttiPutSignal(buffer, 4, tuttiInt32, 0, window, 52, 0, 0, 0, world[0], nullptr),
               tuttiInvalidArgument, {"peerWinOffset is 52", "16 bytes", "has 64"});
  EXPECT_TUTTI(tuttiCommWindowDeregister(world[0], window));
  EXPECT_TUTTI(tuttiMemFree(memory));
}

TEST(Library, ErrorStrings_AreNeverNull) {
  for (int code = -1; code <= 9; ++code)
    EXPECT_NE(tuttiGetErrorString(static_cast<tuttiResult_t>(code)), nullptr);
  int version = 0;
  EXPECT_TUTTI(tuttiGetVersion(&version));
  EXPECT_EQ(version, TUTTI_VERSION_CODE);
}

TEST(Library, OlderConfig_IsReadUpToItsSize) {
  tuttiUniqueId id;
  EXPECT_TUTTI(tuttiGetUniqueId(&id));
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.size = offsetof(tuttiConfig_t, transport);
  config.transport = "pigeon";  // beyond what the older program has
  tuttiComm_t comm = nullptr;
  EXPECT_TUTTI(tuttiCommInitRankConfig(&comm, 1, id, 0, &config));
  EXPECT_TUTTI(tuttiCommDestroy(comm));
}

}  // namespace
}  // namespace tutti::testing
