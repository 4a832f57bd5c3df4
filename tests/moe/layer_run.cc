// SPDX-License-Identifier: Apache-2.0
// Dispatch, experts and combine of one rank against the definition.
#include "tests/moe/layer_run.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <optional>
#include <stdexcept>

#include "src/device/cuda/driver.h"
#include "tests/moe/expected.h"
#include "tests/moe/memory.h"
#include "tests/support/moe_reference.h"

namespace tutti::moe_test {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::runtime_error(what); }
void expect(bool condition, const std::string& what) {
  if (!condition) fail(what);
}
template <typename A, typename B>
void expect_equal(const A& a, const B& b, const std::string& what) {
  if (!(static_cast<uint64_t>(a) == static_cast<uint64_t>(b)))
    fail(what + ": " + std::to_string(a) + ", expected " + std::to_string(b));
}

class Stream {
 public:
  explicit Stream(bool wanted) {
    if (wanted) require(tuttiStreamCreate(&stream_), "tuttiStreamCreate");
  }
  ~Stream() {
    if (stream_ != nullptr) (void)tuttiStreamDestroy(stream_);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  tuttiStream_t get() const { return stream_; }
  tuttiResult_t finish() {
    return stream_ == nullptr ? tuttiSuccess : tuttiStreamSynchronize(stream_);
  }

 private:
  tuttiStream_t stream_ = nullptr;
};

struct Buffers {
  Buffers(const tuttiMoeSizes_t& sizes, const Case& c, size_t tokens, const cuda::Gpu* gpu)
      : rows(sizes.rowsBytes, gpu),
        scales(sizes.scalesBytes, gpu),
        experts(sizes.receiveRows * static_cast<size_t>(c.k) * sizeof(int64_t), gpu),
        weights(sizes.receiveRows * static_cast<size_t>(c.k) * sizeof(float), gpu),
        ranks(sizes.receiveRows * sizeof(int32_t), gpu),
        tokens_of(sizes.receiveRows * sizeof(int32_t), gpu),
        y(sizes.combineBytes, gpu, c.shared),
        out(tokens * c.hidden * 2, gpu) {}
  // At the host, or as calls get it.
  tuttiMoeOutput_t output(bool as_given = false) const {
    const auto at = [&](const Memory& of) -> void* { return as_given ? of.given() : of.data(); };
    tuttiMoeOutput_t o = TUTTI_MOE_OUTPUT_INITIALIZER;
    o.rows = at(rows);
    o.scales = at(scales);
    o.topkIdx = static_cast<int64_t*>(at(experts));
    o.topkWeights = static_cast<float*>(at(weights));
    o.sourceRank = static_cast<int32_t*>(at(ranks));
    o.sourceToken = static_cast<int32_t*>(at(tokens_of));
    return o;
  }
  std::array<Memory*, 6> received() {
    return {&rows, &scales, &experts, &weights, &ranks, &tokens_of};
  }
  Memory rows, scales, experts, weights, ranks, tokens_of;
  Memory y;
  Memory out;
};

// A rank's GPU with a stream; of host ranks neither.
struct Device {
  Device(const Case& c, int rank) {
    if (!c.devices) return;
    gpu.emplace(rank);
    stream.emplace(*gpu);
  }
  const cuda::Gpu* get() const { return gpu.has_value() ? &*gpu : nullptr; }
  std::optional<cuda::Gpu> gpu;
  std::optional<cuda::OwnedStream> stream;
};

// One handle with its buffers.
class Run {
 public:
  Run(const Case& c, const Layer& layer, tuttiMoeGroup_t group, const tuttiMoeSizes_t& sizes,
      int rank)
      : case_(c),
        layer_(&layer),
        sizes_(sizes),
        rank_(rank),
        group_(group),
        device_(c, rank),
        input_(&layer.input(rank)),
        x_(input_->tokens * c.hidden * 2, device_.get(), c.shared),
        experts_(input_->experts.size() * sizeof(int64_t), device_.get()),
        weights_(input_->weights.size() * sizeof(float), device_.get()),
        buffers_(sizes, c, input_->tokens, device_.get()) {
    take_input();
    require(tuttiMoeHandleCreate(&handle_, group), "tuttiMoeHandleCreate");
  }
  ~Run() { (void)tuttiMoeHandleDestroy(handle_); }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  void route() {
    require(tuttiMoeRoute(handle_, static_cast<const int64_t*>(experts_.given()),
                          case_.weighted ? static_cast<const float*>(weights_.given()) : nullptr,
                          input_->tokens, case_.k),
            "tuttiMoeRoute");
  }
  tuttiResult_t dispatch(int phases, tuttiStream_t stream) {
    const tuttiMoeOutput_t output = buffers_.output(true);
    return tuttiMoeDispatch(handle_, x_.given(), (phases & TUTTI_MOE_RECV) != 0 ? &output : nullptr,
                            phases, stream_or(stream));
  }
  void combine(int phases, tuttiStream_t stream) {
    require(tuttiMoeCombine(handle_, buffers_.y.given(), buffers_.out.given(), phases,
                            stream_or(stream)),
            "tuttiMoeCombine");
  }
  // Another routing, in the same places.
  void change_to(const Layer& layer) {
    layer_ = &layer;
    input_ = &layer.input(rank_);
    take_input();
    for (Memory* const memory : buffers_.received()) memory->fill();
    buffers_.out.fill();
  }
  void capture_dispatch() {
    dispatches_.capture(*device_.stream, [&] {
      require(dispatch(TUTTI_MOE_BOTH, nullptr), "tuttiMoeDispatch in a graph");
    });
  }
  void capture_combine() {
    combines_.capture(*device_.stream, [&] { combine(TUTTI_MOE_BOTH, nullptr); });
  }
  void replay_dispatch() { dispatches_.replay(*device_.stream); }
  void replay_combine() { combines_.replay(*device_.stream); }
  bool has_combines() const { return combines_.made(); }
  bool on_device() const { return device_.get() != nullptr; }
  // Waits for the GPU, and brings what it has written to the host.
  void finish_dispatch() {
    if (!on_device()) return;
    synchronize();
    for (const Memory* const memory : buffers_.received()) memory->pull();
  }
  void finish_combine() {
    if (!on_device()) return;
    synchronize();
    buffers_.out.pull();
  }
  void complete() { require(tuttiMoeComplete(handle_), "tuttiMoeComplete"); }
  // That a dispatch which has failed for too many rows has done nothing else.
  void check_overflow(tuttiResult_t result) {
    expect(result == tuttiInvalidUsage,
           std::string("an overflow gave ") + tuttiGetErrorString(result));
    const std::string text = tuttiGetLastError(nullptr);
    expect(text.find("would receive") != std::string::npos, "an overflow says: " + text);
    expect_untouched();
    expect(tuttiMoeCombine(handle_, buffers_.y.given(), buffers_.out.given(), TUTTI_MOE_BOTH,
                           nullptr) == tuttiInvalidUsage,
           "a combine after an overflow");
  }
  // The same of GPUs, where the calls end well.
  void check_overflow_later() {
    finish_dispatch();
    tuttiMoeLayout_t layout = TUTTI_MOE_LAYOUT_INITIALIZER;
    const tuttiResult_t result = tuttiMoeGetLayout(handle_, &layout);
    expect(result == tuttiInvalidUsage,
           std::string("an overflow gave ") + tuttiGetErrorString(result));
    const std::string text = tuttiGetLastError(nullptr);
    expect(text.find("would receive") != std::string::npos, "an overflow says: " + text);
    expect_untouched();
    combine(TUTTI_MOE_BOTH, nullptr);
    finish_combine();
    expect(buffers_.out.untouched(0, buffers_.out.bytes()), "a combine after an overflow wrote");
  }
  // Of GPUs: tables that kernels can't reach are refused, and an index that is no expert is found
  // when the dispatch has ended. By all ranks.
  void check_tables() {
    expect(input_->tokens == 0 || tuttiMoeRoute(handle_, input_->experts.data(), nullptr,
                                                input_->tokens, case_.k) == tuttiInvalidArgument,
           "a table in ordinary memory was taken");
    const int64_t none = case_.n_experts;
    if (experts_.bytes() != 0) std::memcpy(experts_.data(), &none, sizeof none);
    experts_.push();
    route();
    require(dispatch(TUTTI_MOE_BOTH, nullptr), "tuttiMoeDispatch");
    synchronize();
    tuttiMoeLayout_t layout = TUTTI_MOE_LAYOUT_INITIALIZER;
    const tuttiResult_t result = tuttiMoeGetLayout(handle_, &layout);
    if (experts_.bytes() == 0) return require(result, "tuttiMoeGetLayout");
    expect(result == tuttiInvalidArgument,
           std::string("an index that is no expert gave ") + tuttiGetErrorString(result));
    const std::string text = tuttiGetLastError(nullptr);
    expect(text.find("topkIdx[0][0]") != std::string::npos, "an unknown expert says: " + text);
  }
  void check_received();
  void compute();
  void check_combined();

