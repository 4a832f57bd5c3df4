// SPDX-License-Identifier: Apache-2.0
// What a sender's view says of messages that somebody else has committed into its memory.
#include <memory>

#include <gtest/gtest.h>

#include "transport/fifo.h"

namespace tutti::transport {
namespace {

constexpr FifoLayout kLayout{.n_lines = 4, .n_areas = 2, .area_bytes = 64};
constexpr uint32_t kSignature = 0x1230;

struct alignas(4096) Memory {
  std::byte bytes[kLayout.total_bytes()] = {};
};

class Followed : public ::testing::Test {
 protected:
  Followed() {
    committer.attach(memory->bytes, kLayout, nullptr);
    follower.attach(memory->bytes, kLayout, nullptr);
    receiver.attach(memory->bytes, kLayout, nullptr);
  }
  void commit(int n) {
    for (int i = 0; i < n; ++i) committer.commit(kSignature, MessageKind::kInline);
  }

  std::unique_ptr<Memory> memory = std::make_unique<Memory>();
  SendView committer;
  SendView follower;
  RecvView receiver;
};

TEST_F(Followed, NoMessage_CountsNone) {
  follower.follow();
  EXPECT_EQ(follower.committed, 0u);
  EXPECT_TRUE(follower.drained());
}

TEST_F(Followed, MessagesOfManyTurns_CountsAll) {
  uint64_t sent = 0;
  for (const int n : {1, 3, 4, 5, 9, 64}) {
    commit(n);
    sent += static_cast<uint64_t>(n);
    follower.follow();
    EXPECT_EQ(follower.committed, sent) << "after " << n << " more";
    follower.follow();
    EXPECT_EQ(follower.committed, sent) << "nothing has come since";
  }
}

TEST_F(Followed, Drained_WhenTheReceiverHasReleasedAll) {
  commit(2);
  follower.follow();
  receiver.release();
  EXPECT_FALSE(follower.drained());
  receiver.release();
  EXPECT_TRUE(follower.drained());
}

TEST_F(Followed, SequenceOf32BitsWraps_CountsOn) {
  committer.committed = follower.committed = (uint64_t{1} << 32) - 3;
  commit(7);
  follower.follow();
  EXPECT_EQ(follower.committed, (uint64_t{1} << 32) + 4);
}

TEST(Unattached, FollowsNothing) {
  SendView view;
  view.follow();
  EXPECT_EQ(view.committed, 0u);
}

}  // namespace
}  // namespace tutti::transport
