// Parts of the rdma transport that need verbs' headers; those that need a device are skipped
// without.
#include <deque>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/device/device.h"
#include "transport/rdma/memory.h"
#include "transport/rdma/queue_pair.h"

namespace tutti::transport::rdma {
namespace {

using testing::HasSubstr;

TEST(RdmaSendRing, Pieces_DontOverlapAndComeBackInOrder) {
  constexpr size_t kBytes = 4096;
  SendRing ring(kBytes);
  struct Piece {
    size_t offset, bytes;
    uint32_t taken;
  };
  std::deque<Piece> held;
  std::mt19937 random(3);
  int refused = 0, wrapped = 0;
  for (int i = 0; i < 100000; ++i) {
    const size_t bytes = 64 * (1 + random() % 20);
    Piece piece{.bytes = bytes};
    if (ring.take(bytes, &piece.offset, &piece.taken)) {
      ASSERT_LE(piece.offset + bytes, kBytes);
      for (const Piece& other : held)
        ASSERT_TRUE(piece.offset + bytes <= other.offset ||
                    other.offset + other.bytes <= piece.offset);
      wrapped += piece.taken > bytes ? 1 : 0;
      held.push_back(piece);
    } else {
      ++refused;
      ASSERT_FALSE(held.empty()) << "an empty ring refuses";
    }
    if (!held.empty() && random() % 2 == 0) {
      ring.give_back(held.front().taken);
      held.pop_front();
    }
  }
  for (const Piece& piece : held) ring.give_back(piece.taken);
  EXPECT_EQ(ring.used(), 0u);
  EXPECT_GT(refused, 100);
  EXPECT_GT(wrapped, 100);
}

TEST(RdmaKey, OtherCarriersKeys_AreNotRead) {
  WireKey wire;
  EXPECT_FALSE(read_key(network::MemoryKey{}, &wire));
  network::MemoryKey other;
  for (std::byte& one : other.bytes) one = std::byte{7};
  EXPECT_FALSE(read_key(other, &wire));
}

class RdmaDevice : public testing::Test {
 protected:
  void SetUp() override {
    try {
      rails = open_rails(config_from_environment().local.rdma);
    } catch (const Error& e) {
      if (foreign_variable("TUTTI_VM_DEVICES_0")) FAIL() << e.what();
      GTEST_SKIP() << e.what();
    }
  }
  std::unique_ptr<Rails> rails;
};

TEST_F(RdmaDevice, DmaBuf_IsUnsupportedByName) {
  const FileDescriptor no_dmabuf = create_sealed_memfd("tutti-test", 4096);
  try {
    const auto mr = register_dmabuf(*rails->devices[0], no_dmabuf.get(), 0, 4096, 0);
    ADD_FAILURE() << "registered something that is no dma-buf";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), StatusCode::kSystemError);
    EXPECT_THAT(e.what(), HasSubstr("goes through host memory"));
  }
}

TEST_F(RdmaDevice, Cache_KeepsFewAndForgetsFreedRegions) {
  Memory memory(*rails);
  std::vector<void*> regions;
  for (int i = 0; i < 100; ++i) {
    regions.push_back(device::allocate_shared(4096));
    const auto* const at = static_cast<const std::byte*>(regions.back());
    Registration* const first = memory.find(0, at, 4096);
    ASSERT_NE(first, nullptr);
    Registration* const again = memory.find(0, at + 100, 200);
    EXPECT_EQ(again, first);
    memory.release(first);
    memory.release(again);
  }
  EXPECT_EQ(memory.cached(), 64u);
  // In use while it is freed: stays until it is released.
  Registration* const held = memory.find(0, static_cast<const std::byte*>(regions.back()), 4096);
  ASSERT_NE(held, nullptr);
  for (void* const region : regions) device::free_shared(region);
  const std::byte elsewhere[64] = {};
  EXPECT_EQ(memory.find(0, elsewhere, sizeof elsewhere), nullptr);
  EXPECT_EQ(memory.cached(), 1u);
  memory.release(held);
  EXPECT_EQ(memory.cached(), 0u);
}

TEST_F(RdmaDevice, UnknownDevices_AreToldWithWhatThereIs) {
  RdmaConfig config;
  config.devices = "nothing_like_this";
  try {
    open_rails(config);
    ADD_FAILURE() << "found a device of no name";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr(rails->devices[0]->name()));
    EXPECT_THAT(e.what(), HasSubstr("TUTTI_RDMA_DEVICES does not want it"));
  }
}

}  // namespace
}  // namespace tutti::transport::rdma
