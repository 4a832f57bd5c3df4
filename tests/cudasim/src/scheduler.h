// SPDX-License-Identifier: Apache-2.0
// Runs the threads of kernels: in rounds, in each of which every warp that can go on does so, in
// random order (CUDASIM_SEED). All functions are for the engine's thread.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/grid.h"
#include "tests/cudasim/src/space.h"

namespace cudasim {

class Scheduler {
 public:
  Scheduler();

  // *grid->done is set when it has ended.
  std::shared_ptr<Grid> launch(Launch launch);
  // Returns whether anything has moved. `force`: also threads that wait for memory to change, which
  // has not changed.
  bool round(bool force);
  void kill(abi::ContextObject& context);
  // Ends all kernels, none of which has moved for long, with a report. False when there is none.
  bool end_hung();

  // --- For the functions that running threads call
  Lane& current() const { return *static_cast<Lane*>(cudasim_thread); }
  void leave();  // the running thread's stack; returns when it is entered again
  // Ends the running thread's context with a report.
  [[noreturn]] void fail(Result error, std::string what);
  void arrive(Lane& lane, bool value);  // at the block's barrier
  void arrive_at_warp_op(Lane& lane);   // its fields say which
  void make_ready(Lane& lane);
  Random& random() { return random_; }
  WeakMemory* weak() { return weak_.get(); }

 private:
  void admit(Grid& grid);
  std::unique_ptr<Block> make_block(Grid& grid);
  void make_lane(Block& block, uint32_t thread, uint8_t* dynamic);
  bool run_warp(Warp& warp, bool force);
  bool run_lane(Lane& lane);
  bool wants_to_run(Lane& lane, bool force) const;
  void end_lane(Lane& lane);
  void end_block(Block& block);
  bool end_faulty(Grid& grid);  // false when nothing is wrong
  void end_grid(Grid& grid);
  void end_context(abi::ContextObject& context, Result error);
  void queue(Warp& warp);
  void bury();
  void block(Lane& lane, LaneState state);
  void release_barrier(Block& block);
  void complete_warp_op(Warp& warp, uint32_t mask);
  void exchange(Warp& warp, uint32_t mask);
  void check_stuck(const Warp& warp);
  static void lane_body();

  Random random_;
  std::unique_ptr<WeakMemory> weak_;
  StackPool stacks_;
  std::list<std::shared_ptr<Grid>> grids_;
  std::vector<std::unique_ptr<Block>> ended_;  // until the round is over
  std::vector<Warp*> active_;
  uint64_t serials_ = 0;
  uint64_t block_serials_ = 0;
  bool fault_ = false;
  Result fault_code_ = Result::kSuccess;
  std::string fault_text_;
  const Lane* fault_lane_ = nullptr;
  uint64_t entries_ = 0;
};

Scheduler& scheduler();

// What each thread of a kernel waits for, a line for those who wait alike.
std::string describe_waits(const Grid& grid);
// Moves lines of 128 bytes for the lanes that have met for it (lines.cc). Returns whether loads
// found anything new.
bool move_lines(Warp& warp, uint32_t mask);
// Notes what a lane has read; true when it has read just that before (watch.cc).
bool is_repeated(Lane& lane, uint64_t address, const uint8_t* host, const uint8_t* value,
                 uint32_t bytes);
// Whether something that the lane has read lately has changed.
bool has_changed(const Lane& lane);

// Host addresses for GPU addresses, with all checks; the running thread fails when one does.
struct Target {
  uint8_t* host;
  Region* region;  // nullptr: shared memory of the block
};
Target check_access(Lane& lane, const void* address, uint32_t bytes, bool write);
// A region of a multicast object, and what an address in it stands for on each device.
struct Replicas {
  std::array<uint8_t*, kMaxReplicas> host;
  uint32_t count = 0;
};
Replicas check_multimem(Lane& lane, const void* address, uint32_t bytes, bool write);
// That who else synchronised by this word is within the scope (scopes.cc).
void check_scope(Lane& lane, const Region& region, uint64_t address, Scope scope);

}  // namespace cudasim
