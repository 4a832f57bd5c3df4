// SPDX-License-Identifier: Apache-2.0
// Enumerates and samples the product of factors.
#include "tests/conformance/case.h"

#include <algorithm>
#include <set>
#include <span>
#include <string_view>
#include <unordered_set>

#include "src/kernels/cuda/multimem.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "transport/fifo.h"

namespace tutti::conformance {
namespace {

struct Carrier {
  Layout layout;
  const char* transport;
};
constexpr Carrier kCarriers[] = {
    {Layout::kThreads, "inproc"}, {Layout::kThreads, "shm"}, {Layout::kProcesses, "shm"}};
// Of GPUs: memory of the peers, or memory of the host between them.
constexpr Carrier kDeviceCarriers[] = {{Layout::kThreads, "cuda_p2p"},
                                       {Layout::kProcesses, "cuda_p2p"},
                                       {Layout::kThreads, "inproc"},
                                       {Layout::kProcesses, "shm"}};
bool devices = false;
std::span<const Carrier> carriers() {
  if (devices) return kDeviceCarriers;
  return kCarriers;
}
constexpr const char* kProtocolNames[] = {"default", "inline", "staged", "direct"};

constexpr const char* kDeviceProtocolNames[] = {"default", "ll128", "staged", "ll"};

std::vector<Kind> kinds_of(const planner::AlgorithmRow& row) {
  using plan::Collective;
  switch (row.collective) {
    case Collective::kAllReduce:
      return {Kind::kAllReduce};
    case Collective::kReduce:
      return {Kind::kReduce};
    case Collective::kBroadcast:
      return {Kind::kBroadcast};
    case Collective::kAllGather:
      return {Kind::kAllGather, Kind::kAllGatherv};
    case Collective::kReduceScatter:
      return {Kind::kReduceScatter, Kind::kReduceScatterv};
    case Collective::kAllToAll:
      return row.uneven ? std::vector{Kind::kAllToAll, Kind::kAllToAllv}
                        : std::vector{Kind::kAllToAll};
    case Collective::kGather:
      return row.uneven ? std::vector{Kind::kGather, Kind::kGatherv} : std::vector{Kind::kGather};
    case Collective::kScatter:
      return row.uneven ? std::vector{Kind::kScatter, Kind::kScatterv}
                        : std::vector{Kind::kScatter};
    case Collective::kBarrier:
      return {};  // moves no bytes; the runner uses it between cases
  }
  return {};
}

// What switches carry: even blocks, and what they reduce.
bool two_or_more(const planner::PlanRequest& request) { return request.n_ranks > 1; }
constexpr planner::AlgorithmRow nvls_row(plan::Collective collective) {
  return {.name = "nvls",
          .collective = collective,
          .source = "",
          .supports = two_or_more,
          .build = nullptr,
          .cost_ns = nullptr};
}
constexpr planner::AlgorithmRow kNvlsRows[] = {
    nvls_row(plan::Collective::kAllReduce), nvls_row(plan::Collective::kReduceScatter),
    nvls_row(plan::Collective::kAllGather), nvls_row(plan::Collective::kBroadcast)};
bool is_nvls(const Case& c) {
  const planner::AlgorithmRow* const row = rows()[c.row].algorithm;
  return row != nullptr && std::string_view(row->name) == "nvls";
}
// A mean of 16-bit floats would be rounded twice.
bool switch_carries(const Case& c) {
  if (!reduces(rows()[c.row].kind)) return true;
  const auto dtype = static_cast<DType>(c.dtype);
  const auto op = static_cast<Op>(c.op);
  if (op == Op::kAvg) return size_of(dtype) > 2 && gpu::multimem_reduces(dtype, Op::kSum);
  return gpu::multimem_reduces(dtype, op);
}

bool layered(const Case& c) {
  const Row& row = rows()[c.row];
  return row.algorithm != nullptr && row.algorithm->layered;
}

// Does the row's plan follow the order of hosts?
bool ordered(const Case& c) {
  const Row& row = rows()[c.row];
  return row.algorithm != nullptr && row.algorithm->by_host_order;
}

bool supported(const Case& c) {
  const Row& row = rows()[c.row];
  if (row.algorithm == nullptr) return true;
  planner::PlanRequest request{row.algorithm->collective, c.n_ranks, c.root(), 1};
  if (const std::string hosts = c.hosts(); !hosts.empty())
    request.hosts = planner::Hosts::parse(hosts, c.n_ranks, "hosts").for_plans();
  return row.algorithm->supports(request);
}

// The host of a rank: halves, interleaved, or hosts of 1, 2 and all others.
int host_of(int rank, int n_ranks, int layout) {
  switch (layout) {
    case 0:
      return rank < (n_ranks + 1) / 2 ? 0 : 1;
    case 1:
      return rank % (n_ranks >= 8 ? 4 : n_ranks >= 6 ? 3 : 2);
    default:
      return rank == 0 ? 0 : rank < 3 ? 1 : 2;
  }
}

// Does the combination exist, and is it the one spelling of what it means?
bool valid(const Case& c) {
  const Kind kind = rows()[c.row].kind;
  if (!reduces(kind) && c.op != 0) return false;
  if (!has_root(kind) && c.root_class != 0) return false;
  if (!has_in_place(kind) && c.in_place) return false;
  if (c.root_class == 1 && c.n_ranks < 3) return false;
  if (c.root_class == 2 && c.n_ranks < 2) return false;
  if (!layered(c) && c.host_layout != 0 && !(ordered(c) && c.host_layout == 1 && c.n_ranks > 2))
    return false;
  if (devices) {
    const bool has_flags = c.protocol == Protocol::kInline || c.protocol == Protocol::kDirect;
    if (is_nvls(c) && !(c.on_symmetric_memory() && switch_carries(c))) return false;
    return supported(c) && (c.transport == "cuda_p2p" || !has_flags);
  }
  const size_t bytes = c.count() * size_of(static_cast<DType>(c.dtype));
  if (c.protocol == Protocol::kInline && bytes > transport::kInlineBytes) return false;
  return supported(c);
}

uint64_t pair_key(int factor_a, int value_a, int factor_b, int value_b) {
  return (((static_cast<uint64_t>(factor_a) * 256 + value_a) * 256 + factor_b) * 256) + value_b;
}

void for_each_pair(const std::vector<int>& p, const std::function<void(uint64_t)>& visit) {
  for (int a = 0; a < kFactors; ++a) {
    for (int b = a + 1; b < kFactors; ++b) visit(pair_key(a, p[a], b, p[b]));
  }
}

class Sampler {
 public:
  explicit Sampler(uint64_t seed) : random_(seed), radices_(radices()) {}
  std::vector<int> next(Case* c) {
    std::vector<int> p(kFactors);
    do {
      for (int f = 0; f < kFactors; ++f)
        p[f] = static_cast<int>(random_() % static_cast<uint64_t>(radices_[f]));
    } while (!at(p, c));
    return p;
  }

