// SPDX-License-Identifier: Apache-2.0
// Reads flight recordings: of files, and of running processes. Nothing in them is trusted.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/ticks.h"
#include "src/trace/counters.h"

namespace tutti::trace {

// One whole record, checked; times in nanoseconds of the recording's monotonic clock.
struct Operation {
  uint64_t sequence = 0;  // of all operations of this rank; meaningless while queued
  uint64_t number = 0;    // of the collective; else the number of collectives before it
  State state = State::kRunning;
  uint8_t kind = 0;
  uint8_t dtype = 0;
  uint8_t op = 0;
  uint8_t flags = 0;
  int32_t root = -1;         // or peer; -1: none
  int32_t waiting_for = -1;  // rank; -1: none
  uint32_t transfers = 0;    // sends and receives of a group, calls of a queued group
  uint64_t count = 0;
  int64_t issued_ns = 0;
  int64_t begun_ns = 0;  // 0 while queued
  int64_t ended_ns = 0;  // 0 while not ended
  std::string name;      // as called: "AllReduce"
  std::string algorithm;
  uint8_t protocol = 0;  // 0: none, else 1 + kind of message
  uint8_t result = 0;    // code, when failed

  bool collective() const noexcept { return is_collective(kind); }
  bool ended() const noexcept { return state == State::kDone || state == State::kFailed; }
};

// What is in one recording at one moment.
struct Recording {
  std::string source;  // file, or "process 4711"
  uint64_t comm_id = 0;
  int32_t rank = 0;
  int32_t n_ranks = 1;
  uint64_t host_id = 0;
  uint64_t process_uid = 0;
  uint64_t start_ticks = 0;
  uint64_t serial = 0;
  int32_t pid = 0;         // as its own process sees it
  int32_t holder_pid = 0;  // whose descriptors it was found by; 0: found by its file
  uint32_t uid = 0;
  int64_t opened_ns = 0;       // monotonic
  int64_t wall_offset_ns = 0;  // to be added to monotonic times
  int64_t last_seen_ns = 0;    // the latest time that it holds
  int64_t read_ns = 0;         // when it was read, by the monotonic clock of the reader
  std::string host, comm_name, program, job;
  CommState comm_state = CommState::kOpen;
  std::string failure;
  uint64_t queue_lost = 0;
  uint64_t operations = 0;       // begun so far
  uint64_t torn = 0;             // records that were being written
  std::vector<Operation> ring;   // ascending sequence
  std::vector<Operation> queue;  // ascending time
  std::array<CallTotals, kCallKinds> calls;
  std::vector<PeerCounters> counters;  // of peers with any traffic or wait
  uint64_t memory_bytes = 0, memory_peak_bytes = 0;
};
Counters counters_of(const Recording& recording);

// A copy of a recording's memory in which torn records are zero. Words, so that it is aligned.
using Image = std::vector<uint64_t>;
// From a live mapping (sealed, so that it can't shrink).
Image copy_mapped(const std::byte* base, size_t bytes);
// From a file, read twice: a record that differs is torn.
Image copy_file(int fd, size_t bytes);

// Throws InvalidArgument saying what is wrong with it.
Recording parse(const Image& image, const std::string& source);
Recording read_file(const std::string& path);

// All *.ring files of a folder; what can't be read is named in *warnings. Throws InvalidArgument
// when there is no such folder.
std::vector<Recording> read_folder(const std::string& folder, std::vector<std::string>* warnings);
// The recordings that processes of this user hold open, in memory or in files. *hidden: how many
// processes belong to others and can't be looked into.
std::vector<Recording> read_processes(std::vector<std::string>* warnings, int* hidden = nullptr);
// Those of one process. Throws InvalidArgument when there is no such process, or it is another
// user's.
std::vector<Recording> read_process(int32_t pid, std::vector<std::string>* warnings);

// "AllReduce #12 float x 4096", "Send #2 float x 8 to rank 1".
std::string describe(const Operation& operation);
// As bandwidth tests count them: the size of the whole operation, and what a link has to carry of
// it per byte of that.
uint64_t payload_bytes(const Operation& operation, int n_ranks) noexcept;
double bus_factor(const Operation& operation, int n_ranks) noexcept;
const char* protocol_name(int protocol) noexcept;  // 0 "none", 1 "inline", ...
const char* name(State state) noexcept;

}  // namespace tutti::trace
