// SPDX-License-Identifier: Apache-2.0
// The pipeline, step by step.
#include "perf/moe/naive.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "src/base/clock.h"

namespace tutti::moe_perf {
namespace {

constexpr uint32_t kNowhere = UINT32_MAX;

void copy_one(const std::byte* from, std::byte* to, size_t bytes) {
  kernels::copy_row(from, bytes, &to, 1);
}

}  // namespace

Naive::Naive(const Options& o, const Seat& seat, size_t tokens, const Demand& demand)
    : options_(o),
      seat_(seat),
      row_(o),
      quantized_(row_.all()),
      output_(tokens * row_.value()),
      sends_(static_cast<size_t>(seat.n_ranks)),
      recvs_(sends_.size()),
      send_bytes_(sends_.size()),
      recv_bytes_(sends_.size()) {
  const size_t pairs = tokens * static_cast<size_t>(o.top_k);
  const size_t row = std::max(row_.value(), row_.all() + sizeof(float));
  mine_ = Buffer(pairs * row);
  theirs_ = Buffer(demand.here * row);
  my_sides_ = Buffer(pairs * side_bytes());
  their_sides_ = Buffer(demand.here * side_bytes());
  sorted_ = Buffer(demand.here * row_.data);
  sorted_scales_ = Buffer(demand.here * row_.scales);
  place_.resize(pairs);
  sorted_place_.resize(demand.here);
  expert_counts_.resize(static_cast<size_t>(o.experts));
  counts_out_.resize(sends_.size() * experts_of(0));
  counts_in_.resize(counts_out_.size());
}

size_t Naive::experts_of(int rank) const {
  const int each = options_.experts / seat_.n_ranks, more = options_.experts % seat_.n_ranks;
  return static_cast<size_t>(each) + (rank < more ? 1 : 0);
}

size_t Naive::first_expert(int rank) const {
  const int each = options_.experts / seat_.n_ranks, more = options_.experts % seat_.n_ranks;
  return static_cast<size_t>(rank) * static_cast<size_t>(each) +
         static_cast<size_t>(std::min(rank, more));
}

int Naive::rank_of(int64_t expert) const {
  const int each = options_.experts / seat_.n_ranks, more = options_.experts % seat_.n_ranks;
  const int with_more = more * (each + 1), e = static_cast<int>(expert);
  return e < with_more ? e / (each + 1) : more + (e - with_more) / std::max(1, each);
}

// Where each pair of a token and an expert goes in the send buffer, which is sorted by expert and
// so by rank.
void Naive::count(const Input& input) {
  std::fill(expert_counts_.begin(), expert_counts_.end(), 0);
  for (const int64_t expert : input.experts) {
    if (expert >= 0) ++expert_counts_[static_cast<size_t>(expert)];
  }
  std::vector<uint32_t> next(expert_counts_.size());
  std::exclusive_scan(expert_counts_.begin(), expert_counts_.end(), next.begin(), 0U);
  for (size_t i = 0; i < input.experts.size(); ++i) {
    const int64_t expert = input.experts[i];
    place_[i] = expert < 0 ? kNowhere : next[static_cast<size_t>(expert)]++;
  }
}

void Naive::exchange_counts() {
  const size_t most = experts_of(0);
  for (int rank = 0; rank < seat_.n_ranks; ++rank) {
    const auto first = expert_counts_.begin() + static_cast<ptrdiff_t>(first_expert(rank));
    const auto n = static_cast<ptrdiff_t>(experts_of(rank));
    std::copy(first, first + n, counts_out_.begin() + rank * static_cast<ptrdiff_t>(most));
    sends_[static_cast<size_t>(rank)] = std::accumulate(first, first + n, size_t{0});
  }
  require(
      tuttiAllToAll(counts_out_.data(), counts_in_.data(), most, tuttiUint32, seat_.comm, nullptr),
      "tuttiAllToAll");
  for (size_t rank = 0; rank < recvs_.size(); ++rank) {
    const auto first = counts_in_.begin() + static_cast<ptrdiff_t>(rank * most);
    recvs_[rank] =
        std::accumulate(first, first + static_cast<ptrdiff_t>(experts_of(seat_.rank)), size_t{0});
  }
}

void Naive::quantize_and_permute(const Input& input) {
  const auto k = static_cast<size_t>(options_.top_k);
  const size_t stride = options_.lean ? row_.all() + sizeof(float) : row_.data;
  for (size_t token = 0; token < input.tokens; ++token) {
    const std::byte* row = input.x.data() + token * row_.value();
    if (row_.quantized) {
      const kernels::RowSink sink{quantized_.data(), quantized_.data() + row_.data};
      kernels::quantize_row(row, row_.form, &sink, 1);
      row = quantized_.data();
    }
    for (size_t j = 0; j < k; ++j) {
      const size_t pair = token * k + j;
      const uint32_t place = place_[pair];
      if (place == kNowhere) continue;
      std::byte* const to = mine_.data() + place * stride;
      std::byte* const side =
          options_.lean ? to + row_.data : my_sides_.data() + place * side_bytes();
      copy_one(row, to, row_.data);
      std::memcpy(side, quantized_.data() + row_.data, row_.scales);
      std::memcpy(side + row_.scales, &input.weights[pair], sizeof(float));
    }
  }
}

void Naive::exchange_rows() {
  const auto exchange = [&](const std::byte* from, std::byte* to, size_t bytes) {
    for (size_t rank = 0; rank < sends_.size(); ++rank) {
      send_bytes_[rank] = sends_[rank] * bytes;
      recv_bytes_[rank] = recvs_[rank] * bytes;
    }
    require(tuttiAllToAllv(from, send_bytes_.data(), nullptr, to, recv_bytes_.data(), nullptr,
                           tuttiUint8, seat_.comm, nullptr),
            "tuttiAllToAllv");
  };
  if (options_.lean) return exchange(mine_.data(), theirs_.data(), row_.all() + sizeof(float));
  exchange(mine_.data(), theirs_.data(), row_.data);
  exchange(my_sides_.data(), their_sides_.data(), side_bytes());
}

// From (source, expert, token) to (expert, source, token).
void Naive::sort() {
  const size_t most = experts_of(0), here = experts_of(seat_.rank);
  const size_t stride = options_.lean ? row_.all() + sizeof(float) : row_.data;
  uint32_t place = 0;
  for (size_t expert = 0; expert < here; ++expert) {
    size_t start = 0;
    for (size_t source = 0; source < recvs_.size(); ++source) {
      const uint32_t* const counts = &counts_in_[source * most];
      size_t at = start + std::accumulate(counts, counts + expert, size_t{0});
      for (uint32_t i = 0; i < counts[expert]; ++i, ++at, ++place) {
        const std::byte* const row = theirs_.data() + at * stride;
        const std::byte* const side =
            options_.lean ? row + row_.data : their_sides_.data() + at * side_bytes();
        copy_one(row, sorted_.data() + place * row_.data, row_.data);
        std::memcpy(sorted_scales_.data() + place * row_.scales, side, row_.scales);
        sorted_place_[at] = place;
      }
      start += recvs_[source];
    }
  }
}

void Naive::unsort(const std::byte* results) {
  const size_t n = std::accumulate(recvs_.begin(), recvs_.end(), size_t{0});
  for (size_t at = 0; at < n; ++at)
    copy_one(results + sorted_place_[at] * row_.value(), theirs_.data() + at * row_.value(),
             row_.value());
}

void Naive::exchange_back() {
  for (size_t rank = 0; rank < sends_.size(); ++rank) {
    send_bytes_[rank] = recvs_[rank] * row_.hidden;
    recv_bytes_[rank] = sends_[rank] * row_.hidden;
  }
  require(tuttiAllToAllv(theirs_.data(), send_bytes_.data(), nullptr, mine_.data(),
                         recv_bytes_.data(), nullptr, tuttiBfloat16, seat_.comm, nullptr),
          "tuttiAllToAllv");
}

void Naive::sum(const Input& input) {
  const auto k = static_cast<size_t>(options_.top_k);
  std::vector<const std::byte*> rows(k);
  std::vector<float> weights(k);
  for (size_t token = 0; token < input.tokens; ++token) {
    size_t n = 0;
    for (size_t j = 0; j < k; ++j) {
      const uint32_t place = place_[token * k + j];
      if (place == kNowhere) continue;
      weights[n] = input.weights[token * k + j];
      rows[n++] = mine_.data() + place * row_.value();
    }
    kernels::sum_rows({rows.data(), weights.data(), n, row_.hidden},
                      output_.data() + token * row_.value());
  }
}

Times Naive::run(const Input& input, const std::byte* results) {
  Times times;
  int64_t start = now_ns();
  count(input);
  exchange_counts();
  quantize_and_permute(input);
  exchange_rows();
  sort();
  times.dispatch = static_cast<double>(now_ns() - start) / kNsPerSecond;
  start = now_ns();
  unsort(results);
  exchange_back();
  sum(input);
  times.combine = static_cast<double>(now_ns() - start) / kNsPerSecond;
  return times;
}

}  // namespace tutti::moe_perf
