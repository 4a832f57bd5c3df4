// SPDX-License-Identifier: Apache-2.0
// Numbers hosts, and keeps each layout once.
#include "src/planner/hosts.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <unordered_map>

#include "src/base/error.h"

namespace tutti::planner {
namespace {

constexpr int32_t kMaxRanks = 1 << 20;

// Reads a number off the front.
bool take_number(std::string_view* text, int32_t* number) {
  const auto parsed = std::from_chars(text->data(), text->data() + text->size(), *number);
  if (parsed.ec != std::errc{} || *number < 0 || *number > kMaxRanks) return false;
  text->remove_prefix(static_cast<size_t>(parsed.ptr - text->data()));
  return true;
}

bool take(std::string_view* text, char what) {
  if (text->empty() || text->front() != what) return false;
  text->remove_prefix(1);
  return true;
}

// The host of each rank; empty when the text is no layout.
std::vector<uint64_t> read_layout(std::string_view text) {
  std::vector<uint64_t> hosts;
  int32_t number = 0;
  if (!take_number(&text, &number)) return {};
  if (take(&text, 'x')) {
    int32_t each = 0;
    if (!take_number(&text, &each) || !text.empty() || number == 0 || each == 0 ||
        each > kMaxRanks / number)
      return {};
    for (int32_t rank = 0; rank < number * each; ++rank)
      hosts.push_back(static_cast<uint64_t>(rank / each));
    return hosts;
  }
  hosts.push_back(static_cast<uint64_t>(number));
  while (take(&text, ',')) {
    if (!take_number(&text, &number)) return {};
    hosts.push_back(static_cast<uint64_t>(number));
  }
  return text.empty() ? hosts : std::vector<uint64_t>{};
}

}  // namespace

struct Hosts::Table {
  std::vector<int32_t> host_by_rank;
  std::vector<std::vector<int32_t>> ranks;  // by host
  int32_t fewest = 0;
  int32_t most = 0;
};

const Hosts::Table* Hosts::kept(std::vector<int32_t> host_by_rank) {
  struct Kept {
    std::mutex mutex;  // guards by_layout
    std::map<std::vector<int32_t>, std::unique_ptr<Table>> by_layout;
  };
  // Never destroyed: threads of the library may outlive static destruction.
  static auto* const all = new Kept;
  const std::lock_guard lock(all->mutex);
  std::unique_ptr<Table>& table = all->by_layout[host_by_rank];
  if (table != nullptr) return table.get();
  table = std::make_unique<Table>();
  for (size_t rank = 0; rank < host_by_rank.size(); ++rank) {
    const auto host = static_cast<size_t>(host_by_rank[rank]);
    if (host == table->ranks.size()) table->ranks.emplace_back();
    table->ranks[host].push_back(static_cast<int32_t>(rank));
  }
  const auto by_size = [](const auto& a, const auto& b) { return a.size() < b.size(); };
  const auto [fewest, most] = std::ranges::minmax_element(table->ranks, by_size);
  table->fewest = static_cast<int32_t>(fewest->size());
  table->most = static_cast<int32_t>(most->size());
  table->host_by_rank = std::move(host_by_rank);
  return table.get();
}

Hosts Hosts::of(std::span<const uint64_t> host_by_rank) {
  std::unordered_map<uint64_t, int32_t> numbers;
  std::vector<int32_t> canonical;
  canonical.reserve(host_by_rank.size());
  for (const uint64_t host : host_by_rank)
    canonical.push_back(
        numbers.try_emplace(host, static_cast<int32_t>(numbers.size())).first->second);
  return numbers.size() < 2 ? Hosts() : Hosts(kept(std::move(canonical)));
}

Hosts Hosts::parse(std::string_view text, int32_t n_ranks, const std::string& what) {
  const std::vector<uint64_t> hosts = read_layout(text);
  if (hosts.size() == static_cast<size_t>(n_ranks)) return of(hosts);
  throw Error(StatusCode::kInvalidArgument,
              what +
                  ": expected HOSTSxRANKS such as 3x2, or the host of each rank such as "
                  "0,0,1,1, for " +
                  std::to_string(n_ranks) + " ranks; got '" + std::string(text) + "'" +
                  (hosts.empty() ? "" : " for " + std::to_string(hosts.size()) + " ranks"));
}

bool Hosts::layered() const noexcept { return table_ != nullptr && table_->most > 1; }

int32_t Hosts::n_ranks() const noexcept {
  return static_cast<int32_t>(table_->host_by_rank.size());
}
int32_t Hosts::n_hosts() const noexcept { return static_cast<int32_t>(table_->ranks.size()); }
int32_t Hosts::host_of(int32_t rank) const noexcept {
  return table_->host_by_rank[static_cast<size_t>(rank)];
}
const std::vector<int32_t>& Hosts::ranks_of(int32_t host) const noexcept {
  return table_->ranks[static_cast<size_t>(host)];
}
int32_t Hosts::fewest_ranks() const noexcept { return table_->fewest; }
int32_t Hosts::most_ranks() const noexcept { return table_->most; }

std::string Hosts::text() const {
  if (!several()) return "1 host";
  const std::vector<int32_t>& hosts = table_->host_by_rank;
  if (table_->fewest == table_->most && std::ranges::is_sorted(hosts))
    return std::to_string(n_hosts()) + "x" + std::to_string(table_->most);
  std::string list;
  for (const int32_t host : hosts) list += (list.empty() ? "" : ",") + std::to_string(host);
  return list;
}

int32_t ranks_in_layout(std::string_view text) noexcept {
  return static_cast<int32_t>(read_layout(text).size());
}

std::vector<int32_t> in_host_order(const Hosts& hosts, int32_t n_ranks, int32_t first) {
  std::vector<int32_t> order(static_cast<size_t>(n_ranks));
  std::iota(order.begin(), order.end(), 0);
  if (!hosts.several()) {
    std::rotate(order.begin(), order.begin() + first, order.end());
    return order;
  }
  const auto group_of = [&](int32_t rank) {
    return (hosts.host_of(rank) - hosts.host_of(first) + hosts.n_hosts()) % hosts.n_hosts();
  };
  std::ranges::stable_sort(order, {}, group_of);
  const auto begin = std::ranges::find(order, first);
  std::rotate(order.begin(), begin, begin + 1);
  return order;
}

}  // namespace tutti::planner
