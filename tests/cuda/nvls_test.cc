// SPDX-License-Identifier: Apache-2.0
// NVLS kernels on simulated multicast objects. (The simulated switch folds in the order of the
// devices, as the host's kernels do; a real one promises no order.)
#include <string>

#include <gtest/gtest.h>

#include "src/kernels/cuda/symmetric_args.h"
#include "src/kernels/reduce_copy.h"
#include "tests/cuda/gpu_memory.h"
#include "tests/cuda/symmetric_team.h"

namespace tutti::test {
namespace {

constexpr unsigned kBlocks = 2;
constexpr unsigned kThreads = 64;
constexpr size_t kWindow = 2 << 20;
constexpr size_t kOutputAt = 512 << 10;
using Bytes = std::vector<std::byte>;

// A window on each device, and its multicast twin.
class MulticastWindow {
 public:
  explicit MulticastWindow(const Gpus& gpus) {
    const auto n = static_cast<unsigned>(gpus.count());
    const cuda::MulticastProperties team{n, kWindow, 1, 0};
    cuda::AllocationHandle object = 0;
    OK(cuda::cuMulticastCreate(&object, &team));
    for (unsigned d = 0; d < n; ++d) OK(cuda::cuMulticastAddDevice(object, static_cast<int>(d)));
    std::vector<cuda::AccessDescriptor> all;
    for (int d = 0; d < gpus.count(); ++d) {
      gpus.use(d);
      all.push_back({{cuda::LocationType::kDevice, d}, cuda::AccessFlags::kReadWrite});
      cuda::AllocationProperties properties{};
      properties.type = cuda::AllocationType::kPinned;
      properties.location = {cuda::LocationType::kDevice, d};
      cuda::AllocationHandle memory = 0;
      OK(cuda::cuMemCreate(&memory, kWindow, &properties, 0));
      own_.push_back(map(memory, {all.back()}));
      OK(cuda::cuMulticastBindMem(object, 0, memory, 0, kWindow, 0));
      OK(cuda::cuMemsetD32_v2(cudasim::test::address(own_.back()), 0, kWindow / 4));
    }
    multicast_ = map(object, all);
  }
  std::byte* own(int device) const { return own_[device]; }
  std::byte* multicast() const { return multicast_; }

 private:
  static std::byte* map(cuda::AllocationHandle handle,
                        const std::vector<cuda::AccessDescriptor>& access) {
    cuda::DevicePtr at = 0;
    OK(cuda::cuMemAddressReserve(&at, kWindow, 0, 0, 0));
    OK(cuda::cuMemMap(at, kWindow, 0, handle, 0));
    OK(cuda::cuMemSetAccess(at, kWindow, access.data(), access.size()));
    return reinterpret_cast<std::byte*>(at);
  }
  std::vector<std::byte*> own_;
  std::byte* multicast_ = nullptr;
};

// Floats from 1 to 2, so that there is no NaN; any integers.
Bytes plain_values(std::mt19937_64& random, DType dtype, size_t bytes) {
  Bytes out = any_bytes(random, bytes);
  const size_t elem = size_of(dtype);
  for (size_t at = 0; at < bytes; at += elem) {
    uint64_t bits = 0;
    memcpy(&bits, out.data() + at, elem);
    if (dtype == DType::kFloat16) bits = 0x3c00 | (bits & 0x3ff);
    if (dtype == DType::kBfloat16) bits = 0x3f80 | (bits & 0x7f);
    if (dtype == DType::kFloat32) bits = 0x3f800000 | (bits & 0x7fffff);
    if (dtype == DType::kFloat64) bits = 0x3ff0000000000000 | (bits & 0xfffffffffffff);
    memcpy(out.data() + at, &bits, elem);
  }
  return out;
}

struct Job {
  const Gpus& gpus;
  const MulticastWindow& window;
  const SymmetricTeams teams;