 private:
  std::mt19937_64 random_;
  std::vector<int> radices_;
};

// On simulated devices a case takes a thousand times as long: 2, 4 and 8 of them, small slots, and
// a size of each kind: an element, some per rank, a slot and a bit, several slots.
bool in_device_product(const Case& c) {
  constexpr int kSizes[] = {1, 7, 11, 13};
  const bool power = c.n_ranks == 2 || c.n_ranks == 4 || c.n_ranks == 8;
  return power && c.slot_bytes == kSlotBytes[0] && !c.in_place &&
         std::ranges::find(kSizes, c.size_class) != std::end(kSizes);
}

// Gives the factors outside of the product values that look random but belong to the point.
void rotate(const std::vector<int>& p, Case* c) {
  uint64_t mixed = 0;
  for (const int value : p)
    mixed = (mixed + static_cast<uint64_t>(value) + 1) * 0x9e3779b97f4a7c15ULL;
  c->misaligned = (mixed >> 63) != 0;
  c->memory = (mixed >> 62 & 1) != 0 ? Memory::kShared : Memory::kPrivate;
  const int roots = !has_root(rows()[c->row].kind) ? 1 : std::min(c->n_ranks, kRoots);
  const int choice = static_cast<int>((mixed >> 32) % static_cast<uint64_t>(roots));
  c->root_class = c->n_ranks == 2 && choice == 1 ? 2 : choice;
  if (layered(*c)) {
    c->host_layout = static_cast<int>((mixed >> 16 & 0xff) % kHostLayouts);
    while (!supported(*c)) c->host_layout = (c->host_layout + 1) % kHostLayouts;
  } else if (ordered(*c) && c->n_ranks > 2) {
    c->host_layout = static_cast<int>(mixed >> 16 & 1);
  }
}

}  // namespace

void take_devices() { devices = true; }
bool on_devices() { return devices; }

const char* name(Kind kind) {
  constexpr const char* kNames[] = {
      "all_reduce",     "reduce",          "broadcast",  "all_gather",  "all_gatherv",
      "reduce_scatter", "reduce_scatterv", "all_to_all", "all_to_allv", "gather",
      "gatherv",        "scatter",         "scatterv",   "send_recv"};
  return kNames[static_cast<int>(kind)];
}
bool reduces(Kind kind) {
  return kind == Kind::kAllReduce || kind == Kind::kReduce || kind == Kind::kReduceScatter ||
         kind == Kind::kReduceScatterv;
}
bool has_root(Kind kind) {
  return kind == Kind::kReduce || kind == Kind::kBroadcast || kind == Kind::kGather ||
         kind == Kind::kGatherv || kind == Kind::kScatter || kind == Kind::kScatterv;
}
bool has_in_place(Kind kind) {
  return kind != Kind::kAllToAll && kind != Kind::kAllToAllv && kind != Kind::kSendRecv;
}

const std::vector<Row>& rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> list;
    for (const planner::AlgorithmRow& row : planner::algorithm_table()) {
      for (const Kind kind : kinds_of(row)) list.push_back({kind, &row});
    }
    for (const planner::AlgorithmRow& row : kNvlsRows) {
      if (devices) list.push_back({kinds_of(row).front(), &row});
    }
    list.push_back({Kind::kSendRecv, nullptr});
    return list;
  }();
  return all;
}

