// SPDX-License-Identifier: Apache-2.0
// Follows every input through the plan and compares what the outputs hold with the collective's
// definition.
#include "src/verify/symbolic.h"

#include <bit>

#include <spdlog/fmt/fmt.h>

namespace tutti::verify {
namespace {

using plan::Buffer;
using plan::Collective;
using plan::Operand;
using plan::Step;

constexpr uint32_t kUninitialised = UINT32_MAX;
using ValueId = uint32_t;

std::string describe(const Operand& operand) {
  if (operand.kind == Operand::Kind::kPeer)
    return fmt::format("peer {} channel {}", operand.index, operand.channel);
  return fmt::format("{}[{}]", plan::name(operand.buffer), operand.index);
}

// The rank whose input `extent` of a copying collective is.
int32_t origin_of(const plan::Shape& shape, int32_t extent) noexcept {
  const int32_t block = extent / shape.chunks_per_block;
  switch (shape.collective) {
    case Collective::kAllGather:
    case Collective::kGather:
      return block;
    case Collective::kAllToAll:
      return block / shape.n_ranks;
    default:
      return shape.root;
  }
}

// What the definition wants to find in an output chunk of this extent.
Value wanted(const plan::Shape& shape, int32_t extent) {
  Value value{extent, RankSet(shape.n_ranks), RankSet(shape.n_ranks),
              plan::reduces(shape.collective)};
  if (!plan::reduces(shape.collective)) {
    value.unscaled.insert(origin_of(shape, extent));
    return value;
  }
  for (int32_t rank = 0; rank < shape.n_ranks; ++rank) value.scaled.insert(rank);
  return value;
}

class Interpreter {
 public:
  Interpreter(const Network& network, Mode mode)
      : network_(network),
        shape_(network.plan->shape),
        mode_(mode),
        layout_(*network.plan, mode),
        memory_(layout_.count(), kUninitialised),
        message_(network.nodes.size(), kUninitialised) {
    for (int32_t rank = 0; rank < shape_.n_ranks; ++rank) fill_inputs(rank);
  }

  Rejection run(NodeId id, std::vector<Value>* results) {
    const Node& node = network_.nodes[id];
    if (node.code->extent == plan::kNoExtent) return std::nullopt;
    ValueId result = kUninitialised;
    if (Rejection why = fold(node, &result)) return why;
    if (node.code->post)
      if (Rejection why = apply_post(node, &result)) return why;
    if (mode_ == Mode::kOutOfPlace) {
      (*results)[id] = values_[result];
    } else if ((*results)[id] != values_[result]) {
      return reject(node, "the same result as out of place, " + (*results)[id].to_string(),
                    values_[result].to_string());
    }
    message_[id] = result;
    for (const Operand& sink : node.code->sinks)
      if (sink.kind == Operand::Kind::kChunk) memory_[layout_.location(node.rank, sink)] = result;
    return std::nullopt;
  }

  Rejection check_outputs(int32_t rank, FoldOrder* fold_order) const {
    const int32_t count = plan::blocks_in(shape_, rank, Buffer::kOutput) * shape_.chunks_per_block;
    for (int32_t i = 0; i < count; ++i) {
      const Value want = wanted(shape_, plan::extent_of(shape_, rank, Buffer::kOutput, i));
      const ValueId got = memory_[layout_.location(rank, Operand::chunk(Buffer::kOutput, i))];
      if (got != kUninitialised && values_[got] == want) {
        *fold_order = std::min(*fold_order, values_[got].order);
        continue;
      }
      return fmt::format(
          "exactly once, {}: rank {} output[{}] at the end of every tile: expected {}, got {}",
          name(mode_), rank, i, want.to_string(),
          got == kUninitialised ? "nothing written" : values_[got].to_string());
    }
    return std::nullopt;
  }

