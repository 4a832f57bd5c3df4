// SPDX-License-Identifier: Apache-2.0
// Every environment variable of the library, in one table; the only place that calls getenv.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tutti {

// Values that shape plans and protocols. Rank 0's copy is distributed at init and used by every
// rank (docs/adr/0006), so it is trivially copyable. 0 or an empty string means "let the library
// choose".
struct AgreedConfig {
  // TUTTI_ALGO: a row of the algorithm table, e.g. "ring"; collectives without it choose freely
  char algorithm[32] = {};
  char protocol[16] = {};   // TUTTI_PROTO: "inline", "staged", "direct", "ll", "ll128"
  char transport[64] = {};  // TUTTI_TRANSPORT: rows of the transport registry, e.g. "shm,tcp"
  uint32_t channels = 0;    // TUTTI_CHANNELS: parallel rings or trees
  uint32_t slot_bytes = 0;  // TUTTI_SLOT_BYTES: bytes of one staging slot, power of two
  uint32_t slots = 0;       // TUTTI_SLOTS: staging slots per connection, power of two
  // TUTTI_DETERMINISTIC: 1 = only plans that are proved to fold in rank order, rounding once
  uint32_t deterministic = 0;
  // TUTTI_DIRECT_MIN_BYTES: messages of at least this size go by reference where mapped
  uint64_t direct_min_bytes = 0;
  // TUTTI_PULL_MIN_BYTES: the same for process_vm_readv on memory that is not mapped
  uint64_t pull_min_bytes = 0;
  // TUTTI_SYMMETRIC_BYTES: of each GPU's memory that its peers read and write directly; 0: none
  uint64_t symmetric_bytes = 0;
};

// TUTTI_RDMA_...: how the rdma transport uses its devices (docs/design/rdma.md).
struct RdmaConfig {
  std::string devices;     // beginnings of names, whole ones behind =, ^ excludes; empty: all
  int32_t gid_index = -1;  // -1: chosen
  int32_t pkey = -1;       // partition key's value; -1: the first of the port's table
  uint32_t service_level = 0;
  uint32_t traffic_class = 0;
  uint32_t timeout = 0;      // of an acknowledgement, 4.096 us * 2^timeout
  uint32_t retries = 0;      // repetitions after which a queue pair gives up
  uint32_t queue_pairs = 0;  // per rail and peer
};

// Values of LocalConfig::device that are no GPU's number.
inline constexpr int32_t kHostDevice = -1;
inline constexpr int32_t kCurrentDevice = -2;  // of the thread that makes the communicator

// Values that may differ between ranks.
struct LocalConfig {
  // TUTTI_DEVICE: whose memory and streams calls take: a GPU's number, or one of the above
  int32_t device = kHostDevice;
  uint32_t gpu_blocks = 0;   // TUTTI_GPU_BLOCKS: of one launch, at most; 0: as many as run together
  uint32_t gpu_threads = 0;  // TUTTI_GPU_THREADS: of a block; 0: the library's choice
  // TUTTI_TIMEOUT (seconds, fraction allowed): silence after which a wait ends; 0 = none
  int64_t timeout_ns = 0;
  // TUTTI_INIT_TIMEOUT (seconds): rendezvous deadline; 0 = none
  int64_t init_timeout_ns = 0;
  // TUTTI_MEMORY_CAP (bytes, suffixes K M G): per communicator; 0 = none
  uint64_t memory_cap_bytes = 0;
  // TUTTI_STAGING_POOL (bytes): of idle communicators, per process
  uint64_t staging_pool_bytes = 0;
  std::string plan_file;         // TUTTI_PLAN_FILE: rank 0's is read and sent to all
  std::string profile;           // TUTTI_PROFILE: "auto", "none" (or empty), or a file
  std::string layout;            // TUTTI_LAYOUT: rank 0's is sent to all
  std::string interface_prefix;  // TUTTI_SOCKET_IFNAME: see interface_chosen() in socket.h
  bool encrypt = false;          // TUTTI_ENCRYPT: what crosses a network
  int64_t net_timeout_ns = 0;    // TUTTI_NET_TIMEOUT: without a path to a peer that works
  uint32_t tcp_sockets = 0;      // TUTTI_TCP_SOCKETS: per peer and rail
  std::string ucx_tls;           // TUTTI_UCX_TLS: UCX's transports; empty: UCX_TLS, or all
  std::string ucx_put;           // TUTTI_UCX_PUT: "auto", "0" or "1"
  std::string net_plugin;        // TUTTI_NET_PLUGIN: a name or a file; empty: NCCL_NET_PLUGIN
  std::string tuner_plugin;      // TUTTI_TUNER_PLUGIN: rank 0's is asked; empty: none
  std::string faults;            // TUTTI_FAULTS: for tests, see transport/faulty
  std::string log_level;         // TUTTI_LOG: see parse_log_levels()
  std::string log_file;          // TUTTI_LOG_FILE: default stderr; %r rank, %p pid
  std::string trace_dir;         // TUTTI_TRACE_DIR: folder for flight recordings; empty: memory
  uint32_t trace_entries = 0;    // TUTTI_TRACE_ENTRIES: operations kept, a power of two
  std::string metrics_file;      // TUTTI_METRICS_FILE: %r rank, %p pid; empty: none
  std::string job;               // TUTTI_JOB
  RdmaConfig rdma;
};

struct Config {
  AgreedConfig agreed;
  LocalConfig local;
};

// One row of the table.
struct ConfigRow {
  const char* name;          // "TUTTI_ALGO"
  const char* type;          // "name", "bytes", "seconds", "count", "path", "switch"
  const char* default_text;  // as a user would write it
  const char* scope;         // "rank 0 decides" or "each rank"
  const char* doc;           // one or two sentences
};
std::span<const ConfigRow> config_rows();
std::string config_markdown();  // docs/config.md, generated; a test compares it with the file

// Reads and checks the environment. Throws InvalidArgument naming the variable, its value and what
// is allowed.
Config config_from_environment();
// TUTTI_ variables that are set but not in the table, each with the nearest known name ("" when
// none is near).
struct UnknownVariable {
  std::string name, nearest;
};
std::vector<UnknownVariable> unknown_variables();
std::string describe(const UnknownVariable& unknown);
// Says so on standard error (see warn_user() in log.h), once per process.
void warn_of_unknown_variables();
// Variables of the table that are set, each with what is wrong with its value ("" when it is
// valid).
struct SetVariable {
  std::string name, value, problem;
};
std::vector<SetVariable> set_variables();
// The candidate that `name` is most likely a misspelling of; "" when none is near.
std::string nearest_name(std::string_view name, std::span<const std::string_view> candidates);
// For messages about a name that is none of those: "a, b, c; did you mean 'b'?"
std::string known_names(std::string_view name, std::span<const std::string_view> known);

// A variable of the environment, one of the table or somebody else's (launchers): RANK, PMI_RANK,
// SLURM_PROCID ... For one of the table that is not set, or empty, the stand-in is asked.
std::optional<std::string> foreign_variable(const char* name);

// Says what holds where a variable of the table is not set, by its name, as a user would write the
// value; nullopt: nothing. May ask for variables without the prefix TUTTI_; writes no log.
using StandIn = std::optional<std::string> (*)(const char* name);
// For libraries that speak for another one, whose variables count as well (src/api/nccl). Call it
// before anything reads the environment.
void set_stand_in(StandIn lookup) noexcept;

}  // namespace tutti
