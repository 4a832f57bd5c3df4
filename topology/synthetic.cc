// SPDX-License-Identifier: Apache-2.0
// Builds what a synthetic line says.
#include "topology/synthetic.h"

#include <cstddef>

#include <spdlog/fmt/fmt.h>

#include "topology/synthetic/fabric.h"
#include "topology/synthetic/line.h"

namespace tutti::topology {

Graph synthetic(std::string_view line) {
  const auto [model, options] = parse_line(line);
  Graph box = model->build(*model, options);
  if (options.boxes == 1 && options.fabric.kind == Fabric::Kind::kDefault) return box;
  if (nodes_of_kind(box, NodeKind::kNic).empty())
    refuse_word(model->name, "a fabric joins NICs and this box has none; add nics=1");
  constexpr size_t kMaxNodes = size_t{1} << 19;
  if (box.nodes.size() * static_cast<size_t>(options.boxes) > kMaxNodes)
    refuse_word(line, fmt::format("expected at most {} nodes, got {} in each of {} boxes",
                                  kMaxNodes, box.nodes.size(), options.boxes));
  return build_cluster(box, options.boxes, options.fabric);
}

std::string synthetic_help() { return line_help(); }

}  // namespace tutti::topology
