// SPDX-License-Identifier: Apache-2.0
// Messages of the PMI-1 wire protocol: one line of text each, "cmd=NAME key=value ...\n".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tutti::bootstrap {

struct PmiMessage {
  std::string command;
  // In the order of the line: some launchers insist on it.
  std::vector<std::pair<std::string, std::string>> fields;

  std::optional<std::string> find(std::string_view key) const;
};

inline constexpr size_t kMaxPmiLineBytes = 4096;

// The line, with its end. Throws InvalidArgument when a part has a blank or a line end in it.
std::string format_pmi(const PmiMessage& message);
// A line without its end. Words after a "msg" belong to it. Throws InvalidArgument, quoting the
// line, when it is none of the protocol.
PmiMessage parse_pmi(std::string_view line);

}  // namespace tutti::bootstrap
