// SPDX-License-Identifier: Apache-2.0
// Agents and transfers of the C API: what is refused and how, handles that end together, memory of
// windows. What moves how is tested by transfer_agent_test and transfer_processes_test.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

std::vector<char> blob_of(tuttiAgent_t agent) {
  size_t bytes = 0;
  EXPECT_TUTTI(tuttiAgentExport(agent, nullptr, 0, &bytes));
  std::vector<char> blob(bytes);
  EXPECT_TUTTI(tuttiAgentExport(agent, blob.data(), blob.size(), &bytes));
  return blob;
}

// Two agents, the first with a region that the second knows.
class TransferApi : public ::testing::Test {
 protected:
  TransferApi() {
    tuttiAgentConfig_t config = TUTTI_AGENT_CONFIG_INITIALIZER;
    config.name = "target";
    EXPECT_TUTTI(tuttiAgentCreate(&target_, &config));
    EXPECT_TUTTI(tuttiAgentCreate(&agent_, nullptr));
    EXPECT_TUTTI(tuttiAgentRegister(target_, memory_.data(), memory_.size(), &region_));
    const std::vector<char> blob = blob_of(target_);
    EXPECT_TUTTI(tuttiAgentImport(agent_, blob.data(), blob.size(), &peer_));
  }
  ~TransferApi() override {
    EXPECT_TUTTI(tuttiAgentDestroy(agent_));
    EXPECT_TUTTI(tuttiAgentDestroy(target_));
  }
  tuttiTransferDesc_t whole(void* local) const { return {local, region_, 0, memory_.size()}; }

  std::vector<char> memory_ = std::vector<char>(1 << 20);
  tuttiAgent_t target_ = nullptr, agent_ = nullptr;
  tuttiAgentPeer_t peer_ = nullptr;
  uint32_t region_ = 0;
};

TEST_F(TransferApi, PutSignalGet_RoundTrip) {
  std::vector<char> data(memory_.size(), 5), back(memory_.size());
  const tuttiTransferDesc_t there = whole(data.data()), hence = whole(back.data());
  const tuttiTransferSignal_t signal{.counter = 9, .value = 3};
  tuttiTransfer_t put = nullptr, get = nullptr;
  EXPECT_TUTTI(tuttiPutv(peer_, &there, 1, &signal, 0, &put));
  EXPECT_TUTTI(tuttiAgentWaitCounter(target_, 9, 3, 20));
  EXPECT_EQ(memory_, data);
  EXPECT_TUTTI(tuttiTransferWait(put, 20));
  EXPECT_TUTTI(tuttiTransferTest(put));
  EXPECT_TUTTI(tuttiGetv(peer_, &hence, 1, 0, &get));
  EXPECT_TUTTI(tuttiTransferWait(get, -1));
  EXPECT_EQ(back, data);
  EXPECT_TUTTI(tuttiTransferRelease(put));
  EXPECT_TUTTI(tuttiTransferRelease(get));
  uint64_t value = 0;
  EXPECT_TUTTI(tuttiAgentGetCounter(target_, 9, &value));
  EXPECT_EQ(value, 3U);
  EXPECT_EQ(tuttiAgentWaitCounter(target_, 9, 4, 0.01), tuttiInProgress);
}

TEST_F(TransferApi, PeerInfo_SaysWhatTheBlobSaid) {
  tuttiAgentPeerInfo_t info = TUTTI_AGENT_PEER_INFO_INITIALIZER;
  EXPECT_TUTTI(tuttiAgentPeerGetInfo(peer_, &info));
  EXPECT_STREQ(info.name, "target");
  EXPECT_EQ(info.sameHost, 1);
  EXPECT_EQ(info.numRegions, 1U);
  EXPECT_NE(std::string(info.how).find("shm"), std::string::npos) << info.how;
  uint32_t region = 0;
  size_t bytes = 0;
  EXPECT_TUTTI(tuttiAgentPeerGetRegion(peer_, 0, &region, &bytes));
  EXPECT_EQ(region, region_);
  EXPECT_EQ(bytes, memory_.size());
  expect_error(tuttiAgentPeerGetRegion(peer_, 1, &region, &bytes), tuttiInvalidArgument,
               {"i is 1", "1 regions"});
  tuttiResult_t error = tuttiInternalError;
  EXPECT_TUTTI(tuttiAgentPeerGetError(peer_, &error));
  EXPECT_EQ(error, tuttiSuccess);
  info.size = 0;
  expect_error(tuttiAgentPeerGetInfo(peer_, &info), tuttiInvalidArgument,
               {"TUTTI_AGENT_PEER_INFO_INITIALIZER"});
}

