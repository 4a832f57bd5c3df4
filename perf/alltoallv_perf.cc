// SPDX-License-Identifier: Apache-2.0
// Bandwidth of AllToAllv with uneven blocks: counted is the largest that any rank sends. There is
// no in-place form.
#include <algorithm>

#include "perf/bench/bench.h"

namespace {

using tutti::bench::Bandwidth;
using tutti::bench::Call;
using tutti::bench::Piece;
using tutti::bench::Sizes;

// What rank s sends to rank d: between half of the even share and one and a half times it, so that
// no two ranks move the same.
size_t block_from_to(const Sizes& sizes, int s, int d, int n_ranks) {
  if (n_ranks == 1) return sizes.count;
  return sizes.count / 2 +
         sizes.count * static_cast<size_t>((s + d) % n_ranks) / static_cast<size_t>(n_ranks - 1);
}
// Where the block of `other` starts in the buffer of `rank`, which sends (or receives) blocks in
// rank order.
size_t start_of(const Sizes& sizes, int rank, int other, int n_ranks) {
  size_t at = 0;
  for (int r = 0; r < other; ++r)
    at += block_from_to(sizes, rank, r, n_ranks);  // symmetric in s and d
  return at;
}

Sizes sizes(size_t count, size_t elem_bytes, int n_ranks) {
  Sizes sizes{.count = tutti::bench::block_elems(count, elem_bytes, n_ranks)};
  for (int r = 0; r < n_ranks; ++r)
    sizes.send = std::max(sizes.send, start_of(sizes, r, n_ranks, n_ranks));
  sizes.recv = sizes.send;
  return sizes;
}

tuttiResult_t issue(const Call& c) {
  // Kept by the thread, so that timed calls do not allocate.
  thread_local std::vector<size_t> counts, displs;
  counts.clear();
  displs.clear();
  size_t at = 0;
  for (int r = 0; r < c.n_ranks; ++r) {
    counts.push_back(block_from_to(c.sizes, c.rank, r, c.n_ranks));
    displs.push_back(at);
    at += counts.back();
  }
  return tuttiAllToAllv(c.send, counts.data(), displs.data(), c.recv, counts.data(), displs.data(),
                        c.type, c.comm, c.stream);
}

std::vector<Piece> expect(const Sizes& sizes, int rank, int n_ranks, int /*root*/) {
  std::vector<Piece> pieces;
  pieces.reserve(static_cast<size_t>(n_ranks));
  for (int r = 0; r < n_ranks; ++r) {
    pieces.push_back({.at = start_of(sizes, rank, r, n_ranks),
                      .count = block_from_to(sizes, r, rank, n_ranks),
                      .source = r,
                      .first = start_of(sizes, r, rank, n_ranks)});
  }
  return pieces;
}

Bandwidth bandwidth(const Sizes& sizes, size_t elem_bytes, double seconds, int n_ranks) {
  const double bytes = static_cast<double>(sizes.send * elem_bytes);
  return tutti::bench::bandwidth(bytes, seconds, static_cast<double>(n_ranks - 1) / n_ranks);
}

}  // namespace

int main(int argc, char** argv) {
  return tutti::bench::bench_main(argc, argv,
                                  {.name = "alltoallv_perf",
                                   .in_place = false,
                                   .sizes = sizes,
                                   .issue = issue,
                                   .expect = expect,
                                   .bandwidth = bandwidth});
}
