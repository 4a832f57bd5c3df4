// SPDX-License-Identifier: Apache-2.0
// Bandwidth of Send and Recv in a ring: each rank sends to the next and receives from the one
// before. There is no in-place form.
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
  const int next = (c.rank + 1) % c.n_ranks;
  const int previous = (c.rank + c.n_ranks - 1) % c.n_ranks;
  const tuttiResult_t sent = tuttiSend(c.send, c.sizes.count, c.type, next, c.comm, c.stream);
  return sent != tuttiSuccess
             ? sent
             : tuttiRecv(c.recv, c.sizes.count, c.type, previous, c.comm, c.stream);
}

std::vector<Piece> expect(const Sizes& sizes, int rank, int n_ranks, int /*root*/) {
  return {{.at = 0, .count = sizes.count, .source = (rank + n_ranks - 1) % n_ranks, .first = 0}};
}

Bandwidth bandwidth(const Sizes& sizes, size_t elem_bytes, double seconds, int /*n_ranks*/) {
  const double bytes = static_cast<double>(sizes.count * elem_bytes);
  return tutti::bench::bandwidth(bytes, seconds, 1.0);
}

}  // namespace

int main(int argc, char** argv) {
  return tutti::bench::bench_main(argc, argv,
                                  {.name = "sendrecv_perf",
                                   .in_place = false,
                                   .in_group = true,
                                   .sizes = sizes,
                                   .issue = issue,
                                   .expect = expect,
                                   .bandwidth = bandwidth});
}
