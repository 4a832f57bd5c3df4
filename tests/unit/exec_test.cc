// SPDX-License-Identifier: Apache-2.0
// The executor over real connections of the inproc transport, with all ranks driven by one thread
// in random order.
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/shared_bell.h"
#include "src/exec/operation.h"
#include "src/exec/p2p.h"
#include "src/planner/planner.h"
#include "transport/transport.h"

namespace tutti::exec {
namespace {

using plan::Collective;

constexpr transport::FifoLayout kLayout{.n_lines = 8, .n_areas = 4, .area_bytes = 1024};

constexpr uint32_t kSignature = transport::to_signature(28);
constexpr uint32_t kOther = transport::to_signature(32);

// n ranks of one communicator, their transports and connections.
class World {
 public:
  explicit World(int n) {
    static uint64_t next_comm = 1;
    comm_ = next_comm++;
    const transport::TransportRow& inproc = row("inproc");
    for (int r = 0; r < n; ++r)
      bells_.push_back(std::make_unique<SharedBell>(SharedBell::allocate()));
    for (int r = 0; r < n; ++r) {
      transports_.push_back(inproc.create(
          {.comm_id = comm_, .rank = r, .budget = &budget_, .bell = bells_[r].get()}));
    }
    for (int r = 0; r < n; ++r) peers_.push_back({r, this_process(), transports_[r]->address()});
  }

  int n() const { return static_cast<int>(transports_.size()); }

  transport::SendConnection* send(int from, int to, int channel) {
    open(from, to, channel);
    return send_[{from, to, channel}].get();
  }
  transport::RecvConnection* recv(int from, int to, int channel) {
    open(from, to, channel);
    return recv_[{from, to, channel}].get();
  }

  Connections connections(const Program& program) {
    Connections c;
    for (const Endpoint& e : program.send_peers)
      c.send.push_back(send(program.rank, e.peer, e.channel));
    for (const Endpoint& e : program.recv_peers)
      c.recv.push_back(recv(e.peer, program.rank, e.channel));
    return c;
  }

 private:
  static const transport::TransportRow& row(std::string_view name) {
    for (const transport::TransportRow& r : transport::transport_table()) {
      if (name == r.name) return r;
    }
    throw Error(StatusCode::kInternalError, "no such transport");
  }

  void open(int from, int to, int channel) {
    auto& sender = send_[{from, to, channel}];
    if (sender != nullptr) return;
    const transport::ConnectionId id{comm_, from, to, channel};
    sender = transports_[from]->connect(id, peers_[to], kLayout);
    auto& receiver = recv_[{from, to, channel}];
    receiver = transports_[to]->try_accept(id, peers_[from]);
    bool ready = false;
    ASSERT_TRUE(receiver != nullptr && sender->ready(&ready).ok() && ready);
  }

