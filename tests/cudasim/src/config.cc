// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/config.h"

#include <cstdlib>
#include <ctime>

namespace cudasim {
namespace {

std::string text(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): read once
  return value != nullptr ? value : "";
}

int64_t number(const char* name, int64_t otherwise) {
  const std::string value = text(name);
  return value.empty() ? otherwise : std::strtoll(value.c_str(), nullptr, 0);
}

std::vector<std::string> split(const std::string& list, char separator) {
  std::vector<std::string> parts;
  for (size_t from = 0; from < list.size();) {
    const size_t to = std::min(list.find(separator, from), list.size());
    if (to > from) parts.push_back(list.substr(from, to - from));
    from = to + 1;
  }
  return parts;
}

Config read() {
  Config config;
  config.topology = text("CUDASIM_TOPOLOGY");
  config.machine = text("CUDASIM_MACHINE");
  config.kernels = split(text("CUDASIM_KERNELS"), ':');
  config.seed = static_cast<uint64_t>(number("CUDASIM_SEED", 1));
  config.strict = number("CUDASIM_STRICT", 1) != 0;
  config.weak = number("CUDASIM_WEAK", 0) != 0;
  config.hang_ms = number("CUDASIM_HANG_MS", config.hang_ms);
  config.fail = text("CUDASIM_FAIL");
  config.report = text("CUDASIM_REPORT");
  config.log = number("CUDASIM_LOG", 0) != 0;
  const int64_t kilobytes = number("CUDASIM_STACK_KB", 64);
  config.stack_bytes = static_cast<uint64_t>(kilobytes < 16 ? 16 : kilobytes) << 10;
  return config;
}

}  // namespace

const Config& config() {
  static const Config* const kConfig = new Config(read());  // outlives the engine's thread
  return *kConfig;
}

int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace cudasim
