// SPDX-License-Identifier: Apache-2.0
// Memory of simulated devices, for tests of kernels. In processes of tests/cudasim/tests/support.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "src/kernels/cuda/report.h"
#include "src/kernels/cuda/scaling.h"
#include "tests/cudasim/tests/support.h"

namespace tutti::test {

// Devices 0 to n - 1, each of which may access the memory of all others.
class Gpus {
 public:
  explicit Gpus(int n);
  int count() const { return static_cast<int>(streams_.size()); }
  void use(int device) const;
  cuda::Stream stream(int device) const { return streams_[device]; }
  void synchronize() const;

  // Zeroed memory of a device, 512-byte aligned.
  std::byte* alloc(int device, size_t bytes) const;
  template <class T>
  T* alloc_of(int device, size_t count) const {
    return reinterpret_cast<T*>(alloc(device, count * sizeof(T)));
  }
  template <class T>
  T* upload(int device, const std::vector<T>& values) const {
    T* to = alloc_of<T>(device, values.size());
    write(to, values.data(), values.size() * sizeof(T));
    return to;
  }
  static void write(void* to, const void* from, size_t bytes);
  static std::vector<std::byte> read(const void* from, size_t bytes);

  // Launches on the device's stream.
  template <class Args>
  void launch(int device, const std::string& kernel, unsigned blocks, unsigned threads,
              const Args& args, unsigned shared_bytes = 0) const {
    use(device);
    OK(cudasim::test::launch(kernel.c_str(), blocks, threads, args, streams_[device],
                             shared_bytes));
  }
  // Fresh words; `abort` can be set by write().
  gpu::Watch watch(int device, unsigned blocks) const;

 private:
  std::vector<cuda::Context> contexts_;
  std::vector<cuda::Stream> streams_;
};

// "kFloat32", as in the names of kernels.
std::string id_of(DType dtype);
// Any bits: every kind of NaN, subnormals, infinities, and numbers of like size now and then.
std::vector<std::byte> any_bytes(std::mt19937_64& random, size_t bytes);
// For Avg and PreMulSum.
kernels::Scaling any_scaling(std::mt19937_64& random, DType dtype, int32_t divisor);

}  // namespace tutti::test
