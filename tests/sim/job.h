// SPDX-License-Identifier: Apache-2.0
// Runs one scenario: the real communicators of all ranks over the virtual network, and the judge of
// what comes of it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/base/error.h"
#include "src/comm/communicator.h"
#include "tests/sim/meeting.h"
#include "tests/sim/network.h"
#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

namespace tutti::sim {

// Memory for the buffers of one job; never moves.
class Arena {
 public:
  Arena() : memory_(kBytes) {}
  void reset() noexcept { used_ = 0; }
  std::byte* take(size_t bytes);

 private:
  static constexpr size_t kBytes = 4 << 20;
  std::vector<std::byte> memory_;
  size_t used_ = 0;
};

// What the user fills buffers with that are his again.
inline constexpr auto kUsersOwn = std::byte{0x5a};

// What a rank has handed over for a call and got back.
struct Buffers {
  std::byte* input = nullptr;
  size_t input_bytes = 0;
  std::byte* output = nullptr;
  size_t output_bytes = 0;
  bool handed_back = false;
};

// How a rank fared.
struct Fate {
  bool ended = false;
  size_t completed = 0;        // calls
  std::optional<Error> error;  // of the first call that failed, of creation, or of finalize
  int64_t ended_ns = 0;
  bool done = false;  // with what comes after, too
  int64_t done_ns = 0;
  std::vector<Buffers> buffers;  // by call
};

struct Tally {
  uint64_t jobs = 0;
  uint64_t harmful = 0;  // jobs in which something harmful happened
  uint64_t faults = 0;   // that happened
  uint64_t errors = 0;   // ranks that ended with one
  uint64_t calls = 0;    // completed with the right result
  uint64_t went_on = 0;  // jobs whose survivors made another communicator
};

class Job final : private Handler {
 public:
  Job();
  // The one that runs.
  static Job* current() noexcept;
  Network& network() noexcept { return network_; }

  // "": as it must be. Else what went wrong.
  std::string run(const Scenario& scenario, bool verbose);
  const Tally& tally() const noexcept { return tally_; }

 private:
  enum What : uint32_t { kFault, kResume };
  void on_event(uint32_t what, uint64_t argument) override;
  void prepare(const Scenario& scenario, bool verbose);
  void set_off(size_t fault);
  void happen(size_t fault);
  void break_off(int rank, comm::Cause cause);
  void run_rank(int rank);
  // After a death: the survivors make another communicator, as by tuttiCommShrink, and use it.
  void go_on(int rank);
  std::vector<int> ranks_but(int excluded) const;
  bool everybody(bool Fate::*what) const;
  void run_steps(int rank, comm::Communicator& comm);
  void run_step(int rank, size_t index, comm::Communicator& comm);
  void place_buffers(const Step& step, int rank, Buffers& b);
  static bool run_again(comm::Communicator& comm, const char* name, const Step& step, Op op,
                        const Buffers& b);
  static bool overlap(const Buffers& b) noexcept;
  void check_output(int rank, size_t index);
  const Step& step_of(int rank, size_t index) const;
  void end_rank(int rank, Error error);
  void clean_up();
  void judge();
  // The harmful fault that has happened; null when none has.
  const Fault* trouble() const;
  void judge_rank(int rank, const Fault* harmful);
  void judge_error(int rank, const Fault& harmful, const Error& error);
  void judge_buffers(int rank);
  int64_t first_error_ns() const;
  int64_t last_end_ns() const;
  // By when a rank must have ended.
  int64_t bound_ns(int rank, const Fault* harmful) const;

  static size_t at_(int rank) noexcept { return static_cast<size_t>(rank); }

  World world_;
  Network network_;
  Meeting meeting_;
  Meeting reunion_;  // of the survivors
  Arena arena_;
  const Scenario* scenario_ = nullptr;
  std::array<Fate, kMaxRanks> fates_;
  std::array<std::shared_ptr<comm::Communicator>, kMaxRanks> comms_;  // shared: as the library's
  std::vector<bool> happened_;                                        // by fault
  int64_t start_ns_ = 0;
  int64_t trouble_ns_ = 0;  // when the harmful fault happened
  Tally tally_;
};

}  // namespace tutti::sim
