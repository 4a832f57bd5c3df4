// SPDX-License-Identifier: Apache-2.0
// Ranks on simulated GPUs, their memory, and connections between them.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <vector>

#include <gtest/gtest.h>
#include <sys/wait.h>

#include "src/device/cuda/driver.h"
#include "src/device/cuda/gpu.h"
#include "tests/unit/transport_world.h"
#include "transport/cuda_p2p/cuda_p2p.h"

namespace tutti::transport::testing {

inline constexpr TransportRow kRow{"cuda_p2p", "",    create_cuda_p2p,
                                   false,      false, /*between_gpus=*/true};
inline constexpr FifoLayout kLayout{.n_lines = 16, .n_areas = 4, .area_bytes = 4096};
inline constexpr const char* kNvlink = "dgx-h100";

// Runs body() in a child: a driver that this process had opened would not work in others'.
inline void in_child(const char* topology, const std::function<void()>& body) {
  std::cout.flush();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::setenv("CUDASIM_TOPOLOGY", topology, 1);
    try {
      body();
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();
    }
    std::cout.flush();
    ::_exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0) << "the child says above what failed";
}

inline std::vector<uint32_t> download(const cuda::Gpu& gpu, uint64_t from, size_t count) {
  const cuda::Current current(gpu);
  std::vector<uint32_t> values(count);
  cuda::check(cuda::driver().cuMemcpyDtoH_v2(values.data(), from, count * sizeof(uint32_t)),
              "download");
  return values;
}
inline void upload(const cuda::Gpu& gpu, uint64_t to, uint32_t value) {
  const cuda::Current current(gpu);
  cuda::check(cuda::driver().cuMemcpyHtoD_v2(to, &value, sizeof value), "upload");
}

// Both ways between two ranks.
struct Both {
  std::unique_ptr<SendConnection> send;
  std::unique_ptr<RecvConnection> receive;
};
inline Both connect_with(Rank& self, int other, int channel) {
  Both both{.send = self.connect(other, kLayout, channel), .receive = nullptr};
  // The one must not wait for the other's end: each side moves both.
  self.wait("both directions", [&] {
    bool ready = false;
    const Status status = both.send->ready(&ready);
    if (!status.ok()) throw Error(status.code, status.reason);
    if (both.receive == nullptr)
      both.receive = self.transport->try_accept(self.id(other, self.rank, channel),
                                                self.peers[static_cast<size_t>(other)]);
    return ready && both.receive != nullptr;
  });
  return both;
}

inline Both connect_both(Rank& self, int channel = 0) {
  return connect_with(self, 1 - self.rank, channel);
}

}  // namespace tutti::transport::testing
