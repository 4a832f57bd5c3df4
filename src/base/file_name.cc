// SPDX-License-Identifier: Apache-2.0
// Names of files out of patterns.
#include <unistd.h>

#include <string_view>
#include <utility>

#include "src/base/file.h"

namespace tutti {
namespace {

std::string replace_all(std::string text, std::string_view from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

}  // namespace

std::string expand_path(std::string pattern, int rank) {
  pattern = replace_all(std::move(pattern), "%p", std::to_string(::getpid()));
  return replace_all(std::move(pattern), "%r", rank < 0 ? "process" : std::to_string(rank));
}

}  // namespace tutti
