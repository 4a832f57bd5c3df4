// SPDX-License-Identifier: Apache-2.0
// Kernels that move bytes between the buffers of all ranks, whatever their data type, and signals
// (symmetric_args.h).
#include "src/kernels/cuda/symmetric.h"

namespace tutti::gpu {

TUTTI_GPU void copy(const Move& move) {
  reduce_copy<DType::kUint8, Calls::kCopies>(move, Reduction{}, block_team());
}

// One piece after the other, each by all blocks; `of(j)` yields piece j.
template <class PieceOf>
TUTTI_GPU void copy_pieces(const SymmetricTeam& team, uint32_t n, Move& move, PieceOf of) {
  TUTTI_NO_UNROLL
  for (uint32_t i = 0; i < n; ++i) {
    const CopyPiece piece = of((team.rank + 1 + i) % n);
    const Part part = part_of(piece.bytes);
    block_barrier();  // the last piece has been read from `move`
    if (thread_index().x == 0) {
      move.sources[0] = piece.source + part.begin;
      move.sinks[0] = piece.sink + part.begin;
      move.n_sources = 1;
      move.n_sinks = 1;
      move.bytes = part.bytes;
    }
    block_barrier();
    copy(move);
  }
}

TUTTI_GPU void clear(Move& move) {
  if (thread_index().x != 0) return;
  move.pre_mask = 0;
  move.post = false;
}

TUTTI_GPU void copy_to_sinks(const SymmetricCopyArgs& args, Move& move) {
  const Part part = part_of(args.bytes);
  block_barrier();  // the last piece has been read from `move`, and written by all threads
  set_operands(move, &args.source, 1, args.sinks, args.n_sinks, part.begin);
  if (thread_index().x == 0) move.bytes = part.bytes;
  block_barrier();
  copy(move);
}

TUTTI_GPU void symmetric_copy(const SymmetricCopyArgs& args, Move& move) {
  clear(move);
  watched_launch(args.team, [&](RankBarrier& barrier) {
    if (!barrier.pass()) return false;
    copy_pieces(args.team, args.n_pieces, move, [&](uint32_t j) { return args.pieces[j]; });
    if (args.barrier_between != 0 && !barrier.pass()) return false;
    if (args.n_sinks != 0) copy_to_sinks(args, move);
    return barrier.pass();
  });
}

TUTTI_GPU void all_to_all_v(const AllToAllVArgs& args, Move& move) {
  const SymmetricTeam& team = args.team;
  clear(move);
  watched_launch(team, [&](RankBarrier& barrier) {
    if (!barrier.pass()) return false;
    copy_pieces(team, team.n_ranks, move, [&](uint32_t j) {
      const uint64_t from = load(args.send_offsets + j) * args.elem_bytes;
      const uint64_t to = load(args.receive_offsets[j] + team.rank) * args.elem_bytes;
      return CopyPiece{args.input + from, args.outputs[j] + to,
                       load(args.send_counts + j) * args.elem_bytes};
    });
    return barrier.pass();
  });
}

TUTTI_GPU void signal(const SignalArgs& args) {
  for (uint32_t i = thread_index().x; i < args.n; i += block_threads()) {
    // Releases what came before in the stream; pairs with wait() or any acquire.
    atomic_add<Scope::kSystem, Order::kAcqRel>(args.signals[i].word, args.signals[i].value);
  }
}
TUTTI_GPU void wait(const SignalArgs& args) {
  for (uint32_t i = thread_index().x; i < args.n; i += block_threads()) {
    const Signal& signal = args.signals[i];
    WatchedWait wait(args.watch, WaitFor::kSignal, signal.rank, i);
    // Pairs with signal().
    while (static_cast<int64_t>(load_acquire<Scope::kSystem>(signal.word) - signal.value) < 0) {
      if (!wait.again()) return;
    }
    wait.end();
  }
}

}  // namespace tutti::gpu

TUTTI_KERNEL_BOUNDS(tutti_symmetric_copy, tutti::gpu::SymmetricCopyArgs, tutti::gpu::kMostThreads,
                    1) {
  TUTTI_SHARED(tutti::gpu::Move, move);
  tutti::gpu::symmetric_copy(args, move);
}
TUTTI_KERNEL_BOUNDS(tutti_symmetric_all_to_all_v, tutti::gpu::AllToAllVArgs,
                    tutti::gpu::kMostThreads, 1) {
  TUTTI_SHARED(tutti::gpu::Move, move);
  tutti::gpu::all_to_all_v(args, move);
}
TUTTI_KERNEL(tutti_signal, tutti::gpu::SignalArgs) { tutti::gpu::signal(args); }
TUTTI_KERNEL(tutti_wait, tutti::gpu::SignalArgs) { tutti::gpu::wait(args); }
