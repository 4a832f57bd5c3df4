// SPDX-License-Identifier: Apache-2.0
// Reads checked JSON: every complaint says where, what was expected and what is there.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace tutti::plan {

// Throws InvalidArgument, beginning with `subject` ("plan").
nlohmann::json parse_json(const char* subject, std::string_view text);

// A JSON value and the path that leads to it. All members throw InvalidArgument where the value is
// not what is asked for. The value must outlive it.
class JsonNode {
 public:
  JsonNode(const char* subject, const nlohmann::json& value, std::string path = "")
      : subject_(subject), value_(value), path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& what) const;
  [[noreturn]] void expected(const std::string& what) const;

  JsonNode member(const char* key) const;
  bool has(const char* key) const { return object().contains(key); }
  // Fails on the first member that is not in the list.
  void only(std::initializer_list<const char*> keys) const;
  std::vector<JsonNode> items() const;
  std::string text() const;
  bool boolean() const;
  int32_t count() const;   // 0 to 2^31 - 1
  uint32_t index() const;  // 0 to 2^32 - 1
  uint64_t integer(uint64_t max) const;
  double number(double min, double max) const;

 private:
  const nlohmann::json& object() const;
  std::string excerpt() const;

  const char* subject_;
  const nlohmann::json& value_;
  std::string path_;
};

}  // namespace tutti::plan
