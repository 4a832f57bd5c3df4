// SPDX-License-Identifier: Apache-2.0
// The simulated machine: GPUs and their links, out of a topology.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/graph.h"

namespace cudasim {

enum class NvlinkEnd : uint8_t { kGpu, kSwitch, kCpu };
struct Nvlink {
  NvlinkEnd end = NvlinkEnd::kGpu;
  int gpu = -1;  // where the end is one
  std::string address;
  bool active = true;
};

struct Gpu {
  int index = 0;
  int32_t node = 0;  // in the graph
  std::string name;
  std::string uuid;     // 36 characters, without "GPU-"
  std::string address;  // "0000:1b:00.0"
  int capability = 90;
  uint64_t memory_bytes = 0;
  int multiprocessors = 0;
  int numa = 0;
  int pcie_generation = 5;
  int pcie_lanes = 16;
  std::vector<Nvlink> nvlinks;
  int c2c_links = 0;
  int64_t c2c_mbit_s = 0;  // of each
};

class Machine {
 public:
  // Throws tutti::Error when the topology can't be read or `machine` is not in it.
  Machine(const std::string& topology, const std::string& machine);

  const std::vector<Gpu>& gpus() const { return gpus_; }
  const tutti::topology::Graph& graph() const { return graph_; }
  int number() const { return number_; }  // of this machine among those of the topology
  bool multicasts() const { return multicasts_; }
  // By NVLink, directly or through switches, or by PCIe without crossing sockets.
  bool can_access(int from, int to) const { return peers_[from] >> to & 1; }
  bool by_nvlink(int from, int to) const { return nvlink_peers_[from] >> to & 1; }

 private:
  void choose_machine(const std::string& machine);
  void add_gpus();
  void add_links(Gpu& gpu);
  void find_peers();
  int gpu_of(int32_t node) const;

  tutti::topology::Graph graph_;
  int32_t root_ = 0;
  int number_ = 0;
  bool multicasts_ = false;
  std::vector<Gpu> gpus_;
  std::vector<uint64_t> peers_;  // bits of GPUs
  std::vector<uint64_t> nvlink_peers_;
};

// That of this process. Made when it is first asked for; throws as the constructor does.
const Machine& machine();

}  // namespace cudasim