  Job(const Gpus& on, const MulticastWindow& in) : gpus(on), window(in), teams(on, kBlocks) {}
  gpu::NvlsArgs args(int rank, gpu::Nvls kind) const {
    gpu::NvlsArgs out{};
    out.team = teams.of(rank);
    out.kind = kind;
    return out;
  }
};

void want_bits(const std::byte* device, const Bytes& wanted, const char* what) {
  if (Gpus::read(device, wanted.size()) == wanted) return;
  std::fprintf(stderr, "%s\n", what);
  WANT(!"the bits of the host's kernels");
}

void host_reduce(const std::vector<kernels::Source>& sources, DType dtype, Op op,
                 const kernels::Scaling& scaling, Bytes* out) {
  const kernels::Sink sink{out->data()};
  kernels::reduce_copy_for(dtype, op)({.sources = sources.data(),
                                       .n_sources = sources.size(),
                                       .sinks = &sink,
                                       .n_sinks = 1,
                                       .count = out->size() / size_of(dtype),
                                       .post = true,
                                       .scaling = &scaling});
}

void run_collectives(const Job& job, DType dtype, Op op, size_t slice_bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  const int n = job.gpus.count();
  const size_t bytes = slice_bytes * n;
  kernels::Scaling scaling;
  scaling.post_divisor = n;
  std::vector<Bytes> inputs;
  std::vector<kernels::Source> sources;
  for (int r = 0; r < n; ++r) {
    inputs.push_back(plain_values(random, dtype, bytes));
    job.gpus.use(r);
    Gpus::write(job.window.own(r), inputs[r].data(), bytes);
  }
  for (const Bytes& input : inputs) sources.push_back({input.data()});
  Bytes wanted(bytes);
  // The switch rounds a sum of 16-bit floats, so that their mean is rounded twice.
  const bool twice = op == Op::kAvg && size_of(dtype) == 2;
  host_reduce(sources, dtype, twice ? Op::kSum : op, scaling, &wanted);
  if (twice) host_reduce({{wanted.data()}}, dtype, op, scaling, &wanted);
  std::vector<std::byte*> scattered;
  for (int r = 0; r < n; ++r) {
    scattered.push_back(job.gpus.alloc(r, slice_bytes));
    const std::string kernel = "tutti_nvls_" + id_of(dtype);
    gpu::NvlsArgs args = job.args(r, gpu::Nvls::kReduceScatter);
    args.reduction = gpu::make_reduction(dtype, op, &scaling);
    args.bytes = slice_bytes;
    args.input = job.window.multicast() + r * slice_bytes;
    args.output = scattered[r];
    job.gpus.launch(r, kernel, kBlocks, kThreads, args);
    args.kind = gpu::Nvls::kAllReduce;
    args.output = job.window.multicast() + kOutputAt + r * slice_bytes;
    job.gpus.launch(r, kernel, kBlocks, kThreads, args);
    // Of what the first has left, behind the result of the second.
    args.kind = gpu::Nvls::kGather;
    args.input = scattered[r];
    args.output += bytes;
    job.gpus.launch(r, kernel, kBlocks, kThreads, args);
  }
  job.gpus.synchronize();
  for (int r = 0; r < n; ++r) {
    job.gpus.use(r);
    want_bits(scattered[r],
              Bytes(wanted.begin() + r * slice_bytes, wanted.begin() + (r + 1) * slice_bytes),
              "reduce-scatter");
    want_bits(job.window.own(r) + kOutputAt, wanted, "all-reduce");
    want_bits(job.window.own(r) + kOutputAt + bytes, wanted, "all-gather");
  }
}

class NvlsType : public ::testing::TestWithParam<std::tuple<DType, bool>> {};

TEST_P(NvlsType, EveryOperation_HasTheHostsBits) {
  const auto [dtype, weak] = GetParam();
  const auto outcome = cudasim::test::run({{"CUDASIM_WEAK", weak ? "1" : "0"}}, [dtype = dtype] {
    const Gpus gpus(3);
    const MulticastWindow window(gpus);
    const Job job(gpus, window);
    for (const Op op : {Op::kSum, Op::kMin, Op::kMax, Op::kAvg}) {
      if (!gpu::multimem_reduces(dtype, op == Op::kAvg ? Op::kSum : op)) continue;
      run_collectives(job, dtype, op, 9008, static_cast<uint64_t>(op));
      run_collectives(job, dtype, op, 16, static_cast<uint64_t>(op));
    }
  });
  EXPECT_TRUE(outcome.ended_well) << "signal " << outcome.signal << "\n" << outcome.said;
}
INSTANTIATE_TEST_SUITE_P(CudaNvls, NvlsType,
                         ::testing::Combine(::testing::Values(DType::kInt32, DType::kUint32,
                                                              DType::kInt64, DType::kUint64,
                                                              DType::kFloat16, DType::kFloat32,
                                                              DType::kFloat64, DType::kBfloat16),
                                            ::testing::Bool()),
                         [](const auto& p) {
                           return id_of(std::get<0>(p.param)) +
                                  (std::get<1>(p.param) ? "_Weak" : "_Strict");
                         });

}  // namespace
}  // namespace tutti::test
