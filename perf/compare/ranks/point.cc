// SPDX-License-Identifier: Apache-2.0
#include "perf/compare/ranks/point.h"

#include <array>
#include <sstream>
#include <utility>

namespace tutti::compare {
namespace {

constexpr std::array<std::pair<const char*, Op>, 7> kOps{{
    {"all_reduce", Op::all_reduce},
    {"all_gather", Op::all_gather},
    {"reduce_scatter", Op::reduce_scatter},
    {"broadcast", Op::broadcast},
    {"all_to_all", Op::all_to_all},
    {"ping_pong", Op::ping_pong},
    {"send_recv", Op::send_recv},
}};

}  // namespace

const std::string& Message::text(const std::string& key) const {
  const auto found = words.find(key);
  if (found == words.end()) {
    throw std::runtime_error("message '" + verb + "' without " + key + "=");
  }
  return found->second;
}

size_t Message::number(const std::string& key) const { return std::stoull(text(key)); }

Message parse_message(const std::string& line) {
  std::istringstream words(line);
  Message message;
  words >> message.verb;
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    if (equals == std::string::npos) {
      throw std::runtime_error("expected key=value, got '" + word + "'");
    }
    message.words[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return message;
}

Point parse_point(const Message& message) {
  Point point{.name = message.text("op"),
              .bytes = message.number("bytes"),
              .in_place = message.number("in_place") != 0,
              .pages = message.text("pages") == "huge" ? Pages::huge : Pages::small,
              .offset_bytes = message.number("offset"),
              .seed = static_cast<uint32_t>(message.number("seed"))};
  for (const auto& [name, op] : kOps) {
    if (point.name == name) {
      point.op = op;
    }
  }
  return point;
}

bool Point::one_way() const { return op == Op::ping_pong || name == "line" || name == "flag8"; }

bool Point::checked() const {
  return op != Op::other || name == "floor_private" || name == "floor_shared";
}

Shape shape_of(const Point& point, int n_ranks) {
  const size_t elems = point.bytes / sizeof(float);
  const size_t block = elems / static_cast<size_t>(n_ranks);
  switch (point.op) {
    case Op::all_reduce:
      return {elems, point.in_place ? 0 : elems, elems};
    case Op::all_gather:
      return {block, block * static_cast<size_t>(n_ranks), block};
    case Op::reduce_scatter:
      return {block * static_cast<size_t>(n_ranks), block, block};
    case Op::all_to_all:
      return {block * static_cast<size_t>(n_ranks), block * static_cast<size_t>(n_ranks), block};
    case Op::broadcast:
      return {elems, 0, elems};
    case Op::ping_pong:
    case Op::send_recv:
    case Op::other:
      break;
  }
  return {elems, elems, elems};
}

}  // namespace tutti::compare