 private:
  // What a GPU's call fails with is known afterwards.
  void synchronize() const {
    device_.stream->synchronize();
    tuttiResult_t result = tuttiSuccess;
    require(tuttiMoeGroupGetAsyncError(group_, &result), "tuttiMoeGroupGetAsyncError");
    require(result, "a call on a GPU");
  }
  void expect_untouched() {
    for (const Memory* const memory : buffers_.received())
      expect(memory->untouched(0, memory->bytes()), "an overflow wrote to a buffer");
  }
  void take_input() {
    for (size_t t = 0; t < input_->tokens; ++t)
      std::memcpy(x_.data() + t * case_.hidden * 2, input_->x[t].data(), case_.hidden * 2);
    if (experts_.bytes() != 0)
      std::memcpy(experts_.data(), input_->experts.data(), experts_.bytes());
    if (weights_.bytes() != 0)
      std::memcpy(weights_.data(), input_->weights.data(), weights_.bytes());
    for (const Memory* const memory : {&x_, &experts_, &weights_}) memory->push();
  }
  tuttiStream_t stream_or(tuttiStream_t stream) const {
    return on_device() ? reinterpret_cast<tuttiStream_t>(device_.stream->get()) : stream;
  }
  // What GetLayout's arrays hold.
  std::vector<uint32_t> read(const uint32_t* from, size_t n) const {
    std::vector<uint32_t> words(n);
    if (n == 0) return words;
    if (!on_device()) return {from, from + n};
    const cuda::Current current(*device_.gpu);
    cuda::check(cuda::driver().cuMemcpyDtoH_v2(words.data(), reinterpret_cast<uintptr_t>(from),
                                               n * sizeof(uint32_t)),
                "copying a layout");
    return words;
  }
  void check_totals(const tuttiMoeLayout_t& layout) const;
  void check_layout(const ExpectedReceive& expected);
  void check_row(size_t place, const ExpectedRow& row);
  void check_gap(size_t place);