 private:
  void fill_inputs(int32_t rank) {
    const int32_t count = plan::blocks_in(shape_, rank, Buffer::kInput) * shape_.chunks_per_block;
    for (int32_t i = 0; i < count; ++i) {
      Value value{plan::extent_of(shape_, rank, Buffer::kInput, i), RankSet(shape_.n_ranks),
                  RankSet(shape_.n_ranks)};
      value.unscaled.insert(rank);
      memory_[layout_.location(rank, Operand::chunk(Buffer::kInput, i))] = add(std::move(value));
    }
  }

  ValueId add(Value value) {
    values_.push_back(std::move(value));
    return values_.size() - 1;
  }

  std::string reject(const Node& node, const std::string& expected, const std::string& got) const {
    return fmt::format("exactly once, {}: {}, every tile: expected {}, got {}", name(mode_),
                       verify::describe(node), expected, got);
  }

  Rejection fold(const Node& node, ValueId* result) {
    const Step& step = *node.code;
    if (step.sources.size() > 1 && !plan::reduces(shape_.collective))
      return reject(node,
                    fmt::format("one source, because {} copies", plan::name(shape_.collective)),
                    fmt::format("{} sources", step.sources.size()));
    size_t received = 0;
    for (size_t i = 0; i < step.sources.size(); ++i) {
      ValueId source = kUninitialised;
      if (Rejection why = read(node, step.sources[i], &received, &source)) return why;
      if (i == 0) {
        *result = step.sources.size() > 1 ? rounded(source) : source;
      } else if (Rejection why = reduce(node, step.sources[i], source, result)) {
        return why;
      }
    }
    return std::nullopt;
  }

  Rejection read(const Node& node, const Operand& source, size_t* received, ValueId* value) {
    if (source.kind == Operand::Kind::kPeer) {
      const Port& port = node.receives[(*received)++];
      *value = message_[network_.connections[port.connection].sends[port.message]];
    } else {
      *value = memory_[layout_.location(node.rank, source)];
    }
    if (*value == kUninitialised)
      return reject(node, describe(source) + " initialised before it is read", "nothing written");
    if (values_[*value].extent != node.code->extent)
      return reject(node, fmt::format("extent {} in {}", node.code->extent, describe(source)),
                    values_[*value].to_string());
    return source.pre ? apply_pre(node, source, value) : std::nullopt;
  }

  // `pre` scales by the executing rank's own factor, so it may only meet that rank's own input.
  Rejection apply_pre(const Node& node, const Operand& source, ValueId* value) {
    Value own{node.code->extent, RankSet(shape_.n_ranks), RankSet(shape_.n_ranks)};
    own.unscaled.insert(node.rank);
    if (!plan::reduces(shape_.collective) || values_[*value] != own)
      return reject(
          node,
          plan::reduces(shape_.collective)
              ? fmt::format("pre on the unscaled input of rank {} alone", node.rank)
              : fmt::format("no pre, because {} copies", plan::name(shape_.collective)),
          fmt::format("pre on {} with {}", describe(source), values_[*value].to_string()));
    std::swap(own.unscaled, own.scaled);
    *value = add(std::move(own));
    return std::nullopt;
  }

  // A sum that goes into an accumulator again: it was stored, and rounded to the datatype, before
  // it was complete.
  ValueId rounded(ValueId id) {
    if (values_[id].scaled.size() <= 1 || values_[id].order != FoldOrder::kInOrderOnce) return id;
    Value value = values_[id];
    value.order = FoldOrder::kInOrder;
    return add(std::move(value));
  }