TEST_F(TransferApi, WrongArguments_RefusedByName) {
  char byte = 0;
  tuttiTransfer_t transfer = nullptr;
  const auto invalid = [](tuttiResult_t result, const std::string& fragment) {
    expect_error(result, tuttiInvalidArgument, {fragment});
  };
  tuttiTransferDesc_t desc{&byte, region_, memory_.size(), 1};
  invalid(tuttiPutv(peer_, &desc, 1, nullptr, 0, &transfer), "of agent 'target'");
  invalid(tuttiGetv(peer_, &desc, 1, 0, &transfer), "descriptor 0");
  desc.offset = 0;
  invalid(tuttiPutv(peer_, &desc, 1, nullptr, 1, &transfer), "flags is 1");
  invalid(tuttiPutv(peer_, nullptr, 1, nullptr, 0, &transfer), "descs");
  invalid(tuttiPutv(peer_, &desc, SIZE_MAX, nullptr, 0, &transfer), "nDescs");
  invalid(tuttiPutv(peer_, &desc, 1, nullptr, 0, nullptr), "transfer");
  invalid(tuttiPutv(nullptr, &desc, 1, nullptr, 0, &transfer), "peer is NULL");
  for (const int counter : {-1, TUTTI_AGENT_COUNTERS}) {
    const tuttiTransferSignal_t signal{.counter = counter, .value = 1};
    invalid(tuttiPutv(peer_, &desc, 1, &signal, 0, &transfer), "counter is");
    invalid(tuttiAgentWaitCounter(target_, counter, 1, 0), "counter is");
    uint64_t value = 0;
    invalid(tuttiAgentGetCounter(target_, counter, &value), "counter is");
  }
  EXPECT_EQ(transfer, nullptr);
  uint32_t region = 0;
  invalid(tuttiAgentRegister(target_, nullptr, 1, &region), "base");
  invalid(tuttiAgentRegister(target_, &byte, 0, &region), "bytes is 0");
  invalid(tuttiAgentRegister(target_, &byte, SIZE_MAX, &region), "end of memory");
  invalid(tuttiAgentRegister(target_, &byte, 1, nullptr), "region");
  invalid(tuttiAgentDeregister(target_, 77), "no region 77");
  size_t bytes = 0;
  invalid(tuttiAgentExport(target_, &byte, 1, &bytes), "TUTTI_AGENT_BLOB_BYTES");
  EXPECT_GT(bytes, 1U);
  tuttiAgentPeer_t peer = nullptr;
  invalid(tuttiAgentImport(agent_, &byte, 1, &peer), "the blob is not");
  invalid(tuttiAgentImport(agent_, nullptr, 1, &peer), "blob");
  EXPECT_EQ(peer, nullptr);
  invalid(tuttiAgentWaitCounter(target_, 0, 1, std::nan("")), "not a number");
}

TEST(TransferApiAgents, WrongConfiguration_Refused) {
  tuttiAgent_t agent = nullptr;
  tuttiAgentConfig_t config = TUTTI_AGENT_CONFIG_INITIALIZER;
  const std::string long_name(64, 'x');
  config.name = long_name.c_str();
  expect_error(tuttiAgentCreate(&agent, &config), tuttiInvalidArgument, {"64 bytes"});
  config.name = "a\tb";
  expect_error(tuttiAgentCreate(&agent, &config), tuttiInvalidArgument, {"control"});
  config.name = "ok";
  config.transport = "inproc";
  expect_error(tuttiAgentCreate(&agent, &config), tuttiInvalidUsage, {"inproc", "shm, tcp"});
  config.transport = "tcp";
  config.socketIfname = "=no such interface";
  expect_error(tuttiAgentCreate(&agent, &config), tuttiSystemError, {"interface"});
  config.size = 1;
  expect_error(tuttiAgentCreate(&agent, &config), tuttiInvalidArgument, {"config.size"});
  expect_error(tuttiAgentCreate(nullptr, nullptr), tuttiInvalidArgument, {"agent"});
  EXPECT_EQ(agent, nullptr);
}

TEST_F(TransferApi, DeadHandles_Refused) {
  tuttiTransfer_t transfer = nullptr;
  EXPECT_TUTTI(tuttiPutv(peer_, nullptr, 0, nullptr, 0, &transfer));
  EXPECT_TUTTI(tuttiTransferRelease(transfer));
  expect_error(tuttiTransferRelease(transfer), tuttiInvalidArgument, {"not a live transfer"});
  expect_error(tuttiTransferTest(transfer), tuttiInvalidArgument, {"not a live transfer"});
  EXPECT_TUTTI(tuttiAgentPeerRelease(peer_));
  expect_error(tuttiAgentPeerRelease(peer_), tuttiInvalidArgument, {"not a live peer"});
}

TEST_F(TransferApi, PeerReleasedFirst_ItsTransfersEnd) {
  std::vector<char> data(memory_.size());
  const tuttiTransferDesc_t desc = whole(data.data());
  tuttiTransfer_t transfer = nullptr;
  EXPECT_TUTTI(tuttiPutv(peer_, &desc, 1, nullptr, 0, &transfer));
  EXPECT_TUTTI(tuttiAgentPeerRelease(peer_));
  EXPECT_NE(tuttiTransferTest(transfer), tuttiInProgress);
  EXPECT_TUTTI(tuttiTransferRelease(transfer));
}