  const Case& case_;
  const Layer* layer_;
  const tuttiMoeSizes_t sizes_;
  const int rank_;
  tuttiMoeGroup_t group_;
  Device device_;
  const RankInput* input_;
  Memory x_, experts_, weights_;
  Buffers buffers_;
  tuttiMoeHandle_t handle_ = nullptr;
  Graph dispatches_, combines_;
};

// In memory of the GPU, what the layout's numbers are.
void Run::check_totals(const tuttiMoeLayout_t& layout) const {
  if (!on_device()) return;
  uint64_t totals[5] = {};
  const std::vector<uint32_t> words = read(reinterpret_cast<const uint32_t*>(layout.totals), 10);
  std::memcpy(totals, words.data(), sizeof totals);
  expect_equal(totals[0], layout.rows, "total of rows");
  expect_equal(totals[1], layout.demand, "total demand");
  expect_equal(totals[2], layout.dropped, "total of dropped rows");
  expect_equal(totals[3], layout.droppedOfMine, "total of this rank's dropped rows");
  expect_equal(totals[4], layout.droppedByAll, "total of all dropped rows");
}

void Run::check_layout(const ExpectedReceive& expected) {
  tuttiMoeLayout_t layout = TUTTI_MOE_LAYOUT_INITIALIZER;
  require(tuttiMoeGetLayout(handle_, &layout), "tuttiMoeGetLayout");
  expect_equal(layout.numBlocks, expected.counts.size(), "blocks");
  expect_equal(layout.rows, expected.taken, "rows of the layout");
  expect_equal(layout.demand, expected.demand, "demand");
  expect_equal(layout.dropped, expected.dropped, "dropped rows");
  expect_equal(layout.droppedByAll, layer_->dropped_by_all(), "rows that all have dropped");
  expect_equal(layout.droppedOfMine, layer_->dropped_of(rank_), "dropped rows of this rank");
  check_totals(layout);
  const auto counts = read(layout.counts, layout.numBlocks);
  const auto received = read(layout.received, layout.numBlocks);
  const auto aligned = read(layout.aligned, layout.numBlocks);
  const auto offsets = read(layout.offsets, layout.numBlocks);
  for (size_t b = 0; b < layout.numBlocks; ++b) {
    const std::string where = " of block " + std::to_string(b);
    expect_equal(counts[b], expected.counts[b], "count" + where);
    expect_equal(received[b], expected.received[b], "rows received" + where);
    expect_equal(aligned[b], expected.aligned[b], "aligned rows" + where);
    expect_equal(offsets[b], expected.offsets[b], "offset" + where);
  }
}

void Run::check_row(size_t place, const ExpectedRow& row) {
  const std::string where = " of row " + std::to_string(place) + " (token " +
                            std::to_string(row.token) + " of rank " + std::to_string(row.source) +
                            ")";
  const uint8_t* const data = buffers_.rows.data() + place * sizes_.rowBytes;
  for (size_t i = 0; i < sizes_.rowBytes; ++i) {
    if (data[i] != row.data[i])
      fail("byte " + std::to_string(i) + where + " is " + std::to_string(data[i]) + ", expected " +
           std::to_string(row.data[i]));
  }
  expect(sizes_.rowScaleBytes == 0 ||
             std::memcmp(buffers_.scales.data() + place * sizes_.rowScaleBytes, row.scales.data(),
                         sizes_.rowScaleBytes) == 0,
         "scales" + where);
  const tuttiMoeOutput_t output = buffers_.output();
  expect_equal(output.sourceRank[place], row.source, "source rank" + where);
  expect_equal(output.sourceToken[place], row.token, "source token" + where);
  if (case_.layout == tuttiMoeExpertMajor) return;
  for (size_t j = 0; j < static_cast<size_t>(case_.k); ++j) {
    const size_t at = place * static_cast<size_t>(case_.k) + j;
    const bool there = j < row.locals.size();
    expect_equal(output.topkIdx[at], there ? row.locals[j] : -1, "expert" + where);
    expect(output.topkWeights[at] == (there ? row.weights[j] : 0.0F), "weight" + where);
  }
}

void Run::check_gap(size_t place) {
  const bool clean =
      buffers_.rows.untouched(place * sizes_.rowBytes, sizes_.rowBytes) &&
      buffers_.scales.untouched(place * sizes_.rowScaleBytes, sizes_.rowScaleBytes) &&
      buffers_.ranks.untouched(place * sizeof(int32_t), sizeof(int32_t));
  expect(clean, "row " + std::to_string(place) + ", where none belongs, was written");
}

void Run::check_received() {
  finish_dispatch();
  const ExpectedReceive& expected = layer_->receive(rank_);
  check_layout(expected);
  for (size_t place = 0; place < sizes_.receiveRows; ++place) {
    const auto row = expected.rows.find(place);
    if (row == expected.rows.end()) {
      check_gap(place);
    } else {
      check_row(place, row->second);
    }
  }
}

// The experts: from what was received, not from what was expected.
void Run::compute() {
  const ExpectedReceive& expected = layer_->receive(rank_);
  const tuttiMoeOutput_t output = buffers_.output();
  for (const auto& [place, row] : expected.rows) {
    for (size_t i = 0; i < case_.hidden; ++i) {
      const float x = test::from_bf16(row.value[i]);
      float y = 0;
      if (case_.layout == tuttiMoeExpertMajor) {
        y = x * expert_factor(row.locals[0]);
      } else {
        for (size_t j = 0; j < static_cast<size_t>(case_.k); ++j) {
          const size_t at = place * static_cast<size_t>(case_.k) + j;
          if (output.topkIdx[at] < 0) break;
          const float one = test::from_bf16(
              test::to_bf16(x * expert_factor(static_cast<int>(output.topkIdx[at]))));
          const float term = output.topkWeights[at] * one;
          y = j == 0 ? term : y + term;
        }
      }
      const uint16_t code = test::to_bf16(y);
      std::memcpy(buffers_.y.data() + (place * case_.hidden + i) * 2, &code, sizeof code);
    }
  }
  buffers_.y.push();
}

void Run::check_combined() {
  finish_combine();
  const auto expected = layer_->combined(rank_);
  for (size_t token = 0; token < input_->tokens; ++token) {
    for (size_t i = 0; i < case_.hidden; ++i) {
      uint16_t code = 0;
      std::memcpy(&code, buffers_.out.data() + (token * case_.hidden + i) * 2, sizeof code);
      if (code != expected[token][i]) {
        fail("element " + std::to_string(i) + " of combined token " + std::to_string(token) +
             " is " + std::to_string(test::from_bf16(code)) + ", expected " +
             std::to_string(test::from_bf16(expected[token][i])));
      }
    }
  }
}

// The library's counters against the definition, and against the transport's.
class Accounts {
 public:
  Accounts(const Case& c, const Layer& layer, tuttiMoeGroup_t group, tuttiComm_t comm, int rank)
      : case_(c),
        layer_(layer),
        group_(group),
        comm_(comm),
        rank_(rank),
        wire_(wire_bytes()),
        mapped_(mapped_bytes()) {}
  void check(uint64_t dispatches, uint64_t combines, const tuttiMoeSizes_t& sizes) const {
    tuttiMoeStats_t stats = TUTTI_MOE_STATS_INITIALIZER;
    require(tuttiMoeGroupGetStats(group_, &stats), "tuttiMoeGroupGetStats");
    expect_equal(stats.dispatches, dispatches, "dispatches");
    expect_equal(stats.combines, combines, "combines");
    uint64_t sent = 0, back = 0;
    for (int peer = 0; peer < case_.n_ranks; ++peer) {
      if (peer == rank_) continue;
      sent += layer_.rows(rank_, peer);
      back += layer_.rows(peer, rank_);
    }
    const uint64_t row = sizes.rowBytes + sizes.rowScaleBytes;
    const uint64_t partial = case_.hidden * (case_.reduction == tuttiMoeReduceOnce ? 4 : 2);
    expect_equal(total(stats.dispatchRows), dispatches * sent, "rows sent");
    expect_equal(total(stats.dispatchPayloadBytes), dispatches * sent * row, "payload sent");
    expect_equal(total(stats.combineRows), combines * back, "sums sent");
    expect_equal(total(stats.combinePayloadBytes), combines * back * partial, "sums' bytes");
    const uint64_t all = total(stats.dispatchPayloadBytes) + total(stats.dispatchMetadataBytes) +
                         total(stats.combinePayloadBytes) + total(stats.combineMetadataBytes);
    if (case_.devices) return;  // kernels count for the group alone
    expect_equal(wire_bytes() - wire_, all, "bytes that the transport has counted");
    // Rows that peers can map, and that are large enough, are read where they lie.
    if (refers() && case_.processes) {
      const bool sums_too = case_.layout == tuttiMoeRankMajor &&
                            case_.reduction != tuttiMoeReduceOnce && case_.room == Room::kAll;
      const uint64_t least = (case_.quantized() ? 0 : total(stats.dispatchPayloadBytes)) +
                             (sums_too ? total(stats.combinePayloadBytes) : 0);
      expect(mapped_bytes() - mapped_ >= least, "bytes did not go by reference");
    }
  }

