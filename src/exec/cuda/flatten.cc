// SPDX-License-Identifier: Apache-2.0
// Flattens the lanes of a program, each into one piece of memory.
#include "src/exec/cuda/flatten.h"

#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "src/base/error.h"
#include "src/exec/message.h"
#include "transport/fifo.h"

namespace tutti::exec {
namespace {

template <class T>
uint32_t append(std::vector<std::byte>* code, const std::vector<T>& records) {
  const size_t at = code->size();
  code->resize(at + records.size() * sizeof(T));
  if (!records.empty()) memcpy(code->data() + at, records.data(), records.size() * sizeof(T));
  return static_cast<uint32_t>(at);
}

class LaneFlattener {
 public:
  LaneFlattener(const Program& program, uint32_t lane, const std::set<uint32_t>& awaited)
      : program_(program), lane_(lane), awaited_(awaited) {}

  FlatLane run() {
    const CompiledLane& lane = program_.lanes[lane_];
    for (uint32_t i = 0; i < lane.n_steps; ++i) add(program_.steps[lane.first_step + i], i);
    flat_.n_steps = lane.n_steps;
    append(&flat_.code, steps_);
    flat_.operands_offset = append(&flat_.code, operands_);
    flat_.waits_offset = append(&flat_.code, waits_);
    flat_.code.resize((flat_.code.size() + 15) / 16 * 16);
    return std::move(flat_);
  }

 private:
  void add(const CompiledStep& step, uint32_t number) {
    if (step.n_sources > gpu::kMostOperands || step.n_sinks > gpu::kMostOperands) {
      throw Error(StatusCode::kInvalidUsage,
                  "step " + std::to_string(number) + " of lane " + std::to_string(lane_) +
                      " of rank " + std::to_string(program_.rank) + " has " +
                      std::to_string(step.n_sources) + " sources and " +
                      std::to_string(step.n_sinks) + " sinks; a GPU runs steps of at most " +
                      std::to_string(gpu::kMostOperands) + " of each: choose another algorithm");
    }
    DeviceStep out{};
    out.first_operand = static_cast<uint32_t>(operands_.size());
    out.first_wait = static_cast<uint32_t>(waits_.size());
    out.n_sources = step.n_sources;
    out.n_sinks = step.n_sinks;
    out.n_waits = step.n_waits;
    out.post = step.post ? 1 : 0;
    out.signal = step.signal ? 1 : 0;
    out.block = step.block;
    out.chunk = step.chunk;
    out.awaited = awaited_.contains(number) ? 1 : 0;
    for (uint16_t i = 0; i < step.n_sources; ++i) add(step.first_source + i, /*sends=*/false);
    for (uint16_t i = 0; i < step.n_sinks; ++i) add(step.first_sink + i, /*sends=*/true);
    for (uint16_t i = 0; i < step.n_waits; ++i) {
      const plan::Wait& wait = program_.waits[step.first_wait + i];
      waits_.push_back({wait.lane, wait.step});
    }
    steps_.push_back(out);
  }

  void add(uint32_t operand, bool sends) {
    const CompiledOperand& from = program_.operands[operand];
    DeviceOperand out;
    // The kinds have the same order.
    out.kind = static_cast<OperandKind>(from.kind);
    out.pre = from.pre ? 1 : 0;
    out.block_position = from.block_position;
    out.chunk = from.chunk;
    if (from.kind == CompiledOperand::Kind::kPeer) out.endpoint = endpoint(from.endpoint, sends);
    operands_.push_back(out);
  }

  uint16_t endpoint(uint16_t index, bool sends) {
    const auto [it, added] =
        known_.try_emplace({sends, index}, static_cast<uint16_t>(flat_.endpoints.size()));
    if (added) flat_.endpoints.push_back({sends, index});
    return it->second;
  }

  const Program& program_;
  const uint32_t lane_;
  const std::set<uint32_t>& awaited_;
  FlatLane flat_;
  std::vector<DeviceStep> steps_;
  std::vector<DeviceOperand> operands_;
  std::vector<DeviceWait> waits_;
  std::map<std::pair<bool, uint16_t>, uint16_t> known_;
};

static_assert(sizeof(transport::SlotLine) == kLineBytes &&
              offsetof(transport::SlotLine, inline_bytes) == kLinePayload &&
              transport::kInlineBytes == kLineCapacity && transport::kMessageKinds == kKinds &&
              static_cast<uint32_t>(transport::MessageKind::kInline) == kInlineKind &&
              static_cast<uint32_t>(transport::MessageKind::kStaged) == kStagedKind);
static_assert(sizeof(transport::StagedPayload) == 16 &&
              offsetof(transport::StagedPayload, area) == 8 &&
              offsetof(transport::StagedPayload, offset) == 12);
static_assert(offsetof(transport::ReleaseWord, released) == 0);
static_assert(device_signature(0x1230, 100) == message_signature(0x1230, 100));
static_assert(static_cast<int>(OperandKind::kInput) ==
                  static_cast<int>(CompiledOperand::Kind::kInput) &&
              static_cast<int>(OperandKind::kPeer) ==
                  static_cast<int>(CompiledOperand::Kind::kPeer));

}  // namespace

FlatProgram flatten(const Program& program) {
  std::vector<std::set<uint32_t>> awaited(program.lanes.size());  // steps that others wait for
  for (const plan::Wait& wait : program.waits) awaited[wait.lane].insert(wait.step);
  FlatProgram flat;
  for (uint32_t lane = 0; lane < program.lanes.size(); ++lane) {
    flat.lanes.push_back(LaneFlattener(program, lane, awaited[lane]).run());
  }
  return flat;
}

}  // namespace tutti::exec
