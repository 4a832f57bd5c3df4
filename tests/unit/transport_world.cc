// SPDX-License-Identifier: Apache-2.0
// Threads, forks, and the memory between them.
#include "tests/unit/transport_world.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <thread>

#include <sys/mman.h>
#include <sys/wait.h>

namespace tutti::transport::testing {

struct Exchange::Shared {
  std::atomic<uint32_t> arrived;  // acq_rel: each arrival publishes what its rank wrote before
  std::atomic<uint32_t> phase;    // release by the last to arrive pairs with acquire by the others
  uint32_t bytes[kMaxRanks];
  std::byte slots[kMaxRanks][kSlotBytes];
};

Exchange::Exchange(int n_ranks) : n_ranks_(n_ranks) {
  void* memory =
      ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(StatusCode::kSystemError, "no memory for the test's exchange");
  shared_ = new (memory) Shared{};
}
Exchange::~Exchange() { ::munmap(shared_, sizeof(Shared)); }

void Exchange::barrier() {
  const uint32_t phase = shared_->phase.load(std::memory_order_acquire);
  if (shared_->arrived.fetch_add(1, std::memory_order_acq_rel) + 1 ==
      static_cast<uint32_t>(n_ranks_)) {
    shared_->arrived.store(0, std::memory_order_relaxed);
    shared_->phase.store(phase + 1, std::memory_order_release);
    return;
  }
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  while (shared_->phase.load(std::memory_order_acquire) == phase) {
    if (deadline.expired())
      throw Error(StatusCode::kInternalError, "the other ranks did not come to the barrier");
    sleep_ns(50 * kNsPerUs);
  }
}

std::vector<std::vector<std::byte>> Exchange::all_gather(int rank,
                                                         std::span<const std::byte> mine) {
  if (mine.size() > kSlotBytes) throw Error(StatusCode::kInternalError, "too much to exchange");
  if (!mine.empty()) std::memcpy(shared_->slots[rank], mine.data(), mine.size());
  shared_->bytes[rank] = static_cast<uint32_t>(mine.size());
  barrier();
  std::vector<std::vector<std::byte>> all;
  for (int i = 0; i < n_ranks_; ++i)
    all.emplace_back(shared_->slots[i], shared_->slots[i] + shared_->bytes[i]);
  barrier();
  return all;
}

Rank::Rank(const TransportRow& row_, int rank_, int n_ranks_, Exchange& exchange_, size_t cap_bytes)
    : row(row_),
      rank(rank_),
      n_ranks(n_ranks_),
      exchange(exchange_),
      budget(cap_bytes),
      bell(SharedBell::allocate()) {
  // Ranks take turns on the two hosts of a guest, so that what they send crosses a wire.
  const char* const devices = rank % 2 == 0 ? "TUTTI_VM_DEVICES_0" : "TUTTI_VM_DEVICES_1";
  if (const auto own = foreign_variable(devices)) {
    config_ = config_from_environment().local;
    config_->rdma.devices = *own;
    std::ranges::replace(config_->rdma.devices, ' ', ',');
  }
}

std::unique_ptr<Transport> Rank::make_transport(uint64_t comm_id) {
  auto made = row.create({.comm_id = comm_id,
                          .rank = rank,
                          .budget = &budget,
                          .bell = &bell,
                          .config = config_ ? &*config_ : nullptr,
                          .device = device});
  made->start();
  return made;
}

void Rank::join(uint64_t comm_id) {
  comm_id_ = comm_id;
  transport = make_transport(comm_id);
  learn_peers(transport->address());
}

void Rank::learn_peers(const std::vector<std::byte>& address) {
  std::vector<std::byte> mine(sizeof(ProcessIdentity));
  std::memcpy(mine.data(), &this_process(), sizeof(ProcessIdentity));
  mine.insert(mine.end(), address.begin(), address.end());
  peers.clear();
  for (const auto& theirs : exchange.all_gather(rank, mine)) {
    Peer peer{.rank = static_cast<int>(peers.size()), .process = {}, .address = {}};
    std::memcpy(&peer.process, theirs.data(), sizeof peer.process);
    peer.address.assign(theirs.begin() + sizeof peer.process, theirs.end());
    peers.push_back(std::move(peer));
  }
}

void Rank::wait(const char* what, const std::function<bool()>& done) {
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  IdleStrategy idle(IdlePolicy::for_load(n_ranks, 2));
  while (!done()) {
    if (idle.idle(&bell.bell()) && deadline.expired()) {
      throw Error(StatusCode::kInternalError,
                  "rank " + std::to_string(rank) + " waited too long for " + what);
    }
  }
}

std::unique_ptr<SendConnection> Rank::connect(int to, const FifoLayout& layout, int channel) {
  return transport->connect(id(rank, to, channel), peers[static_cast<size_t>(to)], layout);
}

void Rank::wait_ready(SendConnection& connection) {
  wait("a connection to become ready", [&] {
    bool ready = false;
    const Status status = connection.ready(&ready);
    if (!status.ok()) throw Error(status.code, status.reason);
    return ready;
  });
}

std::unique_ptr<RecvConnection> Rank::accept(int from, int channel) {
  std::unique_ptr<RecvConnection> connection;
  wait("a connection to accept", [&] {
    connection = transport->try_accept(id(from, rank, channel), peers[static_cast<size_t>(from)]);
    return connection != nullptr;
  });
  return connection;
}

Peeked Rank::peek(RecvConnection& connection, uint32_t signature, MessageKind* kind) {
  if (connection.needs_progress) {
    const Status status = connection.progress();
    if (!status.ok()) throw Error(status.code, status.reason);
  }
  return connection.view.peek(signature, kind);
}

MessageKind Rank::wait_message(RecvConnection& connection, uint32_t signature) {
  MessageKind kind = MessageKind::kInline;
  Peeked peeked = Peeked::kNothing;
  wait("a message",
       [&] { return (peeked = peek(connection, signature, &kind)) != Peeked::kNothing; });
  if (peeked == Peeked::kMismatch)
    throw Error(StatusCode::kInternalError, "a message with another signature");
  return kind;
}

namespace {

// Runs one rank; false when the test has failed in it.
bool run_one(const TransportRow& row, int rank, int n_ranks, Exchange& exchange,
             const std::function<void(Rank&)>& body) {
  try {
    Rank self(row, rank, n_ranks, exchange);
    body(self);
  } catch (const std::exception& error) {
    ADD_FAILURE() << "rank " << rank << ": " << error.what();
  }
  return !::testing::Test::HasFailure();
}

void run_threads(const TransportRow& row, int n_ranks, Exchange& exchange,
                 const std::function<void(Rank&)>& body) {
  std::vector<std::thread> threads;
  threads.reserve(static_cast<size_t>(n_ranks));
  for (int rank = 0; rank < n_ranks; ++rank) {
    threads.emplace_back([&, rank] { run_one(row, rank, n_ranks, exchange, body); });
  }
  for (std::thread& thread : threads) thread.join();
}

void run_processes(const TransportRow& row, int n_ranks, Exchange& exchange,
                   const std::function<void(Rank&)>& body) {
  std::cout.flush();
  std::vector<pid_t> children;
  for (int rank = 0; rank < n_ranks; ++rank) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const bool passed = run_one(row, rank, n_ranks, exchange, body);
      std::cout.flush();
      ::_exit(passed ? 0 : 1);
    }
    children.push_back(child);
  }
  for (size_t rank = 0; rank < children.size(); ++rank) {
    int status = 0;
    ASSERT_EQ(::waitpid(children[rank], &status, 0), children[rank]);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0)
        << "rank " << rank << " failed, status " << status;
  }
}

}  // namespace

void run_ranks(const TransportRow& row, Mode mode, int n_ranks,
               const std::function<void(Rank&)>& body) {
  Exchange exchange(n_ranks);
  if (mode == Mode::kThreads) {
    run_threads(row, n_ranks, exchange, body);
  } else {
    run_processes(row, n_ranks, exchange, body);
  }
}

namespace {
std::vector<std::string> names_in(const char* folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}
}  // namespace

size_t open_descriptors() { return names_in("/proc/self/fd").size(); }
std::vector<std::string> shared_memory_files() { return names_in("/dev/shm"); }

}  // namespace tutti::transport::testing
