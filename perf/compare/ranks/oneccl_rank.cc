// SPDX-License-Identifier: Apache-2.0
// oneCCL on host memory, over its MPI transport, which also tells the ranks apart.
// COMPARE_CCL_CACHE=1: schedules are kept between calls, as its own benchmark does.
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <string>

#include <oneapi/ccl.hpp>

#include "perf/compare/ranks/backend.h"

namespace tutti::compare {
namespace {

class OneCclBackend final : public Backend {
 public:
  OneCclBackend() {
    ccl::init();
    MPI_Init(nullptr, nullptr);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    ccl::kvs::address_type address;
    if (rank_ == 0) {
      kvs_ = ccl::create_main_kvs();
      address = kvs_->get_address();
    }
    MPI_Bcast(address.data(), static_cast<int>(address.size()), MPI_BYTE, 0, MPI_COMM_WORLD);
    if (rank_ != 0) {
      kvs_ = ccl::create_kvs(address);
    }
    comm_ = std::make_unique<ccl::communicator>(ccl::create_communicator(size_, rank_, kvs_));
    const char* cache = std::getenv("COMPARE_CCL_CACHE");
    cache_ = cache != nullptr && std::string(cache) == "1";
  }
  ~OneCclBackend() override {
    comm_.reset();
    kvs_.reset();
    MPI_Finalize();
  }
  OneCclBackend(const OneCclBackend&) = delete;
  OneCclBackend& operator=(const OneCclBackend&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string version() const override {
    const ccl::library_version version = ccl::get_library_version();
    return std::to_string(version.major) + "." + std::to_string(version.minor) + "." +
           std::to_string(version.update);
  }

  void prepare(const Call& call) override {
    call_ = call;
    if (call.point.op == Op::other || call.point.op == Op::send_recv) {
      throw Unsupported("oneCCL does not know " + call.point.name);
    }
    ++serial_;
  }
  void run(int root) override { start(root).wait(); }
  void finish() override {}
  void barrier() override { MPI_Barrier(MPI_COMM_WORLD); }

 private:
  template <class Attr>
  Attr attributes(int root = 0) const {
    auto attr = ccl::create_operation_attr<Attr>();
    if (cache_) {
      const std::string key = std::to_string(serial_) + ":" + std::to_string(root);
      attr.template set<ccl::operation_attr_id::match_id>(ccl::string_class(key.c_str()));
      attr.template set<ccl::operation_attr_id::to_cache>(true);
    }
    return attr;
  }

  ccl::event start(int root) {
    const size_t count = call_.shape.block_elems;
    const float* in = call_.input;
    float* out = call_.output;
    switch (call_.point.op) {
      case Op::all_reduce:
        return ccl::allreduce(in, out, count, ccl::reduction::sum, *comm_,
                              attributes<ccl::allreduce_attr>());
      case Op::all_gather:
        return ccl::allgather(in, out, count, *comm_, attributes<ccl::allgather_attr>());
      case Op::reduce_scatter:
        return ccl::reduce_scatter(in, out, count, ccl::reduction::sum, *comm_,
                                   attributes<ccl::reduce_scatter_attr>());
      case Op::broadcast:
        return ccl::broadcast(call_.input, count, root, *comm_,
                              attributes<ccl::broadcast_attr>(root));
      case Op::all_to_all:
        return ccl::alltoall(in, out, count, *comm_, attributes<ccl::alltoall_attr>());
      case Op::ping_pong:
      case Op::send_recv:
      case Op::other:
        break;
    }
    return ping_pong(count);
  }

  ccl::event ping_pong(size_t count) {
    const int peer = partner_of(rank_);
    if (rank_ < peer) {
      ccl::send(call_.input, count, peer, *comm_).wait();
      return ccl::recv(call_.output, count, peer, *comm_);
    }
    ccl::recv(call_.output, count, peer, *comm_).wait();
    return ccl::send(call_.input, count, peer, *comm_);
  }

  int rank_ = 0;
  int size_ = 1;
  bool cache_ = false;
  size_t serial_ = 0;  // of the prepared call, so that no two share a cached schedule
  ccl::shared_ptr_class<ccl::kvs> kvs_;
  std::unique_ptr<ccl::communicator> comm_;
  Call call_;
};

}  // namespace
}  // namespace tutti::compare

int main() try {
  tutti::compare::begin_rank(tutti::compare::launch_rank());
  tutti::compare::OneCclBackend backend;
  return tutti::compare::serve(backend);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