  uint64_t comm_;
  MemoryBudget budget_;
  std::vector<std::unique_ptr<SharedBell>> bells_;
  std::vector<std::unique_ptr<transport::Transport>> transports_;
  std::vector<transport::Peer> peers_;
  std::map<std::tuple<int, int, int>, std::unique_ptr<transport::SendConnection>> send_;
  std::map<std::tuple<int, int, int>, std::unique_ptr<transport::RecvConnection>> recv_;
};

// Progresses all tasks in random order until all have ended; returns the first failure.
Status drive(const std::vector<Task*>& tasks, uint64_t seed, int max_rounds = 2'000'000) {
  std::mt19937_64 random(seed);
  std::vector<Task*> open = tasks;
  while (!open.empty() && max_rounds-- > 0) {
    const size_t i = random() % open.size();
    bool advanced = false;
    const Status status = open[i]->progress(&advanced);
    if (status.in_progress()) continue;
    if (!status.ok()) return status;
    open.erase(open.begin() + static_cast<ptrdiff_t>(i));
  }
  return open.empty() ? kOkStatus : kInProgressStatus;
}

// One rank of an int32 collective.
struct RankCall {
  Program program;
  Connections connections;
  std::vector<int32_t> input, output;
  std::vector<std::byte> scratch, bounce;
  SentKinds sent;
  Operation operation;
};

Program program_of(Collective collective, const char* algorithm, int n, int rank) {
  const planner::AlgorithmRow* row = planner::find_algorithm(collective, algorithm);
  EXPECT_NE(row, nullptr);
  return compile(planner::verified_plan(*row, {collective, n, 0, 1}), rank);
}

void start(RankCall& call, size_t block_count, const MessagePolicy& policy, uint32_t signature,
           const size_t* block_counts = nullptr) {
  Launch launch;
  launch.program = &call.program;
  launch.connections = &call.connections;
  launch.binding.input = reinterpret_cast<const std::byte*>(call.input.data());
  launch.binding.output = reinterpret_cast<std::byte*>(call.output.data());
  launch.binding.dtype = DType::kInt32;
  launch.binding.block_count = block_count;
  launch.binding.block_counts = block_counts;
  launch.tiling =
      make_tiling(call.program.shape, launch.binding, kLayout.area_bytes, block_counts == nullptr);
  launch.policy = policy;
  launch.signature = signature;
  call.scratch.resize(scratch_bytes(call.program, launch.tiling, DType::kInt32));
  call.bounce.resize(bounce_bytes(call.program));
  launch.scratch = call.scratch.data();
  launch.bounce = call.bounce;
  launch.sent = &call.sent;
  call.operation.start(launch);
}

int32_t value(int rank, size_t i) { return rank * 1000 + static_cast<int32_t>(i % 251); }

void check_all_reduce(World& world, const char* algorithm, size_t count,
                      const MessagePolicy& policy, uint64_t seed) {
  std::vector<std::unique_ptr<RankCall>> calls;
  std::vector<Task*> tasks;
  for (int r = 0; r < world.n(); ++r) {
    calls.push_back(std::make_unique<RankCall>());
    RankCall& call = *calls.back();
    call.program = program_of(Collective::kAllReduce, algorithm, world.n(), r);
    call.connections = world.connections(call.program);
    for (size_t i = 0; i < count; ++i) call.input.push_back(value(r, i));
    call.output.assign(count, -1);
    start(call, count, policy, kSignature);
    tasks.push_back(&call.operation);
  }
  ASSERT_TRUE(drive(tasks, seed).ok()) << algorithm << " count " << count;
  for (int r = 0; r < world.n(); ++r) {
    for (size_t i = 0; i < count; ++i) {
      int32_t sum = 0;
      for (int s = 0; s < world.n(); ++s) sum += value(s, i);
      ASSERT_EQ(calls[r]->output[i], sum)
          << algorithm << " rank " << r << " element " << i << " of " << count;
    }
  }
}

TEST(Operation_EveryAllReduce, RandomOrderAndSizes_GivesTheSum) {
  const MessagePolicy staged{.allow_inline = false};
  const MessagePolicy direct{.allow_inline = false, .direct_min_bytes = 1};
  for (const int n : {1, 2, 3, 5, 8}) {
    World world(n);
    for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
      if (row.collective != Collective::kAllReduce || !row.supports({row.collective, n, 0, 1}))
        continue;
      uint64_t seed = 1;
      for (const size_t count : {0, 1, 14, 15, 255, 256, 257, 2000, 9000}) {
        for (const MessagePolicy& policy : {MessagePolicy{}, staged, direct}) {
          check_all_reduce(world, row.name, count, policy, seed++);
        }
      }
    }
  }
}

TEST(Operation_Direct, ReferenceSafePlan_MovesByReference) {
  World world(2);
  RankCall calls[2];
  std::vector<Task*> tasks;
  for (int r = 0; r < 2; ++r) {
    calls[r].program = program_of(Collective::kAllGather, "one_shot", 2, r);
    calls[r].connections = world.connections(calls[r].program);
    calls[r].input.assign(1000, r + 1);
    calls[r].output.assign(2000, 0);
    start(calls[r], 1000, {.allow_inline = false, .direct_min_bytes = 1}, kSignature);
    tasks.push_back(&calls[r].operation);
  }
  ASSERT_TRUE(drive(tasks, 1).ok());
  const auto mapped = static_cast<size_t>(transport::MessageKind::kMapped);
  PeerTraffic& sent = calls[0].connections.send[0]->traffic();
  PeerTraffic& received = calls[0].connections.recv[0]->traffic();
  EXPECT_EQ(sent.protocols[mapped].sent_bytes, 4000u);
  EXPECT_EQ(received.protocols[mapped].received_bytes, 4000u);
  EXPECT_EQ(received.protocols[mapped].received_messages, sent.protocols[mapped].sent_messages);
  EXPECT_EQ(sent.fallbacks, 0u);
  EXPECT_EQ(calls[0].output[1999], 2);
  EXPECT_EQ(calls[1].output[0], 1);
}

TEST(Operation_Mismatch, SignatureOrCountDiffers_NamesTheRank) {
  for (const bool other_count : {false, true}) {
    World world(2);
    RankCall calls[2];
    std::vector<Task*> tasks;
    for (int r = 0; r < 2; ++r) {
      calls[r].program = program_of(Collective::kAllReduce, "one_shot", 2, r);
      calls[r].connections = world.connections(calls[r].program);
      calls[r].input.assign(8, 1);
      calls[r].output.assign(8, 0);
      start(calls[r], r == 1 && other_count ? 4 : 8, {},
            r == 1 && !other_count ? kOther : kSignature);
      tasks.push_back(&calls[r].operation);
    }
    const Status status = drive(tasks, 1);
    EXPECT_EQ(status.code, StatusCode::kInvalidUsage);
    EXPECT_GE(status.rank, 0);
    EXPECT_NE(std::string(status.reason).find("differs"), std::string::npos);
  }
}

TEST(Operation_PeerAbsent_StaysInProgress, AndSaysWhomItWaitsFor) {
  World world(3);
  RankCall call;
  call.program = program_of(Collective::kAllReduce, "one_shot", 3, 0);
  call.connections = world.connections(call.program);
  call.input.assign(4, 1);
  call.output.assign(4, 0);
  start(call, 4, {}, kSignature);
  EXPECT_TRUE(drive({&call.operation}, 1, 100).in_progress());
  EXPECT_EQ(call.operation.waiting_for(), 1);
  EXPECT_TRUE(call.operation.needs(1));
  EXPECT_FALSE(call.operation.needs(0));
}

// The lane of a rank that has nothing more to send waits for the other lanes, not for that rank,
// which may have left.
TEST(Operation_UnevenGather, RankWithTheShortestBlock_IsNotNeededFurther) {
  World world(4);
  constexpr size_t kCounts[] = {0, 1, 0, 5000};
  RankCall root;
  root.program = program_of(Collective::kGather, "direct", 4, 0);
  root.connections = world.connections(root.program);
  root.output.assign(5000, 0);  // all blocks at its start: only one of them is received
  start(root, 0, {}, kSignature, kCounts);
  RankCall leaf;
  leaf.program = program_of(Collective::kGather, "direct", 4, 1);
  leaf.connections = world.connections(leaf.program);
  leaf.input.assign(1, 42);
  start(leaf, 0, {}, kSignature, kCounts);
  EXPECT_TRUE(drive({&leaf.operation}, 1).ok());
  EXPECT_TRUE(drive({&root.operation}, 1, 100).in_progress());
  EXPECT_FALSE(root.operation.needs(1));
  EXPECT_FALSE(root.operation.needs(2));
  EXPECT_TRUE(root.operation.needs(3));
  EXPECT_EQ(root.operation.waiting_for(), 3);
  EXPECT_EQ(root.output[0], 42);
}

TEST(Tiling_Table, ChunksFitSlotsAndCoverTheBlock) {
  const Program ring = program_of(Collective::kAllReduce, "ring", 4, 0);
  const auto chunks = static_cast<size_t>(ring.shape.chunks_per_block);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{63}, size_t{1024}, size_t{100'000}}) {
    for (const bool agreed : {false, true}) {
      Binding binding;
      binding.dtype = DType::kFloat32;
      binding.block_count = count;
      const Tiling tiling = make_tiling(ring.shape, binding, 4096, agreed);
      EXPECT_LE(tiling.chunk_elems * 4, 4096u);
      EXPECT_EQ(tiling.chunk_elems * 4 % 64, 0u);
      EXPECT_EQ(tiling.tile_elems, tiling.chunk_elems * chunks);
      EXPECT_GE(tiling.tile_elems * tiling.n_tiles, count);
      if (!agreed) {
        EXPECT_EQ(tiling.chunk_elems, 1024u);
      }
    }
  }
}

TEST(BlockIndex_AllToAll, SendsByDestinationReceivesBySource) {
  const plan::Shape shape{Collective::kAllToAll, 3, 0, 1};
  EXPECT_EQ(block_index(shape, 1, 1 * 3 + 2), 2);  // to rank 2
  EXPECT_EQ(block_index(shape, 1, 2 * 3 + 1), 5);  // from rank 2
  EXPECT_EQ(block_index(shape, 1, 1 * 3 + 1), 1);  // own
  EXPECT_EQ(block_index({Collective::kAllGather, 3, 0, 1}, 1, 2), 2);
}

constexpr int kP2pChannel = 1;

// Rank 0 sends to rank 1.
P2pLaunch sending(World& world, std::span<const P2pTransfer> transfers, SentKinds& kinds) {
  return {.peer = 1,
          .send = world.send(0, 1, kP2pChannel),
          .transfers = transfers,
          .max_chunk_bytes = kLayout.area_bytes,
          .sent = &kinds};
}
P2pLaunch receiving(World& world, std::span<const P2pTransfer> transfers, SentKinds& kinds) {
  return {.peer = 0,
          .recv = world.recv(0, 1, kP2pChannel),
          .transfers = transfers,
          .max_chunk_bytes = kLayout.area_bytes,
          .sent = &kinds};
}

TEST(P2p_TwoSendsInOneGroup, ReceivedByTwoGroups_Match) {
  World world(2);
  std::vector<std::byte> first(5000, std::byte{1}), second(3000, std::byte{2}), got_first(5000),
      got_second(3000);
  SentKinds kinds;
  const std::vector<P2pTransfer> sent{{first.data(), 5000, kSignature},
                                      {second.data(), 3000, kOther}};
  const P2pTransfer received_first{got_first.data(), 5000, kSignature};
  const P2pTransfer received_second{got_second.data(), 3000, kOther};
  P2pOperation sender(sending(world, sent, kinds));
  P2pOperation receiver_a(receiving(world, {&received_first, 1}, kinds));
  P2pOperation receiver_b(receiving(world, {&received_second, 1}, kinds));
  EXPECT_EQ(sender.waiting_for(), 1);
  EXPECT_TRUE(receiver_a.needs(0));
  EXPECT_TRUE(
      drive({&sender, &receiver_a}, 1).ok());  // what is left of the second transfer fits the slots
  EXPECT_TRUE(drive({&receiver_b}, 2).ok());
  EXPECT_EQ(got_first, first);
  EXPECT_EQ(got_second, second);
  EXPECT_EQ(sender.ended(), 2u);
  EXPECT_EQ(sender.waiting_for(), -1);
  EXPECT_FALSE(receiver_a.needs(0));
}

TEST(P2p_ZeroBytes_Complete, AndOtherSignatureFails) {
  World world(2);
  std::vector<std::byte> from(100, std::byte{9}), to(100);
  SentKinds kinds;
  const std::vector<P2pTransfer> sent{{nullptr, 0, kSignature}, {from.data(), 100, kOther}};
  const std::vector<P2pTransfer> received{{nullptr, 0, kSignature},
                                          {to.data(), 100, transport::to_signature(36)}};
  P2pOperation sender(sending(world, sent, kinds));
  P2pOperation receiver(receiving(world, received, kinds));
  const Status status = drive({&sender, &receiver}, 3);
  EXPECT_EQ(status.code, StatusCode::kInvalidUsage);
  EXPECT_EQ(status.rank, 0);
  EXPECT_EQ(receiver.ended(), 1u);
}

}  // namespace
}  // namespace tutti::exec
