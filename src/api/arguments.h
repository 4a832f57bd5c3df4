// SPDX-License-Identifier: Apache-2.0
// Checks of single arguments: each refusal names the argument, its value and what is allowed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "src/api/handles.h"
#include "src/comm/communicator.h"
#include "src/kernels/dtypes.h"
#include "tutti/tutti.h"

namespace tutti::api {

[[noreturn]] void refuse(const std::string& message);  // InvalidArgument

// The number behind an enumeration argument. A C caller may pass any; loading it as the enumeration
// would be undefined.
template <typename Enum>
int number_of(const Enum& argument) {
  static_assert(sizeof(Enum) == sizeof(int));
  int number = 0;
  std::memcpy(&number, &argument, sizeof number);
  return number;
}

// Throws when the pointer argument `name` is NULL.
void require(const void* pointer, const char* name);
// Throws when it can't take operations.
inline comm::Communicator& open_comm(tuttiComm_t comm) {
  comm::Communicator& open = Handles<tuttiComm>::find(comm, "comm").ready();
  open.check_open();
  return open;
}
// The live window `win`, the argument `name`, which must be one of `comm`.
const std::shared_ptr<comm::Window>& window_of(tuttiWindow_t win, const char* name,
                                               const comm::Communicator& comm);
// Where a call goes: into a queue of the host, or, on a communicator of a GPU, into a CUDA stream.
struct StreamArgument {
  comm::Stream* host = nullptr;  // null: the calling thread runs the call
  void* device = nullptr;
};
inline StreamArgument stream_of(tuttiStream_t stream, comm::Communicator& comm) {
  if (comm.path().device != nullptr) return {.device = stream};
  return {.host = stream_of(stream)};
}
// Throws InvalidUsage for a communicator of a GPU: `what` works on memory of the host only.
void require_host(comm::Communicator& comm, const char* what);
// Runs a collective set-up, at the end of the calling thread's group where it has one: a thread
// with several ranks must have.
void set_up(comm::Communicator& comm, std::function<void()> job);
DType dtype_of(const tuttiDataType_t& datatype);
DType dtype_of(int value);  // of such an argument
// 0 <= value < n.
void require_rank(int value, int n, const char* name);

// Structs that are versioned by size: `stats` points to what the user's version of the header has.
// Throws when its size was never set.
template <typename Stats>
void require_size(const Stats* stats, const char* initializer) {
  require(stats, "stats");
  if (stats->size < sizeof stats->size) {
    refuse("stats.size is " + std::to_string(stats->size) + "; initialise it with " + initializer);
  }
}

// As much of it as the user's version of the struct has.
template <typename Stats>
void hand_out(Stats whole, Stats* stats) {
  whole.size = std::min(stats->size, sizeof whole);
  std::memcpy(stats, &whole, whole.size);
}

// A buffer argument as a set of blocks; only its memory matters here. Even blocks (counts null) lie
// one after the other.
struct BufferArgument {
  const char* name = "";  // "sendbuff"
  const void* base = nullptr;
  size_t elem_bytes = 1;
  size_t n_blocks = 1;              // 0: not significant on this rank
  size_t count = 0;                 // elements of each block, when counts is null
  const size_t* counts = nullptr;   // elements, by block
  const size_t* offsets = nullptr;  // elements, by block; never null when counts is given
  const char* counts_name = "counts";
  const char* offsets_name = "displs";
};
// Throws when bytes are needed at NULL or a size does not fit in memory.
void check_buffer(const BufferArgument& buffer);
// Throws when blocks overlap, naming both: they are to be written. One pass when the blocks lie in
// the order of their ranks, else O(n log n).
void check_apart(const BufferArgument& output);

// Decides whether the call is in place: block `in_own` of the input is block `out_own` of the
// output. Throws when the buffers overlap in any other way. in_own < 0: the call is never in place.
bool check_in_place(const BufferArgument& in, int in_own, const BufferArgument& out, int out_own);

}  // namespace tutti::api