 private:
  static uint64_t total(const uint64_t (&by_reach)[3]) {
    return by_reach[0] + by_reach[1] + by_reach[2];
  }
  bool refers() const { return case_.shared && case_.hidden * 2 >= 4096 && case_.faults.empty(); }
  uint64_t mapped_bytes() const {
    uint64_t bytes = 0;
    for (int peer = 0; peer < case_.n_ranks; ++peer) {
      tuttiPeerStats_t stats = TUTTI_PEER_STATS_INITIALIZER;
      require(tuttiCommGetPeerStats(comm_, peer, &stats), "tuttiCommGetPeerStats");
      bytes += stats.sentBytes[2];
    }
    return bytes;
  }
  uint64_t wire_bytes() const {
    uint64_t bytes = 0;
    for (int peer = 0; peer < case_.n_ranks; ++peer) {
      tuttiPeerStats_t stats = TUTTI_PEER_STATS_INITIALIZER;
      require(tuttiCommGetPeerStats(comm_, peer, &stats), "tuttiCommGetPeerStats");
      for (const uint64_t n : stats.sentBytes) bytes += n;
    }
    return bytes;
  }
  const Case& case_;
  const Layer& layer_;
  tuttiMoeGroup_t group_;
  tuttiComm_t comm_;
  int rank_;
  uint64_t wire_;
  uint64_t mapped_;
};

tuttiMoeConfig_t config_of(const Case& c, size_t capacity, std::vector<int>& per_rank,
                           std::vector<int>& experts) {
  tuttiMoeConfig_t config = TUTTI_MOE_CONFIG_INITIALIZER;
  config.numExperts = c.n_experts;
  config.maxTopK = c.k;
  config.maxTokens = c.max_tokens;
  config.hidden = c.hidden;
  config.alignment = c.alignment;
  config.maxReceiveRows = capacity;
  config.layout = c.layout;
  config.quantization = c.quantization;
  config.reduction = c.reduction;
  config.overflow = c.overflow;
  if (c.experts == Experts::kEven) return config;
  for (const std::vector<int>& there : placement_of(c)) {
    per_rank.push_back(static_cast<int>(there.size()));
    experts.insert(experts.end(), there.begin(), there.end());
  }
  config.expertsPerRank = per_rank.data();
  config.experts = experts.data();
  return config;
}

// Two layers in flight at a time, each in two phases.
void run_two(Run& a, Run& b) {
  for (Run* run : {&a, &b}) {
    run->route();
    require(run->dispatch(TUTTI_MOE_SEND, nullptr), "tuttiMoeDispatch");
  }
  // Not in the order in which they were sent.
  for (Run* run : {&b, &a}) require(run->dispatch(TUTTI_MOE_RECV, nullptr), "tuttiMoeDispatch");
  for (Run* run : {&a, &b}) {
    run->check_received();
    run->compute();
    run->combine(TUTTI_MOE_SEND, nullptr);
  }
  for (Run* run : {&a, &b}) {
    run->combine(TUTTI_MOE_RECV, nullptr);
    run->check_combined();
    run->complete();
  }
}

// Of a case like `c` with as many tokens on each rank, the same experts and any room: another
// routing of other tokens.
std::optional<Case> other_case(const Case& c) {
  if (c.tokens == Tokens::kUneven || c.experts != Experts::kEven || c.room != Room::kAll)
    return std::nullopt;
  Case other = c;
  other.seed = c.seed + 4711;
  other.routes = c.routes == Routes::kUniform ? Routes::kSkewed : Routes::kUniform;
  return other;
}

// Dispatch and combine as graphs, each replayed three times: with the routing that they were
// captured with, another one, and the first again.
void run_graphs(Run& run, const Case& c, const Layer& layer) {
  run.route();
  run.capture_dispatch();
  const Case other = other_case(c).value_or(c);
  const Layer second(other);
  for (const Layer* const now : {&layer, &second, &layer}) {
    run.change_to(*now);
    run.replay_dispatch();
    run.check_received();
    run.compute();
    if (!run.has_combines()) run.capture_combine();
    run.replay_combine();
    run.check_combined();
  }
}

// One layer; false when it has too many rows for some rank.
bool run_once(Run& run, const Case& c, bool overflows) {
  Stream stream(c.calls == Calls::kStream && !c.devices);
  run.route();
  tuttiResult_t result = tuttiSuccess;
  if (c.calls == Calls::kSplit) {
    require(run.dispatch(TUTTI_MOE_SEND, nullptr), "tuttiMoeDispatch");
    result = run.dispatch(TUTTI_MOE_RECV, nullptr);
  } else {
    result = run.dispatch(TUTTI_MOE_BOTH, stream.get());
    if (result == tuttiSuccess) result = stream.finish();
  }
  if (overflows && c.overflow == tuttiMoeOverflowError && !c.devices) {
    run.check_overflow(result);
    return false;
  }
  require(result, "tuttiMoeDispatch");
  if (overflows && c.overflow == tuttiMoeOverflowError) {
    run.check_overflow_later();
    return false;
  }
  run.check_received();
  run.compute();
  if (c.calls == Calls::kSplit) {
    run.combine(TUTTI_MOE_SEND, nullptr);
    run.combine(TUTTI_MOE_RECV, nullptr);
  } else {
    run.combine(TUTTI_MOE_BOTH, stream.get());
    require(stream.finish(), "tuttiStreamSynchronize");
  }
  run.check_combined();
  return true;
}

}  // namespace