  // A value with post is complete, so reducing it further would count a rank twice.
  Rejection reduce(const Node& node, const Operand& source, ValueId with, ValueId* result) {
    const Value& left = values_[*result];
    const Value& right = values_[with];
    if (!left.unscaled.empty() || !right.unscaled.empty())
      return reject(node, "only inputs scaled by pre in a reduction",
                    (left.unscaled.empty() ? right : left).to_string());
    const RankSet twice = left.scaled & right.scaled;
    if (!twice.empty())
      return reject(node, "each rank's input once",
                    fmt::format("rank {} counted twice by adding {} with {} to {}", twice.first(),
                                describe(source), right.to_string(), left.to_string()));
    // What was folded so far is ranks 0 .. k-1, and the next one is rank k alone.
    const bool next_in_order = left.scaled.last() == left.scaled.size() - 1 &&
                               right.scaled.size() == 1 &&
                               right.scaled.first() == left.scaled.size();
    Value sum = left;
    if (!next_in_order) sum.order = FoldOrder::kAny;
    sum.scaled |= right.scaled;
    *result = add(std::move(sum));
    return std::nullopt;
  }

  Rejection apply_post(const Node& node, ValueId* result) {
    if (node.code->sources.size() == 1) *result = rounded(*result);
    Value value = values_[*result];
    Value complete = wanted(shape_, value.extent);
    complete.post = false;
    if (!plan::reduces(shape_.collective))
      return reject(node, fmt::format("no post, because {} copies", plan::name(shape_.collective)),
                    "post on " + value.to_string());
    if (value != complete)
      return reject(node, "post once, on the complete sum " + complete.to_string(),
                    "post on " + value.to_string());
    value.post = true;
    *result = add(std::move(value));
    return std::nullopt;
  }

  const Network& network_;
  const plan::Shape& shape_;
  const Mode mode_;
  const Layout layout_;
  std::vector<Value> values_;
  std::vector<ValueId> memory_;   // by location
  std::vector<ValueId> message_;  // by sending node: a step sends the same value to all its peers
};

}  // namespace

bool RankSet::empty() const noexcept { return size() == 0; }

int32_t RankSet::size() const noexcept {
  int32_t count = 0;
  for (const uint64_t word : words_) count += std::popcount(word);
  return count;
}

int32_t RankSet::first() const noexcept {
  for (size_t i = 0; i < words_.size(); ++i)
    if (words_[i] != 0) return static_cast<int32_t>(i * 64 + std::countr_zero(words_[i]));
  return -1;
}

int32_t RankSet::last() const noexcept {
  for (size_t i = words_.size(); i-- > 0;)
    if (words_[i] != 0) return static_cast<int32_t>(i * 64 + 63 - std::countl_zero(words_[i]));
  return -1;
}

RankSet& RankSet::operator|=(const RankSet& other) noexcept {
  for (size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  return *this;
}

RankSet RankSet::operator&(const RankSet& other) const {
  RankSet both = *this;
  for (size_t i = 0; i < words_.size(); ++i) both.words_[i] &= other.words_[i];
  return both;
}

std::string RankSet::to_string() const {
  std::string text;
  const auto end = static_cast<int32_t>(words_.size() * 64);
  for (int32_t rank = 0; rank < end; ++rank) {
    if (!contains(rank)) continue;
    int32_t last = rank;
    while (last + 1 < end && contains(last + 1)) ++last;
    text += text.empty() ? "" : ", ";
    text += last == rank ? fmt::format("{}", rank) : fmt::format("{}-{}", rank, last);
    rank = last;
  }
  return "{" + text + "}";
}

std::string Value::to_string() const {
  std::string text = fmt::format("extent {} of ranks", extent);
  if (!scaled.empty()) text += " " + scaled.to_string() + " scaled";
  if (!unscaled.empty()) text += " " + unscaled.to_string() + " unscaled";
  return text + (post ? " with post" : "");
}

Rejection check_values(const Network& network, const std::vector<NodeId>& order, Mode mode,
                       std::vector<Value>* results, FoldOrder* fold_order) {
  results->resize(network.nodes.size());
  Interpreter interpreter(network, mode);
  for (const NodeId node : order)
    if (Rejection why = interpreter.run(node, results)) return why;
  for (int32_t rank = 0; rank < network.plan->shape.n_ranks; ++rank)
    if (Rejection why = interpreter.check_outputs(rank, fold_order)) return why;
  return std::nullopt;
}

}  // namespace tutti::verify
