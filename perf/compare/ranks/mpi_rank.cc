// SPDX-License-Identifier: Apache-2.0
// Any MPI; compiled once for each.
#include <mpi.h>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "perf/compare/ranks/backend.h"

namespace tutti::compare {
namespace {

class MpiBackend final : public Backend {
 public:
  MpiBackend() {
    MPI_Init(nullptr, nullptr);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiBackend() override { MPI_Finalize(); }
  MpiBackend(const MpiBackend&) = delete;
  MpiBackend& operator=(const MpiBackend&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string version() const override {
    char text[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(text, &length);
    std::string line(text, static_cast<size_t>(length));
    line = line.substr(0, line.find_first_of(",\n"));
    for (char& c : line) {
      c = c == ' ' || c == '\t' ? '_' : c;
    }
    return line;
  }

  void prepare(const Call& call) override {
    call_ = call;
    count_ = static_cast<int>(call.shape.block_elems);
    if (call.point.op == Op::other) {
      throw Unsupported("MPI does not know " + call.point.name);
    }
  }
  void run(int root) override {
    if (run_one(root) != MPI_SUCCESS) {
      throw std::runtime_error("an MPI call failed");
    }
  }
  void finish() override {}
  void barrier() override { MPI_Barrier(MPI_COMM_WORLD); }

 private:
  int run_one(int root) {
    const void* input = call_.point.in_place ? MPI_IN_PLACE : call_.input;
    switch (call_.point.op) {
      case Op::all_reduce:
        return MPI_Allreduce(input, call_.output, count_, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      case Op::all_gather:
        return MPI_Allgather(input, count_, MPI_FLOAT, call_.output, count_, MPI_FLOAT,
                             MPI_COMM_WORLD);
      case Op::reduce_scatter:
        return MPI_Reduce_scatter_block(input, call_.output, count_, MPI_FLOAT, MPI_SUM,
                                        MPI_COMM_WORLD);
      case Op::broadcast:
        return MPI_Bcast(call_.input, count_, MPI_FLOAT, root, MPI_COMM_WORLD);
      case Op::all_to_all:
        return MPI_Alltoall(input, count_, MPI_FLOAT, call_.output, count_, MPI_FLOAT,
                            MPI_COMM_WORLD);
      case Op::send_recv:
        return MPI_Sendrecv(call_.input, count_, MPI_FLOAT, partner_of(rank_), 0, call_.output,
                            count_, MPI_FLOAT, partner_of(rank_), 0, MPI_COMM_WORLD,
                            MPI_STATUS_IGNORE);
      case Op::ping_pong:
      case Op::other:
        break;
    }
    return ping_pong();
  }

  int ping_pong() {
    const int peer = partner_of(rank_);
    if (rank_ < peer) {
      MPI_Send(call_.input, count_, MPI_FLOAT, peer, 0, MPI_COMM_WORLD);
      return MPI_Recv(call_.output, count_, MPI_FLOAT, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    }
    MPI_Recv(call_.output, count_, MPI_FLOAT, peer, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    return MPI_Send(call_.input, count_, MPI_FLOAT, peer, 0, MPI_COMM_WORLD);
  }

  int rank_ = 0;
  int size_ = 1;
  int count_ = 0;
  Call call_;
};

}  // namespace
}  // namespace tutti::compare

int main() try {
  tutti::compare::begin_rank(tutti::compare::launch_rank());
  tutti::compare::MpiBackend backend;
  return tutti::compare::serve(backend);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