// Sizes around every boundary: nothing, one element, a whole inline line, one chunk per rank, a
// slot, the ring of slots.
size_t Case::count() const {
  const size_t elem = size_of(static_cast<DType>(dtype));
  const size_t n = static_cast<size_t>(n_ranks);
  const size_t line = 64 / elem, slot = slot_bytes / elem,
               inline_elems = transport::kInlineBytes / elem;
  const size_t classes[kSizeClasses] = {0,
                                        1,
                                        2,
                                        inline_elems,
                                        inline_elems + 1,
                                        n,
                                        n * line - 1,
                                        n * line + 1,
                                        2 * n * line + 3,
                                        slot - 1,
                                        slot,
                                        slot + 1,
                                        n * slot + 1,
                                        2 * slot + 5,
                                        9 * slot + 7};
  return classes[size_class];
}

std::string Case::hosts() const {
  if (!layered(*this) && !(ordered(*this) && host_layout != 0)) return "";
  std::string text;
  for (int rank = 0; rank < n_ranks; ++rank)
    text += (text.empty() ? "" : ",") + std::to_string(host_of(rank, n_ranks, host_layout));
  return text;
}

bool Case::on_symmetric_memory() const {
  const Row& row = rows()[this->row];
  if (!devices || transport != "cuda_p2p" || protocol != Protocol::kDefault || n_ranks < 2 ||
      row.algorithm == nullptr || kinds_of(*row.algorithm).front() != row.kind)
    return false;
  constexpr std::string_view kNames[] = {"one_shot", "two_shot", "pairwise", "scatter_all_gather",
                                         "nvls"};
  return std::ranges::find(kNames, row.algorithm->name) != std::end(kNames);
}

size_t symmetric_bytes(const Case& c) { return (32 << 10) + 2 * size_t{c.slot_bytes}; }

std::string Case::group() const {
  const Row& r = rows()[row];
  return std::to_string(n_ranks) + " ranks " +
         (layout == Layout::kThreads ? "threads" : "processes") + " " + transport + " " +
         (devices ? kDeviceProtocolNames : kProtocolNames)[static_cast<int>(protocol)] + " slot " +
         std::to_string(slot_bytes) + " " + (r.algorithm == nullptr ? "p2p" : r.algorithm->name) +
         (hosts().empty() ? "" : " hosts " + hosts());
}

