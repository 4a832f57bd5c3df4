// SPDX-License-Identifier: Apache-2.0
// What only shm has: strangers at its socket, killed peers, forked children, and memory that is
// taken back.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "src/base/socket.h"
#include "src/device/device.h"
#include "tests/unit/transport_world.h"
#include "transport/shm/shm.h"
#include "transport/shm/wire.h"

namespace tutti::transport::testing {
namespace {

constexpr uint32_t kSignature = 76;
constexpr FifoLayout kSmall{.n_lines = 8, .n_areas = 2, .area_bytes = 1024};
constexpr TransportRow kShm{"shm", "", create_shm};

shm::Address decode(const std::vector<std::byte>& bytes) {
  return *shm::parse<shm::Address>(bytes);
}

Socket dial(const shm::Address& address) {
  SocketAddress to;
  to.family = SocketAddress::Family::kUnixAbstract;
  std::memcpy(to.name, address.name, sizeof address.name);
  return Socket::connect(to, SocketKind::kSequencedPacket, Deadline::after_ns(kPatienceNs));
}

// Waits for the next packet; empty when the other side has closed the socket.
std::vector<std::byte> next_packet(Socket& socket) {
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  std::array<std::byte, 256> buffer{};
  while (!deadline.expired()) {
    if (const auto received = socket.try_receive_packet(buffer)) {
      return {buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(received->bytes)};
    }
    sleep_ns(100 * kNsPerUs);
  }
  throw Error(StatusCode::kInternalError, "no packet came");
}

shm::HelloPacket honest_hello(const shm::Address& address, const uint64_t& cookie) {
  return {.token = address.token,
          .process = this_process(),
          .cookie = {.address = reinterpret_cast<uintptr_t>(&cookie), .value = cookie}};
}

class ShmLink : public ::testing::Test {
 protected:
  void SetUp() override { self_.join(); }
  shm::Address address() const { return decode(self_.transport->address()); }
  shm::ConnectPacket connect_packet(int channel) const {
    return {.id = shm::to_wire(self_.id(0, 0, channel)),
            .layout = kSmall,
            .bell = place_of(self_.bell)};
  }
  void send(Socket& socket, std::span<const std::byte> packet, std::vector<int> descriptors = {}) {
    ASSERT_TRUE(socket.try_send_packet(packet, descriptors));
  }

  Exchange exchange_{1};
  Rank self_{kShm, 0, 1, exchange_};
};

TEST_F(ShmLink, Stranger_WithoutRightToken_ShutOut) {
  const uint64_t cookie = 5;
  shm::HelloPacket wrong = honest_hello(address(), cookie);
  wrong.token[0] ^= 1;
  Socket stranger = dial(address());
  send(stranger, shm::bytes_of(wrong));
  EXPECT_TRUE(next_packet(stranger).empty());

  Socket silent_about_itself = dial(address());
  send(silent_about_itself, shm::bytes_of(shm::UnmapPacket{}));
  EXPECT_TRUE(next_packet(silent_about_itself).empty());

  shm::HelloPacket liar = honest_hello(address(), cookie);
  liar.process.pid += 1;
  Socket other = dial(address());
  send(other, shm::bytes_of(liar));
  EXPECT_TRUE(next_packet(other).empty());
}

TEST_F(ShmLink, ManySilentStrangers_OldestShutOut_HonestPeerServed) {
  constexpr size_t kMany = 200;
  constexpr size_t kKept = 64;
  const uint64_t cookie = 5;
  std::vector<Socket> strangers;
  Socket honest;
  for (size_t i = 0; i < kMany; ++i) {
    strangers.push_back(dial(address()));
    if (i != kMany / 2) continue;
    honest = dial(address());
    send(honest, shm::bytes_of(honest_hello(address(), cookie)));
  }
  for (size_t i = 0; i + kKept < kMany; ++i)
    EXPECT_TRUE(next_packet(strangers[i]).empty()) << "stranger " << i << " is not shut out";
  shm::WantPacket want{.request = 9};
  send(honest, shm::bytes_of(want));
  const auto answer = shm::parse<shm::ExposedPacket>(next_packet(honest));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->request, 9U);
}

TEST_F(ShmLink, MalformedPackets_Dropped_LinkGoesOn) {
  const uint64_t cookie = 5;
  Socket socket = dial(address());
  send(socket, shm::bytes_of(honest_hello(address(), cookie)));
  std::array<std::byte, 3> runt{};
  send(socket, runt);
  std::array<std::byte, 400> giant{};
  std::array<std::byte, shm::kMaxPacketBytes> junk{};
  send(socket, junk);
  shm::UnmapPacket future{};
  future.header.version = 9;
  send(socket, shm::bytes_of(future));
  shm::UnmapPacket unknown{};
  unknown.header.type = static_cast<shm::PacketType>(99);
  send(socket, shm::bytes_of(unknown));
  send(socket, shm::bytes_of(shm::RegionPacket{.region = 1, .bytes = 4096}));  // no descriptor
  send(socket, shm::bytes_of(shm::AcceptedPacket{}));                          // the server's word
  send(socket, shm::bytes_of(shm::CancelPacket{.id = connect_packet(5).id}));  // of nothing

  const FileDescriptor memory = create_sealed_memfd("test", kSmall.total_bytes());
  send(socket, shm::bytes_of(connect_packet(1)), {memory.get(), self_.bell.fd()});
  const auto answer = shm::parse<shm::AcceptedPacket>(next_packet(socket));
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->header.type, shm::PacketType::kAccepted);
  EXPECT_EQ(answer->pull_errno, 0);
  EXPECT_EQ(answer->bell.page_id, self_.bell.page_id());

