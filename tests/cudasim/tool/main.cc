// SPDX-License-Identifier: Apache-2.0
// The command `cudasim`: what the simulated machine of CUDASIM_TOPOLOGY is, and its sysfs.
#include <cstdio>
#include <exception>
#include <string>

#include "tests/cudasim/tool/sysfs.h"

namespace {

constexpr const char* kUsage =
    "usage: cudasim list         the GPUs of CUDASIM_TOPOLOGY (and CUDASIM_MACHINE)\n"
    "       cudasim sysfs DIR    writes their machine's sysfs and procfs below DIR\n";

void list() {
  for (const cudasim::Gpu& gpu : cudasim::machine().gpus())
    std::printf("%d %s %s sm%d %zu NVLinks\n", gpu.index, gpu.address.c_str(), gpu.name.c_str(),
                gpu.capability, gpu.nvlinks.size());
}

}  // namespace

int main(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "";
  try {
    if (command == "list" && argc == 2) {
      list();
    } else if (command == "sysfs" && argc == 3) {
      cudasim::write_sysfs(cudasim::machine(), argv[2]);
    } else {
      std::fputs(kUsage, stderr);
      return 2;
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cudasim: %s\n", error.what());
    return 1;
  }
  return 0;
}
