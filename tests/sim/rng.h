// SPDX-License-Identifier: Apache-2.0
// The one source of chance of a simulated job: equal seeds give equal jobs.
#pragma once

#include <cstdint>

namespace tutti::sim {

// splitmix64.
class Rng {
 public:
  explicit Rng(uint64_t seed) noexcept : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  uint64_t next() noexcept {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  // In [0, n); n > 0.
  uint64_t below(uint64_t n) noexcept {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * n) >> 64);
  }
  // In [first, last].
  int64_t between(int64_t first, int64_t last) noexcept {
    return first + static_cast<int64_t>(below(static_cast<uint64_t>(last - first) + 1));
  }
  int pick(int n) noexcept { return static_cast<int>(below(static_cast<uint64_t>(n))); }
  // True `percent` times out of a hundred.
  bool chance(int percent) noexcept { return static_cast<int>(below(100)) < percent; }

 private:
  uint64_t state_;
};

}  // namespace tutti::sim
