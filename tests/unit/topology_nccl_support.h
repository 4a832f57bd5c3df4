// SPDX-License-Identifier: Apache-2.0
// NCCL XML from a few words, so that a test shows what it is about, and what was read of it.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/topology_support.h"
#include "topology/formats/nccl_xml.h"

namespace tutti::topology {

inline std::string nccl_system(const std::string& cpus) {
  return "<system version=\"1\">\n" + cpus + "</system>\n";
}
// One Intel CPU of the Sapphire Rapids generation with `devices` in it.
inline std::string nccl_machine(const std::string& devices) {
  return nccl_system(
      "<cpu numaid=\"0\" affinity=\"f\" arch=\"x86_64\" vendor=\"GenuineIntel\" familyid=\"6\" "
      "modelid=\"143\">\n" +
      devices + "</cpu>\n");
}
// `what` are the attributes after the address.
inline std::string nccl_pci(const std::string& address, const std::string& what,
                            const std::string& inside = "") {
  return "<pci busid=\"" + address + "\" " + what + ">" + inside + "</pci>\n";
}
inline std::string nccl_switch(const std::string& address, const std::string& inside) {
  return nccl_pci(address, R"(class="0x060400" link_speed="16.0 GT/s PCIe" link_width="16")",
                  inside);
}
// `attributes` such as dev="0" sm="90".
inline std::string nccl_gpu(const std::string& address, const std::string& attributes,
                            const std::string& links = "") {
  return nccl_pci(address, R"(class="0x030200" link_speed="16.0 GT/s PCIe" link_width="16")",
                  "<gpu " + attributes + ">" + links + "</gpu>");
}
inline std::string nccl_nic(const std::string& address, const std::string& nets) {
  return nccl_pci(address, R"(class="0x020000" link_speed="16.0 GT/s PCIe" link_width="16")",
                  "<nic>" + nets + "</nic>");
}

// Reads it, and that what is written of it reads back equal.
inline Report read_nccl(const std::string& xml) {
  Report report = read_nccl_xml(xml, "nccl.xml");
  const std::string written = write_nccl_xml(report);
  EXPECT_EQ(read_nccl_xml(written, "written").graph, report.graph) << xml << written;
  return report;
}

inline Node part(const Report& report, const std::string& id) {
  const auto index = find_node(report.graph, id);
  if (index) return report.graph.nodes[*index];
  ADD_FAILURE() << "there is no node " << id;
  return {};
}

// The links of a type between two parts, whichever way they were added.
inline std::vector<Link> links_between(const Report& report, const std::string& a,
                                       const std::string& b, LinkType type) {
  const auto from = find_node(report.graph, a);
  const auto to = find_node(report.graph, b);
  EXPECT_TRUE(from && to) << a << " or " << b << " is not there";
  std::vector<Link> found;
  for (const Link& link : report.graph.links)
    if (link.type == type && from && to &&
        std::minmax(link.from, link.to) == std::minmax(*from, *to))
      found.push_back(link);
  return found;
}

// The bandwidth of the only link between a part and what it is in.
inline int64_t mbit_to_parent(const Report& report, const std::string& id) {
  const int32_t parent = part(report, id).parent;
  if (parent < 0) return kUnknown;
  const std::vector<Link> links =
      links_between(report, id, report.graph.nodes[parent].id, LinkType::kPcie);
  EXPECT_EQ(links.size(), 1U) << id;
  return links.empty() ? kUnknown : links[0].forward_mbit_s;
}

inline std::vector<std::string> ids_of(const Report& report, NodeKind kind) {
  std::vector<std::string> ids;
  for (const int32_t node : nodes_of_kind(report.graph, kind))
    ids.push_back(report.graph.nodes[node].id);
  return ids;
}

inline std::vector<std::string> note_texts(const Report& report) {
  std::vector<std::string> texts;
  for (const Note& note : report.notes) texts.push_back(note.text);
  return texts;
}

}  // namespace tutti::topology
