// SPDX-License-Identifier: Apache-2.0
// The table of formats, and what a file of each begins with.
#include "topology/formats/any.h"

#include <algorithm>
#include <array>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/detectors/hwloc_detector.h"
#include "topology/formats/ibnetdiscover.h"
#include "topology/formats/native_json.h"
#include "topology/formats/nccl_xml.h"

namespace tutti::topology {
namespace {

struct Format {
  std::string_view name;
  std::string_view start;  // what start_of() says of its files
  Report (*read)(std::string_view text, const std::string& source);
};
constexpr std::array<Format, 4> kFormats = {{
    {"native JSON", "{", read_native_json},
    {"hwloc v2 XML", "<topology>",
     [](std::string_view text, const std::string& source) { return read_hwloc_xml(text, source); }},
    {"NCCL XML", "<system>", read_nccl_xml},
    {"ibnetdiscover's output", "#", read_ibnetdiscover},
}};

// The text from its first character that is not white space.
std::string_view trimmed(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\r\n");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

// "<name>" of the XML root element, after declaration, comments and the like; "#" of what
// ibnetdiscover prints, which may begin with its first block too; else the first character.
std::string start_of(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  for (text = trimmed(text); text.starts_with("<?") || text.starts_with("<!");) {
    const std::string_view end = text.starts_with("<!--") ? "-->" : ">";
    const size_t at = text.find(end, 2);
    text =
        at == std::string_view::npos ? std::string_view() : trimmed(text.substr(at + end.size()));
  }
  if (looks_like_ibnetdiscover(text)) return "#";
  if (!text.starts_with('<')) return std::string(text.substr(0, 1));
  constexpr size_t kMaxName = 40;
  const size_t end = std::min(text.find_first_of(" \t\r\n/>", 1), kMaxName);
  return fmt::format("<{}>", text.substr(1, end - 1));
}

}  // namespace

Report read_topology(std::string_view text, const std::string& source) {
  const std::string start = start_of(text);
  const auto* format = std::find_if(kFormats.begin(), kFormats.end(),
                                    [&](const Format& known) { return known.start == start; });
  if (format != kFormats.end()) return format->read(text, source);
  std::vector<std::string> known;
  known.reserve(kFormats.size());
  for (const Format& row : kFormats)
    known.push_back(fmt::format("{} (begins with {})", row.name, row.start));
  std::string shown = start;
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("{}: expected one of {}; got {}", source, fmt::join(known, ", "),
                          shown.empty() ? "nothing" : '"' + shown + '"'));
}

std::string topology_format_names() {
  std::vector<std::string_view> names;
  names.reserve(kFormats.size());
  for (const Format& format : kFormats) names.push_back(format.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace tutti::topology
