// SPDX-License-Identifier: Apache-2.0
// Places a case's buffers, makes the call, and checks results, guards, untouched inputs and the
// library's counters.
#include "tests/conformance/runner.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "src/kernels/dtypes.h"
#include "tests/conformance/call.h"

namespace tutti::conformance {
namespace {

constexpr size_t kGuardBytes = 64;
constexpr auto kGuard = std::byte{0xa5};

void require(tuttiResult_t result, const char* what) {
  if (result != tuttiSuccess) {
    throw std::runtime_error(std::string(what) + ": " + tuttiGetErrorString(result) + ": " +
                             tuttiGetLastError(nullptr));
  }
}

// Hands out guarded buffers from one arena.
class Arena {
 public:
  Arena(std::byte* base, size_t shift) : next_(base), shift_(shift) {}
  std::byte* take(size_t bytes) {
    std::byte* buffer = next_ + kGuardBytes + shift_;
    std::memset(next_, static_cast<int>(kGuard), bytes + 2 * kGuardBytes + shift_);
    next_ += (bytes + 2 * kGuardBytes + 64) / 64 * 64;
    return buffer;
  }

 private:
  std::byte* next_;
  size_t shift_;
};

bool intact(const std::byte* from, size_t bytes) {
  return std::all_of(from, from + bytes, [](std::byte b) { return b == kGuard; });
}

// Runs may write only the pieces: everything else of the receive buffer keeps the guard value.
void check_untouched(const Call& call, size_t elem) {
  size_t at = 0;
  for (const Piece& piece : call.pieces) {
    if (!intact(call.recv + at * elem, (piece.at - at) * elem))
      throw std::runtime_error("wrote between the blocks");
    at = piece.at + piece.count;
  }
  if (!intact(call.recv + at * elem, (call.recv_elems - at) * elem))
    throw std::runtime_error("wrote behind the last block");
}

}  // namespace

tuttiConfig_t config_for(const Case& c, int rank) {
  static constexpr const char* kProtocols[] = {nullptr, "inline", "staged", "direct"};
  static constexpr const char* kDeviceProtocols[] = {nullptr, "ll128", "staged", "ll"};
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.transport = c.transport.c_str();
  config.protocol = (on_devices() ? kDeviceProtocols : kProtocols)[static_cast<int>(c.protocol)];
  if (on_devices()) config.device = device_of(rank);
  config.algorithm = rows()[c.row].algorithm == nullptr ? nullptr : rows()[c.row].algorithm->name;
  config.timeoutSeconds = 60;
  return config;
}

bool counts(const Case& c, const Report* reports, int n_ranks) {
  uint64_t total[4] = {};
  for (int r = 0; r < n_ranks; ++r) {
    if (!reports[r].algorithm_matches || !reports[r].transport_matches) return false;
    for (int k = 0; k < 4; ++k) total[k] += reports[r].bytes[k];
  }
  const uint64_t all = total[0] + total[1] + total[2] + total[3];
  if (c.on_symmetric_memory()) return total[2] != 0 && total[2] == all;
  if (on_devices() && c.protocol == Protocol::kDirect) return total[0] != 0 && total[0] == all;
  switch (c.protocol) {
    case Protocol::kDefault:
      return all != 0;
    case Protocol::kInline:
      return total[0] != 0 && total[0] == all;
    case Protocol::kStaged:
      return total[1] != 0 && total[1] == all;
    case Protocol::kDirect:
      return total[2] + total[3] != 0;
  }
  return false;
}

// Send and receive buffers of the largest case: one block per rank of nine slots and a bit, the
// v-variants' gaps, and guards.
static size_t arena_bytes(const Case& c) {
  return 2 * (static_cast<size_t>(c.n_ranks) * (10 * c.slot_bytes + 4096) + 4096);
}

Runner::Runner(tuttiComm_t comm, int rank, const Case& first)
    : comm_(comm),
      rank_(rank),
      n_ranks_(first.n_ranks),
      transport_(first.transport),
      private_(new std::byte[arena_bytes(first)]) {
  void* memory = nullptr;
  require(tuttiMemAlloc(&memory, arena_bytes(first)), "tuttiMemAlloc");
  shared_ = static_cast<std::byte*>(memory);
  if (on_devices())
    on_device_ = std::make_unique<DeviceArena>(device_of(rank), private_.get(), arena_bytes(first));
}

Runner::~Runner() { (void)tuttiMemFree(shared_); }

// Sets call.send and call.recv and fills the input.
void Runner::place(const Case& c, Call& call) {
  const size_t elem = size_of(static_cast<DType>(c.dtype));
  // GPUs want elements to be aligned.
  const size_t shift = !c.misaligned ? 0 : on_devices() ? elem : 1;
  Arena arena(c.memory == Memory::kShared ? shared_ : private_.get(), shift);
  const bool nested = c.in_place && call.send_elems != 0 && call.recv_elems != 0;
  if (!nested) {
    call.send = call.send_elems != 0 ? arena.take(call.send_elems * elem) : nullptr;
    call.recv = call.recv_elems != 0 ? arena.take(call.recv_elems * elem) : nullptr;
  } else if (call.send_is_inner) {
    call.recv = arena.take(call.recv_elems * elem);
    call.send = call.recv + call.in_place_at * elem;
  } else {
    call.send = arena.take(call.send_elems * elem);
    call.recv = call.send + call.in_place_at * elem;
  }
  if (call.send != nullptr)
    bench::fill(call.send, patterns_.input(c.dtype, c.op, rank_, n_ranks_), elem, 0,
                call.send_elems);
}

void Runner::check(const Case& c, const Call& call) {
  const size_t elem = size_of(static_cast<DType>(c.dtype));
  for (const Piece& piece : call.pieces) {
    const bench::Pattern& table = piece.source == Piece::kReduction
                                      ? patterns_.reduced(c.dtype, c.op, n_ranks_)
                                      : patterns_.input(c.dtype, c.op, piece.source, n_ranks_);
    const size_t wrong =
        bench::first_difference(call.recv + piece.at * elem, table, elem, piece.first, piece.count);
    if (wrong != piece.count) {
      throw std::runtime_error("element " + std::to_string(piece.at + wrong) + " of " +
                               std::to_string(call.recv_elems) + " is wrong (piece from rank " +
                               std::to_string(piece.source) + ")");
    }
  }
  const bool nested = c.in_place && call.send_elems != 0 && call.recv_elems != 0;
  if (call.recv != nullptr && (!nested || call.send_is_inner))
    check_guards(call.recv, call.recv_elems * elem);
  if (call.send != nullptr && (!nested || !call.send_is_inner))
    check_guards(call.send, call.send_elems * elem);
  if (nested) return;
  if (call.recv != nullptr) check_untouched(call, elem);
  if (call.send != nullptr &&
      bench::first_difference(call.send, patterns_.input(c.dtype, c.op, rank_, n_ranks_), elem, 0,
                              call.send_elems) != call.send_elems) {
    throw std::runtime_error("the send buffer has changed");
  }
}

void Runner::check_guards(const std::byte* buffer, size_t bytes) {
  if (!intact(buffer - kGuardBytes, kGuardBytes))
    throw std::runtime_error("wrote in front of a buffer");
  if (!intact(buffer + bytes, kGuardBytes)) throw std::runtime_error("wrote behind a buffer");
}

void Runner::make(const Case& c, const Call& call, tuttiRedOp_t op) {
  const char* const what = name(rows()[c.row].kind);
  if (on_device_ == nullptr) return require(issue(c, call, rank_, op, comm_), what);
  const bool of_device = c.memory == Memory::kPrivate;
  Call there = of_device ? on_device_->moved(call) : call;
  there.stream = on_device_->stream();
  require(issue(c, there, rank_, op, comm_), what);
  of_device ? on_device_->bring_back() : on_device_->wait();
  tuttiResult_t later = tuttiSuccess;
  require(tuttiCommGetAsyncError(comm_, &later), "tuttiCommGetAsyncError");
  if (later != tuttiSuccess)
    throw std::runtime_error(std::string(what) + ": " + tuttiGetLastError(comm_));
}

void Runner::call_and_check(const Case& c, Report* report) {
  Call call = describe(c, rank_);
  place(c, call);
  tuttiRedOp_t op = static_cast<tuttiRedOp_t>(c.op);
  const bool own_op = reduces(rows()[c.row].kind) && c.op == kOps - 1;
  if (own_op) {
    std::vector<std::byte> scalar = bench::premul_scalar(c.dtype);
    require(tuttiRedOpCreatePreMulSum(&op, scalar.data(), static_cast<tuttiDataType_t>(c.dtype),
                                      tuttiScalarHostImmediate, comm_),
            "tuttiRedOpCreatePreMulSum");
  }
  tuttiCommStats_t before = TUTTI_COMM_STATS_INITIALIZER, after = TUTTI_COMM_STATS_INITIALIZER;
  require(tuttiCommGetStats(comm_, &before), "tuttiCommGetStats");
  make(c, call, op);
  require(tuttiCommGetStats(comm_, &after), "tuttiCommGetStats");
  if (own_op) require(tuttiRedOpDestroy(op, comm_), "tuttiRedOpDestroy");
  for (int k = 0; k < 4; ++k) report->bytes[k] = after.bytes[k] - before.bytes[k];
  const planner::AlgorithmRow* algorithm = rows()[c.row].algorithm;
  report->algorithm_matches =
      algorithm == nullptr || std::strcmp(after.lastAlgorithm, algorithm->name) == 0;
  report->transport_matches = transport_ == after.transports;
  check(c, call);
}

void Runner::run(const Case& c, Report* report) {
  try {
    // The second time a communicator of the host may go a shorter way.
    const int calls = on_devices() ? 1 : 2;
    for (int call = 0; call < calls; ++call) call_and_check(c, report);
    report->state = Report::kPassed;
  } catch (const std::exception& error) {
    std::snprintf(report->text, sizeof report->text, "rank %d: %s", rank_, error.what());
    report->state = Report::kFailed;
  }
}

}  // namespace tutti::conformance
