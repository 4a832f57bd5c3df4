// SPDX-License-Identifier: Apache-2.0
// The edges of the interface: versions of the configuration, streams, twins, parameters, and what
// is refused.
#include <cstring>

#include "tests/nccl/support.h"

extern "C" ncclResult_t pncclAllReduce(const void* sendbuff, void* recvbuff, size_t count,
                                       ncclDataType_t datatype, ncclRedOp_t op, ncclComm_t comm,
                                       cudaStream_t stream);

namespace tutti::nccl_test {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::StrEq;

constexpr unsigned int kMagic = 0xcafebeef;

// Stands for a stream of CUDA: a pointer that the library must not look behind.
cudaStream_t some_stream() {
  static char place;
  return reinterpret_cast<cudaStream_t>(&place);
}

class NcclInterface : public ::testing::Test {
 protected:
  // Alone.
  ncclResult_t init(ncclComm_t* comm, ncclConfig_t* config = nullptr) {
    ncclUniqueId id;
    EXPECT_EQ(ncclGetUniqueId(&id), ncclSuccess) << last_error();
    return ncclCommInitRankConfig(comm, 1, id, 0, config);
  }
};

TEST_F(NcclInterface, Version_Is2289) {
  int version = 0;
  NCCL_OK(ncclGetVersion(&version));
  EXPECT_EQ(version, 22809);
  EXPECT_EQ(ncclGetVersion(nullptr), ncclInvalidArgument);
  EXPECT_THAT(ncclGetErrorString(ncclSuccess), StrEq("no error"));
  EXPECT_STRNE(ncclGetErrorString(static_cast<ncclResult_t>(7)), "");
}

TEST_F(NcclInterface, Twin_IsTheSameFunction) {
  EXPECT_EQ(&pncclAllReduce, &ncclAllReduce);
  Comm comm;
  NCCL_MUST(init(comm.put()));
  int x = 5;
  int y = 0;
  NCCL_OK(pncclAllReduce(&x, &y, 1, ncclInt, ncclSum, comm, nullptr));
  EXPECT_EQ(y, 5);
}

// A configuration as a program of that version has it: `size` bytes, every field undefined, and
// rubbish in the padding and behind it.
struct OldConfig {
  unsigned int version;
  size_t size;
  size_t fields_end;  // behind the last field
};
class NcclConfigVersions : public ::testing::TestWithParam<OldConfig> {
 protected:
  void set_int(size_t offset, int value) { std::memcpy(bytes_ + offset, &value, sizeof value); }
  ncclConfig_t* make() {
    const OldConfig& c = GetParam();
    std::memset(bytes_, 0x5a, sizeof bytes_);
    std::memcpy(bytes_, &c.size, sizeof c.size);
    std::memcpy(bytes_ + 8, &kMagic, sizeof kMagic);
    std::memcpy(bytes_ + 12, &c.version, sizeof c.version);
    for (size_t at = 16; at < c.fields_end; at += 4) set_int(at, NCCL_CONFIG_UNDEF_INT);
    if (c.fields_end >= 40) std::memset(bytes_ + 32, 0, 8);  // netName
    if (c.fields_end >= 56) std::memset(bytes_ + 48, 0, 8);  // commName
    return reinterpret_cast<ncclConfig_t*>(bytes_);
  }

