// SPDX-License-Identifier: Apache-2.0
// Seeded mutations of inputs, for the replay: what a fuzzer does, without its feedback.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::fuzz {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  // One of `inputs` (not empty) after one to four changes.
  std::string next(const std::vector<std::string>& inputs) {
    std::string bytes = inputs[below(inputs.size())];
    for (size_t changes = 1 + below(4); changes > 0; --changes)
      change(bytes, inputs[below(inputs.size())]);
    return bytes;
  }

 private:
  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void change(std::string& bytes, const std::string& other) {
    const size_t at = below(bytes.size() + 1);
    const size_t length = below(std::min<size_t>(bytes.size() - at, 64) + 1);
    switch (below(6)) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        bytes.insert(at, 1, static_cast<char>(random_()));
        break;
      case 2:
        bytes.erase(at, length);
        break;
      case 3:
        bytes.insert(below(bytes.size() + 1), bytes.substr(at, length));
        break;
      case 4: {
        const size_t from = below(other.size() + 1);
        bytes.replace(at, length, other.substr(from, below(65)));
        break;
      }
      default:
        replace_number(bytes, at);
    }
  }

  // The next decimal number becomes one at the edge of some type.
  void replace_number(std::string& bytes, size_t at) {
    constexpr std::string_view kDigits = "0123456789";
    constexpr std::array<std::string_view, 11> kEdges = {
        "0",     "1",          "-1",         "2",          "7",
        "65536", "2147483647", "2147483648", "4294967295", "18446744073709551615",
        "1e308"};
    const size_t first = bytes.find_first_of(kDigits, at);
    if (first == std::string::npos) return;
    const size_t last = std::min(bytes.find_first_not_of(kDigits, first), bytes.size());
    bytes.replace(first, last - first, kEdges[below(kEdges.size())]);
  }

  std::mt19937_64 random_;
};

}  // namespace tutti::fuzz
