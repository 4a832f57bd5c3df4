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

constexpr std::string_view kProtocols[] = {"inline", "staged", "direct"};
constexpr std::string_view kSwitch[] = {"0", "1"};

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

void check_choice(const ConfigRow& row, const std::string& value,
                  std::span<const std::string_view> choices) {
  if (std::ranges::find(choices, value) != choices.end()) return;
  reject(row, value, known_names(value, choices));
}

template <size_t kBytes>
void store_name(const ConfigRow& row, const std::string& value, char (&into)[kBytes]) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
  };
  if (value.size() >= kBytes || !std::ranges::all_of(value, fits)) {
    reject(row, value,
           "a name of at most " + std::to_string(kBytes - 1) + " characters out of a-z 0-9 _ - .");
  }
  std::memset(into, 0, kBytes);
  value.copy(into, value.size());
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
    {{"TUTTI_PROTO", "name", "", kRank0,
      "Protocol to use: inline, staged or direct. Empty: the library chooses."},
     [](Row row, Text value, Config* into) {
       if (!value.empty()) check_choice(row, value, kProtocols);
       store_name(row, value, into->agreed.protocol);
     }},
    {{"TUTTI_TRANSPORT", "name", "", kRank0,
      "Transport to use for every pair of ranks, inproc (threads of one process) or shm. Empty: "
      "the library chooses."},
     [](Row row, Text value, Config* into) { store_name(row, value, into->agreed.transport); }},
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
    {{"TUTTI_SOCKET_IFNAME", "name", "", kEachRank,
      "Use only network interfaces whose name starts with this, e.g. eth. Empty: any."},
     [](Row, Text value, Config* into) { into->local.interface_prefix = value; }},
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
      "TCP port of the rendezvous under torchrun. Empty: the port after MASTER_PORT."},
     check_launcher_count<1, 65535>},
    {{"TUTTI_KEY", "name", "", kEachRank,
      "Secret that all ranks of a job on several hosts share when a launcher starts them."},
     accept_text},
};

}  // namespace

std::span<const ConfigEntry> config_entries() { return kEntries; }

}  // namespace tutti
