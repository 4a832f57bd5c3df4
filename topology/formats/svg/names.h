// SPDX-License-Identifier: Apache-2.0
// The words of a drawing: names that fit, tooltips, bandwidths.
#pragma once

#include <string>
#include <string_view>

#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

// Ids come from files. What XML does not allow (control characters, invalid UTF-8) and what
// reorders text becomes "?"; escaping is the writer's.
std::string clean(std::string_view text);

// A cautious estimate: no font that browsers use for sans-serif is much wider.
double text_width(std::string_view text, double font_px);
// Shortened in its middle, for ids differ at their ends.
std::string fit(const std::string& text, double width, double font_px);

std::string short_name(const Graph& graph, int32_t node);
std::string tooltip(const Graph& graph, int32_t node);
const char* kind_name(NodeKind kind, bool plural);  // "GPUs", "network switches"
std::string count_of(size_t count, NodeKind kind);  // "8 GPUs"
const char* type_name(LinkType type);
std::string gigabytes_text(int64_t mbit_s);  // "25 GB/s"

// "2 x 25 GB/s", "25 back 12.5 GB/s", "down", "unknown".
std::string line_text(const Line& line);
std::string line_tooltip(const Graph& graph, const Picture& picture, const Line& line,
                         bool with_loads);
std::string item_name(const Graph& graph, const Item& item);
double line_width(const Line& line);
double width_of(int64_t mbit_s);

}  // namespace tutti::topology::drawing