  alignas(8) char bytes_[256];
};

TEST_P(NcclConfigVersions, AllUndefined_MakesACommunicator) {
  ncclUniqueId id;
  NCCL_MUST(ncclGetUniqueId(&id));
  Comm comm;
  NCCL_MUST(ncclCommInitRankConfig(comm.put(), 1, id, 0, make()));
  Comm child;
  NCCL_OK(ncclCommSplit(comm, 0, 0, child.put(), make()));
}

TEST_P(NcclConfigVersions, BlockingOutOfRange_IsNamed) {
  ncclUniqueId id;
  NCCL_MUST(ncclGetUniqueId(&id));
  ncclConfig_t* const config = make();
  set_int(16, 7);
  ncclComm_t comm = nullptr;
  EXPECT_EQ(ncclCommInitRankConfig(&comm, 1, id, 0, config), ncclInvalidArgument);
  EXPECT_THAT(last_error(), HasSubstr("config.blocking is 7"));
}

// 2.18 is as long as 2.25, which has a field where 2.18 has padding; 2.30.0 and 2.30.7 likewise.
INSTANTIATE_TEST_SUITE_P(All, NcclConfigVersions,
                         ::testing::Values(OldConfig{21405, 24, 20}, OldConfig{21701, 40, 40},
                                           OldConfig{21805, 48, 44}, OldConfig{22403, 48, 44},
                                           OldConfig{22703, 72, 72}, OldConfig{22809, 80, 80},
                                           OldConfig{22902, 88, 88}, OldConfig{23000, 96, 92},
                                           OldConfig{23007, 96, 96}, OldConfig{23102, 112, 112},
                                           OldConfig{23203, 120, 116}, OldConfig{24000, 200, 200}),
                         [](const auto& info) { return "V" + std::to_string(info.param.version); });

TEST_F(NcclInterface, Config_NotInitialised_IsRefused) {
  ncclConfig_t config{};
  ncclComm_t comm = nullptr;
  EXPECT_EQ(init(&comm, &config), ncclInvalidArgument);
  EXPECT_THAT(last_error(), HasSubstr("NCCL_CONFIG_INITIALIZER"));
  config.magic = kMagic;
  config.version = 22809;
  config.size = 12;
  EXPECT_EQ(init(&comm, &config), ncclInvalidArgument);
  EXPECT_THAT(last_error(), HasSubstr("config.size is 12"));
}

TEST_F(NcclInterface, Stream_OnAHostCommunicator_IsRefusedWithTheReason) {
  Comm comm;
  NCCL_MUST(init(comm.put()));
  cudaStream_t stream = some_stream();
  int x = 1;
  EXPECT_EQ(ncclAllReduce(&x, &x, 1, ncclInt, ncclSum, comm, stream), ncclInvalidUsage);
  EXPECT_THAT(last_error(), HasSubstr("ncclAllReduce"));
  EXPECT_THAT(last_error(), HasSubstr("needs a CUDA device"));
  EXPECT_EQ(ncclSend(&x, 1, ncclInt, 0, comm, stream), ncclInvalidUsage);
  EXPECT_THAT(last_error(), HasSubstr("ncclSend"));
}

TEST_F(NcclInterface, Stream_RefusedInAGroup_RefusesTheGroup) {
  Comm comm;
  NCCL_MUST(init(comm.put()));
  cudaStream_t stream = some_stream();
  const int x = 1;
  int y = 0;
  NCCL_OK(ncclGroupStart());
  NCCL_OK(ncclAllReduce(&x, &y, 1, ncclInt, ncclSum, comm, nullptr));
  EXPECT_EQ(ncclAllReduce(&x, &y, 1, ncclInt, ncclSum, comm, stream), ncclInvalidUsage);
  EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
  EXPECT_EQ(y, 0);
  NCCL_OK(ncclAllReduce(&x, &y, 1, ncclInt, ncclSum, comm, nullptr));
  EXPECT_EQ(y, 1);
}

TEST_F(NcclInterface, SimulatedGroup_IsRefusedAndDropped) {
  Comm comm;
  NCCL_MUST(init(comm.put()));
  const int x = 1;
  int y = 0;
  ncclSimInfo_t info{sizeof(ncclSimInfo_t), 0x74685283, 22809, NCCL_UNDEF_FLOAT};
  NCCL_OK(ncclGroupStart());
  NCCL_OK(ncclAllReduce(&x, &y, 1, ncclInt, ncclSum, comm, nullptr));
  EXPECT_EQ(ncclGroupSimulateEnd(&info), ncclInvalidUsage);
  EXPECT_THAT(last_error(), HasSubstr("estimate"));
  EXPECT_EQ(info.estimatedTime, NCCL_UNDEF_FLOAT);
  EXPECT_EQ(y, 0);
  NCCL_OK(ncclAllReduce(&x, &y, 1, ncclInt, ncclSum, comm, nullptr));  // no group any more
  EXPECT_EQ(y, 1);
}

TEST_F(NcclInterface, NotSupported_SaysWhy) {
  Comm comm;
  NCCL_MUST(init(comm.put()));
  void* out = nullptr;
  EXPECT_EQ(ncclCommSuspend(comm, NCCL_SUSPEND_MEM), ncclInvalidUsage);
  EXPECT_THAT(last_error(), HasSubstr("ncclCommSuspend"));
  EXPECT_EQ(ncclCommResume(comm), ncclInvalidUsage);
  EXPECT_THAT(last_error(), HasSubstr("ncclCommResume"));
  EXPECT_EQ(ncclDevCommCreate(comm, nullptr, nullptr), ncclInvalidUsage);
  EXPECT_THAT(last_error(), HasSubstr("device-side API"));
  EXPECT_EQ(ncclDevCommDestroy(comm, nullptr), ncclInvalidUsage);
  EXPECT_EQ(ncclCommQueryProperties(comm, nullptr), ncclInvalidUsage);
  EXPECT_EQ(ncclGetLsaMultimemDevicePointer(nullptr, 0, &out), ncclInvalidUsage);
  EXPECT_EQ(ncclGetLsaDevicePointer(nullptr, 0, 0, &out), ncclInvalidUsage);
  EXPECT_EQ(ncclGetPeerDevicePointer(nullptr, 0, 0, &out), ncclInvalidUsage);
}

TEST_F(NcclInterface, WrongArguments_AreRefusedAndNeverCrash) {
  int x = 0;
  int n = 0;
  auto* const never = reinterpret_cast<ncclComm_t>(&x);
  for (const ncclComm_t comm : {static_cast<ncclComm_t>(nullptr), never}) {
    EXPECT_EQ(ncclAllReduce(&x, &x, 1, ncclInt, ncclSum, comm, nullptr), ncclInvalidArgument);
    EXPECT_EQ(ncclAllReduce(&x, &x, 1, ncclInt, ncclSum, comm, some_stream()), ncclInvalidArgument);
    EXPECT_EQ(ncclCommCount(comm, &n), ncclInvalidArgument);
    EXPECT_EQ(ncclCommFinalize(comm), ncclInvalidArgument);
  }
  EXPECT_EQ(ncclGetUniqueId(nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclCommInitAll(nullptr, 1, nullptr), ncclInvalidArgument);
  EXPECT_EQ(ncclGroupEnd(), ncclInvalidUsage);
  NCCL_OK(ncclCommDestroy(nullptr));
  NCCL_OK(ncclMemFree(nullptr));
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // NCCL's header says so
  ncclResetDebugInit();
#pragma GCC diagnostic pop
}

TEST_F(NcclInterface, Memory_RegisteredAndCounted) {
  Comm comm;
  NCCL_MUST(init(comm.put()));
  void* memory = nullptr;
  void* handle = nullptr;
  NCCL_MUST(ncclMemAlloc(&memory, 1 << 16));
  NCCL_OK(ncclCommRegister(comm, memory, 1 << 16, &handle));
  NCCL_OK(ncclCommDeregister(comm, handle));
  NCCL_OK(ncclMemFree(memory));
  uint64_t total = 0;
  uint64_t stays = 0;
  uint64_t other = 1;
  NCCL_OK(ncclCommMemStats(comm, ncclStatGpuMemTotal, &total));
  NCCL_OK(ncclCommMemStats(comm, ncclStatGpuMemPersist, &stays));
  EXPECT_GT(total, 0u);
  EXPECT_EQ(stays, total);
  NCCL_OK(ncclCommMemStats(comm, ncclStatGpuMemSuspend, &other));
  EXPECT_EQ(other, 0u);
  EXPECT_EQ(ncclCommMemStats(comm, ncclStatGpuMemTotal, nullptr), ncclInvalidArgument);
}

TEST_F(NcclInterface, Abort_FreesTheCommunicator) {
  Comm comm;
  NCCL_MUST(init(comm.put()));
  ncclComm_t handle = comm.release();
  NCCL_OK(ncclCommAbort(handle));
  int n = 0;
  EXPECT_EQ(ncclCommCount(handle, &n), ncclInvalidArgument);
}

TEST_F(NcclInterface, Parameters_AreTheVariablesThatAreKnown) {
  ::setenv("NCCL_IB_SL", " 5 ", 1);
  const char** keys = nullptr;
  int n = 0;
  NCCL_MUST(ncclParamGetAllParameterKeys(&keys, &n));
  EXPECT_THAT(std::vector<std::string>(keys, keys + n), Contains("NCCL_IB_SL"));
  ncclParamHandle_t handle = nullptr;
  NCCL_MUST(ncclParamBind(&handle, "NCCL_IB_SL"));
  int64_t wide = 0;
  uint8_t narrow = 0;
  NCCL_OK(ncclParamGetI64(handle, &wide));
  NCCL_OK(ncclParamGetU8(handle, &narrow));
  EXPECT_EQ(wide, 5);
  EXPECT_EQ(narrow, 5);
  const char* text = nullptr;
  int length = 0;
  NCCL_OK(ncclParamGetStr(handle, &text));
  EXPECT_STREQ(text, "5");
  NCCL_OK(ncclParamGetParameter("NCCL_IB_SL", &text, &length));
  EXPECT_EQ(std::string(text, static_cast<size_t>(length)), "5");
  char raw[4];
  NCCL_OK(ncclParamGet(handle, raw, sizeof raw, &length));
  EXPECT_EQ(std::string(raw, static_cast<size_t>(length)), "5");
  EXPECT_EQ(ncclParamGet(handle, raw, 0, &length), ncclInvalidArgument);
  ::setenv("NCCL_IB_SL", "300", 1);
  EXPECT_EQ(ncclParamGetU8(handle, &narrow), ncclInvalidArgument);
  EXPECT_THAT(last_error(), HasSubstr("'300' is no whole number from 0 to 255"));
  ::unsetenv("NCCL_IB_SL");
  EXPECT_EQ(ncclParamBind(&handle, "NCCL_NO_SUCH"), ncclInvalidArgument);
  EXPECT_EQ(ncclParamGetI64(nullptr, &wide), ncclInvalidArgument);
  ncclParamDumpAll();
}

}  // namespace
}  // namespace tutti::nccl_test
