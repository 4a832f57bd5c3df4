// SPDX-License-Identifier: Apache-2.0
// The native format: exact round trips, and errors that name the place.
#include <random>
#include <string>

#include "tests/unit/topology_support.h"
#include "topology/formats/native_json.h"
#include "topology/formats/tree_text.h"

namespace tutti::topology {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Random values in every field, with characters that need escaping.
Report random_report(unsigned seed) {
  std::mt19937_64 random(seed);
  const auto text = [&] {
    static const char* const kTexts[] = {
        "", "plain", "quote \" and \\", "tab\tnew\nline", "ünïcode → ✓", "nul\1"};
    return std::string(kTexts[random() % std::size(kTexts)]);
  };
  const auto integer = [&] {
    return random() % 4 == 0 ? kUnknown : static_cast<int64_t>(random() >> (1 + random() % 60));
  };
  Report report;
  const auto nodes = static_cast<int32_t>(1 + random() % 12);
  for (int32_t i = 0; i < nodes; ++i) {
    Attributes attributes;
    for (const AttributeRow& row : attribute_table()) {
      if (const auto* f = std::get_if<int64_t Attributes::*>(&row.field))
        attributes.*(*f) = integer();
      if (const auto* f = std::get_if<std::string Attributes::*>(&row.field))
        attributes.*(*f) = text();
      if (const auto* f = std::get_if<bool Attributes::*>(&row.field))
        attributes.*(*f) = random() % 2 == 0;
    }
    const auto kind = i == 0 ? NodeKind::kCluster
                             : NodeKind(random() % (static_cast<int>(NodeKind::kNetSwitch) + 1));
    add_node(report.graph, text() + std::to_string(i), kind,
             i == 0 ? -1 : static_cast<int32_t>(random() % i), attributes);
  }
  for (uint64_t i = random() % 20; nodes > 1 && i > 0; --i) {
    const auto from = static_cast<int32_t>(random() % nodes);
    const auto to = static_cast<int32_t>((from + 1 + random() % (nodes - 1)) % nodes);
    const auto type = LinkType(random() % (static_cast<int>(LinkType::kNetwork) + 1));
    report.graph.links.push_back({from, to, type, integer(), integer(), integer()});
  }
  for (uint64_t i = random() % 3; i > 0; --i) report.notes.push_back({text(), text()});
  return report;
}

TEST(NativeJson_RandomReports, RoundTripExactly) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    const Report report = random_report(seed);
    const std::string json = write_native_json(report);
    const Report back = read_native_json(json, "random");
    ASSERT_EQ(back, report) << "seed " << seed << "\n" << json;
    EXPECT_EQ(hash(back.graph), hash(report.graph));
    EXPECT_EQ(write_native_json(back), json);
    EXPECT_FALSE(tree_text(report).empty());
  }
}

TEST(NativeJson_OmittedValues, HaveTheirDefaults) {
  const Report report =
      read_native_json(R"({"tutti_topology": 1, "nodes": [{"id": "m", "kind": "machine"},
      {"id": "a", "kind": "gpu", "parent": "m"}, {"id": "b", "kind": "gpu", "parent": "m"}],
      "links": [{"from": "a", "to": "b", "type": "nvlink", "bandwidth_mbit_s": 5},
                {"from": "a", "to": "b", "type": "nvlink", "bandwidth_mbit_s": 5, "reverse_mbit_s": 0},
                {"from": "a", "to": "b", "type": "nvlink", "bandwidth_mbit_s": 5, "reverse_mbit_s": null},
                {"from": "a", "to": "b", "type": "nvlink"}]})",
                       "test");
  const std::vector<Link> expected = {{1, 2, LinkType::kNvLink, 5, 5, kUnknown},
                                      {1, 2, LinkType::kNvLink, 5, 0, kUnknown},
                                      {1, 2, LinkType::kNvLink, 5, kUnknown, kUnknown},
                                      {1, 2, LinkType::kNvLink, kUnknown, kUnknown, kUnknown}};
  EXPECT_EQ(report.graph.links, expected);
  EXPECT_EQ(report.graph.nodes[1].attributes, Attributes{});
}

struct MalformedCase {
  std::string text;
  const char* message;
};

void expect_refused(const MalformedCase& c) {
  const std::string message = refusal([&] { read_native_json(c.text, "m.json"); });
  EXPECT_THAT(message, StartsWith("m.json: ")) << c.text;
  EXPECT_THAT(message, HasSubstr(c.message)) << c.text;
}

TEST(NativeJson_MalformedDocument, NamesPlaceAndReason) {
  const std::string head = R"({"tutti_topology": 1, )";
  const MalformedCase cases[] = {
      {"", "line 1, column 1"},
      {"{", "line 1, column 2"},
      {"{\n\"a\" 1}", "line 2"},
      {"[]", "/: expected an object, got []"},
      {"{}", "/: the key \"tutti_topology\" is missing"},
      {R"({"tutti_topology": "1"})", "/tutti_topology: expected an integer"},
      {R"({"tutti_topology": 2, "nodes": []})",
       "/tutti_topology: version 2 of the format; this program reads version 1"},
      {R"({"tutti_topology": 1})", "/: the key \"nodes\" is missing"},
      {head + R"("nodes": []})", "no nodes"},
      {head + R"("nodes": {}})", "/nodes: expected an array, got {}"},
      {head + R"("nodes": [], "node": []})",
       "/: unknown key \"node\"; allowed are tutti_topology, nodes, links, notes"},
      {head + R"("nodes": [], "nodes": []})", "the key \"nodes\" appears twice"},
      {"{\"tutti_topology\": 1, \"nodes\": [{\"id\": \"\xff\"}]}", "line 1"},
      {std::string(5000, '['), "line 1"},
  };
  for (const MalformedCase& c : cases) expect_refused(c);
}

