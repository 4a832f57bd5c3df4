// SPDX-License-Identifier: Apache-2.0
// GPUs of a program that knows only NCCL's interface and the CUDA driver, which it opens as the
// library does; the tests run on the simulated one (tests/cudasim). A driver belongs to one
// process, so each test runs in processes of its own.
#pragma once

#include <dlfcn.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include <sys/wait.h>

#include "src/device/cuda/abi.h"
#include "tests/nccl/support.h"

namespace tutti::cuda {

// As the test's own program opens it.
struct ProgramsDriver {
#define TUTTI_TEST_POINTER(symbol, name, version, ...) Result (*symbol)(__VA_ARGS__) = nullptr;
  TUTTI_CUDA_FUNCTIONS(TUTTI_TEST_POINTER)
#undef TUTTI_TEST_POINTER
};

}  // namespace tutti::cuda

namespace tutti::nccl_test {

namespace abi = tutti::cuda;

// Started at the first call. Aborts without a driver: nothing can be tested then.
inline const abi::ProgramsDriver& driver() {
  static const abi::ProgramsDriver one = [] {
    abi::ProgramsDriver made;
    void* const library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == nullptr) std::abort();
#define TUTTI_TEST_LOAD(symbol, name, version, ...) \
  made.symbol = reinterpret_cast<decltype(made.symbol)>(dlsym(library, #symbol));
    TUTTI_CUDA_FUNCTIONS(TUTTI_TEST_LOAD)
#undef TUTTI_TEST_LOAD
    if (made.cuInit(0) != abi::Result::kSuccess) std::abort();
    return made;
  }();
  return one;
}
#define CU_OK(call) EXPECT_EQ(::tutti::nccl_test::driver().call, ::tutti::cuda::Result::kSuccess)

// A GPU of this process with a stream.
class Device {
 public:
  explicit Device(int ordinal) : ordinal_(ordinal) {
    CU_OK(cuDevicePrimaryCtxRetain(&context_, ordinal));
    stream_ = new_stream();
  }
  int ordinal() const { return ordinal_; }
  abi::Context context() const { return context_; }
  void use() const { CU_OK(cuCtxSetCurrent(context_)); }
  abi::Stream stream() const { return stream_; }
  abi::Stream new_stream() const {
    use();
    abi::Stream made = nullptr;
    CU_OK(cuStreamCreate(&made, abi::kStreamNonBlocking));
    return made;
  }

 private:
  int ordinal_;
  abi::Context context_ = nullptr;
  abi::Stream stream_ = nullptr;
};
inline cudaStream_t as_nccl(abi::Stream stream) { return reinterpret_cast<cudaStream_t>(stream); }

// Memory of the GPU that is current. Copies wait for nothing: streams do not block.
template <typename T>
class Buffer {
 public:
  explicit Buffer(size_t count) : count_(count) {
    CU_OK(cuMemAlloc_v2(&address_, count * sizeof(T)));
    CU_OK(cuMemsetD8_v2(address_, 0xee, count * sizeof(T)));
    CU_OK(cuStreamSynchronize(nullptr));  // other streams would not wait for it
  }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) { write(values); }
  ~Buffer() { CU_OK(cuMemFree_v2(address_)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* get() const { return reinterpret_cast<T*>(address_); }
  abi::DevicePtr address() const { return address_; }
  void write(const std::vector<T>& values) const {
    CU_OK(cuMemcpyHtoD_v2(address_, values.data(), values.size() * sizeof(T)));
  }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    CU_OK(cuMemcpyDtoH_v2(values.data(), address_, count_ * sizeof(T)));
    return values;
  }

 private:
  size_t count_;
  abi::DevicePtr address_ = 0;
};
template <typename T>
using Buffers = std::vector<std::unique_ptr<Buffer<T>>>;  // by local rank

// A rank of this thread.
struct Rank {
  int rank = 0;
  ncclComm_t comm = nullptr;
  std::unique_ptr<Device> device;
  cudaStream_t stream() const { return as_nccl(device->stream()); }
};

// The ranks that the calling thread drives, of `n`.
struct World {
  int n = 0;
  std::vector<Rank> ranks;

  // Each with its GPU as the current one.
  void each(const std::function<void(size_t, Rank&)>& body) {
    for (size_t i = 0; i < ranks.size(); ++i) {
      ranks[i].device->use();
      body(i, ranks[i]);
    }
  }
  // A group with a call of every rank.
  void group(const std::function<void(size_t, Rank&)>& calls) {
    NCCL_OK(ncclGroupStart());
    each(calls);
    NCCL_OK(ncclGroupEnd());
  }
  void synchronize() {
    each([](size_t, Rank& r) { CU_OK(cuStreamSynchronize(r.device->stream())); });
  }
  template <typename T>
  Buffers<T> buffers(size_t count) {
    Buffers<T> made;
    each([&](size_t, Rank&) { made.push_back(std::make_unique<Buffer<T>>(count)); });
    return made;
  }
  // `values(rank)`.
  template <typename T>
  Buffers<T> filled(const std::function<std::vector<T>(int)>& values) {
    Buffers<T> made;
    each([&](size_t, Rank& r) { made.push_back(std::make_unique<Buffer<T>>(values(r.rank))); });
    return made;
  }
};

// Runs the body in a process of its own, which must end without a failure.
inline void in_process(const std::function<void()>& body) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    body();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

// One thread of a process of its own with all `n` ranks, on the GPUs 0 to n - 1.
inline void on_one_thread(int n, const std::function<void(World&)>& body) {
  in_process([&] {
    World world{.n = n, .ranks = {}};
    std::vector<ncclComm_t> comms(static_cast<size_t>(n));
    for (int r = 0; r < n; ++r) world.ranks.push_back({r, nullptr, std::make_unique<Device>(r)});
    NCCL_MUST(ncclCommInitAll(comms.data(), n, nullptr));
    for (size_t r = 0; r < comms.size(); ++r) world.ranks[r].comm = comms[r];
    body(world);
    for (const Rank& r : world.ranks) NCCL_OK(ncclCommDestroy(r.comm));
  });
}

// `n` ranks, each on a GPU of its own that it has made current before it joins.
inline World world_of(int n, int rank, ncclComm_t comm, std::unique_ptr<Device> device) {
  World world{.n = n, .ranks = {}};
  world.ranks.push_back({rank, comm, std::move(device)});
  return world;
}
inline void on_gpu_threads(int n, const std::function<void(World&)>& body) {
  in_process([&] {
    ncclUniqueId id;
    NCCL_MUST(ncclGetUniqueId(&id));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < n; ++rank) {
      threads.emplace_back([&, rank] {
        auto device = std::make_unique<Device>(rank);
        Comm comm;
        NCCL_MUST(ncclCommInitRank(comm.put(), n, id, rank));
        World world = world_of(n, rank, comm, std::move(device));
        body(world);
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
}
inline void on_gpu_processes(int n, const std::function<void(World&)>& body) {
  std::unique_ptr<Device> device;
  on_processes(
      n,
      [&](int rank, ncclComm_t comm) {
        World world = world_of(n, rank, comm, std::move(device));
        body(world);
      },
      [&](int rank) { device = std::make_unique<Device>(rank); });
}

}  // namespace tutti::nccl_test
