// SPDX-License-Identifier: Apache-2.0
// What is built, what is set, and what a communicator takes.
#include "perf/doctor/rank_report.h"

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "include/tutti/tutti.h"
#include "src/base/error.h"
#include "src/bootstrap/bootstrap.h"
#include "src/comm/profile_file.h"
#include "src/comm/selection.h"
#include "src/kernels/cuda/images.h"
#include "src/planner/planner.h"

namespace tutti::command {
namespace {

constexpr const char* kOneLibrary =
    "all ranks must use the same build of the library; install it alike on every host";

const char* sanitizers() {
#if defined(__SANITIZE_ADDRESS__)
  return ", address sanitizer";
#elif defined(__SANITIZE_THREAD__)
  return ", thread sanitizer";
#else
  return "";
#endif
}

std::string build_text() {
#if defined(__clang__)
  std::string text = "clang " __clang_version__;
#else
  std::string text = "g++ " __VERSION__;
#endif
#if defined(NDEBUG)
  return text + ", optimised" + sanitizers();
#else
  return text + ", with assertions" + sanitizers();
#endif
}

std::string shown_value(const SetVariable& variable) {
  if (variable.name == "TUTTI_KEY") return "(a secret, not shown)";
  return variable.value.empty() ? "(empty: counts as not set)" : variable.value;
}

// Ranks get these from `tutti run`, each its own.
bool tells_ranks_apart(const std::string& name) {
  return name == "TUTTI_RANK" || name == "TUTTI_LOCAL_RANK";
}

// What communicators would find: named here, a wrong file can be told from none.
Finding profile_finding(const std::string& setting) {
  const bool own = setting == comm::kOwnProfile;
  const std::string path = own ? comm::own_profile_path() : setting;
  if (own && !std::filesystem::exists(path))
    return {"profile", "none: defaults; `tutti tune` measures this machine"};
  try {
    const auto found = comm::find_profile(path);
    if (!found.has_value()) return {"profile", "turned off: defaults"};
    return {"profile",
            fmt::format("{}, {} algorithms measured", path, found->profile.curves.size())};
  } catch (const Error& error) {
    return {"profile", path, error.what()};
  }
}

Finding launcher_finding() {
  try {
    const auto launch = bootstrap::detect_launch();
    if (!launch.has_value()) return {"launcher", "none: a job of one process"};
    return {"launcher", fmt::format("{}: {} ranks, {} on this host", launch->launcher, launch->size,
                                    launch->local_size)};
  } catch (const Error& error) {
    return {"launcher", error.what(),
            "start the processes by one launcher, or unset these variables"};
  }
}

}  // namespace

Config config_or_default() {
  try {
    return config_from_environment();
  } catch (const Error&) {
    Config config;
    config.local.trace_entries = 1024;
    return config;
  }
}

Section library_section() {
  return {
      "library",
      {{"version", fmt::format("{}.{}.{}", TUTTI_MAJOR, TUTTI_MINOR, TUTTI_PATCH), "", kOneLibrary},
       {"built by", build_text(), "", kOneLibrary},
       {"device code", gpu::images_text(), "", kOneLibrary},
       {"algorithms", std::to_string(planner::algorithm_table().size()), "", kOneLibrary}}};
}

Section environment_section() {
  Section section{"environment",
                  {launcher_finding(), profile_finding(config_or_default().local.profile)}};
  for (const SetVariable& variable : set_variables()) {
    if (tells_ranks_apart(variable.name)) continue;
    Finding finding{variable.name, shown_value(variable)};
    if (!variable.problem.empty()) finding.remedy = variable.problem;
    section.findings.push_back(std::move(finding));
  }
  for (const UnknownVariable& unknown : unknown_variables()) {
    section.findings.push_back({unknown.name, "no variable of this library",
                                unknown.nearest.empty()
                                    ? "unset it; docs/config.md lists those that there are"
                                    : "is " + unknown.nearest + " meant? Rename it, or unset it"});
  }
  return section;
}

Section memory_section(int n_ranks) {
  const Config config = config_or_default();
  Section section{fmt::format("memory of a communicator of {} ranks, on each", n_ranks), {}};
  const size_t fixed = comm::fixed_bytes(n_ranks, config.local.trace_entries);
  section.findings.push_back({"made with it", bytes_text(fixed)});
  try {
    const size_t connection = comm::resolve(config.agreed).layout.total_bytes();
    const auto peers = static_cast<size_t>(n_ranks - 1);
    section.findings.push_back({"per connection", bytes_text(connection)});
    section.findings.push_back(
        {"when it runs rings", bytes_text(fixed + std::min<size_t>(peers, 1) * connection)});
    const size_t most = fixed + peers * connection;
    section.findings.push_back({"when all talk to all", bytes_text(most)});
    const uint64_t cap = config.local.memory_cap_bytes;
    Finding limit{"cap", cap == 0 ? "none" : bytes_text(cap)};
    if (cap != 0 && cap < fixed) {
      limit.remedy = fmt::format(
          "no communicator of {} ranks fits; raise TUTTI_MEMORY_CAP to {} or more", n_ranks, fixed);
    } else if (cap != 0 && cap < most) {
      limit.value += ": algorithms in which all talk to all do not fit, those that need less do";
    }
    section.findings.push_back(std::move(limit));
  } catch (const Error& error) {
    section.findings.push_back({"connections", "can't be told", error.what()});
  }
  return section;
}

RankHealth examine(int n_ranks) {
  return {{library_section(), machine_section(), transports_section(), limits_section(n_ranks),
           environment_section(), memory_section(n_ranks)}};
}

Section communicator_section(comm::Communicator& comm) {
  Section section{"communicator", {}};
  const comm::Transports& transports = comm.local().transports;
  std::map<std::string, std::vector<int>> peers;
  for (int peer = 0; peer < comm.n_ranks(); ++peer) {
    if (peer == comm.rank()) continue;
    peers[std::string(transports.name(transports.index_of(peer)))].push_back(peer);
  }
  for (const auto& [name, ranks] : peers)
    section.findings.push_back({"by " + name, fmt::format("{} peers", ranks.size())});
  for (const auto& skipped : transports.skipped())
    section.findings.push_back({"not by " + skipped.name, skipped.reason});
  for (int peer = 0; peer < comm.n_ranks(); ++peer) {
    if (peer == comm.rank()) continue;
    section.findings.push_back({"direct messages", transports.to(peer).direct_capability()});
    break;
  }
  section.findings.push_back(
      {"AllReduce",
       fmt::format("works, by {} and {}", comm.stats().algorithm(), comm.stats().protocol())});
  section.findings.push_back({"memory", bytes_text(comm.local().budget.used_bytes())});
  return section;
}

Section failed_section(const std::string& what) {
  return {"communicator",
          {{"AllReduce", what, "the ranks can't work together; see the transports above"}}};
}

}  // namespace tutti::command