TEST(NativeJson_MalformedNode, NamesPlaceAndReason) {
  const auto second = [](const std::string& node) {
    return R"({"tutti_topology": 1, "nodes": [{"id": "m", "kind": "machine"}, )" + node + "]}";
  };
  const MalformedCase cases[] = {
      {second("3"), "/nodes/1: expected an object, got 3"},
      {second(R"({"kind": "gpu", "parent": "m"})"), "/nodes/1: the key \"id\" is missing"},
      {second(R"({"id": "g", "parent": "m"})"), "/nodes/1: the key \"kind\" is missing"},
      {second(R"({"id": 7, "kind": "gpu", "parent": "m"})"),
       "/nodes/1/id: expected a string, got 7"},
      {second(R"({"id": "g", "kind": "gpuu", "parent": "m"})"),
       "/nodes/1/kind: expected one of cluster, machine"},
      {second(R"({"id": "g", "kind": "gpu"})"), "/nodes/1: the key \"parent\" is missing"},
      {second(R"({"id": "g", "kind": "gpu", "parent": "x"})"),
       "/nodes/1/parent: there is no node \"x\" before"},
      {second(R"({"id": "m", "kind": "gpu", "parent": "m"})"),
       "/nodes/1/id: the id \"m\" is taken"},
      {second(R"({"id": "g", "kind": "gpu", "parent": "m", "color": 1})"),
       "/nodes/1: unknown key \"color\""},
      {second(R"({"id": "g", "kind": "gpu", "parent": "m", "port": -1})"),
       "/nodes/1/port: expected an integer from 0"},
      {second(R"({"id": "g", "kind": "gpu", "parent": "m", "port": 1.5})"),
       "/nodes/1/port: expected an integer"},
      {second(R"({"id": "g", "kind": "gpu", "parent": "m", "port": 18446744073709551615})"),
       "/nodes/1/port"},
      {second(R"({"id": "g", "kind": "gpu", "parent": "m", "reduces": 1})"),
       "/nodes/1/reduces: expected true or false"},
      {second(R"({"id": "g", "kind": "gpu", "parent": "m", "model": null})"),
       "/nodes/1/model: expected a string"},
      {R"({"tutti_topology": 1, "nodes": [{"id": "m", "kind": "machine", "parent": "m"}]})",
       "/nodes/0/parent"},
      {R"({"tutti_topology": 1, "nodes": [{"id": "m", "kind": "gpu"}]})",
       "expected a machine or a cluster"},
  };
  for (const MalformedCase& c : cases) expect_refused(c);
}

TEST(NativeJson_MalformedLinkOrNote, NamesPlaceAndReason) {
  const auto with = [](const std::string& rest) {
    return R"({"tutti_topology": 1, "nodes": [{"id": "m", "kind": "machine"}, {"id": "g", "kind": "gpu", "parent": "m"}], )" +
           rest + "}";
  };
  const MalformedCase cases[] = {
      {with(R"("links": 1)"), "/links: expected an array, got 1"},
      {with(R"("links": [1])"), "/links/0: expected an object"},
      {with(R"("links": [{"to": "g", "type": "pcie"}])"), "/links/0: the key \"from\" is missing"},
      {with(R"("links": [{"from": "m", "to": "h", "type": "pcie"}])"),
       "/links/0/to: there is no node \"h\""},
      {with(R"("links": [{"from": "m", "to": "g", "type": "pci"}])"),
       "/links/0/type: expected one of memory, smp"},
      {with(R"("links": [{"from": "m", "to": "m", "type": "pcie"}])"), "joins \"m\" with itself"},
      {with(R"("links": [{"from": "m", "to": "g", "type": "pcie", "bandwidth_mbit_s": -5}])"),
       "/links/0/bandwidth_mbit_s"},
      {with(R"("links": [{"from": "m", "to": "g", "type": "pcie", "bandwidth": 5}])"),
       "/links/0: unknown key \"bandwidth\""},
      {with(R"("notes": [{"source": "s"}])"), "/notes/0: the key \"text\" is missing"},
  };
  for (const MalformedCase& c : cases) expect_refused(c);
}

// No mutation of a good file may do anything but load or throw Error; what loads must round trip.
TEST(NativeJson_MutatedBytes, LoadOrAreRefused) {
  const std::string good = fixture("two_packages.json");
  std::mt19937 random(1);
  int refused = 0;
  for (int i = 0; i < 400; ++i) {
    std::string bad = good;
    for (uint32_t n = 1 + random() % 3; n > 0; --n)
      bad[random() % bad.size()] = static_cast<char>(random() % 256);
    try {
      const Report report = read_native_json(bad, "bad");
      EXPECT_EQ(read_native_json(write_native_json(report), "again"), report);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace tutti::topology
