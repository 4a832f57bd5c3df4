// SPDX-License-Identifier: Apache-2.0
// Bandwidth of Broadcast from a root.
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
  return tuttiBroadcast(c.send, c.recv, c.sizes.count, c.type, c.root, c.comm, c.stream);
}

std::vector<Piece> expect(const Sizes& sizes, int /*rank*/, int /*n_ranks*/, int root) {
  return {{.at = 0, .count = sizes.count, .source = root, .first = 0}};
}

Bandwidth bandwidth(const Sizes& sizes, size_t elem_bytes, double seconds, int /*n_ranks*/) {
  const double bytes = static_cast<double>(sizes.count * elem_bytes);
  return tutti::bench::bandwidth(bytes, seconds, 1.0);
}

}  // namespace

int main(int argc, char** argv) {
  return tutti::bench::bench_main(argc, argv,
                                  {.name = "broadcast_perf",
                                   .has_root = true,
                                   .sizes = sizes,
                                   .issue = issue,
                                   .expect = expect,
                                   .bandwidth = bandwidth});
}
