// SPDX-License-Identifier: Apache-2.0
// The machine, and the limits that the system sets to this process.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include <spdlog/fmt/fmt.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include "perf/doctor/rank_report.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/liveness.h"
#include "src/comm/peers.h"
#include "topology/detectors/machine.h"
#include "topology/graph.h"

namespace tutti::command {
namespace {

namespace fs = std::filesystem;

// Of a process: a socket each way and a pidfd per peer process, and what is open anyway.
constexpr uint64_t kFilesPerPeer = 4;
constexpr uint64_t kFilesBeside = 64;
// Two connections per peer, its board, its bells, and what is mapped anyway.
constexpr uint64_t kMapsPerPeer = 4;
constexpr uint64_t kMapsBeside = 1024;

std::optional<std::string> first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<uint64_t> number_in(const fs::path& path) {
  const auto line = first_line(path);
  uint64_t value = 0;
  if (!line.has_value() ||
      std::from_chars(line->data(), line->data() + line->size(), value).ec != std::errc{})
    return std::nullopt;
  return value;
}

// Of this process's control group, version 2 or 1; nullopt when there is no limit to be seen.
std::optional<uint64_t> memory_limit() {
  constexpr uint64_t kNoLimit = uint64_t{1} << 60;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t path = line.find('/');
    if (path == std::string::npos) continue;
    const bool v1 = line.find(":memory:") != std::string::npos;
    if (!v1 && !line.starts_with("0::")) continue;
    const fs::path root = v1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    const char* file = v1 ? "memory.limit_in_bytes" : "memory.max";
    // Inside a container the group's own path may not be there; its files then lie at the root.
    for (const fs::path& folder : {root / line.substr(path + 1), root}) {
      const auto limit = number_in(folder / file);
      if (limit.has_value() && *limit < kNoLimit) return limit;
    }
  }
  return std::nullopt;
}

Finding open_files(int n_ranks) {
  const uint64_t limit = open_file_limit();
  const uint64_t need = kFilesPerPeer * static_cast<uint64_t>(n_ranks) + kFilesBeside;
  Finding finding{"open files", std::to_string(limit)};
  if (limit < need)
    finding.remedy =
        fmt::format("{} ranks on one host need up to {}; ulimit -n {}", n_ranks, need, need);
  return finding;
}

Finding mappings(int n_ranks) {
  const auto limit = number_in("/proc/sys/vm/max_map_count");
  if (!limit.has_value()) return {"mappings", "can't be read"};
  const uint64_t need = kMapsPerPeer * static_cast<uint64_t>(n_ranks) + kMapsBeside;
  Finding finding{"mappings", std::to_string(*limit)};
  if (*limit < need)
    finding.remedy =
        fmt::format("{} ranks need up to {}; sysctl vm.max_map_count={}", n_ranks, need, need);
  return finding;
}

std::string locked_memory() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return "can't be read";
  return limit.rlim_cur == RLIM_INFINITY ? "unlimited" : bytes_text(limit.rlim_cur);
}

std::string ptrace_scope() {
  const auto scope = number_in("/proc/sys/kernel/yama/ptrace_scope");
  if (!scope.has_value()) return "not restricted by yama";
  return fmt::format("{}{}", *scope,
                     *scope == 0 ? ": processes of one user may read each other"
                                 : ": messages are staged where a peer may not be read");
}

std::string shm_size() {
  struct statvfs status {};
  if (::statvfs("/dev/shm", &status) != 0) return "not there, and not needed";
  return bytes_text(status.f_blocks * status.f_frsize) + ", not needed: memory is shared by memfd";
}

// What the kernel says of this process's seccomp filter.
std::string seccomp() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("Seccomp:")) continue;
    return line.back() == '0' ? "none" : "a filter is in force";
  }
  return "can't be read";
}

std::string count_text(const topology::Graph& graph) {
  using topology::NodeKind;
  std::string text;
  for (const NodeKind kind :
       {NodeKind::kPackage, NodeKind::kNuma, NodeKind::kCore, NodeKind::kGpu, NodeKind::kNic}) {
    const size_t count = topology::nodes_of_kind(graph, kind).size();
    if (count != 0)
      text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, topology::to_text(kind));
  }
  return text;
}

}  // namespace

Section machine_section() {
  Section section{"machine", {{"host", host_name()}}};
  utsname system{};
  if (::uname(&system) == 0)
    section.findings.push_back(
        {"kernel", fmt::format("{} {} {}", system.sysname, system.release, system.machine)});
  section.findings.push_back({"cores of this process", std::to_string(count(usable_cores()))});
  try {
    const topology::Report report = topology::detect_machine();
    section.findings.push_back({"parts", count_text(report.graph)});
    for (const topology::Note& note : report.notes)
      section.findings.push_back({note.source + " skipped", note.text});
  } catch (const Error& error) {
    section.findings.push_back({"parts", error.what(), "`tutti topo` must work; is /sys mounted?"});
  }
  return section;
}

Section limits_section(int n_ranks) {
  const auto memory = memory_limit();
  return {"limits",
          {open_files(n_ranks),
           mappings(n_ranks),
           {"locked memory", locked_memory()},
           {"memory of the group", memory.has_value() ? bytes_text(*memory) : "no limit"},
           {"ptrace scope", ptrace_scope()},
           {"seccomp", seccomp()},
           {"/dev/shm", shm_size()}}};
}

}  // namespace tutti::command
