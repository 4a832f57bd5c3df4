// SPDX-License-Identifier: Apache-2.0
// A topology XML file under way into a report: where in it things are, and its attributes as
// values. Only the NCCL XML reader uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <pugixml.hpp>

#include "topology/report.h"

namespace tutti::topology::nccl {

// What nvlink targets that are all the NVSwitches as one are called.
inline constexpr const char* kCollapsedNvSwitch = "fffffff:ff:ff.0";
inline constexpr const char* kNvSwitchClass = "0x068000";
inline constexpr const char* kCpuClass = "0x068001";  // POWER's bridge: the GPU's own CPU
inline constexpr int64_t kMaxCount = 4096;            // of links that one element stands for
inline constexpr int64_t kMaxIndex = 65535;           // of devices, NUMA nodes, ports and rails

class Document {
 public:
  // `text` and `source` must outlive it. Throws InvalidArgument when the text is no XML.
  Document(std::string_view text, const std::string& source);

  pugi::xml_node root() const { return xml_.document_element(); }
  Report& report() { return report_; }

  // Throws InvalidArgument "SOURCE:LINE: <element> what".
  [[noreturn]] void fail(pugi::xml_node at, const std::string& what) const;
  // Beyond the first few hundred they are only counted.
  void note(pugi::xml_node at, const std::string& what);
  // Of an element; other nodes, such as comments, are left out in silence.
  void note_left_out(pugi::xml_node at, const std::string& reason);
  void finish_notes();
  size_t line(pugi::xml_node at) const { return line_of(at.offset_debug()); }

  // Attributes as values; they fail where there is one and it is not what is expected.
  int64_t integer(pugi::xml_node node, const char* name, int64_t least, int64_t most) const;
  int64_t integer_or(pugi::xml_node node, const char* name, int64_t otherwise, int64_t least,
                     int64_t most) const;
  // With or without 0x; nothing when it is absent or empty.
  std::optional<uint64_t> hex(pugi::xml_node node, const char* name, uint64_t most) const;
  // "0000:41:00.0", from any of the ways in which tools write it.
  std::string bus_id(pugi::xml_node node, const char* name) const;
  // "0-3,8" from the affinity, words of 32 bits with the highest first.
  std::string cpus(pugi::xml_node cpu) const;

 private:
  [[noreturn]] void fail_at(ptrdiff_t offset, const std::string& what) const;
  size_t line_of(ptrdiff_t offset) const;

  const std::string& source_;
  std::vector<ptrdiff_t> line_starts_;
  pugi::xml_document xml_;
  Report report_;
  size_t notes_left_out_ = 0;
};

// An attribute's text with only printable ASCII and not long; "" when it is absent.
std::string text_of(pugi::xml_node node, const char* name);
inline bool is_named(pugi::xml_node node, std::string_view name) { return node.name() == name; }

}  // namespace tutti::topology::nccl