size_t open_descriptors() {
  const auto all = std::filesystem::directory_iterator("/proc/self/fd");
  return static_cast<size_t>(std::distance(begin(all), std::filesystem::directory_iterator()));
}

TEST(TransferApiAgents, DestroyedWithAllTheirHandles_NothingIsLeft) {
  std::vector<char> memory(1 << 20), data(1 << 20);
  size_t before = 0;
  for (int round = 0; round < 12; ++round) {
    if (round == 2) before = open_descriptors();  // what the process makes once is there
    tuttiAgent_t target = nullptr, agent = nullptr;
    EXPECT_TUTTI(tuttiAgentCreate(&target, nullptr));
    EXPECT_TUTTI(tuttiAgentCreate(&agent, nullptr));
    uint32_t region = 0;
    EXPECT_TUTTI(tuttiAgentRegister(target, memory.data(), memory.size(), &region));
    const std::vector<char> blob = blob_of(target);
    tuttiAgentPeer_t peer = nullptr;
    EXPECT_TUTTI(tuttiAgentImport(agent, blob.data(), blob.size(), &peer));
    const tuttiTransferDesc_t desc{data.data(), region, 0, data.size()};
    tuttiTransfer_t transfers[3];
    for (tuttiTransfer_t& transfer : transfers)
      EXPECT_TUTTI(tuttiPutv(peer, &desc, 1, nullptr, 0, &transfer));
    EXPECT_TUTTI(tuttiAgentDestroy(round % 2 == 0 ? agent : target));
    if (round % 2 == 0) {
      expect_error(tuttiTransferTest(transfers[0]), tuttiInvalidArgument, {"not a live transfer"});
    }
    EXPECT_TUTTI(tuttiAgentDestroy(round % 2 == 0 ? target : agent));
    expect_error(tuttiAgentDestroy(agent), tuttiInvalidArgument, {"not a live agent"});
  }
  EXPECT_LE(open_descriptors(), before);
}

// A communicator's window is a region like any other.
TEST(TransferApiAgents, WindowMemory_TakesPutsOfAgents) {
  World world(2);
  void* parts[2] = {nullptr, nullptr};
  tuttiWindow_t windows[2] = {nullptr, nullptr};
  for (void*& part : parts) EXPECT_TUTTI(tuttiMemAlloc(&part, 1 << 16));
  world.each([&](int rank, tuttiComm_t comm) {
    EXPECT_TUTTI(tuttiCommWindowRegister(comm, parts[rank], 1 << 16, &windows[rank], 0));
  });
  tuttiAgent_t target = nullptr, agent = nullptr;
  EXPECT_TUTTI(tuttiAgentCreate(&target, nullptr));
  EXPECT_TUTTI(tuttiAgentCreate(&agent, nullptr));
  uint32_t region = 0;
  EXPECT_TUTTI(tuttiAgentRegister(target, parts[1], 1 << 16, &region));
  const std::vector<char> blob = blob_of(target);
  tuttiAgentPeer_t peer = nullptr;
  EXPECT_TUTTI(tuttiAgentImport(agent, blob.data(), blob.size(), &peer));
  std::vector<char> data(1 << 15, 4);
  const tuttiTransferDesc_t desc{data.data(), region, 100, data.size()};
  tuttiTransfer_t transfer = nullptr;
  EXPECT_TUTTI(tuttiPutv(peer, &desc, 1, nullptr, 0, &transfer));
  EXPECT_TUTTI(tuttiTransferWait(transfer, 20));
  EXPECT_EQ(std::memcmp(static_cast<char*>(parts[1]) + 100, data.data(), data.size()), 0);
  EXPECT_TUTTI(tuttiAgentDestroy(agent));
  EXPECT_TUTTI(tuttiAgentDestroy(target));
  // The window still takes puts of its communicator.
  world.each([&](int rank, tuttiComm_t comm) {
    std::vector<char> mine(64, 6);
    if (rank == 0) {
      EXPECT_TUTTI(tuttiPutSignal(mine.data(), mine.size(), tuttiInt8, 1, windows[0], 0, 0, 0, 0,
                                  comm, nullptr));
    } else {
      tuttiWaitSignalDesc_t wait{.opCnt = 1, .peer = 0, .sigIdx = 0, .ctx = 0};
      EXPECT_TUTTI(tuttiWaitSignal(1, &wait, comm, nullptr));
      EXPECT_EQ(std::memcmp(parts[1], mine.data(), mine.size()), 0);
    }
    EXPECT_TUTTI(tuttiCommWindowDeregister(comm, windows[rank]));
  });
  for (void* part : parts) EXPECT_TUTTI(tuttiMemFree(part));
}

}  // namespace
}  // namespace tutti::testing
