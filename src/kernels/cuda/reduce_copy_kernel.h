// SPDX-License-Identifier: Apache-2.0
// The kernel tutti_reduce_copy_<dtype>: one reduce_copy by the whole grid, on this device's memory
// or, between two barriers of the ranks, on the buffers of all (symmetric_args.h).
#pragma once

#include "src/kernels/cuda/kernel_name.h"
#include "src/kernels/cuda/symmetric.h"

namespace tutti::gpu {

template <DType kType>
TUTTI_GPU void reduce_copy_kernel(const ReduceCopyArgs& args, Move& move) {
  const Part part = part_of(args.move.bytes);
  set_operands(move, args.move.sources, args.move.n_sources, args.move.sinks, args.move.n_sinks,
               part.begin);
  if (thread_index().x == 0) {
    move.bytes = part.bytes;
    move.pre_mask = args.move.pre_mask;
    move.post = args.move.post;
  }
  watched_launch(args.team, [&](RankBarrier& barrier) {
    if (!barrier.pass()) return false;
    reduce_copy<kType>(move, args.reduction, block_team());
    return barrier.pass();
  });
}

}  // namespace tutti::gpu

TUTTI_DTYPE_KERNEL(tutti_reduce_copy, tutti::gpu::ReduceCopyArgs, tutti::gpu::kMostThreads, 1) {
  TUTTI_SHARED(tutti::gpu::Move, move);
  tutti::gpu::reduce_copy_kernel<tutti::DType::TUTTI_KERNEL_DTYPE>(args, move);
}