  send(socket, giant);  // longer than any packet: the peer speaks something else
  EXPECT_TRUE(next_packet(socket).empty());
}

TEST_F(ShmLink, Connect_BadMemory_Refused) {
  const uint64_t cookie = 5;
  Socket socket = dial(address());
  send(socket, shm::bytes_of(honest_hello(address(), cookie)));
  const FileDescriptor good = create_sealed_memfd("test", kSmall.total_bytes());
  const FileDescriptor small = create_sealed_memfd("test", 4096);
  const FileDescriptor unsealed{::memfd_create("test", MFD_CLOEXEC)};
  ASSERT_EQ(::ftruncate(unsealed.get(), static_cast<off_t>(kSmall.total_bytes())), 0);
  shm::ConnectPacket bad_layout = connect_packet(1);
  bad_layout.layout.n_lines = 7;
  shm::ConnectPacket bad_bell = connect_packet(2);
  bad_bell.bell.offset = bad_bell.bell.page_bytes;
  const struct {
    shm::ConnectPacket packet;
    int memory;
  } cases[] = {{bad_layout, good.get()},
               {bad_bell, good.get()},
               {connect_packet(3), small.get()},
               {connect_packet(4), unsealed.get()}};
  for (const auto& c : cases) {
    send(socket, shm::bytes_of(c.packet), {c.memory, self_.bell.fd()});
    const auto answer = shm::parse<shm::RefusedPacket>(next_packet(socket));
    ASSERT_TRUE(answer.has_value()) << c.packet.id.channel;
    EXPECT_EQ(answer->why, shm::Refusal::kMalformed);
    EXPECT_EQ(answer->id.channel, c.packet.id.channel);
  }
}

TEST_F(ShmLink, Connect_IdTwice_SecondRefused) {
  const uint64_t cookie = 5;
  Socket socket = dial(address());
  send(socket, shm::bytes_of(honest_hello(address(), cookie)));
  const FileDescriptor memory = create_sealed_memfd("test", kSmall.total_bytes());
  for (int i = 0; i < 2; ++i)
    send(socket, shm::bytes_of(connect_packet(1)), {memory.get(), self_.bell.fd()});
  EXPECT_TRUE(shm::parse<shm::AcceptedPacket>(next_packet(socket)).has_value());
  const auto refused = shm::parse<shm::RefusedPacket>(next_packet(socket));
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->why, shm::Refusal::kDuplicate);
}

