// SPDX-License-Identifier: Apache-2.0
// Ranks of one process that exchange messages over connections made by the test: device ranks by
// exec::DeviceExecutor, host ranks by exec::Operation in threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <tuple>
#include <vector>

#include "src/exec/cuda/executor.h"
#include "tests/cuda/gpu_memory.h"
#include "tests/cuda/host_run.h"

namespace tutti::test {

// Where the memory of connections between two devices lies.
struct FifoSetting {
  transport::FifoLayout layout{.n_lines = 8, .n_areas = 4, .area_bytes = 1024};
  bool in_gpu_memory = false;
  uint32_t ring_bytes = 0;  // of a slot of the inline FIFO; 0: there is none
};

// A connection: both its ends, and its memory, which is the host's unless it is between devices and
// the setting says so.
class TestFifo {
 public:
  TestFifo(const Gpus& gpus, const FifoSetting& setting, int from, int to);
  transport::SendConnection& send() noexcept { return send_; }
  transport::RecvConnection& recv() noexcept { return recv_; }

 private:
  struct Send final : transport::SendConnection {
    Status ready(bool* is_ready) noexcept override {
      *is_ready = true;
      return kOkStatus;
    }
  };
  struct Recv final : transport::RecvConnection {};
  static constexpr std::align_val_t kAlignment{4096};
  struct Release {
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory, kAlignment); }
  };
  std::unique_ptr<std::byte, Release> memory_;
  Send send_;
  Recv recv_;
};

class TestFifos {
 public:
  TestFifos(const Gpus& gpus, const FifoSetting& setting) : gpus_(gpus), setting_(setting) {}
  TestFifo& find(int from, int to, int channel = 0);
  exec::Connections connections(const exec::Program& program);
  const FifoSetting& setting() const noexcept { return setting_; }

 private:
  const Gpus& gpus_;
  const FifoSetting setting_;
  std::map<std::tuple<int, int, int>, std::unique_ptr<TestFifo>> fifos_;
};

// A rank whose plan its device runs. Whatever it calls of the executor it calls while no device is
// the thread's, as a thread of the library would.
class DeviceRank {
 public:
  DeviceRank(TestFifos& fifos, int rank, int n_ranks);
  ~DeviceRank();
  exec::DeviceExecutor& executor() noexcept { return *executor_; }
  // Ends the program that it had.
  void prepare(const std::shared_ptr<const planner::VerifiedPlan>& plan);
  // Buffers are the device's.
  bool launch(const exec::DeviceLaunch& launch);

 private:
  TestFifos& fifos_;
  const int rank_;
  exec::Program program_;
  std::unique_ptr<exec::DeviceExecutor> executor_;
  std::unique_ptr<exec::DeviceProgram> prepared_;
};

// Runs a host rank's part of a call to its end; the process ends when it fails.
void run_host_rank(TestFifos& fifos, const exec::Program& program, const exec::Binding& binding,
                   const exec::Tiling& tiling, uint32_t signature);
// The same for sends to, or receives from, one peer.
void run_host_transfers(TestFifos& fifos, int rank, int peer, bool sends,
                        std::vector<exec::P2pTransfer> transfers);

}  // namespace tutti::test
