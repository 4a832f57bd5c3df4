// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/report.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <map>
#include <mutex>
#include <sstream>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/config.h"

namespace cudasim {
namespace {

struct Reports {
  std::mutex mutex;
  std::string all;
  std::string handed_out;
};
Reports& reports() {
  static Reports* const kReports = new Reports();
  return *kReports;
}

std::string run(const std::string& command) {
  std::FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return "";
  std::string out;
  std::array<char, 512> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) out += buffer.data();
  pclose(pipe);
  return out;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// addr2line -i prints a function's name and a place for each level of inlining, innermost first.
std::string source_place(const std::string& file, uint64_t offset) {
  std::istringstream lines(
      run(fmt::format("addr2line -i -f -C -e '{}' 0x{:x} 2>/dev/null", file, offset)));
  std::string function;
  std::string at;
  while (std::getline(lines, function) && std::getline(lines, at)) {
    if (at.starts_with("??") || at.find("_host.h:") != std::string::npos) continue;
    at = base_name(at.substr(0, at.find(" (discriminator")));
    return fmt::format("{} ({})", at, function.substr(0, function.find('(')));
  }
  return "";
}

}  // namespace

void report(const std::string& text) {
  const std::string full = fmt::format("cudasim[{}]: {}\n", getpid(), text);
  const std::lock_guard lock(reports().mutex);
  reports().all += full;
  std::fputs(full.c_str(), stderr);
  if (config().report.empty()) return;
  const int fd = open(config().report.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  const ssize_t written = write(fd, full.data(), full.size());
  static_cast<void>(written);
  close(fd);
}

std::string place_name(const void* return_address) {
  static std::map<const void*, std::string>* const kKnown =
      new std::map<const void*, std::string>();
  const auto known = kKnown->find(return_address);
  if (known != kKnown->end()) return known->second;
  Dl_info info{};
  std::string name = fmt::format("{}", return_address);
  if (dladdr(return_address, &info) != 0 && info.dli_fname != nullptr) {
    const uint64_t offset =
        static_cast<const char*>(return_address) - static_cast<const char*>(info.dli_fbase);
    name = source_place(info.dli_fname, offset - 1);  // of the call, not of what follows
    if (name.empty()) name = fmt::format("{}+0x{:x}", base_name(info.dli_fname), offset);
  }
  return (*kKnown)[return_address] = name;
}

}  // namespace cudasim

extern "C" const char* cudasim_reports() {
  auto& reports = cudasim::reports();
  const std::lock_guard lock(reports.mutex);
  reports.handed_out = reports.all;
  return reports.handed_out.c_str();
}
extern "C" void cudasim_forget_reports() {
  auto& reports = cudasim::reports();
  const std::lock_guard lock(reports.mutex);
  reports.all.clear();
}
