// SPDX-License-Identifier: Apache-2.0
// The definition of a layer.
#include "tests/moe/expected.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/support/moe_reference.h"

namespace tutti::moe_test {
namespace {

using test::from_bf16;
using test::to_bf16;

// A 64-bit sum of terms would round differently: each step is a float.
float added(bool first, float total, float term) { return first ? term : total + term; }

std::vector<uint16_t> rounded(const std::vector<float>& values) {
  std::vector<uint16_t> result;
  for (const float value : values) result.push_back(to_bf16(value));
  return result;
}

}  // namespace

Layer::Layer(const Case& c)
    : case_(c), placement_(placement_of(c)), received_(static_cast<size_t>(c.n_ranks)) {
  for (int rank = 0; rank < c.n_ranks; ++rank) {
    inputs_.push_back(input_of(c, rank));
    host_of_.push_back(c.hosts.empty() ? 0 : rank / 2);  // "2x2" is the only one
  }
  for (int rank = 0; rank < c.n_ranks; ++rank) {
    std::vector<int> homes;
    for (int expert = 0; expert < c.n_experts; ++expert) homes.push_back(find_home(rank, expert));
    homes_.push_back(std::move(homes));
  }
  uint64_t most = 0;
  for (int rank = 0; rank < c.n_ranks; ++rank) {
    demands_.push_back(lay_out(rank, false).demand);
    most = std::max(most, demands_.back());
  }
  switch (c.room) {
    case Room::kAll:
      break;
    case Room::kExact:
      capacity_ = most;
      break;
    case Room::kOneShort:
      capacity_ = most - (most > 1 ? 1 : 0);
      break;
    case Room::kHalf:
      capacity_ = most / 2;
      break;
  }
}

// The rank that computes an expert for a source: itself, one of its host, any; the source-th of
// those there are, ascending.
int Layer::find_home(int source, int expert) const {
  std::vector<int> near, far;
  for (int rank = 0; rank < case_.n_ranks; ++rank) {
    const std::vector<int>& there = placement_[static_cast<size_t>(rank)];
    if (std::find(there.begin(), there.end(), expert) == there.end()) continue;
    if (!case_.takes_part(rank)) continue;
    if (rank == source) return rank;
    const bool same = host_of_[static_cast<size_t>(rank)] == host_of_[static_cast<size_t>(source)];
    (same ? near : far).push_back(rank);
  }
  const std::vector<int>& best = near.empty() ? far : near;
  if (best.empty()) return -1;  // nobody
  return best[static_cast<size_t>(source) % best.size()];
}

std::vector<Layer::Pair> Layer::pairs(int source, size_t token, int rank) const {
  const RankInput& in = input(source);
  std::vector<Pair> result;
  for (size_t j = 0; j < static_cast<size_t>(case_.k); ++j) {
    const size_t at = token * static_cast<size_t>(case_.k) + j;
    const int64_t expert = in.experts[at];
    if (expert < 0 || home(source, expert) != rank) continue;
    const std::vector<int>& there = placement_[static_cast<size_t>(rank)];
    const int local =
        static_cast<int>(std::find(there.begin(), there.end(), expert) - there.begin());
    const float weight = case_.weighted ? in.weights[at] : 1.0F;
    const auto known = std::find_if(result.begin(), result.end(),
                                    [&](const Pair& pair) { return pair.local == local; });
    if (known == result.end()) {
      result.push_back({local, weight});
    } else {
      known->weight += weight;
    }
  }
  return result;
}

size_t Layer::rows(int source, int rank) const {
  size_t n = 0;
  for (size_t token = 0; token < input(source).tokens; ++token)
    n += pairs(source, token, rank).empty() ? 0 : 1;
  return n;
}

ExpectedRow Layer::make_row(int source, size_t token) const {
  const std::vector<uint16_t>& x = input(source).x[token];
  ExpectedRow row{.source = source, .token = token};
  if (!case_.quantized()) {
    row.data.resize(2 * x.size());
    std::memcpy(row.data.data(), x.data(), row.data.size());
    row.value = x;
    return row;
  }
  const test::Quantized q = test::quantized(x, case_.group_elems(), !case_.floats());
  row.data = q.codes;
  row.scales = q.exponents;
  if (case_.floats()) {
    row.scales.resize(4 * q.scales.size());
    std::memcpy(row.scales.data(), q.scales.data(), row.scales.size());
  }
  for (size_t i = 0; i < x.size(); ++i) {
    row.value.push_back(
        to_bf16(test::decode(test::kE4m3Format, q.codes[i]) * q.scales[i / case_.group_elems()]));
  }
  return row;
}

// Rows that the rank's buffers hold at most: what any routing could need, or the limit.
uint64_t Layer::room(int rank) const {
  const uint64_t tokens = static_cast<uint64_t>(case_.n_ranks) * case_.max_tokens;
  const uint64_t experts = placement_[static_cast<size_t>(rank)].size();
  const uint64_t a = case_.alignment;
  uint64_t most =
      tokens * std::min<uint64_t>(experts, static_cast<uint64_t>(case_.k)) + experts * (a - 1);
  most = (most + a - 1) / a * a;
  if (case_.layout == tuttiMoeRankMajor) most = experts == 0 ? 0 : tokens;
  return capacity_ == 0 ? most : std::min<uint64_t>(most, capacity_);
}

ExpectedReceive Layer::lay_out(int rank, bool with_rows) const {
  const bool by_rank = case_.layout == tuttiMoeRankMajor;
  std::vector<std::vector<ExpectedRow>> blocks(
      by_rank ? static_cast<size_t>(case_.n_ranks) : placement_[static_cast<size_t>(rank)].size());
  for (int source = 0; source < case_.n_ranks; ++source) {
    for (size_t token = 0; token < input(source).tokens; ++token) {
      const std::vector<Pair> here = pairs(source, token, rank);
      if (here.empty()) continue;
      ExpectedRow row =
          with_rows ? make_row(source, token) : ExpectedRow{.source = source, .token = token};
      if (by_rank) {
        for (const Pair& pair : here) {
          row.locals.push_back(pair.local);
          row.weights.push_back(pair.weight);
        }
        blocks[static_cast<size_t>(source)].push_back(row);
        continue;
      }
      for (const Pair& pair : here) {
        row.locals = {pair.local};
        row.weights = {pair.weight};
        blocks[static_cast<size_t>(pair.local)].push_back(row);
      }
    }
  }
  const uint64_t alignment = by_rank ? 1 : case_.alignment;
  const uint64_t all = room(rank);
  ExpectedReceive result;
  for (const auto& block : blocks) {
    const uint64_t wanted = (block.size() + alignment - 1) / alignment * alignment;
    const uint64_t left = (all - std::min(all, result.taken)) / alignment * alignment;
    const uint64_t kept = std::min<uint64_t>(block.size(), left);
    const uint64_t takes = (kept + alignment - 1) / alignment * alignment;
    result.counts.push_back(static_cast<uint32_t>(block.size()));
    result.received.push_back(static_cast<uint32_t>(kept));
    result.aligned.push_back(static_cast<uint32_t>(takes));
    result.offsets.push_back(static_cast<uint32_t>(result.taken));
    for (uint64_t i = 0; i < kept; ++i) result.rows[result.taken + i] = block[i];
    result.taken += takes;
    result.demand += wanted;
    result.dropped += block.size() - kept;
  }
  return result;
}

const ExpectedReceive& Layer::receive(int rank) const {
  std::optional<ExpectedReceive>& known = received_[static_cast<size_t>(rank)];
  if (!known.has_value()) known = lay_out(rank, true);
  return *known;
}

bool Layer::overflows() const { return dropped_by_all() != 0; }

uint64_t Layer::dropped_by_all() const {
  uint64_t dropped = 0;
  for (int rank = 0; rank < case_.n_ranks; ++rank) dropped += lay_out(rank, false).dropped;
  return dropped;
}

uint64_t Layer::dropped_of(int source) const {
  uint64_t sent = 0, kept = 0;
  for (int rank = 0; rank < case_.n_ranks; ++rank) {
    for (size_t token = 0; token < input(source).tokens; ++token) {
      const size_t n = pairs(source, token, rank).size();
      sent += case_.layout == tuttiMoeRankMajor ? std::min<size_t>(n, 1) : n;
    }
    for (const auto& [place, row] : lay_out(rank, false).rows) kept += row.source == source ? 1 : 0;
  }
  return sent - kept;
}

// What the experts of a rank return for a received row.
std::vector<uint16_t> Layer::computed(const ExpectedRow& row) const {
  std::vector<float> result;
  for (const uint16_t element : row.value) {
    if (case_.layout == tuttiMoeExpertMajor) {
      result.push_back(from_bf16(element) * expert_factor(row.locals[0]));
      continue;
    }
    float total = 0;
    for (size_t j = 0; j < row.locals.size(); ++j) {
      const float y = from_bf16(to_bf16(from_bf16(element) * expert_factor(row.locals[j])));
      total = added(j == 0, total, row.weights[j] * y);
    }
    result.push_back(total);
  }
  return rounded(result);
}

std::vector<std::vector<uint16_t>> Layer::combined(int rank) const {
  struct Part {
    int rank;
    std::vector<float> sum;
  };
  const size_t tokens = input(rank).tokens;
  std::vector<std::vector<Part>> parts(tokens);  // of each token, ascending by rank
  for (int t = 0; t < case_.n_ranks; ++t) {
    const ExpectedReceive& received = receive(t);
    std::vector<std::vector<const ExpectedRow*>> mine(tokens);
    for (const auto& [place, row] : received.rows) {
      if (row.source == rank) mine[row.token].push_back(&row);
    }
    std::vector<bool> goes(tokens);
    for (size_t token = 0; token < tokens; ++token) {
      if (pairs(rank, token, t).empty()) continue;
      goes[token] = true;
      parts[token].push_back({t, std::vector<float>(case_.hidden, 0.0F)});
    }
    // In the order of each token's top-k.
    for (size_t token = 0; token < tokens; ++token) {
      if (!goes[token]) continue;
      std::vector<float>& sum = parts[token].back().sum;
      bool first = true;
      const auto add_row = [&](const ExpectedRow& row, float weight, bool weighted) {
        const std::vector<uint16_t> y = computed(row);
        for (size_t i = 0; i < y.size(); ++i)
          sum[i] = added(first, sum[i], weighted ? weight * from_bf16(y[i]) : from_bf16(y[i]));
        first = false;
      };
      for (const Pair& pair : pairs(rank, token, t)) {
        for (const ExpectedRow* row : mine[token]) {
          if (case_.layout == tuttiMoeExpertMajor && row->locals[0] == pair.local)
            add_row(*row, pair.weight, true);
          if (case_.layout == tuttiMoeRankMajor && first) add_row(*row, 1.0F, false);
        }
      }
    }
  }
  std::vector<std::vector<uint16_t>> result;
  for (size_t token = 0; token < tokens; ++token) {
    std::vector<uint16_t> row;
    for (size_t i = 0; i < case_.hidden; ++i) {
      float total = 0, host_total = 0;
      bool first = true;
      for (size_t p = 0; p < parts[token].size(); ++p) {
        const Part& part = parts[token][p];
        float term = part.sum[i];
        if (case_.reduction != tuttiMoeReduceOnce) term = from_bf16(to_bf16(term));
        if (case_.reduction == tuttiMoeReduceHier) {
          const auto host = [&](size_t q) {
            return host_of_[static_cast<size_t>(parts[token][q].rank)];
          };
          host_total = added(p == 0 || host(p - 1) != host(p), host_total, term);
          if (p + 1 != parts[token].size() && host(p + 1) == host(p)) continue;
          term = from_bf16(to_bf16(host_total));
        }
        total = added(first, total, term);
        first = false;
      }
      row.push_back(to_bf16(total));
    }
    result.push_back(std::move(row));
  }
  return result;
}

}  // namespace tutti::moe_test