TEST_F(ShmLink, Connect_ToSilentListener_ReadyFailsWhenItCloses) {
  Peer peer{.rank = 1, .process = this_process(), .address = {}};
  shm::Address address;
  std::strcpy(address.name, "tutti-test-silent");
  address.name[16] = static_cast<char>('a' + ::getpid() % 26);
  const auto bytes = shm::bytes_of(address);
  peer.address.assign(bytes.begin(), bytes.end());
  SocketAddress at;
  at.family = SocketAddress::Family::kUnixAbstract;
  std::memcpy(at.name, address.name, sizeof address.name);
  Listener listener = Listener::bind(at, SocketKind::kSequencedPacket);
  auto connection = self_.transport->connect(self_.id(0, 1), peer, kSmall);
  auto accepted = listener.accept(Deadline::after_ns(kPatienceNs));
  ASSERT_TRUE(accepted.has_value());
  bool ready = true;
  EXPECT_TRUE(connection->ready(&ready).ok());
  EXPECT_FALSE(ready);
  accepted.reset();
  self_.wait("the failure", [&] {
    const Status status = connection->ready(&ready);
    if (status.ok()) return false;
    EXPECT_EQ(status.code, StatusCode::kRemoteError);
    EXPECT_EQ(status.rank, 1);
    return true;
  });
}

TEST(ShmRegions, FreedWhileReferenced_MapFails_AndMemoryGoes) {
  run_ranks(kShm, Mode::kThreads, 2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto* memory = static_cast<std::byte*>(device::allocate_shared(8192));
      auto connection = self.connect(1, kSmall);
      self.wait_ready(*connection);
      MessageKind kind{};
      DirectReference reference{};
      ASSERT_TRUE(connection->reference(memory, 8192, false, &kind, &reference));
      connection->view.commit_direct(kSignature, kind, reference);
      self.exchange.barrier();
      device::free_shared(memory);
      EXPECT_FALSE(connection->reference(memory, 8192, false, &kind, &reference));
      self.exchange.barrier();
    } else {
      auto connection = self.accept(0);
      self.wait_message(*connection, kSignature);
      const std::byte* data = nullptr;
      const DirectReference reference = connection->view.line().direct;
      self.wait("the mapping", [&] { return connection->map(reference, &data).ok(); });
      DirectReference beyond = reference;
      beyond.offset = 8192;
      EXPECT_EQ(connection->map(beyond, &data).code, StatusCode::kRemoteError);
      self.exchange.barrier();
      self.wait("the revocation",
                [&] { return connection->map(reference, &data).code == StatusCode::kRemoteError; });
      self.exchange.barrier();
    }
  });
}

TEST(ShmRegions, PulledFromUnmappedMemory_RemoteErrorWithRank) {
  run_ranks(kShm, Mode::kThreads, 2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      void* memory =
          ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      auto connection = self.connect(1, kSmall);
      self.wait_ready(*connection);
      MessageKind kind{};
      DirectReference reference{};
      EXPECT_FALSE(connection->reference(memory, 8192, false, &kind, &reference));
      ASSERT_TRUE(connection->reference(memory, 8192, true, &kind, &reference));
      EXPECT_EQ(kind, MessageKind::kPulled);
      ::munmap(memory, 8192);
      connection->view.commit_direct(kSignature, kind, reference);
    } else {
      auto connection = self.accept(0);
      EXPECT_EQ(self.wait_message(*connection, kSignature), MessageKind::kPulled);
      std::vector<std::byte> into(8192);
      const Status status =
          connection->pull(connection->view.line().direct, 0, into.data(), into.size());
      EXPECT_EQ(status.code, StatusCode::kRemoteError) << status.reason;
      EXPECT_EQ(status.rank, 0);
      EXPECT_EQ(connection->pull(connection->view.line().direct, 1, into.data(), 8192).code,
                StatusCode::kInternalError);
    }
    self.exchange.barrier();
  });
}

