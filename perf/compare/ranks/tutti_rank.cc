// SPDX-License-Identifier: Apache-2.0
// Tutti through its C API. COMPARE_BUFFERS=memalloc: user buffers of tuttiMemAlloc.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

#include "perf/compare/ranks/backend.h"
#include "tutti/tutti.h"

namespace tutti::compare {
namespace {

void must(tuttiResult_t result, const char* what) {
  if (result != tuttiSuccess) {
    throw std::runtime_error(std::string(what) + ": " + tuttiGetLastError(nullptr));
  }
}

class TuttiBackend final : public Backend {
 public:
  TuttiBackend() {
    const char* buffers = std::getenv("COMPARE_BUFFERS");
    own_memory_ = buffers != nullptr && std::strcmp(buffers, "memalloc") == 0;
    must(tuttiLaunchInfo(&rank_, &size_, nullptr, nullptr), "tuttiLaunchInfo");
    tuttiUniqueId id;
    must(tuttiGetLaunchUniqueId(&id), "tuttiGetLaunchUniqueId");
    must(tuttiCommInitRank(&comm_, size_, id, rank_), "tuttiCommInitRank");
  }
  ~TuttiBackend() override { tuttiCommDestroy(comm_); }
  TuttiBackend(const TuttiBackend&) = delete;
  TuttiBackend& operator=(const TuttiBackend&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string version() const override {
    int version = 0;
    tuttiGetVersion(&version);
    return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
           std::to_string(version % 100);
  }

  void* allocate(size_t bytes, const Point& point) override {
    if (!own_memory_) {
      return map_private(bytes, point.pages);
    }
    void* memory = nullptr;
    must(tuttiMemAlloc(&memory, bytes), "tuttiMemAlloc");
    std::memset(memory, 0, bytes);
    return memory;
  }
  void release(void* memory, size_t bytes) override {
    if (own_memory_) {
      tuttiMemFree(memory);
    } else {
      unmap_private(memory, bytes);
    }
  }

  void prepare(const Call& call) override { call_ = call; }
  void run(int root) override { must(run_one(root), "a call"); }
  void finish() override {}
  void barrier() override { must(tuttiBarrier(comm_, nullptr), "tuttiBarrier"); }

 private:
  tuttiResult_t run_one(int root) {
    const size_t count = call_.shape.block_elems;
    switch (call_.point.op) {
      case Op::all_reduce:
        return tuttiAllReduce(call_.input, call_.output, count, tuttiFloat32, tuttiSum, comm_,
                              nullptr);
      case Op::all_gather:
        return tuttiAllGather(call_.input, call_.output, count, tuttiFloat32, comm_, nullptr);
      case Op::reduce_scatter:
        return tuttiReduceScatter(call_.input, call_.output, count, tuttiFloat32, tuttiSum, comm_,
                                  nullptr);
      case Op::broadcast:
        return tuttiBcast(call_.input, count, tuttiFloat32, root, comm_, nullptr);
      case Op::all_to_all:
        return tuttiAllToAll(call_.input, call_.output, count, tuttiFloat32, comm_, nullptr);
      case Op::ping_pong:
        return ping_pong(count);
      case Op::send_recv:
        return send_recv(count);
      case Op::other:
        break;
    }
    throw Unsupported("tutti does not know " + call_.point.name);
  }

  tuttiResult_t ping_pong(size_t count) {
    const int peer = partner_of(rank_);
    if (rank_ < peer) {
      const tuttiResult_t sent = tuttiSend(call_.input, count, tuttiFloat32, peer, comm_, nullptr);
      return sent != tuttiSuccess
                 ? sent
                 : tuttiRecv(call_.output, count, tuttiFloat32, peer, comm_, nullptr);
    }
    const tuttiResult_t got = tuttiRecv(call_.output, count, tuttiFloat32, peer, comm_, nullptr);
    return got != tuttiSuccess ? got
                               : tuttiSend(call_.input, count, tuttiFloat32, peer, comm_, nullptr);
  }

  tuttiResult_t send_recv(size_t count) {
    const int peer = partner_of(rank_);
    tuttiResult_t result = tuttiGroupStart();
    if (result != tuttiSuccess) return result;
    result = tuttiSend(call_.input, count, tuttiFloat32, peer, comm_, nullptr);
    if (result == tuttiSuccess)
      result = tuttiRecv(call_.output, count, tuttiFloat32, peer, comm_, nullptr);
    const tuttiResult_t ended = tuttiGroupEnd();
    return result != tuttiSuccess ? result : ended;
  }

  int rank_ = 0;
  int size_ = 1;
  bool own_memory_ = false;
  tuttiComm_t comm_ = nullptr;
  Call call_;
};

}  // namespace
}  // namespace tutti::compare

int main() try {
  tutti::compare::begin_rank(tutti::compare::launch_rank());
  tutti::compare::TuttiBackend backend;
  return tutti::compare::serve(backend);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
