// SPDX-License-Identifier: Apache-2.0
// Ranks as threads or processes of a program that knows only NCCL's interface.
#pragma once

#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

// The toolkit's nccl.h where the build has found it, else our declarations.
#include "src/api/nccl/newer.h"

namespace tutti::nccl_test {

inline std::string last_error(ncclComm_t comm = nullptr) { return ncclGetLastError(comm); }

#define NCCL_OK(call) EXPECT_EQ(call, ncclSuccess) << last_error()
#define NCCL_MUST(call) ASSERT_EQ(call, ncclSuccess) << last_error()

// A communicator for as long as the scope lasts.
class Comm {
 public:
  Comm() = default;
  Comm(const Comm&) = delete;
  Comm& operator=(const Comm&) = delete;
  ~Comm() { EXPECT_EQ(ncclCommDestroy(comm_), ncclSuccess) << last_error(); }
  operator ncclComm_t() const { return comm_; }  // NOLINT(google-explicit-constructor)
  ncclComm_t* put() { return &comm_; }
  // For those that end it themselves.
  ncclComm_t release() { return std::exchange(comm_, nullptr); }

 private:
  ncclComm_t comm_ = nullptr;
};

// Runs body(rank, comm) with a communicator of n ranks, each a thread.
inline void on_threads(int n, const std::function<void(int, ncclComm_t)>& body) {
  ncclUniqueId id;
  NCCL_MUST(ncclGetUniqueId(&id));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < n; ++rank) {
    threads.emplace_back([&, rank] {
      Comm comm;
      NCCL_MUST(ncclCommInitRank(comm.put(), n, id, rank));
      body(rank, comm);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// The same, each a process, which must end without a failure. The first makes the id. `before` runs
// in each before it joins.
inline void on_processes(
    int n, const std::function<void(int, ncclComm_t)>& body,
    const std::function<void(int)>& before = [](int) {}) {
  struct Shared {
    std::atomic<int> made;  // release by rank 0 once `id` is whole, acquire by the others
    ncclUniqueId id;
  };
  void* const memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* const shared = new (memory) Shared{};
  std::vector<pid_t> children;
  for (int rank = 0; rank < n; ++rank) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    {
      if (rank == 0) {
        EXPECT_EQ(ncclGetUniqueId(&shared->id), ncclSuccess) << last_error();
        shared->made.store(1, std::memory_order_release);
      }
      while (shared->made.load(std::memory_order_acquire) == 0) std::this_thread::yield();
      before(rank);
      Comm comm;
      EXPECT_EQ(ncclCommInitRank(comm.put(), n, shared->id, rank), ncclSuccess) << last_error();
      if (!::testing::Test::HasFailure()) body(rank, comm);
    }
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  for (size_t rank = 0; rank < children.size(); ++rank) {
    int status = 0;
    EXPECT_EQ(waitpid(children[rank], &status, 0), children[rank]);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "rank " << rank;
  }
  munmap(memory, sizeof(Shared));
}

}  // namespace tutti::nccl_test
