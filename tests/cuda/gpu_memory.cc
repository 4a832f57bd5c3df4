// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/gpu_memory.h"

namespace tutti::test {

using cudasim::test::address;

Gpus::Gpus(int n) {
  for (int i = 0; i < n; ++i) {
    contexts_.push_back(cudasim::test::use_device(i));
    streams_.push_back(cudasim::test::new_stream());
  }
  for (int i = 0; i < n; ++i) {
    use(i);
    for (int j = 0; j < n; ++j) {
      if (i != j) OK(cuda::cuCtxEnablePeerAccess(contexts_[j], 0));
    }
  }
}

void Gpus::use(int device) const { OK(cuda::cuCtxSetCurrent(contexts_[device])); }

void Gpus::synchronize() const {
  for (int i = 0; i < count(); ++i) {
    use(i);
    OK(cuda::cuCtxSynchronize());
  }
}

std::byte* Gpus::alloc(int device, size_t bytes) const {
  use(device);
  const size_t words = bytes / 4 + 1;
  cuda::DevicePtr pointer = 0;
  OK(cuda::cuMemAlloc_v2(&pointer, words * 4));
  OK(cuda::cuMemsetD32_v2(pointer, 0, words));
  return reinterpret_cast<std::byte*>(pointer);
}

void Gpus::write(void* to, const void* from, size_t bytes) {
  if (bytes != 0) OK(cuda::cuMemcpyHtoD_v2(address(to), from, bytes));
}
std::vector<std::byte> Gpus::read(const void* from, size_t bytes) {
  std::vector<std::byte> values(bytes);
  if (bytes != 0) OK(cuda::cuMemcpyDtoH_v2(values.data(), address(from), bytes));
  return values;
}

gpu::Watch Gpus::watch(int device, unsigned blocks) const {
  return {.abort = alloc_of<uint32_t>(device, 1),
          .failure = alloc_of<uint64_t>(device, 1),
          .reports = alloc_of<uint64_t>(device, blocks),
          .record = alloc_of<gpu::LaunchRecord>(device, 1),
          .state = alloc_of<gpu::LaunchState>(device, 1)};
}

std::string id_of(DType dtype) {
  switch (dtype) {
#define X(id, value, bytes, name, acc) \
  case DType::id:                      \
    return #id;
    TUTTI_DTYPE_ROWS(X)
#undef X
  }
  return "";
}

std::vector<std::byte> any_bytes(std::mt19937_64& random, size_t bytes) {
  std::vector<std::byte> out(bytes);
  for (std::byte& b : out) b = static_cast<std::byte>(random());
  return out;
}

kernels::Scaling any_scaling(std::mt19937_64& random, DType dtype, int32_t divisor) {
  kernels::Scaling scaling;
  scaling.post_divisor = divisor;
  const uint64_t bits = random();
  memcpy(scaling.pre, &bits, sizeof(bits));
  const float single = 0.3F;
  const double wide = 0.3;
  if (dtype == DType::kFloat32) memcpy(scaling.pre, &single, sizeof(single));
  if (dtype == DType::kFloat64) memcpy(scaling.pre, &wide, sizeof(wide));
  return scaling;
}

}  // namespace tutti::test
