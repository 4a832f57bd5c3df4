// SPDX-License-Identifier: Apache-2.0
// Reads a whole NCCL XML file.
#include <string_view>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "topology/formats/nccl_document.h"
#include "topology/formats/nccl_tree.h"
#include "topology/formats/nccl_xml.h"

namespace tutti::topology {

Report read_nccl_xml(std::string_view text, const std::string& source) {
  nccl::Document document(text, source);
  const pugi::xml_node root = document.root();
  if (root.name() != std::string_view("system"))
    document.fail(root, "expected the element <system> of NCCL topology XML");
  for (pugi::xml_node more = root.next_sibling(); more; more = more.next_sibling())
    if (more.type() == pugi::node_element)
      document.fail(more, "expected nothing after the element <system>");
  document.integer(root, "version", 1, 2);  // 2: RCCL
  const nccl::Tree tree = nccl::read_tree(document);
  nccl::read_links(document, tree);
  document.finish_notes();
  validate(document.report().graph);
  return std::move(document.report());
}

}  // namespace tutti::topology