TEST(ShmWindows, FreedByOwner_PutFailsInsteadOfCrashing) {
  run_ranks(kShm, Mode::kThreads, 2, [](Rank& self) {
    self.join();
    auto* memory = static_cast<std::byte*>(device::allocate_shared(8192));
    const auto tokens =
        self.exchange.all_gather(self.rank, self.transport->export_region(memory, 8192));
    const size_t other = 1 - static_cast<size_t>(self.rank);
    const Deadline deadline = Deadline::after_ns(kPatienceNs);
    auto region = self.transport->import_region(self.peers[other], tokens[other], deadline);
    self.exchange.barrier();
    device::free_shared(memory);
    const uint64_t word = 1;
    self.wait("the revocation", [&] { return !region->put(0, &word, sizeof word).ok(); });
    EXPECT_EQ(region->add_signal(0, 1).code, StatusCode::kInvalidUsage);
    self.exchange.barrier();
    EXPECT_THROW(self.transport->import_region(self.peers[other], tokens[other], deadline), Error);
    self.exchange.barrier();
  });
}

#if !defined(__SANITIZE_THREAD__)  // it does not follow forked processes with threads of their own

TEST(ShmProcesses, PeerKilled_FailureNamedWithinASecond) {
  const size_t descriptors = open_descriptors();
  const auto files = shared_memory_files();
  Exchange exchange(2);
  const pid_t victim = ::fork();
  ASSERT_GE(victim, 0);
  if (victim == 0) {
    Rank self(kShm, 1, 2, exchange);
    self.join();
    auto send = self.connect(0, kSmall);
    auto receive = self.accept(0);
    self.wait_ready(*send);
    exchange.barrier();
    for (;;) sleep_ns(kNsPerSecond);
  }
  {
    Rank self(kShm, 0, 2, exchange);
    self.join();
    ASSERT_TRUE(self.transport->reach(self.peers[1]).reachable);
    auto send = self.connect(1, kSmall);
    auto receive = self.accept(1);
    self.wait_ready(*send);
    exchange.barrier();
    std::vector<std::byte> heap(4096);
    EXPECT_TRUE(self.transport->peer_failure(1).ok());
    const int64_t killed_at = now_ns();
    ::kill(victim, SIGKILL);
    // Asleep: the death must ring the bell.
    IdleStrategy idle({.spin_rounds = 0, .yield_rounds = 0, .sleep_max_ns = kPatienceNs});
    while (self.transport->peer_failure(1).ok()) idle.idle(&self.bell.bell());
    EXPECT_LT(now_ns() - killed_at, kNsPerSecond);
    const Status failure = self.transport->peer_failure(1);
    EXPECT_EQ(failure.code, StatusCode::kRemoteError);
    EXPECT_EQ(failure.rank, 1);
    EXPECT_TRUE(self.transport->peer_failure(0).ok());
    EXPECT_FALSE(self.transport->reach(self.peers[1]).reachable);
    EXPECT_THROW(self.connect(1, kSmall, 5), Error);
    const DirectReference stale{
        .region = 0, .offset = reinterpret_cast<uintptr_t>(heap.data()), .bytes = 64};
    EXPECT_EQ(receive->pull(stale, 0, heap.data(), 64).code, StatusCode::kRemoteError);
  }
  EXPECT_EQ(::waitpid(victim, nullptr, 0), victim);
  EXPECT_EQ(open_descriptors(), descriptors);
  EXPECT_EQ(shared_memory_files(), files);
}

TEST(ShmProcesses, ForkedChild_DropsOrReplacesTransport_ParentUnharmed) {
  run_ranks(kShm, Mode::kThreads, 1, [](Rank& self) {
    self.join();
    auto send = self.connect(0, kSmall);
    auto parked = self.transport->connect({99, 0, 5, 0}, self.peers[0], kSmall);
    auto receive = self.accept(0);
    self.wait_ready(*send);
    const pid_t child = ::fork();
    if (child == 0) {
      send.reset();
      parked.reset();
      receive.reset();
      self.transport.reset();
      auto fresh = self.make_transport(8);
      const bool own = fresh->address() != self.peers[0].address;
      fresh.reset();
      ::_exit(own ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    send->view.commit(kSignature, MessageKind::kInline);
    EXPECT_EQ(self.wait_message(*receive, kSignature), MessageKind::kInline);
    auto again = self.connect(0, kSmall, 3);
    self.wait_ready(*again);
  });
}

#endif

}  // namespace
}  // namespace tutti::transport::testing
