// SPDX-License-Identifier: Apache-2.0
// What a fuzz target consists of, and how it says what has to hold. docs/howto/add-a-fuzzer.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/base/error.h"

namespace tutti::fuzz {

// Both are defined by each target. run() returns for every input; what it doesn't survive is a
// finding. It has no memory: the same input does the same again.
void run(std::string_view input);
// What the library's own writers make, so that seeds follow every change of a format.
std::vector<std::string> seeds();

// Ends the process when a property does not hold, which libFuzzer and the replay take as a finding.
inline void require(bool holds, std::string_view property) {
  if (holds) return;
  std::fprintf(stderr, "property broken: %.*s\n", static_cast<int>(property.size()),
               property.data());
  std::abort();
}

// What `parse` returns; nothing when it refuses, which it may do by InvalidArgument alone, and with
// a reason. Every other exception ends the process.
template <typename Parse>
auto accepted(Parse parse) -> std::optional<decltype(parse())> {
  try {
    return parse();
  } catch (const Error& error) {
    require(error.code() == StatusCode::kInvalidArgument, "refused with InvalidArgument");
    require(*error.what() != '\0', "refused with a reason");
    return std::nullopt;
  }
}

// Takes numbers and texts off the front of an input; zeros and empty texts when it is used up.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}
  bool empty() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }
  // Little endian.
  template <typename T>
  T number() {
    const std::string_view bytes = text(sizeof(T));
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.size(); ++i)
      value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
    return static_cast<T>(value);
  }
  std::string_view text(size_t bytes) {
    const std::string_view taken = rest_.substr(0, bytes);
    rest_.remove_prefix(taken.size());
    return taken;
  }

 private:
  std::string_view rest_;
};

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
inline std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace tutti::fuzz
