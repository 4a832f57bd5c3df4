// SPDX-License-Identifier: Apache-2.0
// Little records as bytes, for what ranks tell each other at set-up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "src/base/error.h"

namespace tutti::comm {

// Values follow each other without padding, in host order: both ends are the same build on the same
// architecture, which the record's version number guards. Lengths are u32.
class ByteWriter {
 public:
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void value(const T& v) {
    const auto* p = reinterpret_cast<const std::byte*>(&v);
    bytes_.insert(bytes_.end(), p, p + sizeof(T));
  }
  void blob(std::span<const std::byte> b) {
    value(static_cast<uint32_t>(b.size()));
    bytes_.insert(bytes_.end(), b.begin(), b.end());
  }
  void text(std::string_view s) { blob(std::as_bytes(std::span(s.data(), s.size()))); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// Reads what ByteWriter wrote; throws InternalError when the record is too short.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : rest_(bytes) {}
  template <typename T>
  requires std::is_trivially_copyable_v<T> T value() {
    T v;
    std::memcpy(&v, take(sizeof(T)).data(), sizeof(T));
    return v;
  }
  std::vector<std::byte> blob() {
    const auto size = value<uint32_t>();
    const auto b = take(size);
    return {b.begin(), b.end()};
  }
  std::string text() {
    const auto size = value<uint32_t>();
    const auto b = take(size);
    return {reinterpret_cast<const char*>(b.data()), b.size()};
  }
  bool empty() const noexcept { return rest_.empty(); }

 private:
  std::span<const std::byte> take(size_t size) {
    if (size > rest_.size()) {
      throw Error(StatusCode::kInternalError,
                  "a set-up record of a peer is cut short: " + std::to_string(size) +
                      " bytes expected, " + std::to_string(rest_.size()) + " left");
    }
    const auto taken = rest_.first(size);
    rest_ = rest_.subspan(size);
    return taken;
  }
  std::span<const std::byte> rest_;
};

}  // namespace tutti::comm
