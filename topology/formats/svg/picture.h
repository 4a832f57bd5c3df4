// SPDX-License-Identifier: Apache-2.0
// What the steps of drawing hand to each other: items with places, and the lines between them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "topology/formats/svg.h"
#include "topology/graph.h"

namespace tutti::topology::drawing {

// Lengths are in CSS pixels, y grows downwards.
struct Point {
  double x = 0;
  double y = 0;
};

struct Rect {
  double x = 0;
  double y = 0;
  double w = 0;
  double h = 0;
  double right() const { return x + w; }
  double bottom() const { return y + h; }
  Point centre() const { return {x + w / 2, y + h / 2}; }
  bool overlaps(const Rect& other) const {
    return x < other.right() && other.x < right() && y < other.bottom() && other.y < bottom();
  }
  bool contains(Point p) const { return p.x > x && p.x < right() && p.y > y && p.y < bottom(); }
  bool encloses(const Rect& other) const {
    return other.x >= x && other.right() <= right() && other.y >= y && other.bottom() <= bottom();
  }
  Rect grown(double by) const { return {x - by, y - by, w + 2 * by, h + 2 * by}; }
};

enum class Shape : uint8_t {
  kBox,
  kBar,    // a switch as a bus: lines may pass over it, those that end at it have a dot
  kFrame,  // a machine or a package, around other items
  kMore,   // stands for several nodes that are not drawn
};

// Where on a circle of GPUs an item is. Links to what is below the circle go around it.
enum class RingSide : uint8_t { kNone, kLeft, kRight };

struct Item {
  Shape shape = Shape::kBox;
  NodeKind kind = NodeKind::kMachine;
  int32_t node = -1;  // -1: only kMore and summaries of cores
  Rect rect;
  std::vector<std::string> lines;  // of text, the first is bold; a frame's are its heading
  std::vector<int32_t> cores;      // nodes drawn as squares below the text
  std::string tooltip;
  int32_t block = -1;  // equal for the items of one machine
  double label = 0;    // of a bus, the width of its left end, where its name is and no machine
  bool flipped = false;
  bool nested = false;  // a frame in a machine's frame: its heading is at its left
  RingSide side = RingSide::kNone;
  Rect ring;  // of all items on the same circle
};

// Items [first_item, last_item) of a picture, placed relative to their common corner.
struct Block {
  size_t first_item = 0;
  size_t last_item = 0;
  double w = 0;
  double h = 0;
};

struct Limits {
  size_t siblings = 16;   // of one kind below one part
  size_t cpus = 8;        // packages or NUMA nodes of a machine
  size_t machines = 8;    // of one parent
  bool collapse = false;  // machines are drawn as one box each
};

struct Picture {
  std::vector<Item> items;
  std::vector<int32_t> shown_at;  // by node: the item that draws or stands for it
  double w = 0;
  double h = 0;
  int32_t blocks = 0;

  int32_t add(Item item) {
    items.push_back(std::move(item));
    return static_cast<int32_t>(items.size()) - 1;
  }
  void shift(const Block& block, double dx, double dy) {
    for (size_t i = block.first_item; i < block.last_item; ++i)
      for (Rect* rect : {&items[i].rect, &items[i].ring}) {
        rect->x += dx;
        rect->y += dy;
      }
  }
};

// All links of one type between two items.
struct Line {
  int32_t from = 0;  // items
  int32_t to = 0;
  LinkType type = LinkType::kPcie;
  int64_t links = 0;
  int64_t down = 0;            // links that are down one way or both
  int64_t unknown = 0;         // links whose bandwidth is not known, one way or both
  int64_t forward_mbit_s = 0;  // sums of what is known
  int64_t reverse_mbit_s = 0;
  bool alike = true;  // all links have the first one's bandwidths
  int64_t first_forward = kUnknown;
  int64_t first_reverse = kUnknown;
  int64_t latency_ns = kUnknown;  // of the first
  double forward_load = 0;        // of the capacity of all
  double reverse_load = 0;
  bool bottleneck = false;
  bool of_many = false;  // links of different nodes, as wide as one of them
  int lane = 0;          // which of several lines between the same items
  int lanes = 1;         // how many there are

  enum class Form : uint8_t { kPolyline, kQuadratic, kCubic };
  Form form = Form::kPolyline;
  std::vector<Point> path;
};

inline constexpr double kFontPx = 11;
inline constexpr double kBold = 1.14;  // widths of bold text over plain
inline constexpr double kSmallPx = 10;
inline constexpr double kHeadingPx = 14;

}  // namespace tutti::topology::drawing
