// SPDX-License-Identifier: Apache-2.0
// Checks types and ranges of JSON values.
#include "src/plan/json_node.h"

#include <algorithm>
#include <limits>

#include "src/base/error.h"

namespace tutti::plan {

using nlohmann::json;

json parse_json(const char* subject, std::string_view text) {
  try {
    return json::parse(text);
  } catch (const json::parse_error& error) {
    throw Error(StatusCode::kInvalidArgument, std::string(subject) + ": not JSON, at byte " +
                                                  std::to_string(error.byte) + " of " +
                                                  std::to_string(text.size()));
  } catch (const json::out_of_range& error) {  // a number above the range of double
    throw Error(StatusCode::kInvalidArgument, std::string(subject) + ": " + error.what());
  }
}

void JsonNode::fail(const std::string& what) const {
  throw Error(StatusCode::kInvalidArgument,
              std::string(subject_) + " at " + (path_.empty() ? "/" : path_) + ": " + what);
}

void JsonNode::expected(const std::string& what) const {
  fail("expected " + what + ", got " + excerpt());
}

JsonNode JsonNode::member(const char* key) const {
  const auto it = object().find(key);
  if (it == value_.end()) fail("expected a member \"" + std::string(key) + "\", got none");
  return {subject_, *it, path_ + "/" + key};
}

void JsonNode::only(std::initializer_list<const char*> keys) const {
  for (const auto& [key, unused] : object().items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      fail("unknown member \"" + key + "\"");
  }
}

std::vector<JsonNode> JsonNode::items() const {
  if (!value_.is_array()) expected("an array");
  std::vector<JsonNode> nodes;
  nodes.reserve(value_.size());
  for (size_t i = 0; i < value_.size(); ++i)
    nodes.emplace_back(subject_, value_[i], path_ + "/" + std::to_string(i));
  return nodes;
}

std::string JsonNode::text() const {
  if (!value_.is_string()) expected("a string");
  return value_.get<std::string>();
}

bool JsonNode::boolean() const {
  if (!value_.is_boolean()) expected("true or false");
  return value_.get<bool>();
}

int32_t JsonNode::count() const {
  return static_cast<int32_t>(integer(std::numeric_limits<int32_t>::max()));
}

uint32_t JsonNode::index() const {
  return static_cast<uint32_t>(integer(std::numeric_limits<uint32_t>::max()));
}

uint64_t JsonNode::integer(uint64_t max) const {
  if (!value_.is_number_unsigned() || value_.get<uint64_t>() > max)
    expected("an integer from 0 to " + std::to_string(max));
  return value_.get<uint64_t>();
}

double JsonNode::number(double min, double max) const {
  if (!value_.is_number() || !(value_.get<double>() >= min && value_.get<double>() <= max))
    expected("a number from " + json(min).dump() + " to " + json(max).dump());
  return value_.get<double>();
}

const json& JsonNode::object() const {
  if (!value_.is_object()) expected("an object");
  return value_;
}

std::string JsonNode::excerpt() const {
  constexpr size_t kMax = 40;
  std::string text = value_.dump(-1, ' ', true, json::error_handler_t::replace);
  if (text.size() > kMax) text = text.substr(0, kMax) + "...";
  return text;
}

}  // namespace tutti::plan
