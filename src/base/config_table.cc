// SPDX-License-Identifier: Apache-2.0
// Every variable's row and parser. Defaults are parsed from the same text that the documentation
// prints.
#include "src/base/config_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string_view>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/log.h"

namespace tutti {
namespace {

constexpr std::string_view kProtocols[] = {"inline", "staged", "direct", "ll", "ll128"};
constexpr std::string_view kSwitch[] = {"0", "1"};
constexpr std::string_view kAutoSwitch[] = {"auto", "0", "1"};

constexpr const char* kRank0 = "rank 0 decides";
constexpr const char* kEachRank = "each rank";

[[noreturn]] void reject(const ConfigRow& row, const std::string& value,
                         const std::string& allowed) {
  throw Error(StatusCode::kInvalidArgument,
              std::string(row.name) + "='" + value + "' is not valid; allowed: " + allowed);
}

// The number at the start of `value`; *rest gets what follows it.
template <typename T>
bool read_number(const std::string& value, T* number, std::string_view* rest) {
  const char* end = value.data() + value.size();
  const auto parsed = std::from_chars(value.data(), end, *number);
  *rest = std::string_view(parsed.ptr, static_cast<size_t>(end - parsed.ptr));
  return parsed.ec == std::errc{};
}

uint64_t count_in(const ConfigRow& row, const std::string& value, uint64_t least, uint64_t most) {
  uint64_t number = 0;
  std::string_view rest;
  if (!read_number(value, &number, &rest) || !rest.empty() || number < least || number > most) {
    reject(row, value,
           "a whole number from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return number;
}

// 0 or a power of two in [least, most].
uint64_t power_of_two_in(const ConfigRow& row, const std::string& value, uint64_t number,
                         uint64_t least, uint64_t most) {
  if (number != 0 && (!std::has_single_bit(number) || number < least || number > most)) {
    reject(row, value,
           "0 (the library chooses) or a power of two from " + std::to_string(least) + " to " +
               std::to_string(most));
  }
  return number;
}

uint64_t bytes_of(const ConfigRow& row, const std::string& value) {
  constexpr const char* kAllowed =
      "a number of bytes, with suffix K, M or G for 2^10, 2^20 or 2^30 of them";
  uint64_t number = 0;
  std::string_view rest;
  if (!read_number(value, &number, &rest) || rest.size() > 1) reject(row, value, kAllowed);
  int shift = 0;
  if (!rest.empty()) {
    const size_t unit = std::string_view("KMGkmg").find(rest.front());
    if (unit == std::string_view::npos) reject(row, value, kAllowed);
    shift = 10 * (static_cast<int>(unit % 3) + 1);
  }
  if (number > UINT64_MAX >> shift) reject(row, value, kAllowed);
  return number << shift;
}

int64_t seconds_of(const ConfigRow& row, const std::string& value) {
  constexpr double kMost = 1e9;
  double seconds = 0;
  std::string_view rest;
  if (!read_number(value, &seconds, &rest) || !rest.empty() ||
      !(seconds >= 0 && seconds <= kMost)) {
    reject(row, value, "seconds from 0 (no limit) to 1e9, with a fraction if wanted");
  }
  // Above 0 it is a limit, however small: 0 ns would mean none.
  const int64_t ns = std::llround(seconds * static_cast<double>(kNsPerSecond));
  return seconds > 0 ? std::max<int64_t>(ns, 1) : 0;
}

int32_t device_of(const ConfigRow& row, const std::string& value) {
  if (value == "host") return kHostDevice;
  if (value == "current") return kCurrentDevice;
  uint64_t number = 0;
  std::string_view rest;
  constexpr uint64_t kMost = 4095;
  if (!read_number(value, &number, &rest) || !rest.empty() || number > kMost)
    reject(row, value, "host, current, or the number of a GPU as the CUDA driver counts");
  return static_cast<int32_t>(number);
}

// Decimal or 0x..., 16 bits; -1 when empty.
int32_t partition_key_of(const ConfigRow& row, const std::string& value) {
  if (value.empty()) return -1;
  const bool hex = value.starts_with("0x") || value.starts_with("0X");
  const char* const begin = value.data() + (hex ? 2 : 0);
  const char* const end = value.data() + value.size();
  uint16_t key = 0;
  const auto parsed = std::from_chars(begin, end, key, hex ? 16 : 10);
  if (parsed.ec != std::errc{} || parsed.ptr != end || key == 0)
    reject(row, value, "a partition key from 1 to 65535, decimal or 0x...");
  return key;
}

void check_choice(const ConfigRow& row, const std::string& value,
                  std::span<const std::string_view> choices) {
  if (std::ranges::find(choices, value) != choices.end()) return;
  reject(row, value, known_names(value, choices));
}

template <size_t kBytes>
void store_name(const ConfigRow& row, const std::string& value, char (&into)[kBytes],
                bool list = false) {
  const auto fits = [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' ||
           (list && c == ',');
  };
  if (value.size() >= kBytes || !std::ranges::all_of(value, fits)) {
    reject(row, value,
           std::string(list ? "names with commas between them, " : "a name ") + "of at most " +
               std::to_string(kBytes - 1) + " characters out of a-z 0-9 _ - .");
  }
  std::memset(into, 0, kBytes);
  value.copy(into, value.size());
}
template <size_t kBytes>
void store_names(const ConfigRow& row, const std::string& value, char (&into)[kBytes]) {
  store_name(row, value, into, true);
}

// What may be a layout; src/planner/hosts.h reads it.
std::string layout_of(const ConfigRow& row, const std::string& value) {
  const auto fits = [](char c) { return (c >= '0' && c <= '9') || c == ',' || c == 'x'; };
  if (!std::ranges::all_of(value, fits))
    reject(row, value, "HOSTSxRANKS such as 3x2, or the host of each rank such as 0,1,0,1");
  return value;
}

using Row = const ConfigRow&;
using Text = const std::string&;

constexpr uint64_t kMaxRanks = 1u << 20;

// For variables that src/bootstrap reads: empty means "not set by a launcher".
template <uint64_t kLeast, uint64_t kMost>
void check_launcher_count(Row row, Text value, Config*) {
  if (!value.empty()) count_in(row, value, kLeast, kMost);
}

void accept_text(Row, Text, Config*) {}

constexpr ConfigEntry kEntries[] = {
    {{"TUTTI_ALGO", "name", "", kRank0,
      "Algorithm to use wherever a collective has it, e.g. ring; `tutti plan list` prints the "
      "names. Empty: the library "
      "chooses."},
     [](Row row, Text value, Config* into) { store_name(row, value, into->agreed.algorithm); }},
    {{"TUTTI_PLAN_FILE", "path", "", kRank0,
      "Plan (JSON or MSCCL XML) to use for calls of its collective and root on communicators of "
      "its "
      "number of ranks, before TUTTI_ALGO; verified when a communicator is made. Empty: none."},
     [](Row, Text value, Config* into) { into->local.plan_file = value; }},
    {{"TUTTI_PROFILE", "path", "auto", kRank0,
      "What was measured on this machine, made by `tutti tune`: the planner chooses by it. auto: "
      "this machine's own in $XDG_CACHE_HOME/tutti or ~/.cache/tutti, if there is one; none: do "
      "without."},
     [](Row, Text value, Config* into) { into->local.profile = value; }},
    {{"TUTTI_LAYOUT", "list", "", kRank0,
      "For tests: which ranks share a host, as far as plans go, for communicators of that many "
      "ranks: "
      "3x2 for 3 hosts of 2 ranks, or the host of each rank, e.g. 0,1,0,1. Empty: as it is."},
     [](Row row, Text value, Config* into) { into->local.layout = layout_of(row, value); }},
    {{"TUTTI_HOST_ID", "name", "", kEachRank,
      "Part of what identifies the host of this process: processes with different ones do not "
      "share "
      "memory and talk by network, e.g. containers that look alike. Empty: boot id, host name, IPC "
      "and network namespace alone."},
     accept_text},
    {{"TUTTI_DEVICE", "name", "host", kEachRank,
      "What a communicator works for: host (memory of the process, streams of "
      "tuttiStreamCreate), the number of a GPU (its memory, CUDA streams), or current: the GPU of "
      "the thread that makes the communicator, host where it has none."},
     [](Row row, Text value, Config* into) { into->local.device = device_of(row, value); }},
    {{"TUTTI_GPU_BLOCKS", "count", "0", kEachRank,
      "Thread blocks that a call may take of a GPU, up to 1024; each lane of a plan and each peer "
      "of "
      "a group of sends and receives takes one. 0: as many as the GPU runs at a time."},
     [](Row row, Text value, Config* into) {
       into->local.gpu_blocks = static_cast<uint32_t>(count_in(row, value, 0, 1024));
     }},
    {{"TUTTI_GPU_THREADS", "count", "0", kEachRank,
      "Threads of each block, a multiple of 32 up to 1024. 0: the library chooses."},
     [](Row row, Text value, Config* into) {
       into->local.gpu_threads = static_cast<uint32_t>(count_in(row, value, 0, 1024));
     }},
    {{"TUTTI_PROTO", "name", "", kRank0,
      "Protocol to use: inline, staged or direct; between GPUs inline is ll128, or ll where not "
      "all are connected by NVLink. Empty: the library chooses."},
     [](Row row, Text value, Config* into) {
       if (!value.empty()) check_choice(row, value, kProtocols);
       store_name(row, value, into->agreed.protocol);
     }},
    {{"TUTTI_TRANSPORT", "list", "", kRank0,
      "Transports that may be used, e.g. tcp or shm,ucx; for each pair of ranks the first that "
      "reaches, in the order of `tutti doctor`. Empty: the library chooses."},
     [](Row row, Text value, Config* into) { store_names(row, value, into->agreed.transport); }},
    {{"TUTTI_CHANNELS", "count", "0", kRank0,
      "Parallel rings or trees, up to 64. 0: the library chooses."},
     [](Row row, Text value, Config* into) {
       into->agreed.channels = static_cast<uint32_t>(count_in(row, value, 0, 64));
     }},
    {{"TUTTI_SLOT_BYTES", "bytes", "0", kRank0,
      "Bytes of one staging slot, a power of two from 64 to 64M. 0: the library chooses."},
     [](Row row, Text value, Config* into) {
       into->agreed.slot_bytes =
           static_cast<uint32_t>(power_of_two_in(row, value, bytes_of(row, value), 64, 256u << 20));
     }},
    {{"TUTTI_SLOTS", "count", "0", kRank0,
      "Staging slots per connection, a power of two up to 64. 0: the library chooses."},
     [](Row row, Text value, Config* into) {
       into->agreed.slots =
           static_cast<uint32_t>(power_of_two_in(row, value, count_in(row, value, 0, 64), 1, 64));
     }},
    {{"TUTTI_DETERMINISTIC", "switch", "0", kRank0,
      "1: reductions give the same bits for any split into calls, placement, transport, protocol "
      "and "
      "number of channels; only plans that are proved to fold ranks 0 to n-1 in order with one "
      "rounding "
      "are used (docs/design/deterministic.md). 0: the cheapest plan."},
     [](Row row, Text value, Config* into) {
       check_choice(row, value, kSwitch);
       into->agreed.deterministic = value == "1" ? 1 : 0;
     }},
    {{"TUTTI_DIRECT_MIN_BYTES", "bytes", "0", kRank0,
      "Messages of at least this size go by reference where the receiver maps the memory. 0: the "
      "library chooses."},
     [](Row row, Text value, Config* into) {
       into->agreed.direct_min_bytes = bytes_of(row, value);
     }},
    {{"TUTTI_PULL_MIN_BYTES", "bytes", "0", kRank0,
      "Messages of at least this size are read with process_vm_readv where the memory is not "
      "mapped. 0: the library "
      "chooses."},
     [](Row row, Text value, Config* into) { into->agreed.pull_min_bytes = bytes_of(row, value); }},
    {{"TUTTI_SYMMETRIC_BYTES", "bytes", "4M", kRank0,
      "Memory of each GPU that the GPUs of the other ranks read and write directly, where all are "
      "of "
      "one host and reach each other: calls by the algorithms one_shot, two_shot, pairwise, "
      "scatter_all_gather and nvls pass through it. 0: none."},
     [](Row row, Text value, Config* into) {
       into->agreed.symmetric_bytes = bytes_of(row, value);
     }},
    {{"TUTTI_TIMEOUT", "seconds", "600", kEachRank,
      "Silence of a peer after which a wait ends with RemoteError; a fraction is allowed. A rank "
      "that is only late for the call is silent too, so set it above the longest time that ranks "
      "may be apart. 0: wait for ever."},
     [](Row row, Text value, Config* into) { into->local.timeout_ns = seconds_of(row, value); }},
    {{"TUTTI_INIT_TIMEOUT", "seconds", "60", kEachRank,
      "Time in which all ranks must meet when a communicator is made. 0: wait for ever."},
     [](Row row, Text value, Config* into) {
       into->local.init_timeout_ns = seconds_of(row, value);
     }},
    {{"TUTTI_MEMORY_CAP", "bytes", "0", kEachRank,
      "Most memory that one communicator may hold on this rank; a call that needs more is refused "
      "on all ranks. 0: no limit."},
     [](Row row, Text value, Config* into) {
       into->local.memory_cap_bytes = bytes_of(row, value);
     }},
    {{"TUTTI_STAGING_POOL", "bytes", "16M", kEachRank,
      "Staging slots that the communicators of one process keep between them; above it the idle "
      "ones give theirs back, to take them again at their next call. 0: they keep none."},
     [](Row row, Text value, Config* into) {
       into->local.staging_pool_bytes = bytes_of(row, value);
     }},
    {{"TUTTI_SOCKET_IFNAME", "list", "", kEachRank,
      "Network interfaces to use: beginnings of names, or whole names behind =, with commas "
      "between "
      "them, e.g. eth,=ib0; ^ in front means all but these. Empty: any."},
     [](Row, Text value, Config* into) { into->local.interface_prefix = value; }},
    {{"TUTTI_TCP_SOCKETS", "count", "2", kEachRank,
      "Sockets to each peer over each network interface, 1 to 16."},
     [](Row row, Text value, Config* into) {
       into->local.tcp_sockets = static_cast<uint32_t>(count_in(row, value, 1, 16));
     }},
    {{"TUTTI_ENCRYPT", "switch", "0", kEachRank,
      "1: everything that crosses a network is encrypted and authenticated (ChaCha20-Poly1305, "
      "keys from the communicator's secret); set it on all ranks. Only tcp can."},
     [](Row row, Text value, Config* into) {
       check_choice(row, value, kSwitch);
       into->local.encrypt = value == "1";
     }},
    {{"TUTTI_NET_TIMEOUT", "seconds", "10", kEachRank,
      "How long a peer on another host may be without any network path that works before it is "
      "given up with RemoteError; until then paths are made anew and nothing is lost."},
     [](Row row, Text value, Config* into) {
       into->local.net_timeout_ns = seconds_of(row, value);
     }},
    {{"TUTTI_RDMA_DEVICES", "list", "", kEachRank,
      "RDMA devices to use, by the beginning of the name, or the whole name behind =, with or "
      "without a port, e.g. mlx5_0:1,=mlx5_2; ^ in front means all but these. Empty: all with an "
      "active port."},
     [](Row, Text value, Config* into) { into->local.rdma.devices = value; }},
    {{"TUTTI_RDMA_QPS", "count", "2", kEachRank,
      "Queue pairs between two ranks on each pair of RDMA ports, 1 to 16; the lower of both ranks' "
      "values counts."},
     [](Row row, Text value, Config* into) {
       into->local.rdma.queue_pairs = static_cast<uint32_t>(count_in(row, value, 1, 16));
     }},
    {{"TUTTI_RDMA_GID_INDEX", "count", "", kEachRank,
      "Entry of the port's GID table to use (RoCE). Empty: RoCE v2 with an IPv4 address, else with "
      "a global IPv6 address."},
     [](Row row, Text value, Config* into) {
       into->local.rdma.gid_index =
           value.empty() ? -1 : static_cast<int32_t>(count_in(row, value, 0, 4095));
     }},
    {{"TUTTI_RDMA_PKEY", "count", "", kEachRank,
      "Partition key to use, decimal or 0x...; it must be in the port's table. Empty: the first in "
      "the table."},
     [](Row row, Text value, Config* into) {
       into->local.rdma.pkey = partition_key_of(row, value);
     }},
    {{"TUTTI_RDMA_SL", "count", "0", kEachRank, "InfiniBand service level, 0 to 15."},
     [](Row row, Text value, Config* into) {
       into->local.rdma.service_level = static_cast<uint32_t>(count_in(row, value, 0, 15));
     }},
    {{"TUTTI_RDMA_TRAFFIC_CLASS", "count", "0", kEachRank,
      "Traffic class of RDMA packets, 0 to 255; on RoCE the upper six bits are the DSCP by which "
      "switches choose a lossless queue."},
     [](Row row, Text value, Config* into) {
       into->local.rdma.traffic_class = static_cast<uint32_t>(count_in(row, value, 0, 255));
     }},
    {{"TUTTI_RDMA_TIMEOUT", "count", "14", kEachRank,
      "Time after which an RDMA device repeats what was not acknowledged: 4.096 us times two to "
      "this power, 8 to 20. With TUTTI_RDMA_RETRY it says how fast a dead peer or link is noticed: "
      "14 and 6 are about half a second."},
     [](Row row, Text value, Config* into) {
       into->local.rdma.timeout = static_cast<uint32_t>(count_in(row, value, 8, 20));
     }},
    {{"TUTTI_RDMA_RETRY", "count", "6", kEachRank,
      "Repetitions after which an RDMA device gives up, 0 to 6. 7 is not allowed: some devices "
      "take it for 'for ever'."},
     [](Row row, Text value, Config* into) {
       into->local.rdma.retries = static_cast<uint32_t>(count_in(row, value, 0, 6));
     }},
    {{"TUTTI_UCX_TLS", "list", "", kEachRank,
      "Transports that UCX may use, as UCX_TLS has them, e.g. rc,tcp. Empty: what UCX_TLS says, or "
      "all."},
     [](Row, Text value, Config* into) { into->local.ucx_tls = value; }},
    {{"TUTTI_UCX_PUT", "name", "auto", kEachRank,
      "Whether peers write into this rank's staging slots by UCX's puts: 1, 0, or auto, where a "
      "device does it by itself."},
     [](Row row, Text value, Config* into) {
       check_choice(row, value, kAutoSwitch);
       into->local.ucx_put = value;
     }},
    {{"TUTTI_NET_PLUGIN", "name", "", kEachRank,
      "Plugin of the transport nccl_net: a file, or NAME for libnccl-net-NAME.so. Empty: what "
      "NCCL_NET_PLUGIN says, or libnccl-net.so."},
     [](Row, Text value, Config* into) { into->local.net_plugin = value; }},
    {{"TUTTI_TUNER_PLUGIN", "name", "", kRank0,
      "Tuner plugin (ncclTunerPlugin_v2 to v6) that is asked for the algorithm of each collective "
      "and size when a communicator is made: a file, or NAME for libnccl-tuner-NAME.so. Empty: "
      "none."},
     [](Row, Text value, Config* into) { into->local.tuner_plugin = value; }},
    {{"TUTTI_FAULTS", "list", "", kEachRank,
      "For tests: faults to inject into every transport, e.g. "
      "seed=7,delay=200us,stall=0.001:20ms,drop=0.0001,kill=0.0001 (probabilities are per "
      "message)."},
     [](Row, Text value, Config* into) { into->local.faults = value; }},
    {{"TUTTI_LOG", "list", "off", kEachRank,
      "Least severe log lines to write: off, error, warn, info, debug or trace; a subsystem may "
      "have "
      "its own, e.g. warn,shm=debug. Subsystems: api, bootstrap, comm, config, control, exec, "
      "metrics, plan, shm, trace, transport."},
     [](Row row, Text value, Config* into) {
       LogLevels levels;
       if (const std::string problem = parse_log_levels(value, &levels); !problem.empty())
         reject(row, value, "a level, or a list such as warn,shm=debug; " + problem);
       into->local.log_level = value;
     }},
    {{"TUTTI_LOG_FILE", "path", "", kEachRank,
      "File to append the log to; %r becomes the rank, %p the process id. Empty: standard error."},
     [](Row, Text value, Config* into) { into->local.log_file = value; }},
    {{"TUTTI_TRACE_DIR", "path", "", kEachRank,
      "Folder in which every rank leaves the recording of its last operations, for `tutti trace`. "
      "Empty: the recording is kept in memory, where `tutti top` finds it while the process "
      "lives."},
     [](Row, Text value, Config* into) { into->local.trace_dir = value; }},
    {{"TUTTI_TRACE_ENTRIES", "count", "1024", kEachRank,
      "Operations that a recording keeps per communicator, 16 to 1048576; rounded up to a power of "
      "two."},
     [](Row row, Text value, Config* into) {
       const uint64_t entries = count_in(row, value, 16, 1u << 20);
       into->local.trace_entries = static_cast<uint32_t>(std::bit_ceil(entries));
     }},
    {{"TUTTI_METRICS_FILE", "path", "", kEachRank,
      "File into which a communicator's end writes what has been counted, as Prometheus text, e.g. "
      "for node_exporter; %r becomes the rank, %p the process id. Empty: none."},
     [](Row, Text value, Config* into) { into->local.metrics_file = value; }},
    {{"TUTTI_RANK", "count", "", kEachRank, "Rank of this process; set by `tutti run`."},
     check_launcher_count<0, kMaxRanks - 1>},
    {{"TUTTI_SIZE", "count", "", kEachRank, "Number of ranks of the job; set by `tutti run`."},
     check_launcher_count<1, kMaxRanks>},
    {{"TUTTI_LOCAL_RANK", "count", "", kEachRank,
      "Rank of this process on its host; set by `tutti run`."},
     check_launcher_count<0, kMaxRanks - 1>},
    {{"TUTTI_LOCAL_SIZE", "count", "", kEachRank,
      "Number of ranks on this host; set by `tutti run`."},
     check_launcher_count<1, kMaxRanks>},
    {{"TUTTI_THREADS", "count", "", kEachRank,
      "Number of ranks that a program runs as threads of this process; set by `tutti run "
      "--threads`, read by the bandwidth programs."},
     check_launcher_count<1, kMaxRanks>},
    {{"TUTTI_JOB", "name", "", kEachRank, "What names the job on this host; set by `tutti run`."},
     [](Row, Text value, Config* into) { into->local.job = value; }},
    {{"TUTTI_PORT", "count", "", kEachRank,
      "First TCP port of the rendezvous on rank 0's host, when TUTTI_KEY is set. Empty: the port "
      "after MASTER_PORT; 29600 in an indexed Job of Kubernetes."},
     check_launcher_count<1, 65535>},
    {{"TUTTI_RSH", "name", "ssh", kEachRank,
      "Remote shell of `tutti run --hosts`, with its options."},
     accept_text},
    {{"TUTTI_KEY", "name", "", kEachRank,
      "Secret that all ranks of a job on several hosts share when their launcher passes nothing "
      "between them; at least 16 characters."},
     accept_text},
    {{"TUTTI_KEY_FILE", "path", "", kEachRank,
      "File that holds the secret, e.g. a mounted one, when TUTTI_KEY is not set."},
     accept_text},
    {{"TUTTI_SERVICE", "name", "", kEachRank,
      "Headless service of an indexed Job of Kubernetes, by which its pods know each other, when "
      "MASTER_ADDR is not set."},
     accept_text},
};

}  // namespace

std::span<const ConfigEntry> config_entries() { return kEntries; }

}  // namespace tutti
