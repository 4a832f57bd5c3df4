// SPDX-License-Identifier: Apache-2.0
// Bandwidth of ReduceScatter: sizes are those of the buffer before it is scattered.
#include "perf/bench/bench.h"

namespace {

using tutti::bench::Bandwidth;
using tutti::bench::Call;
using tutti::bench::Piece;
using tutti::bench::Sizes;

Sizes sizes(size_t count, size_t elem_bytes, int n_ranks) {
  const size_t block = tutti::bench::block_elems(count, elem_bytes, n_ranks);
  return {.send = block * static_cast<size_t>(n_ranks),
          .recv = block,
          .count = block,
          .recv_in_place_at = block};
}

tuttiResult_t issue(const Call& c) {
  return tuttiReduceScatter(c.send, c.recv, c.sizes.count, c.type, c.op, c.comm, c.stream);
}

std::vector<Piece> expect(const Sizes& sizes, int rank, int /*n_ranks*/, int /*root*/) {
  return {{.at = 0,
           .count = sizes.count,
           .source = Piece::kReduction,
           .first = static_cast<size_t>(rank) * sizes.count}};
}

Bandwidth bandwidth(const Sizes& sizes, size_t elem_bytes, double seconds, int n_ranks) {
  const double bytes = static_cast<double>(sizes.send * elem_bytes);
  return tutti::bench::bandwidth(bytes, seconds, static_cast<double>(n_ranks - 1) / n_ranks);
}

}  // namespace

int main(int argc, char** argv) {
  return tutti::bench::bench_main(argc, argv,
                                  {.name = "reduce_scatter_perf",
                                   .has_op = true,
                                   .sizes = sizes,
                                   .issue = issue,
                                   .expect = expect,
                                   .bandwidth = bandwidth});
}
