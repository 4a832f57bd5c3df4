// SPDX-License-Identifier: Apache-2.0
// Bandwidth of AllReduce: bus bandwidth is 2(n-1)/n times the algorithm's.
#include "perf/bench/bench.h"

namespace {

using tutti::bench::Bandwidth;
using tutti::bench::Call;
using tutti::bench::Piece;
using tutti::bench::Sizes;

Sizes sizes(size_t count, size_t /*elem_bytes*/, int /*n_ranks*/) {
  return {.send = count, .recv = count, .count = count};
}

tuttiResult_t issue(const Call& c) {
  return tuttiAllReduce(c.send, c.recv, c.sizes.count, c.type, c.op, c.comm, c.stream);
}

std::vector<Piece> expect(const Sizes& sizes, int /*rank*/, int /*n_ranks*/, int /*root*/) {
  return {{.at = 0, .count = sizes.count, .source = Piece::kReduction, .first = 0}};
}

Bandwidth bandwidth(const Sizes& sizes, size_t elem_bytes, double seconds, int n_ranks) {
  const double bytes = static_cast<double>(sizes.count * elem_bytes);
  return tutti::bench::bandwidth(bytes, seconds, 2.0 * static_cast<double>(n_ranks - 1) / n_ranks);
}

}  // namespace

int main(int argc, char** argv) {
  return tutti::bench::bench_main(argc, argv,
                                  {.name = "all_reduce_perf",
                                   .has_op = true,
                                   .sizes = sizes,
                                   .issue = issue,
                                   .expect = expect,
                                   .bandwidth = bandwidth});
}
