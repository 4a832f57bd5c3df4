// SPDX-License-Identifier: Apache-2.0
// What the environment asks of the simulator. README.md lists the variables.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cudasim {

struct Config {
  std::string topology;              // CUDASIM_TOPOLOGY
  std::string machine;               // CUDASIM_MACHINE: index or id, where there are several
  std::vector<std::string> kernels;  // CUDASIM_KERNELS
  uint64_t seed = 0;                 // CUDASIM_SEED
  bool strict = true;                // CUDASIM_STRICT
  bool weak = false;                 // CUDASIM_WEAK
  int64_t hang_ms = 30'000;          // CUDASIM_HANG_MS; 0: never
  std::string fail;                  // CUDASIM_FAIL
  std::string report;                // CUDASIM_REPORT: a file that reports are added to
  bool log = false;                  // CUDASIM_LOG: says why calls fail
  uint64_t stack_bytes = 64 << 10;   // CUDASIM_STACK_KB, of a GPU thread
};

// Read once, when it is first asked for.
const Config& config();

int64_t now_ns();
// Of 64 bits, well mixed; a fixed sequence for a seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t limit) { return next() % limit; }

 private:
  uint64_t state_;
};

}  // namespace cudasim
