// SPDX-License-Identifier: Apache-2.0
// The kernel tutti_nvls_<dtype>: reductions and stores by the switch, through multicast objects
// (symmetric_args.h). Compiled once per data type that the hardware reduces.
#include "src/kernels/cuda/kernel_name.h"
#include "src/kernels/cuda/symmetric.h"

namespace tutti::gpu {

// Data written through a multicast address is read through the device's own and the other way
// round, hence the alias fences.
TUTTI_GPU bool pass_with_aliases(RankBarrier& barrier) {
  fence_alias();
  const bool passed = barrier.pass();
  fence_alias();
  return passed;
}

// kUnits vectors of one thread, `apart` bytes from each other, all on their way before the first is
// used.
template <DType kType, Op kOp, int kUnits>
TUTTI_GPU void nvls_load(const std::byte* from, uint32_t apart, Vec16* v) {
  TUTTI_UNROLL
  for (int u = 0; u < kUnits; ++u) {
    v[u] = multimem_load_reduce<kType, kOp>(
        reinterpret_cast<const Vec16*>(from + uint64_t{apart} * u));
  }
}
template <int kUnits>
TUTTI_GPU void nvls_store(std::byte* to, uint32_t apart, bool multicast, const Vec16* v) {
  TUTTI_UNROLL
  for (int u = 0; u < kUnits; ++u) {
    auto* at = reinterpret_cast<Vec16*>(to + uint64_t{apart} * u);
    if (multicast) {
      multimem_store(at, v[u]);
    } else {
      store(at, v[u]);
    }
  }
}

template <DType kType, Op kOp>
struct NvlsReduce {
  const NvlsArgs& args;
  template <int kUnits>
  TUTTI_GPU void run(uint64_t at, uint32_t apart) const {
    TUTTI_PROOF_LOOP("nvls", kOp, kUnits);
    Vec16 v[kUnits];
    nvls_load<kType, kOp, kUnits>(args.input + at, apart, v);
    if (kOp == Op::kSum && args.reduction.post) {
      TUTTI_UNROLL
      for (int u = 0; u < kUnits; ++u) {
        Block<kType> block;
        block.set(v[u]);
        block.divide(args.reduction.scaling);
        v[u] = block.result();
      }
    }
    nvls_store<kUnits>(args.output + at, apart, args.kind == Nvls::kAllReduce, v);
  }
};
struct NvlsGather {
  const NvlsArgs& args;
  template <int kUnits>
  TUTTI_GPU void run(uint64_t at, uint32_t apart) const {
    TUTTI_PROOF_LOOP("nvls", 0, kUnits);
    Vec16 v[kUnits];
    load_units<kUnits>(args.input + at, apart, v);
    nvls_store<kUnits>(args.output + at, apart, true, v);
  }
};

// Whole groups, then a vector at a time.
template <class Step>
TUTTI_GPU void nvls_all(Part part, Step step) {
  constexpr int kUnits = 4;
  const Team team = block_team();
  const uint64_t end = part.begin + part.bytes;
  uint64_t at = groups<kUnits>(team, part.begin, end, step);
  TUTTI_NO_UNROLL
  for (at += uint64_t{team.rank} * kUnitBytes; at < end; at += uint64_t{team.count} * kUnitBytes) {
    step.template run<1>(at, 0);
  }
}

template <DType kType, Op kOp>
TUTTI_GPU void nvls_reduce(const NvlsArgs& args, Part part) {
  if constexpr (multimem_reduces(kType, kOp)) nvls_all(part, NvlsReduce<kType, kOp>{args});
}

template <DType kType>
TUTTI_GPU void nvls_move(const NvlsArgs& args, Part part) {
  if (args.kind == Nvls::kGather) {
    nvls_all(part, NvlsGather{args});
  } else if (args.reduction.fold == Op::kMin) {
    nvls_reduce<kType, Op::kMin>(args, part);
  } else if (args.reduction.fold == Op::kMax) {
    nvls_reduce<kType, Op::kMax>(args, part);
  } else {
    nvls_reduce<kType, Op::kSum>(args, part);
  }
}

template <DType kType>
TUTTI_GPU void nvls(const NvlsArgs& args) {
  watched_launch(args.team, [&](RankBarrier& barrier) {
    if (!pass_with_aliases(barrier)) return false;
    nvls_move<kType>(args, part_of(args.bytes));
    return pass_with_aliases(barrier);
  });
}

}  // namespace tutti::gpu

TUTTI_DTYPE_KERNEL(tutti_nvls, tutti::gpu::NvlsArgs, tutti::gpu::kMostThreads, 1) {
  tutti::gpu::nvls<tutti::DType::TUTTI_KERNEL_DTYPE>(args);
}
