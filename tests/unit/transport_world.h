// SPDX-License-Identifier: Apache-2.0
// Ranks for transport tests: one body that runs as N threads or as N forked processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/base/wait.h"
#include "tests/unit/transport_pattern.h"
#include "transport/transport.h"

namespace tutti::transport::testing {

inline constexpr int64_t kPatienceNs = 20 * kNsPerSecond;
inline constexpr int kMaxRanks = 16;
inline constexpr size_t kSlotBytes = 1024;

enum class Mode { kThreads, kProcesses };

// Memory that all ranks share, processes included: a barrier and an all-gather.
class Exchange {
 public:
  explicit Exchange(int n_ranks);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  void barrier();  // throws when the others do not come
  std::vector<std::vector<std::byte>> all_gather(int rank, std::span<const std::byte> mine);

 private:
  struct Shared;
  int n_ranks_;
  Shared* shared_;
};

// What one rank has in a test.
class Rank {
 public:
  Rank(const TransportRow& row, int rank, int n_ranks, Exchange& exchange,
       size_t cap_bytes = SIZE_MAX);

  std::unique_ptr<Transport> make_transport(uint64_t comm_id);
  // Makes `transport` and learns of the peers.
  void join(uint64_t comm_id = 7);
  void learn_peers(const std::vector<std::byte>& address);

  ConnectionId id(int source, int sink, int channel = 0) const {
    return {comm_id_, source, sink, channel};
  }
  // Wait with the bell; throw when it takes too long.
  void wait(const char* what, const std::function<bool()>& done);
  std::unique_ptr<SendConnection> connect(int to, const FifoLayout& layout = {}, int channel = 0);
  void wait_ready(SendConnection& connection);
  std::unique_ptr<RecvConnection> accept(int from, int channel = 0);
  // Moves the connection on first, where it needs that.
  static Peeked peek(RecvConnection& connection, uint32_t signature, MessageKind* kind);
  MessageKind wait_message(RecvConnection& connection, uint32_t signature);

  const TransportRow& row;
  const int rank;
  const int n_ranks;
  int device = -1;  // for transports that are made from now on
  Exchange& exchange;
  MemoryBudget budget;
  SharedBell bell;
  std::unique_ptr<Transport> transport;
  std::vector<Peer> peers;

 private:
  uint64_t comm_id_ = 0;
  std::optional<LocalConfig> config_;  // in a guest of tests/vm: with its host's devices
};

// Runs body(rank) for each rank; failures of a child process become failures of the test.
void run_ranks(const TransportRow& row, Mode mode, int n_ranks,
               const std::function<void(Rank&)>& body);

// Open descriptors of this process, and names in /dev/shm.
size_t open_descriptors();
std::vector<std::string> shared_memory_files();

}  // namespace tutti::transport::testing
