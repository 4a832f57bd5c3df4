// SPDX-License-Identifier: Apache-2.0
// Reads what a launcher told this process from the environment; one row per launcher.
#include <unistd.h>

#include <charconv>
#include <fstream>
#include <iterator>
#include <sstream>

#include <spdlog/fmt/fmt.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/bootstrap/bootstrap.h"
#include "src/bootstrap/key_value.h"

namespace tutti::bootstrap {
namespace {

constexpr int64_t kAskPmixNs = 60 * kNsPerSecond;
constexpr int64_t kFirstSpecialSlurmStep =
    0xfffffff0;  // batch, extern and interactive steps have such numbers

int64_t parse_number(const std::string& name, const std::string& text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc{} || parsed.ptr != end || value < 0) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("{}='{}': expected a whole number >= 0", name, text));
  }
  return value;
}

int parse_int(const std::string& name, const std::string& text) {
  const int64_t value = parse_number(name, text);
  if (value > INT32_MAX)
    throw Error(StatusCode::kInvalidArgument, fmt::format("{}={} is too large", name, value));
  return static_cast<int>(value);
}

std::optional<int> number(const char* name) {
  const auto text = foreign_variable(name);
  return text.has_value() ? std::optional(parse_int(name, *text)) : std::nullopt;
}

std::string text_or_empty(const char* name) { return foreign_variable(name).value_or(""); }

// All or none of a launcher's variables.
void require(const char* launcher, std::initializer_list<const char*> names) {
  std::string missing;
  std::string present;
  for (const char* name : names) {
    std::string& list = foreign_variable(name).has_value() ? present : missing;
    list += (list.empty() ? "" : ", ") + std::string(name);
  }
  if (missing.empty()) return;
  throw Error(
      StatusCode::kInvalidArgument,
      fmt::format("half-set variables of {}: {} is set, {} is missing; set all of them or none",
                  launcher, present, missing));
}

void check(const Launch& launch) {
  const bool good = launch.size >= 1 && launch.rank < launch.size && launch.local_size >= 1 &&
                    launch.local_rank < launch.local_size && launch.local_size <= launch.size;
  if (good) return;
  throw Error(
      StatusCode::kInvalidArgument,
      fmt::format("the variables of {} contradict each other: rank {} of {}, local rank {} of {}",
                  launch.launcher, launch.rank, launch.size, launch.local_rank, launch.local_size));
}

// The place on this host: both variables, or neither, which means that all ranks are on one host.
void set_local(Launch& launch, const char* rank_name, const char* size_name) {
  const auto rank = number(rank_name);
  const auto size = number(size_name);
  if (rank.has_value() != size.has_value())
    require(launch.launcher.c_str(), {rank_name, size_name});
  launch.local_rank = rank.value_or(launch.rank);
  launch.local_size = size.value_or(launch.size);
}

// An indexed Job of Kubernetes gives its pods the rank, its template the size.
bool is_pod_of_indexed_job() { return foreign_variable("JOB_COMPLETION_INDEX").has_value(); }

std::optional<Launch> detect_tutti() {
  const auto rank = number("TUTTI_RANK");
  const auto size = number("TUTTI_SIZE");
  if (!rank && (!size || is_pod_of_indexed_job())) return std::nullopt;
  require("tutti run", {"TUTTI_RANK", "TUTTI_SIZE"});
  Launch launch{
      .launcher = "tutti", .rank = *rank, .size = *size, .job = text_or_empty("TUTTI_JOB")};
  set_local(launch, "TUTTI_LOCAL_RANK", "TUTTI_LOCAL_SIZE");
  return launch;
}

