// SPDX-License-Identifier: Apache-2.0
// Attributes of topology XML files as checked values.
#include "topology/formats/nccl_document.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::topology::nccl {
namespace {

std::string printable(std::string_view text) {
  constexpr size_t kMaxText = 128;
  std::string copy(text.substr(0, kMaxText));
  std::replace_if(
      copy.begin(), copy.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
  return copy;
}

std::optional<uint64_t> parse_hex(std::string_view text, uint64_t most) {
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size() || value > most) return std::nullopt;
  return value;
}

// The part of `text` before `end`, which goes; all of it when there is none.
std::string_view take(std::string_view& text, char end) {
  const std::string_view taken = text.substr(0, text.find(end));
  text.remove_prefix(std::min(text.size(), taken.size() + 1));
  return taken;
}

}  // namespace

std::string text_of(pugi::xml_node node, const char* name) {
  return printable(node.attribute(name).value());
}

Document::Document(std::string_view text, const std::string& source)
    : source_(source), line_starts_{0} {
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1))
    line_starts_.push_back(static_cast<ptrdiff_t>(at) + 1);
  const pugi::xml_parse_result result = xml_.load_buffer(text.data(), text.size());
  if (!result) fail_at(result.offset, fmt::format("not XML: {}", result.description()));
}

size_t Document::line_of(ptrdiff_t offset) const {
  return static_cast<size_t>(
      std::upper_bound(line_starts_.begin(), line_starts_.end(), std::max<ptrdiff_t>(offset, 0)) -
      line_starts_.begin());
}

void Document::fail_at(ptrdiff_t offset, const std::string& what) const {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("{}:{}: {}", source_, line_of(offset), what));
}

void Document::fail(pugi::xml_node at, const std::string& what) const {
  fail_at(at.offset_debug(), fmt::format("<{}> {}", printable(at.name()), what));
}

void Document::note(pugi::xml_node at, const std::string& what) {
  constexpr size_t kMaxNotes = 256;
  if (report_.notes.size() >= kMaxNotes) {
    ++notes_left_out_;
    return;
  }
  report_.notes.push_back(
      {"nccl-xml", fmt::format("line {}: <{}> {}", line(at), printable(at.name()), what)});
}

void Document::note_left_out(pugi::xml_node at, const std::string& reason) {
  if (at.type() == pugi::node_element) note(at, "is left out: " + reason);
}

void Document::finish_notes() {
  if (notes_left_out_ > 0)
    report_.notes.push_back({"nccl-xml", fmt::format("and {} more notes", notes_left_out_)});
}

int64_t Document::integer(pugi::xml_node node, const char* name, int64_t least,
                          int64_t most) const {
  const std::string_view text = node.attribute(name).value();
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most)
    fail(node,
         fmt::format("{}: expected an integer from {} to {}, got {}", name, least, most,
                     node.attribute(name) ? '"' + printable(text) + '"' : "no such attribute"));
  return value;
}

int64_t Document::integer_or(pugi::xml_node node, const char* name, int64_t otherwise,
                             int64_t least, int64_t most) const {
  return node.attribute(name) ? integer(node, name, least, most) : otherwise;
}

std::optional<uint64_t> Document::hex(pugi::xml_node node, const char* name, uint64_t most) const {
  const std::string_view text = node.attribute(name).value();
  if (text.empty()) return std::nullopt;
  const auto value = parse_hex(text, most);
  if (!value)
    fail(node, fmt::format("{}: expected a hexadecimal number up to {:#x}, got \"{}\"", name, most,
                           printable(text)));
  return value;
}

std::string Document::bus_id(pugi::xml_node node, const char* name) const {
  const std::string_view text = node.attribute(name).value();
  std::string_view rest = text;
  const bool has_domain = std::count(text.begin(), text.end(), ':') == 2;
  const auto domain =
      has_domain ? parse_hex(take(rest, ':'), 0xfff'ffff) : std::optional<uint64_t>(0);
  const auto bus = parse_hex(take(rest, ':'), 0xff);
  const auto device = parse_hex(take(rest, '.'), 0xff);
  const auto function = parse_hex(rest, 0xf);
  if (!domain || !bus || !device || !function)
    fail(node, fmt::format("{}: expected a PCI address as 0000:41:00.0, got {}", name,
                           text.empty() ? "none" : '"' + printable(text) + '"'));
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", *domain, *bus, *device, *function);
}

std::string Document::cpus(pugi::xml_node cpu) const {
  constexpr size_t kWordBits = 32;
  constexpr size_t kMaxWords = 2048;
  std::string_view rest = cpu.attribute("affinity").value();
  std::vector<uint32_t> words;
  while (!rest.empty()) {
    const std::string_view text = take(rest, ',');
    const auto word = parse_hex(text, UINT32_MAX);
    if (!word || words.size() == kMaxWords)
      fail(cpu, fmt::format("affinity: expected up to {} hexadecimal words of 32 bits, separated "
                            "by commas; got \"{}\"",
                            kMaxWords, printable(text)));
    words.push_back(static_cast<uint32_t>(*word));
  }
  std::vector<int32_t> cpus;
  for (size_t i = 0; i < words.size() * kWordBits; ++i)
    if ((words[words.size() - 1 - i / kWordBits] >> (i % kWordBits) & 1) != 0)
      cpus.push_back(static_cast<int32_t>(i));
  return cpu_list(std::move(cpus));
}

}  // namespace tutti::topology::nccl
