// SPDX-License-Identifier: Apache-2.0
// Reads a few files of /proc and /sys, the same few on a machine of any size.
#include "src/base/machine.h"

#include <unistd.h>

#include <fstream>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "src/base/hash.h"

namespace tutti {
namespace {

constexpr const char* kUnknown = "unknown";

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  return std::getline(file, line) && !line.empty() ? line : kUnknown;
}

// Stops at the first core: the file is long on a large machine, and slow to make.
std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line) && !line.empty()) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return kUnknown;
}

std::string caches() {
  constexpr int kMost = 8;
  std::string text;
  for (int i = 0; i < kMost; ++i) {
    const std::string folder = fmt::format("/sys/devices/system/cpu/cpu0/cache/index{}/", i);
    const std::string size = first_line(folder + "size");
    if (size == kUnknown) break;
    text += fmt::format("{}L{} {} {}", i == 0 ? "" : ", ", first_line(folder + "level"),
                        first_line(folder + "type"), size);
  }
  return text.empty() ? kUnknown : text;
}

// The kernel puts what is in force into brackets.
std::string chosen(const std::string& path) {
  const std::string line = first_line(path);
  const size_t begin = line.find('[');
  const size_t end = line.find(']');
  return begin < end && end != std::string::npos ? line.substr(begin + 1, end - begin - 1) : line;
}

Machine look() {
  const std::string huge = "/sys/kernel/mm/transparent_hugepage/";
  return {.cpu = cpu_model(),
          .cores = first_line("/sys/devices/system/cpu/online"),
          .caches = caches(),
          .pages = fmt::format("page {}, huge private {}, huge shared {}", ::sysconf(_SC_PAGESIZE),
                               chosen(huge + "enabled"), chosen(huge + "shmem_enabled"))};
}

}  // namespace

const Machine& this_machine() {
  static const Machine machine = look();
  return machine;
}

std::string key_of(const Machine& machine) {
  Hasher hash;
  for (const std::string* part : {&machine.cpu, &machine.cores, &machine.caches, &machine.pages})
    hash.text(*part);
  return fmt::format("{:016x}", hash.finish());
}

}  // namespace tutti
