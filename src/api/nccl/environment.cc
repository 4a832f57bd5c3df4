// SPDX-License-Identifier: Apache-2.0
// Reads NCCL's variables whenever ours are looked at, so that a program may set them until it makes
// its first communicator.
#include "src/api/nccl/environment.h"

#include <atomic>
#include <exception>
#include <string_view>

#include "src/api/nccl/translate.h"
#include "src/base/config.h"
#include "src/base/log.h"
#include "tutti/tutti.h"

namespace tutti::nccl {
namespace {

constexpr const char* kDebug[] = {"NCCL_DEBUG"};
constexpr const char* kDebugFile[] = {"NCCL_DEBUG_FILE"};
constexpr const char* kInterface[] = {"NCCL_SOCKET_IFNAME"};
constexpr const char* kSockets[] = {"NCCL_SOCKET_NTHREADS", "NCCL_NSOCKS_PERTHREAD"};
constexpr const char* kHca[] = {"NCCL_IB_HCA"};
constexpr const char* kGidIndex[] = {"NCCL_IB_GID_INDEX"};
constexpr const char* kServiceLevel[] = {"NCCL_IB_SL"};
constexpr const char* kTrafficClass[] = {"NCCL_IB_TC"};
constexpr const char* kIbTimeout[] = {"NCCL_IB_TIMEOUT"};
constexpr const char* kRetryCount[] = {"NCCL_IB_RETRY_CNT"};
constexpr const char* kQueuePairs[] = {"NCCL_IB_QPS_PER_CONNECTION"};
constexpr const char* kAlgorithm[] = {"NCCL_ALGO"};
constexpr const char* kProtocol[] = {"NCCL_PROTO"};
constexpr const char* kChannels[] = {"NCCL_MIN_CTAS", "NCCL_MIN_NCHANNELS", "NCCL_MAX_CTAS",
                                     "NCCL_MAX_NCHANNELS"};
constexpr const char* kTransport[] = {"NCCL_NET", "NCCL_P2P_DISABLE", "NCCL_SHM_DISABLE",
                                      "NCCL_IB_DISABLE"};
constexpr const char* kNetPlugin[] = {"NCCL_NET_PLUGIN"};
constexpr const char* kTunerPlugin[] = {"NCCL_TUNER_PLUGIN"};
constexpr const char* kBufferBytes[] = {"NCCL_BUFFSIZE"};

constexpr Translation kTranslations[] = {
    {"TUTTI_LOG", kDebug, "WARN: warn; INFO and ABORT: info; TRACE: trace; NONE: off", log_level},
    {"TUTTI_LOG_FILE", kDebugFile, "`%h` becomes the host's name; `stderr` and `stdout` are those",
     log_file},
    {"TUTTI_SOCKET_IFNAME", kInterface, "as it is; `=` stands in front of each whole name",
     interfaces},
    {"TUTTI_TCP_SOCKETS", kSockets, "their product, at most 16", tcp_sockets},
    {"TUTTI_RDMA_DEVICES", kHca, "as it is; `=` stands in front of each whole name", rdma_devices},
    {"TUTTI_RDMA_GID_INDEX", kGidIndex, "as it is; -1: chosen", gid_index},
    {"TUTTI_RDMA_SL", kServiceLevel, "as it is", service_level},
    {"TUTTI_RDMA_TRAFFIC_CLASS", kTrafficClass, "as it is", traffic_class},
    {"TUTTI_RDMA_TIMEOUT", kIbTimeout, "brought into 8 to 20", ib_timeout},
    {"TUTTI_RDMA_RETRY", kRetryCount, "7 becomes 6", retry_count},
    {"TUTTI_RDMA_QPS", kQueuePairs, "at most 16", queue_pairs},
    {"TUTTI_ALGO", kAlgorithm,
     "Ring, Tree or PAT alone. Lists, `^` and others are left to the library, and reported",
     algorithm},
    {"TUTTI_PROTO", kProtocol,
     "LL or LL128 alone: inline. Simple is staged and direct, which the library chooses from; "
     "lists are left to it",
     protocol},
    {"TUTTI_CHANNELS", kChannels,
     "the minimum, not above the maximum; a maximum of 1 alone is 1 as well", channels},
    {"TUTTI_TRANSPORT", kTransport,
     "`Socket`: cuda_p2p,inproc,shm,tcp; `IB`: rdma instead of tcp; a plugin's: nccl_net; names of "
     "ours as they are. Without cuda_p2p, shm, or rdma, where that is disabled",
     transport},
    {"TUTTI_NET_PLUGIN", kNetPlugin, "as it is; `none`: none. It is used between hosts",
     net_plugin},
    {"TUTTI_TUNER_PLUGIN", kTunerPlugin,
     "as it is, where it can be opened; one that does not start is an error. `none`: none",
     tuner_plugin},
    {"TUTTI_SLOT_BYTES", kBufferBytes,
     "an eighth of it, as NCCL cuts it into 8 slots; the power of two below, 64 to 64M",
     slot_bytes},
};

constexpr OtherVariable kOthers[] = {
    {"NCCL_COMM_BLOCKING", "0 or 1: goes before `config.blocking`", false},
    {"NCCL_COMM_ID",
     "its value does not matter: ncclGetUniqueId gives the k-th id of the launch, the same in "
     "every process ([launch.md](launch.md))",
     false},
    {"NCCL_ALLOC_P2P_NET_LL_BUFFERS", "no such buffers", true},
    {"NCCL_COLLNET_ENABLE", "nothing is computed in switches", true},
    {"NCCL_CONF_FILE", "no file is read, neither ~/.nccl.conf nor /etc/nccl.conf", true},
    {"NCCL_CROSS_NIC", "rails are chosen by load", true},
    {"NCCL_CUMEM_ENABLE", "there is no such choice", true},
    {"NCCL_DEBUG_SUBSYS", "TUTTI_LOG names the subsystems, which are others", true},
    {"NCCL_GRAPH_FILE", "TUTTI_PLAN_FILE takes plans; `tutti plan compare` reads NCCL's graphs",
     true},
    {"NCCL_IB_PKEY", "an index in NCCL; TUTTI_RDMA_PKEY takes the key", true},
    {"NCCL_LL128_BUFFSIZE", "lines are a connection's own", true},
    {"NCCL_LL_BUFFSIZE", "lines are a connection's own", true},
    {"NCCL_NET_GDR_LEVEL", "there is no such choice", true},
    {"NCCL_NTHREADS", "TUTTI_GPU_THREADS says it", true},
    {"NCCL_NVLS_ENABLE", "there is no such choice", true},
    {"NCCL_P2P_LEVEL", "the driver says which GPUs reach each other", true},
    {"NCCL_PROFILER_PLUGIN", "TUTTI_TRACE_DIR and `tutti trace` show what ran", true},
    {"NCCL_SOCKET_FAMILY", "there is no such choice", true},
    {"NCCL_TOPO_DUMP_FILE", "`tutti topo --as nccl-xml` prints it", true},
    {"NCCL_TOPO_FILE", "machines are detected; `tutti topo --from` reads it", true},
};

std::string names_of(std::span<const char* const> names) {
  std::string text;
  for (const char* const name : names)
    text += (text.empty() ? "`" : ", `") + std::string(name) + "`";
  return text;
}

std::string set_among(std::span<const char* const> names) {
  std::string text;
  for (const char* const name : names) {
    if (const std::string value = variable(name); !value.empty())
      text += (text.empty() ? "" : ", ") + std::string(name) + "='" + value + "'";
  }
  return text;
}

void report_all() {
  log(LogLevel::kInfo, "api", -1, "Tutti {}.{}.{} stands in for NCCL 2.28.9", TUTTI_MAJOR,
      TUTTI_MINOR, TUTTI_PATCH);
  for (const Translation& one : translations()) {
    const Said said = one.translate();
    const std::string holds = foreign_variable(one.ours).value_or("");
    const bool ours_is_set = !holds.empty() && holds != said.value;
    if (!said.problem.empty() && !ours_is_set)
      warn_user("config", "{}: {}", set_among(one.theirs), said.problem);
  }
  for (const OtherVariable& other : other_variables()) {
    if (other.ignored && !variable(other.name).empty())
      log(LogLevel::kInfo, "config", -1, "{} has no effect: {}", other.name, other.doc);
  }
}

// Runs when the library is loaded, before anything of it can be called.
[[gnu::constructor]] void install() { set_stand_in(stand_in); }

}  // namespace

std::span<const Translation> translations() { return kTranslations; }
std::span<const OtherVariable> other_variables() { return kOthers; }

std::optional<std::string> stand_in(const char* name) {
  for (const Translation& one : translations()) {
    if (std::string_view(one.ours) == name) return one.translate().value;
  }
  return std::nullopt;
}

std::optional<int> blocking_from_environment() {
  const std::string value = variable("NCCL_COMM_BLOCKING");
  if (value != "0" && value != "1") return std::nullopt;
  return value == "1" ? 1 : 0;
}

bool id_comes_from_environment() { return !variable("NCCL_COMM_ID").empty(); }

void report_environment() noexcept {
  static std::atomic<bool> reported{false};  // relaxed: whoever changes it first reports
  if (reported.exchange(true, std::memory_order_relaxed)) return;
  try {
    report_all();
  } catch (const std::exception&) {
    return;  // no memory left for a warning
  }
}

std::string environment_markdown() {
  std::string text =
      "| NCCL's variable | Stands in for | How |\n"
      "| --- | --- | --- |\n";
  for (const Translation& one : translations())
    text += "| " + names_of(one.theirs) + " | `" + one.ours + "` | " + one.doc + " |\n";
  for (const OtherVariable& other : other_variables()) {
    text += "| `" + std::string(other.name) + "` | " + (other.ignored ? "nothing" : "itself") +
            " | " + other.doc + " |\n";
  }
  return text;
}

}  // namespace tutti::nccl