bool is_loopback_name(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

// The run id alone is "none" for jobs started without a rendezvous back end; no two jobs share a
// master port at a time.
std::optional<Launch> detect_torchrun() {
  const auto rank = number("RANK");
  const auto size = number("WORLD_SIZE");
  if (!rank && (!size || is_pod_of_indexed_job())) return std::nullopt;
  require("torchrun", {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"});
  Launch launch{.launcher = "torchrun", .rank = *rank, .size = *size};
  launch.job = fmt::format("{}/{}/{}/{}", text_or_empty("TORCHELASTIC_RUN_ID"),
                           text_or_empty("TORCHELASTIC_RESTART_COUNT"),
                           text_or_empty("MASTER_ADDR"), text_or_empty("MASTER_PORT"));
  set_local(launch, "LOCAL_RANK", "LOCAL_WORLD_SIZE");
  // Started by hand: one host only if the master's address says so to all ranks alike. A
  // PyTorchJob may say so to the master's pod alone.
  const bool says_one_host = is_loopback_name(text_or_empty("MASTER_ADDR")) &&
                             !foreign_variable("KUBERNETES_SERVICE_HOST").has_value();
  if (!foreign_variable("LOCAL_WORLD_SIZE") && !says_one_host) {
    launch.local_rank = 0;
    launch.local_size = 1;
  }
  return launch;
}

// The job id is a short hash of host and pid; the daemon's address, where given, tells apart those
// that collide.
std::optional<Launch> detect_openmpi() {
  const auto rank = number("OMPI_COMM_WORLD_RANK");
  const auto size = number("OMPI_COMM_WORLD_SIZE");
  if (!rank && !size) return std::nullopt;
  require("Open MPI", {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"});
  Launch launch{.launcher = "openmpi", .rank = *rank, .size = *size};
  const auto name = foreign_variable("PMIX_NAMESPACE");
  launch.job = (name.has_value() ? *name : text_or_empty("OMPI_MCA_ess_base_jobid")) +
               text_or_empty("OMPI_MCA_orte_hnp_uri");
  set_local(launch, "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE");
  return launch;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

struct Ancestor {
  std::string name;
  int parent = 0;
  std::string start_ticks;
};

// proc(5), /proc/PID/stat: the name in parentheses, then from field 3 on; field 4 is the parent,
// field 22 the start time.
std::optional<Ancestor> read_ancestor(int pid) {
  const std::string stat = read_file(fmt::format("/proc/{}/stat", pid));
  const size_t open = stat.find('(');
  const size_t close = stat.rfind(')');
  if (open == std::string::npos || close == std::string::npos) return std::nullopt;
  std::istringstream fields(stat.substr(close + 1));
  const std::vector<std::string> words{std::istream_iterator<std::string>(fields), {}};
  if (words.size() < 20) return std::nullopt;
  return Ancestor{.name = stat.substr(open + 1, close - open - 1),
                  .parent = static_cast<int>(parse_number("parent", words[1])),
                  .start_ticks = words[19]};
}

// The process on this host that started the ranks: the nearest ancestor that is a Hydra proxy or
// was not itself given our rank (shells and wrappers between it and us were). Every rank of a job
// on this host has the same one.
std::string launching_process() {
  const std::string given = '\0' + ("PMI_RANK=" + text_or_empty("PMI_RANK")) + '\0';
  for (int pid = ::getppid(); pid > 0;) {
    const auto ancestor = read_ancestor(pid);
    if (!ancestor.has_value()) break;
    const std::string environment = '\0' + read_file(fmt::format("/proc/{}/environ", pid));
    if (ancestor->name.starts_with("hydra_") || environment.find(given) == std::string::npos) {
      return fmt::format("pid {} since {}", pid, ancestor->start_ticks);
    }
    pid = ancestor->parent;
  }
  throw Error(StatusCode::kInvalidUsage,
              "PMI_RANK is set, but no launcher is among the ancestors of this process; set "
              "TUTTI_RANK, TUTTI_SIZE and "
              "TUTTI_JOB (a name that only this job has) instead");
}

// Slurm's own PMI gives no local rank; its variables are better. Under Hydra inside Slurm, PMI's
// are.
bool is_slurm_pmi(int rank, int size) {
  return !foreign_variable("MPI_LOCALRANKID") && number("SLURM_PROCID") == rank &&
         number("SLURM_NTASKS") == size;
}

std::optional<Launch> detect_pmi() {
  const auto rank = number("PMI_RANK");
  const auto size = number("PMI_SIZE");
  if (!rank && !size) return std::nullopt;
  require("PMI", {"PMI_RANK", "PMI_SIZE"});
  if (is_slurm_pmi(*rank, *size)) return std::nullopt;
  Launch launch{.launcher = "pmi", .rank = *rank, .size = *size};
  // Descriptor numbers (PMI_FD, HYDI_CONTROL_FD) are alike in all jobs; an address or a job id is
  // not.
  for (const char* name : {"PMI_JOBID", "PMI_PORT"}) {
    if (launch.job.empty()) launch.job = text_or_empty(name);
  }
  if (launch.job.empty()) launch.job = launching_process();
  set_local(launch, "MPI_LOCALRANKID", "MPI_LOCALNRANKS");
  return launch;
}

// Tasks on node `node` of a list such as "2(x3),1"; nullopt when it can't be told.
std::optional<int> tasks_on_node(const std::string& list, int node) {
  constexpr const char* kVariable = "SLURM_STEP_TASKS_PER_NODE";
  std::istringstream items(list);
  std::string item;
  while (std::getline(items, item, ',')) {
    const size_t times = item.find("(x");
    int repeat = 1;
    if (times != std::string::npos) {
      if (item.back() != ')') return std::nullopt;
      repeat = parse_int(kVariable, item.substr(times + 2, item.size() - times - 3));
    }
    if (node < repeat) return parse_int(kVariable, item.substr(0, times));
    node -= repeat;
  }
  return std::nullopt;
}

// In an salloc shell or a batch script some of these exist though srun started nothing: only a
// numbered step counts.
std::optional<Launch> detect_slurm() {
  const auto rank = number("SLURM_PROCID");
  const auto step = foreign_variable("SLURM_STEP_ID");
  if (!rank || !step || parse_number("SLURM_STEP_ID", *step) >= kFirstSpecialSlurmStep)
    return std::nullopt;
  require("Slurm",
          {"SLURM_PROCID", "SLURM_STEP_ID", "SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_LOCALID"});
  Launch launch{.launcher = "slurm", .rank = *rank};
  launch.size = number("SLURM_STEP_NUM_TASKS").value_or(*number("SLURM_NTASKS"));
  launch.local_rank = *number("SLURM_LOCALID");
  launch.job = text_or_empty("SLURM_JOB_ID") + "." + *step;
  launch.local_size =
      tasks_on_node(text_or_empty("SLURM_STEP_TASKS_PER_NODE"), number("SLURM_NODEID").value_or(0))
          .value_or(launch.size);
  return launch;
}

// One rank per pod.
std::optional<Launch> detect_kubernetes() {
  const auto rank = number("JOB_COMPLETION_INDEX");
  const char* size_name = foreign_variable("TUTTI_SIZE") ? "TUTTI_SIZE" : "WORLD_SIZE";
  const auto size = number(size_name);
  if (!rank || !size) return std::nullopt;
  return Launch{.launcher = "kubernetes",
                .rank = *rank,
                .size = *size,
                .job = host_name() + "/" + std::to_string(*rank)};
}

// A launcher that says nothing but how to reach its PMIx server.
std::optional<Launch> detect_pmix() {
  const auto rank = number("PMIX_RANK");
  const auto name = foreign_variable("PMIX_NAMESPACE");
  if (!rank || !name) return std::nullopt;
  const std::optional<PmixPlace> place = ask_pmix_for_place(Deadline::after_ns(kAskPmixNs));
  if (!place.has_value()) return std::nullopt;  // nobody is there: started by hand
  return Launch{.launcher = "pmix",
                .rank = place->rank,
                .size = place->size,
                .local_rank = place->local_rank,
                .local_size = place->local_size,
                .job = *name};
}

}  // namespace

std::optional<Launch> detect_launch() {
  for (const auto detect : {detect_tutti, detect_torchrun, detect_openmpi, detect_pmi, detect_slurm,
                            detect_kubernetes, detect_pmix}) {
    std::optional<Launch> launch = detect();
    if (!launch.has_value()) continue;
    check(*launch);
    return launch;
  }
  return std::nullopt;
}

}  // namespace tutti::bootstrap
