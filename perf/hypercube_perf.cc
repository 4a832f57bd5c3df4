// SPDX-License-Identifier: Apache-2.0
// Bandwidth of an all-gather over the edges of a hypercube, made of Send and Recv; a power of two
// of ranks.
#include "perf/bench/bench.h"
#include "src/kernels/dtypes.h"

namespace {

using tutti::bench::Bandwidth;
using tutti::bench::Call;
using tutti::bench::Piece;
using tutti::bench::Sizes;

Sizes sizes(size_t count, size_t elem_bytes, int n_ranks) {
  const size_t block = tutti::bench::block_elems(count, elem_bytes, n_ranks);
  return {.send = block,
          .recv = block * static_cast<size_t>(n_ranks),
          .count = block,
          .send_in_place_at = block};
}

bool power_of_two(int n_ranks) { return (n_ranks & (n_ranks - 1)) == 0; }

int dimensions(int n_ranks) {
  int d = 1;  // a single rank still has its own block to put in place
  while ((1 << d) < n_ranks) ++d;
  return d;
}

// Across dimension d both ends exchange the 2^d blocks that they hold.
tuttiResult_t issue(const Call& c) {
  const size_t block_bytes = c.sizes.count * tutti::size_of(static_cast<tutti::DType>(c.type));
  auto* recv = static_cast<std::byte*>(c.recv);
  std::byte* own = recv + static_cast<size_t>(c.rank) * block_bytes;
  if (c.stage == 0 && c.send != own) tutti::bench::copy_locally(c, own, c.send, block_bytes);
  if (c.n_ranks == 1) return tuttiSuccess;
  const int mask = 1 << c.stage;
  const int peer = c.rank ^ mask;
  const auto held = static_cast<size_t>(c.rank & ~(mask - 1));
  const auto wanted = static_cast<size_t>(peer & ~(mask - 1));
  const size_t count = c.sizes.count * static_cast<size_t>(mask);
  const tuttiResult_t sent =
      tuttiSend(recv + held * block_bytes, count, c.type, peer, c.comm, c.stream);
  return sent != tuttiSuccess
             ? sent
             : tuttiRecv(recv + wanted * block_bytes, count, c.type, peer, c.comm, c.stream);
}

std::vector<Piece> expect(const Sizes& sizes, int /*rank*/, int n_ranks, int /*root*/) {
  std::vector<Piece> pieces;
  pieces.reserve(static_cast<size_t>(n_ranks));
  for (int r = 0; r < n_ranks; ++r) {
    pieces.push_back({.at = static_cast<size_t>(r) * sizes.count,
                      .count = sizes.count,
                      .source = r,
                      .first = 0});
  }
  return pieces;
}

Bandwidth bandwidth(const Sizes& sizes, size_t elem_bytes, double seconds, int n_ranks) {
  const double bytes = static_cast<double>(sizes.recv * elem_bytes);
  return tutti::bench::bandwidth(bytes, seconds, static_cast<double>(n_ranks - 1) / n_ranks);
}

}  // namespace

int main(int argc, char** argv) {
  return tutti::bench::bench_main(argc, argv,
                                  {.name = "hypercube_perf",
                                   .in_group = true,
                                   .ranks_wanted = "a power of two of ranks",
                                   .supports = power_of_two,
                                   .stages = dimensions,
                                   .sizes = sizes,
                                   .issue = issue,
                                   .expect = expect,
                                   .bandwidth = bandwidth});
}