void require(tuttiResult_t result, const char* what) {
  if (result != tuttiSuccess)
    fail(std::string(what) + ": " + tuttiGetErrorString(result) + ": " +
         tuttiGetLastError(nullptr));
}

tuttiMoeGroup_t make_group(const Case& c, tuttiComm_t comm, int place) {
  std::vector<int> per_rank, experts;
  tuttiMoeConfig_t config = config_of(c, 0, per_rank, experts);
  config.rank = place;
  tuttiMoeGroup_t group = nullptr;
  require(tuttiMoeGroupCreate(&group, comm, &config), "tuttiMoeGroupCreate");
  return group;
}

void run_layer(const Case& c, tuttiMoeGroup_t group, int rank,
               const std::function<void(Phase)>& at) {
  const Layer layer(c);
  std::vector<int> per_rank, experts;
  const tuttiMoeConfig_t config = config_of(c, 0, per_rank, experts);
  tuttiMoeSizes_t sizes = TUTTI_MOE_SIZES_INITIALIZER;
  require(tuttiMoeGetSizes(&config, c.n_ranks, rank, &sizes), "tuttiMoeGetSizes");
  Run run(c, layer, group, sizes, rank);
  run.route();
  at(Phase::kRouted);
  require(run.dispatch(TUTTI_MOE_SEND, nullptr), "tuttiMoeDispatch");
  at(Phase::kDispatchSent);
  require(run.dispatch(TUTTI_MOE_RECV, nullptr), "tuttiMoeDispatch");
  run.check_received();
  run.compute();
  at(Phase::kDispatched);
  run.combine(TUTTI_MOE_SEND, nullptr);
  at(Phase::kCombineSent);
  run.combine(TUTTI_MOE_RECV, nullptr);
  run.check_combined();
  at(Phase::kCombined);
}

