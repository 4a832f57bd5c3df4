// SPDX-License-Identifier: Apache-2.0
// Writes and reads operands.
#include "src/plan/operand_text.h"

#include <charconv>

namespace tutti::plan {
namespace {

// Removes `prefix` from the front of *text; false when it is not there.
bool eat(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

// Removes a decimal int32 without sign from the front of *text.
bool eat_number(std::string_view* text, int32_t* number) {
  if (text->empty() || text->front() == '-') return false;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), *number);
  if (error != std::errc()) return false;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return true;
}

bool eat_peer(std::string_view* text, Operand* operand) {
  operand->kind = Operand::Kind::kPeer;
  if (!eat_number(text, &operand->index)) return false;
  return !eat(text, " channel ") || eat_number(text, &operand->channel);
}

bool eat_chunk(std::string_view* text, Operand* operand) {
  for (const Buffer buffer : {Buffer::kInput, Buffer::kOutput, Buffer::kScratch}) {
    if (!eat(text, name(buffer))) continue;
    operand->buffer = buffer;
    return eat(text, "[") && eat_number(text, &operand->index) && eat(text, "]");
  }
  return false;
}

}  // namespace

std::string to_text(const Operand& operand) {
  std::string text;
  if (operand.kind == Operand::Kind::kPeer) {
    text = "peer " + std::to_string(operand.index);
    if (operand.channel != 0) text += " channel " + std::to_string(operand.channel);
  } else {
    text = std::string(name(operand.buffer)) + "[" + std::to_string(operand.index) + "]";
  }
  return operand.pre ? "pre(" + text + ")" : text;
}

std::optional<Operand> operand_from_text(std::string_view text) {
  Operand operand;
  operand.pre = eat(&text, "pre(");
  const bool known = eat(&text, "peer ") ? eat_peer(&text, &operand) : eat_chunk(&text, &operand);
  if (!known || (operand.pre && !eat(&text, ")")) || !text.empty()) return std::nullopt;
  return operand;
}

}  // namespace tutti::plan
