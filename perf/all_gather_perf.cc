// SPDX-License-Identifier: Apache-2.0
// Bandwidth of AllGather: sizes are those of the gathered buffer.
#include "perf/bench/bench.h"

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

tuttiResult_t issue(const Call& c) {
  return tuttiAllGather(c.send, c.recv, c.sizes.count, c.type, c.comm, c.stream);
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
                                  {.name = "all_gather_perf",
                                   .sizes = sizes,
                                   .issue = issue,
                                   .expect = expect,
                                   .bandwidth = bandwidth});
}
