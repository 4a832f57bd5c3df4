// SPDX-License-Identifier: Apache-2.0
// The machine itself as a peer of two ranks: it forks the second and answers the same messages.
// Ops: line, flag8 (half a round trip); memcpy, ntcopy, vmread (both ranks at once), the same with
// "1" (rank 0 alone); floor_private, floor_shared (AllReduce).
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "perf/compare/ranks/backend.h"
#include "perf/compare/ranks/limit_loops.h"

namespace tutti::compare {
namespace {

constexpr size_t kArenaBytes = 512U << 20;  // of each rank, for buffers that both map

struct World {
  SharedState state;
  pid_t pids[2];
  const void* inputs[2];
};

class LimitsBackend final : public Backend {
 public:
  LimitsBackend(World* world, std::byte* arenas, int rank) : world_(world), rank_(rank) {
    me_.rank = rank;
    me_.mine = &world->state.side[rank];
    me_.theirs = &world->state.side[1 - rank];
    world->pids[rank] = getpid();
    arena_ = arenas + static_cast<size_t>(rank) * kArenaBytes;
    to_theirs_ =
        rank == 0 ? static_cast<ptrdiff_t>(kArenaBytes) : -static_cast<ptrdiff_t>(kArenaBytes);
  }

  int rank() const override { return rank_; }
  int size() const override { return 2; }
  std::string version() const override { return "-"; }

  void* allocate(size_t bytes, const Point& point) override {
    if (point.name != "floor_shared") {
      return map_private(bytes, point.pages);
    }
    // Both ranks ask for the same in the same order, so buffers lie alike in both arenas.
    const size_t first = (used_ + 4095) / 4096 * 4096;
    if (first + bytes > kArenaBytes) {
      throw std::bad_alloc();
    }
    used_ = first + bytes;
    std::memset(arena_ + first, 0, bytes);
    return arena_ + first;
  }
  void release(void* memory, size_t bytes) override {
    auto* const at = static_cast<std::byte*>(memory);
    if (at < arena_ || at >= arena_ + kArenaBytes) {
      unmap_private(memory, bytes);
      return;
    }
    madvise(arena_, (used_ + 4095) / 4096 * 4096, MADV_REMOVE);
    used_ = 0;
  }

  void prepare(const Call& call) override {
    call_ = call;
    alone_ = call.point.name.back() == '1';
    run_ = loop_of(call.point.name);
    world_->inputs[rank_] = call.input;
  }
  void run(int) override {
    if (!alone_ || rank_ == 0) {
      (this->*run_)();
    }
  }
  void finish() override {}
  void barrier() override { limit_barrier(me_); }

 private:
  using Loop = void (LimitsBackend::*)();

  static Loop loop_of(const std::string& name) {
    if (name == "line") return &LimitsBackend::line;
    if (name == "flag8") return &LimitsBackend::flag;
    if (name == "memcpy" || name == "memcpy1") return &LimitsBackend::plain_copy;
    if (name == "ntcopy" || name == "ntcopy1") return &LimitsBackend::streaming_copy;
    if (name == "vmread" || name == "vmread1") return &LimitsBackend::vm_read;
    if (name == "floor_private") return &LimitsBackend::floor_private;
    if (name == "floor_shared") return &LimitsBackend::floor_shared;
    throw Unsupported("no limit is called " + name);
  }

  std::byte* in() const { return reinterpret_cast<std::byte*>(call_.input); }
  std::byte* out() const { return reinterpret_cast<std::byte*>(call_.output); }

  void line() { line_round_trip(me_); }
  void flag() { payload_round_trip(me_, in(), out(), 8); }
  void plain_copy() { std::memcpy(out(), in(), call_.point.bytes); }
  void streaming_copy() { copy_streaming(out(), in(), call_.point.bytes); }
  void vm_read() {
    const iovec local{out(), call_.point.bytes};
    const iovec remote{const_cast<void*>(world_->inputs[1 - rank_]), call_.point.bytes};
    const ssize_t got = process_vm_readv(world_->pids[1 - rank_], &local, 1, &remote, 1, 0);
    if (got != static_cast<ssize_t>(call_.point.bytes)) {
      throw Unsupported(std::string("process_vm_readv: ") + std::strerror(errno));
    }
  }
  void floor_private() {
    all_reduce_private(me_, call_.input, call_.output, call_.shape.block_elems);
  }
  void floor_shared() {
    const auto theirs = [this](float* mine) {
      return reinterpret_cast<float*>(reinterpret_cast<std::byte*>(mine) + to_theirs_);
    };
    all_reduce_shared(me_,
                      {.in = call_.input,
                       .their_in = theirs(call_.input),
                       .out = call_.output,
                       .their_out = theirs(call_.output)},
                      call_.shape.block_elems);
  }

  World* world_;
  int rank_;
  LimitRank me_;
  std::byte* arena_ = nullptr;
  ptrdiff_t to_theirs_ = 0;
  size_t used_ = 0;
  bool alone_ = false;
  Loop run_ = nullptr;
  Call call_;
};

void* map_shared(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  return memory;
}

int run_both() {
  auto* const world = new (map_shared(sizeof(World))) World;
  auto* const arenas = static_cast<std::byte*>(map_shared(2 * kArenaBytes));
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child < 0) {
    throw std::runtime_error(std::string("fork: ") + std::strerror(errno));
  }
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
      return 1;
    }
  }
  // The two may read each other's memory also where only parents may (Yama).
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  const int rank = child == 0 ? 1 : 0;
  begin_rank(rank);
  LimitsBackend backend(world, arenas, rank);
  const int result = serve(backend);
  if (child > 0) {
    waitpid(child, nullptr, 0);
  }
  return result;
}

}  // namespace
}  // namespace tutti::compare

int main() try { return tutti::compare::run_both(); } catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
