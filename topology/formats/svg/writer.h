// SPDX-License-Identifier: Apache-2.0
// Elements of an SVG document. pugixml escapes what is written into them.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include <pugixml.hpp>

#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

// One decimal is a tenth of a pixel.
std::string number(double value);

using Attribute = std::pair<const char*, std::string>;
pugi::xml_node element(pugi::xml_node parent, const char* name,
                       std::initializer_list<Attribute> attributes);
pugi::xml_node rectangle(pugi::xml_node parent, const Rect& rect, double radius,
                         const std::string& css_class);
pugi::xml_node text(pugi::xml_node parent, Point at, const std::string& css_class,
                    const std::string& words);
void title(pugi::xml_node parent, const std::string& words);

// A line's path, moved to its right by `beside`.
std::string path_data(const Line& line, double beside = 0);

// "#rrggbb"
const char* type_color(LinkType type);
const char* arrow_color(int32_t index);
std::string load_color(double load);
inline constexpr const char* kDownColor = "#d00000";
inline constexpr const char* kUnknownColor = "#8a8a8a";
inline constexpr const char* kBottleneckColor = "#e0007a";

const char* style_sheet();

}  // namespace tutti::topology::drawing
