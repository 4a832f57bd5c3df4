// SPDX-License-Identifier: Apache-2.0
// Writing and reading lines of the PMI-1 wire protocol.
#include "src/bootstrap/pmi_wire.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::bootstrap {
namespace {

constexpr size_t kQuotedBytes = 80;
constexpr std::string_view kProse = "msg";  // the one field that may be several words

// For messages: printable, and not too much of it.
std::string quoted(std::string_view line) {
  std::string text(line.substr(0, kQuotedBytes));
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return "'" + text + (line.size() > kQuotedBytes ? "...'" : "'");
}

[[noreturn]] void refuse(std::string_view line, const char* why) {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("the launcher's PMI answer {} is not understood: {}", quoted(line), why));
}

bool fits(std::string_view part) {
  return part.find_first_of(" \n\r") == std::string_view::npos && !part.empty();
}

}  // namespace

std::optional<std::string> PmiMessage::find(std::string_view key) const {
  for (const auto& [name, value] : fields) {
    if (name == key) return value;
  }
  return std::nullopt;
}

std::string format_pmi(const PmiMessage& message) {
  std::string line = "cmd=" + message.command;
  bool good = fits(message.command);
  for (const auto& [key, value] : message.fields) {
    good = good && fits(key) && fits(value) && key.find('=') == std::string::npos;
    line.append(" ").append(key).append("=").append(value);
  }
  line += '\n';
  if (good && line.size() <= kMaxPmiLineBytes) return line;
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("{} can't be said in PMI: blanks, empty parts and more than {} bytes "
                          "can't",
                          quoted(line), kMaxPmiLineBytes));
}

PmiMessage parse_pmi(std::string_view line) {
  PmiMessage message;
  if (line.size() > kMaxPmiLineBytes) refuse(line, "it is too long");
  for (std::string_view left = line; !left.empty();) {
    const std::string_view part = left.substr(0, left.find(' '));
    left.remove_prefix(std::min(left.size(), part.size() + 1));
    if (part.empty()) continue;
    const size_t equals = part.find('=');
    const std::string_view key = part.substr(0, equals);
    const bool goes_on = !message.fields.empty() && message.fields.back().first == kProse;
    if (equals == std::string_view::npos && goes_on) {
      message.fields.back().second += ' ' + std::string(part);
    } else if (equals == std::string_view::npos || key.empty()) {
      refuse(line, "a part is no key=value");
    } else if (key == "cmd" ? !message.command.empty() : message.find(key).has_value()) {
      refuse(line, "a key comes twice");
    } else if (key == "cmd") {
      message.command = part.substr(equals + 1);
    } else {
      message.fields.emplace_back(key, part.substr(equals + 1));
    }
  }
  if (message.command.empty()) refuse(line, "it names no command");
  return message;
}

}  // namespace tutti::bootstrap