void run_case(const Case& c, tuttiComm_t comm, int rank) {
  const Layer layer(c);
  std::vector<int> per_rank, experts;
  const tuttiMoeConfig_t config = config_of(c, layer.capacity(), per_rank, experts);
  tuttiMoeSizes_t sizes = TUTTI_MOE_SIZES_INITIALIZER;
  require(tuttiMoeGetSizes(&config, c.n_ranks, rank, &sizes), "tuttiMoeGetSizes");
  tuttiMoeGroup_t group = nullptr;
  require(tuttiMoeGroupCreate(&group, comm, &config), "tuttiMoeGroupCreate");
  const bool overflows = layer.overflows();
  {
    const Accounts accounts(c, layer, group, comm, rank);
    Run run(c, layer, group, sizes, rank);
    if (c.calls == Calls::kTwoHandles && !(overflows && c.overflow == tuttiMoeOverflowError)) {
      Run other(c, layer, group, sizes, rank);
      run_two(run, other);
      accounts.check(2, 2, sizes);
    } else if (c.calls == Calls::kGraph && !(overflows && c.overflow == tuttiMoeOverflowError)) {
      run_graphs(run, c, layer);
      if (!other_case(c).has_value()) accounts.check(3, 3, sizes);
    } else {
      const bool whole = run_once(run, c, overflows);
      const bool again = whole && c.calls == Calls::kAgain && run_once(run, c, overflows);
      accounts.check(again ? 2 : 1, again ? 2 : whole ? 1 : 0, sizes);
      if (c.devices && c.calls == Calls::kSplit && c.room == Room::kAll) run.check_tables();
    }
  }
  require(tuttiMoeGroupDestroy(group), "tuttiMoeGroupDestroy");
}

}  // namespace tutti::moe_test
