// SPDX-License-Identifier: Apache-2.0
// Places network switches: as buses when there is one level of them, in rows when there are more.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "topology/formats/svg/index.h"
#include "topology/formats/svg/picture.h"

namespace tutti::topology::drawing {

// Between lines that leave a bus at its left end.
inline constexpr double kUplinkPitch = 13;

class Fabric {
 public:
  // `switches` are the nodes that are outside of all frames, ascending. Machines must be in the
  // picture.
  Fabric(const Index& index, const Overlay& overlay, const std::vector<int32_t>& switches,
         Picture& picture);

  bool empty() const { return levels_.empty(); }
  // Whether switches next to machines are buses.
  bool buses() const { return buses_; }
  // Whether machines may be above and below.
  bool one_level() const { return levels_.size() == 1; }

  // Adds items below `top`, over a picture of the given width. Returns where they end.
  double place(double top, double width);

 private:
  // What is drawn as one item: a switch, or several with the same neighbours, or those not drawn.
  struct Group {
    std::vector<int32_t> nodes;
    bool more = false;
  };
  using Level = std::vector<Group>;

  void find_levels(const std::vector<int32_t>& switches);
  void choose_leaves();
  void choose_spines(Level& level);
  bool has_links_within_leaves() const;
  bool joins_shown_part(int32_t node) const;
  std::string neighbours(int32_t node) const;
  Item item_of(const Group& group) const;
  void add(const Group& group, Item item);
  Rect extent(const Group& group) const;
  double place_buses(double top);
  std::vector<Item> arrange_buses(double top, bool share_rows) const;
  void make_room_for_uplinks(std::vector<Item>& buses) const;
  double place_spine_buses(const Level& level, double top, double left, double width);
  double place_row(const Level& level, double top, double left, double width);
  double middle(const std::vector<int32_t>& nodes) const;

  const Index& index_;
  const Overlay& overlay_;
  Picture& picture_;
  std::vector<Level> levels_;  // from the machines outwards
  bool buses_ = false;
};

}  // namespace tutti::topology::drawing