std::string Case::text() const {
  return group() + ": " + name(rows()[row].kind) + " " + tutti::name(static_cast<DType>(dtype)) +
         (reduces(rows()[row].kind) ? std::string(" ") + tutti::name(static_cast<Op>(op)) : "") +
         " count " + std::to_string(count()) +
         (has_root(rows()[row].kind) ? " root " + std::to_string(root()) : "") +
         (in_place ? " in-place" : "") + (misaligned ? " misaligned" : "") +
         (memory == Memory::kShared ? " shared memory" : "");
}

std::vector<int> radices() {
  return {static_cast<int>(carriers().size()),
          static_cast<int>(std::size(kRankCounts)),
          4,
          static_cast<int>(std::size(kSlotBytes)),
          static_cast<int>(rows().size()),
          kDTypes,
          kOps,
          kSizeClasses,
          2,
          2,
          2,
          kRoots,
          kHostLayouts};
}

std::vector<int> point(const Case& c) {
  int carrier = 0;
  while (carriers()[carrier].layout != c.layout || c.transport != carriers()[carrier].transport)
    ++carrier;
  const auto rank = std::find(std::begin(kRankCounts), std::end(kRankCounts), c.n_ranks) -
                    std::begin(kRankCounts);
  return {carrier,
          static_cast<int>(rank),
          static_cast<int>(c.protocol),
          c.slot_bytes == kSlotBytes[0] ? 0 : 1,
          c.row,
          c.dtype,
          c.op,
          c.size_class,
          c.in_place,
          c.misaligned,
          static_cast<int>(c.memory),
          c.root_class,
          c.host_layout};
}

bool at(const std::vector<int>& p, Case* out) {
  out->layout = carriers()[p[0]].layout;
  out->transport = carriers()[p[0]].transport;
  out->n_ranks = kRankCounts[p[1]];
  out->protocol = static_cast<Protocol>(p[2]);
  out->slot_bytes = kSlotBytes[p[3]];
  out->row = p[4];
  out->dtype = p[5];
  out->op = p[6];
  out->size_class = p[7];
  out->in_place = p[8] != 0;
  out->misaligned = p[9] != 0;
  out->memory = static_cast<Memory>(p[10]);
  out->root_class = p[11];
  out->host_layout = p[12];
  return valid(*out);
}

std::vector<Case> sample_cases(size_t budget, uint64_t seed, bool pairwise) {
  constexpr int kProbe = 150'000;  // enough random cases to meet every pair that exists
  Sampler sampler(seed);
  std::unordered_set<uint64_t> missing;
  Case c;
  for (int i = 0; pairwise && i < kProbe; ++i)
    for_each_pair(sampler.next(&c), [&](uint64_t key) { missing.insert(key); });

  std::vector<Case> sample;
  std::set<std::vector<int>> taken;
  Sampler again(seed);  // the same stream: it is known to contain every pair
  while (!missing.empty() || sample.size() < budget) {
    const std::vector<int> p = again.next(&c);
    bool fresh = missing.empty();
    for_each_pair(p, [&](uint64_t key) { fresh |= missing.erase(key) != 0; });
    if (fresh && taken.insert(p).second) sample.push_back(c);
  }
  return sample;
}

void for_each_case(size_t part, size_t parts, const std::function<void(const Case&)>& visit) {
  const std::vector<int> limit = radices();
  std::vector<int> p(kFactors, 0);
  size_t number = 0;
  for (;;) {
    Case c;
    if (at(p, &c) && (!devices || in_device_product(c)) && number++ % parts == part) {
      rotate(p, &c);
      if (devices) c.in_place = has_in_place(rows()[c.row].kind) && c.misaligned;
      visit(c);
    }
    int f = kProductFactors - 1;
    while (f >= 0 && ++p[f] == limit[f]) p[f--] = 0;
    if (f < 0) return;
  }
}

}  // namespace tutti::conformance
