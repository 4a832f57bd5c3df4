// SPDX-License-Identifier: Apache-2.0
// Numbers the chunks of every rank; in place, an output chunk takes the number of the input chunk
// of equal extent.
#include "src/verify/layout.h"

namespace tutti::verify {
namespace {

using plan::Buffer;
using plan::Collective;
using plan::Operand;

// Index of the input chunk that shares memory with an output chunk of this extent, -1 when none
// does.
int32_t aliased_input(const plan::Shape& shape, int32_t rank, int32_t extent) noexcept {
  if (shape.collective == Collective::kAllToAll) return -1;  // has no in-place mode
  const int32_t block = extent / shape.chunks_per_block;
  const int32_t position = plan::position_of(shape, rank, Buffer::kInput, block);
  if (position < 0) return -1;
  return position * shape.chunks_per_block + extent % shape.chunks_per_block;
}

}  // namespace

const char* name(Mode mode) noexcept {
  return mode == Mode::kOutOfPlace ? "out of place" : "in place";
}

Layout::Layout(const plan::Plan& plan, Mode mode) : ranks_(plan.ranks.size()) {
  for (int32_t rank = 0; rank < plan.shape.n_ranks; ++rank) place(plan, mode, rank);
}

void Layout::place(const plan::Plan& plan, Mode mode, int32_t rank) {
  const plan::Shape& shape = plan.shape;
  RankBase& base = ranks_[rank];
  base.input = count_;
  count_ += plan::blocks_in(shape, rank, Buffer::kInput) * shape.chunks_per_block;
  const int32_t outputs = plan::blocks_in(shape, rank, Buffer::kOutput) * shape.chunks_per_block;
  base.output.reserve(outputs);
  for (int32_t i = 0; i < outputs; ++i) {
    const int32_t extent = plan::extent_of(shape, rank, Buffer::kOutput, i);
    const int32_t alias = mode == Mode::kInPlace ? aliased_input(shape, rank, extent) : -1;
    base.output.push_back(alias >= 0 ? base.input + alias : count_++);
  }
  base.scratch = count_;
  count_ += plan.ranks[rank].scratch_chunks;
}

uint32_t Layout::location(int32_t rank, const Operand& chunk) const noexcept {
  const RankBase& base = ranks_[rank];
  switch (chunk.buffer) {
    case Buffer::kInput:
      return base.input + chunk.index;
    case Buffer::kOutput:
      return base.output[chunk.index];
    case Buffer::kScratch:
      break;
  }
  return base.scratch + chunk.index;
}

bool Layout::changes(int32_t rank, const plan::Step& step, const Operand& sink) const noexcept {
  if (sink.kind != Operand::Kind::kChunk) return false;
  if (step.sources.size() != 1 || step.post) return true;
  const Operand& source = step.sources[0];
  return source.kind != Operand::Kind::kChunk || source.pre ||
         location(rank, source) != location(rank, sink);
}

}  // namespace tutti::verify
