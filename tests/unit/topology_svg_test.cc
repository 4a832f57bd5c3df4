// SPDX-License-Identifier: Apache-2.0
// Pictures of topologies: well-formed, complete, without overlaps, small, and true to bandwidths,
// loads and cuts.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <pugixml.hpp>

#include "tests/unit/topology_support.h"
#include "topology/formats/any.h"
#include "topology/formats/svg.h"
#include "topology/synthetic.h"

namespace tutti::topology {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr size_t kMegabyte = 1'000'000;

struct Box {
  std::string words;  // of the group that it is in
  double x, y, w, h;
  bool overlaps(const Box& other) const {
    return x < other.x + other.w && other.x < x + w && y < other.y + other.h && other.y < y + h;
  }
};

class Drawing {
 public:
  explicit Drawing(const std::string& svg) {
    const pugi::xml_parse_result parsed = document_.load_string(svg.c_str(), pugi::parse_full);
    EXPECT_TRUE(parsed) << parsed.description() << " at " << parsed.offset;
    EXPECT_STREQ(document_.document_element().name(), "svg");
  }

  pugi::xpath_node_set select(const std::string& xpath) const {
    return document_.select_nodes(xpath.c_str());
  }

  std::vector<std::string> values(const std::string& xpath) const {
    std::vector<std::string> found;
    for (const pugi::xpath_node& node : select(xpath))
      found.emplace_back(node.attribute() ? node.attribute().value() : node.node().text().get());
    return found;
  }

  // All rectangles whose class begins with this word.
  std::vector<Box> boxes(const std::string& css_class) const {
    std::vector<Box> found;
    for (const pugi::xpath_node& node :
         select("//rect[starts-with(concat(@class, ' '), '" + css_class + " ')]")) {
      const pugi::xml_node rect = node.node();
      found.push_back({rect.parent().child("title").text().get(), rect.attribute("x").as_double(),
                       rect.attribute("y").as_double(), rect.attribute("width").as_double(),
                       rect.attribute("height").as_double()});
    }
    return found;
  }

  // What is written, tooltips and style aside.
  std::string words() const {
    std::string all;
    for (const std::string& text : values("//text")) all += text + "\n";
    return all;
  }

  // By the two ends' ids as tooltips name them, the first stroke of each line.
  std::map<std::string, pugi::xml_node> lines() const {
    std::map<std::string, pugi::xml_node> found;
    for (const pugi::xpath_node& node : select("//g[contains(title, ' ↔ ')]")) {
      const std::string title = node.node().child("title").text().get();
      found[title.substr(0, title.find(": "))] = node.node().child("path");
    }
    return found;
  }

 private:
  pugi::xml_document document_;
};

void expect_complete(const Graph& graph, const Drawing& drawing) {
  size_t drawn = 0;
  for (const std::string& nodes : drawing.values("//g/@data-nodes")) drawn += std::stoul(nodes);
  size_t clusters = 0;
  for (const Node& node : graph.nodes) clusters += node.kind == NodeKind::kCluster ? 1 : 0;
  EXPECT_EQ(drawn + clusters, graph.nodes.size()) << "each node is drawn or counted, once";
  std::vector<std::string> ids = drawing.values("//g/@data-id");
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
}

void expect_no_overlaps(const Drawing& drawing) {
  const std::vector<Box> nodes = drawing.boxes("node");
  const std::vector<Box> labels = drawing.boxes("halo");
  for (size_t a = 0; a < nodes.size(); ++a) {
    EXPECT_GT(nodes[a].w, 20) << nodes[a].words;
    for (size_t b = a + 1; b < nodes.size(); ++b)
      EXPECT_FALSE(nodes[a].overlaps(nodes[b])) << nodes[a].words << " and " << nodes[b].words;
    for (const Box& label : labels)
      EXPECT_FALSE(nodes[a].overlaps(label)) << nodes[a].words << " and a label";
  }
  for (size_t a = 0; a < labels.size(); ++a)
    for (size_t b = a + 1; b < labels.size(); ++b) EXPECT_FALSE(labels[a].overlaps(labels[b]));
}

void expect_good_drawing(const Report& report) {
  const std::string text = svg(report);
  EXPECT_LT(text.size(), kMegabyte);
  EXPECT_EQ(svg(report), text);
  EXPECT_THAT(text,
              AllOf(Not(HasSubstr("<script")), Not(HasSubstr("href")), Not(HasSubstr("url("))));
  const Drawing drawing(text);
  expect_complete(report.graph, drawing);
  expect_no_overlaps(drawing);
  EXPECT_THAT(drawing.select("/svg[@viewBox]/title"), SizeIs(1));
}

TEST(Svg_EachSyntheticMachine, IsWellFormedCompleteAndWithoutOverlaps) {
  for (const char* line : {"host",
                           "host cores=64 numa=8 memory=64G nics=5",
                           "host cores=4096 numa=64 nics=64",
                           "host cores=4 nics=2 x3 fabric=flat",
                           "host cores=6 numa=3 x4096 nics=1",
                           "dgx-1v",
                           "dgx-1v nics=4 x2",
                           "dgx-2",
                           "dgx-2 x4",
                           "dgx-a100",
                           "dgx-a100 x2 fabric=rail",
                           "dgx-a100 x5 fabric=flat",
                           "dgx-h100 x8",
                           "dgx-h100 x9",
                           "dgx-h100 x16 fabric=rail",
                           "dgx-h100 x64 fabric=rail-spine leaf=32 spines=8",
                           "hgx-b200 x4 fabric=fat-tree spines=2",
                           "hgx-b200 x32 fabric=fat-tree leaf=16 spines=4",
                           "gb200-nvl72",
                           "gb200-nvl72 x16",
                           "mi250",
                           "mi250 x2",
                           "mi250 x20 fabric=fat-tree",
                           "mi300x",
                           "mi300x x5",
                           "pcie",
                           "pcie gpus=16 per-switch=4 sockets=4 nics=4",
                           "pcie gpus=4 nics=1 x8 fabric=fat-tree leaf=4",
                           "pcie gpus=32 per-switch=1 sockets=1"}) {
    SCOPED_TRACE(line);
    expect_good_drawing({synthetic(line), {}});
  }
}

TEST(Svg_EachFixture, IsWellFormedCompleteAndWithoutOverlaps) {
  for (const char* name :
       {"guest.hwloc.xml", "two_packages.hwloc.xml", "two_packages.json", "pod.ibnetdiscover.txt"})
    expect_good_drawing(read_topology(fixture(name), fixture_path(name)));
  const Report report = read_topology(fixture("two_packages.json"), "two_packages.json");
  EXPECT_THAT(Drawing(svg(report)).words(),
              AllOf(HasSubstr("numa1"), HasSubstr("64 GiB memory"), HasSubstr("400 Gbit/s"),
                    HasSubstr("31.51 GB/s"), HasSubstr("2 cores, 1 usable"),
                    HasSubstr("bandwidth unknown"), HasSubstr(report.notes[0].text)));
}

TEST(Svg_EachPublicMachine, IsWellFormedCompleteAndWithoutOverlaps) {
  const char* folder = std::getenv("TUTTI_TEST_TOPOLOGIES");
  const std::filesystem::path root =
      folder == nullptr ? TUTTI_SOURCE_DIR "/../shared/topologies" : folder;
  if (!std::filesystem::exists(root)) GTEST_SKIP() << root << " is not there";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    const std::string path = entry.path();
    if (entry.path().extension() != ".xml" || path.find("msccl") != std::string::npos ||
        path.find("hwloc") != std::string::npos)
      continue;
    SCOPED_TRACE(path);
    std::ifstream file(path, std::ios::binary);
    expect_good_drawing(read_topology(std::string{std::istreambuf_iterator<char>(file), {}}, path));
  }
}

TEST(Svg_16384Gpus, StaysBelowAMegabyte) {
  const Graph graph = synthetic("dgx-h100 x2048");
  ASSERT_THAT(nodes_of_kind(graph, NodeKind::kGpu), SizeIs(16384));
  expect_good_drawing({graph, {}});
}

TEST(Svg_ManyEqualMachines, DrawsTheFirstThreeAndTheLast) {
  const Graph graph = synthetic("dgx-a100 x64");
  const Drawing drawing(svg({graph, {}}));
  EXPECT_THAT(drawing.values("//g[rect[starts-with(@class, 'frame')]]/@data-id"),
              ElementsAre("box0", "box1", "box2", "box63"));
  EXPECT_THAT(drawing.words(), AllOf(HasSubstr("… 60 more boxes"), HasSubstr("like these")));
  EXPECT_THAT(drawing.values("//g[contains(title, 'not drawn')]/@data-nodes"),
              ElementsAre(std::to_string(60 * 18)));
  EXPECT_THAT(Drawing(svg({synthetic("dgx-a100 x8"), {}})).words(), Not(HasSubstr("more boxes")));
}

TEST(Svg_AMachineThatDiffers, IsNotHidden) {
  Graph graph = synthetic("dgx-a100 x64");
  const int32_t nic = *find_node(graph, "box40/nic3");
  for (Link& link : graph.links)
    if (link.to == nic) link.forward_mbit_s = link.reverse_mbit_s = 0;
  const Drawing drawing(svg({graph, {}}));
  expect_complete(graph, drawing);
  EXPECT_THAT(drawing.select("//g[@data-id='box40/nic3']"), SizeIs(1));
  EXPECT_THAT(drawing.words(), HasSubstr("… 61 more boxes"));
}

TEST(Svg_AMachineInTheCut, IsNotHidden) {
  const Graph graph = synthetic("dgx-a100 x64");
  Overlay overlay;
  overlay.cut_nodes.resize(graph.nodes.size());
  overlay.cut_nodes[*find_node(graph, "box40/gpu3")] = true;
  const Drawing drawing(svg({graph, {}}, overlay));
  EXPECT_THAT(drawing.select("//g[@data-id='box40/gpu3']"), SizeIs(1));
  EXPECT_THAT(drawing.boxes("cut"), SizeIs(2)) << "the GPU and the legend";
}

// GPU 0 of a mesh with a link to each other one.
Graph star(const std::vector<int64_t>& mbit_s) {
  Graph graph;
  add_node(graph, "m", NodeKind::kMachine, -1);
  for (size_t g = 0; g <= mbit_s.size(); ++g)
    add_node(graph, "gpu" + std::to_string(g), NodeKind::kGpu, 0);
  for (size_t g = 0; g < mbit_s.size(); ++g)
    add_link(graph, 1, static_cast<int32_t>(g) + 2, LinkType::kNvLink, mbit_s[g]);
  return graph;
}

TEST(Svg_LineWidths, GrowWithBandwidth) {
  const Drawing drawing(svg({star({1000, 8000, 100'000, 200'000, 2'400'000, 7'200'000}), {}}));
  const auto lines = drawing.lines();
  ASSERT_THAT(lines, SizeIs(6));
  double last = 0;
  for (int g = 1; g <= 6; ++g) {
    const pugi::xml_node path = lines.at("gpu0 ↔ gpu" + std::to_string(g));
    const double width = path.attribute("stroke-width").as_double();
    EXPECT_GT(width, last) << g;
    last = width;
  }
  EXPECT_LE(last, 12);
}

TEST(Svg_ParallelLinks, AreOneLineOfTheirSum) {
  Graph graph = star({200'000, 400'000, 200'000});
  add_link(graph, 2, 1, LinkType::kNvLink, 200'000);
  add_link(graph, 4, 1, LinkType::kNvLink, 100'000);
  const Drawing drawing(svg({graph, {}}));
  EXPECT_THAT(drawing.words(), AllOf(HasSubstr("2 x 25 GB/s"), HasSubstr("37.5 GB/s in all")));
  const auto lines = drawing.lines();
  ASSERT_THAT(lines, SizeIs(3));
  EXPECT_STREQ(lines.at("gpu0 ↔ gpu1").attribute("stroke-width").value(),
               lines.at("gpu0 ↔ gpu2").attribute("stroke-width").value());
}

TEST(Svg_LinksOfEachState, LookDifferent) {
  Graph graph = star({0, kUnknown, 200'000, 200'000});
  graph.links[3].reverse_mbit_s = 100'000;
  const Drawing drawing(svg({graph, {}}));
  const auto lines = drawing.lines();
  const auto dashed = [&](const char* line) {
    return !!lines.at(line).attribute("stroke-dasharray");
  };
  const auto color = [&](const char* line) {
    return std::string(lines.at(line).attribute("stroke").value());
  };
  EXPECT_TRUE(dashed("gpu0 ↔ gpu1"));
  EXPECT_EQ(color("gpu0 ↔ gpu1"), "#d00000");
  EXPECT_TRUE(dashed("gpu0 ↔ gpu2"));
  EXPECT_EQ(color("gpu0 ↔ gpu2"), "#8a8a8a");
  EXPECT_FALSE(dashed("gpu0 ↔ gpu3"));
  EXPECT_THAT(drawing.words(), AllOf(HasSubstr("down"), HasSubstr("bandwidth unknown"),
                                     HasSubstr("→25 ←12.5 GB/s")));
}

TEST(Svg_EachLinkType, HasItsColourAndName) {
  Graph graph = star({});
  std::set<std::string> colors;
  for (const LinkType type : {LinkType::kMemory, LinkType::kSmp, LinkType::kPcie, LinkType::kNvLink,
                              LinkType::kXgmi, LinkType::kC2c, LinkType::kNetwork}) {
    const int32_t gpu = add_node(graph, to_text(type), NodeKind::kGpu, 0);
    add_link(graph, 1, gpu, type, 200'000);
  }
  const Drawing drawing(svg({graph, {}}));
  for (const auto& [ends, path] : drawing.lines()) colors.insert(path.attribute("stroke").value());
  EXPECT_THAT(colors, SizeIs(7));
  EXPECT_THAT(drawing.words(), AllOf(HasSubstr("NVLink 25 GB/s"), HasSubstr("xGMI 25 GB/s"),
                                     HasSubstr("network 25 GB/s")));
}

TEST(Svg_ManyCores, AreANumber) {
  EXPECT_THAT(Drawing(svg({synthetic("host cores=64"), {}})).words(), HasSubstr("64 cores"));
  EXPECT_THAT(Drawing(svg({synthetic("host cores=64"), {}})).boxes("sq"), IsEmpty());
  EXPECT_THAT(Drawing(svg({synthetic("host cores=6"), {}})).boxes("sq"), SizeIs(6));
}

TEST(Svg_SeveralTypesBetweenTwoParts, AreSeveralLines) {
  Graph graph = star({200'000});
  add_link(graph, 1, 2, LinkType::kPcie, 100'000);
  const Drawing drawing(svg({graph, {}}));
  const std::vector<std::string> paths = drawing.values("//g[contains(title, ' ↔ ')]/path/@d");
  ASSERT_THAT(paths, SizeIs(2));
  EXPECT_NE(paths[0], paths[1]);
}

TEST(Svg_HostileIds, CannotLeaveTheirText) {
  const std::string ids[] = {"</text><script>alert(1)</script>",
                             "\"' onload='x' &amp; &#60; ]]> <![CDATA[",
                             "bell\x07 null-ish\x01 del\x7f",
                             "not utf-8: \xff\xfe \xc3",
                             "surrogate \xed\xa0\x80 overlong \xc0\xaf",
                             "reordered \xe2\x80\xae txet",
                             "日本語のとても長い名前のついた機械部品"};
  Graph graph;
  add_node(graph, "cluster<b>", NodeKind::kCluster, -1);
  for (const std::string& id : ids) {
    const int32_t machine = add_node(graph, id, NodeKind::kMachine, 0, {.model = id, .arch = id});
    const int32_t gpu = add_node(graph, id + "/gpu", NodeKind::kGpu, machine, {.model = id});
    const int32_t nic = add_node(graph, id + "/nic", NodeKind::kNic, machine, {.device = id});
    const int32_t net = add_node(graph, id + "-switch", NodeKind::kNetSwitch, 0);
    add_link(graph, gpu, nic, LinkType::kPcie, 1000);
    add_link(graph, nic, net, LinkType::kNetwork, 1000);
  }
  const Report report{graph, {{"so<u>rce", ids[0]}}};
  const Drawing drawing(svg(report, {.caption = ids[1]}));
  expect_complete(graph, drawing);
  expect_no_overlaps(drawing);
  EXPECT_THAT(drawing.select("//script"), IsEmpty());
  EXPECT_THAT(drawing.select("//*[@onload]"), IsEmpty());
  EXPECT_THAT(drawing.values("//g/@data-id"),
              ::testing::IsSupersetOf({std::string(ids[0]), std::string("bell? null-ish? del?"),
                                       std::string("not utf-8: ?? ?"),
                                       std::string("surrogate ??? overlong ??"),
                                       std::string("reordered ? txet"), std::string(ids[6])}));
}

TEST(Svg_LoadsOfAnOverlay, ColourEachDirection) {
  const Graph graph = star({200'000, 200'000, 200'000});
  const Report report{graph, {}};
  Overlay overlay{.links = {{1, 0, true}, {0.5, 0.5, false}, {0, 0, false}},
                  .caption = "AllGather, 3 trees"};
  const Drawing drawing(svg(report, overlay));
  EXPECT_THAT(drawing.words(),
              AllOf(HasSubstr("AllGather, 3 trees"), HasSubstr("50 %"), HasSubstr("bottleneck")));
  const auto strokes = [&](const std::string& other) {
    return drawing.values("//g[starts-with(title, 'gpu0 ↔ " + other + ":')]/path/@stroke");
  };
  const std::vector<std::string> first = strokes("gpu1");
  const std::vector<std::string> second = strokes("gpu2");
  const std::vector<std::string> third = strokes("gpu3");
  ASSERT_THAT(first, SizeIs(3)) << "the mark of the bottleneck, there, back";
  ASSERT_THAT(second, SizeIs(2));
  ASSERT_THAT(third, SizeIs(2));
  EXPECT_NE(first[1], first[2]);
  EXPECT_EQ(first[2], third[0]) << "idle";
  EXPECT_EQ(second[0], second[1]);
  EXPECT_EQ(std::set<std::string>({first[1], second[0], third[0]}).size(), 3);
  EXPECT_THAT(drawing.values("//title"),
              ::testing::Contains(HasSubstr("load 100 % there, 0 % back; bottleneck")));
}

TEST(Svg_LoadsOfParallelLinks, AreOfTheirCapacity) {
  Graph graph = star({300'000});
  add_link(graph, 2, 1, LinkType::kNvLink, 100'000);  // the other way around
  const Overlay overlay{.links = {{1, 0, false}, {0, 0.5, false}}};
  EXPECT_THAT(Drawing(svg({graph, {}}, overlay)).values("//title"),
              ::testing::Contains(HasSubstr("load 87.5 % there, 0 % back")));
}

TEST(Svg_ACut, ShadesItsNodes) {
  const Graph graph = synthetic("dgx-a100 x2");
  Overlay overlay;
  for (const Node& node : graph.nodes) overlay.cut_nodes.push_back(node.id.starts_with("box0/"));
  EXPECT_THAT(Drawing(svg({graph, {}}, overlay)).boxes("cut"), SizeIs(17 + 1));
  EXPECT_THAT(Drawing(svg({graph, {}})).boxes("cut"), IsEmpty());
}

TEST(Svg_ArrowsOfATree, AreDrawnInItsColour) {
  const Graph graph = synthetic("dgx-1v");
  const int32_t gpu0 = *find_node(graph, "gpu0");
  const Overlay overlay{
      .arrows = {{gpu0, gpu0 + 1, 0}, {gpu0 + 1, gpu0 + 6, 0}, {gpu0, gpu0 + 1, 1}}};
  const Drawing drawing(svg({graph, {}}, overlay));
  const std::string arrows = "//g[@class='arrow']";
  EXPECT_THAT(drawing.values(arrows + "/title"),
              ElementsAre("tree 0: gpu0 → gpu1", "tree 0: gpu1 → gpu6", "tree 1: gpu0 → gpu1"));
  const std::vector<std::string> heads = drawing.values(arrows + "/path/@fill");
  ASSERT_THAT(heads, SizeIs(3));
  EXPECT_EQ(heads[0], heads[1]);
  EXPECT_NE(heads[0], heads[2]);
  const std::vector<std::string> paths = drawing.values(arrows + "/path[2]/@d");
  EXPECT_NE(paths[0], paths[2]) << "trees on the same link are beside each other";
  EXPECT_THAT(drawing.words(), AllOf(HasSubstr("tree 0"), HasSubstr("tree 1")));
}

TEST(Svg_ArrowsAmongHiddenParts, AreCountedInANote) {
  const Graph graph = synthetic("dgx-a100 x64");
  const Overlay overlay{
      .arrows = {{*find_node(graph, "box30/gpu0"), *find_node(graph, "box31/gpu0"), 0},
                 {*find_node(graph, "box0/gpu0"), *find_node(graph, "box31/gpu0"), 0}}};
  const Drawing drawing(svg({graph, {}}, overlay));
  EXPECT_THAT(drawing.select("//g[@class='arrow']"), SizeIs(1));
  EXPECT_THAT(drawing.words(), HasSubstr("1 of 2 arrows are not drawn"));
}

TEST(Svg_AnOverlayThatDoesNotFit, IsRefused) {
  const Graph graph = synthetic("dgx-1v");
  const Report report{graph, {}};
  const auto message = [&](const Overlay& overlay) {
    return refusal([&] { (void)svg(report, overlay); });
  };
  EXPECT_THAT(message({.links = {{1, 1, false}}}), HasSubstr("expected 24 links"));
  EXPECT_THAT(message({.cut_nodes = {true}}), HasSubstr("expected 9 nodes"));
  for (const double load :
       {-0.1, std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    Overlay overlay;
    overlay.links.resize(graph.links.size());
    overlay.links[3].reverse_load = load;
    EXPECT_THAT(message(overlay), HasSubstr("link 3: expected a load of at least 0"));
  }
  for (const OverlayArrow arrow : {OverlayArrow{0, 9, 0}, {-1, 0, 0}, {0, 1, -1}})
    EXPECT_THAT(message({.arrows = {arrow}}), HasSubstr("expected an arrow between nodes 0 to 8"));
}

// A rack: machines in a machine, and NVSwitches that join them.
TEST(Svg_MachinesInMachines, AreDrawnInside) {
  Graph graph;
  add_node(graph, "rack", NodeKind::kMachine, -1);
  add_node(graph, "nvswitch", NodeKind::kNvSwitch, 0);
  for (int t = 0; t < 18; ++t) {
    const std::string tray = "tray" + std::to_string(t);
    const int32_t machine = add_node(graph, tray, NodeKind::kMachine, 0);
    for (int g = 0; g < 4; ++g) {
      const int32_t gpu =
          add_node(graph, tray + "/gpu" + std::to_string(g), NodeKind::kGpu, machine);
      add_link(graph, gpu, 1, LinkType::kNvLink, 7'200'000);
    }
  }
  expect_good_drawing({graph, {}});
  const Drawing drawing(svg({graph, {}}));
  EXPECT_THAT(drawing.words(), AllOf(HasSubstr("18 machines, 72 GPUs, 1 NVSwitch"),
                                     HasSubstr("… 14 more boxes"), HasSubstr("56 x 900 GB/s")));
}

TEST(Svg_LeavesAndSpines, AreOneLineForEachLeaf) {
  Graph graph = synthetic("dgx-h100 x32 fabric=rail");
  const std::vector<int32_t> leaves = nodes_of_kind(graph, NodeKind::kNetSwitch);
  for (int s = 0; s < 16; ++s) {
    const int32_t spine = add_node(graph, "spine" + std::to_string(s), NodeKind::kNetSwitch, 0);
    for (const int32_t leaf : leaves) add_link(graph, leaf, spine, LinkType::kNetwork, 800'000);
  }
  expect_good_drawing({graph, {}});
  EXPECT_THAT(Drawing(svg({graph, {}})).words(),
              AllOf(HasSubstr("spine0 to spine15"), HasSubstr("16 x 100 GB/s each")));
}

// CPUs, PCIe switches, GPUs that are a mesh, and NICs.
TEST(Svg_AMeshBelowPcieSwitches, IsWellFormedCompleteAndWithoutOverlaps) {
  Graph graph;
  add_node(graph, "node", NodeKind::kMachine, -1);
  const int32_t package = add_node(graph, "package0", NodeKind::kPackage, 0);
  std::vector<int32_t> gpus;
  for (int n = 0; n < 4; ++n) {
    const int32_t numa = add_node(graph, "numa" + std::to_string(n), NodeKind::kNuma, package);
    const int32_t pci = add_node(graph, "pci" + std::to_string(n), NodeKind::kPciSwitch, package);
    add_link(graph, numa, pci, LinkType::kPcie, 500'000);
    for (int g = 0; g < 2; ++g) {
      gpus.push_back(add_node(graph, "gpu" + std::to_string(2 * n + g), NodeKind::kGpu, pci));
      add_link(graph, pci, gpus.back(), LinkType::kPcie, 500'000);
    }
    const int32_t nic = add_node(graph, "nic" + std::to_string(n), NodeKind::kNic, pci);
    add_link(graph, pci, nic, LinkType::kPcie, 500'000);
  }
  for (size_t a = 0; a < gpus.size(); ++a)
    for (size_t b = a + 1; b < gpus.size(); ++b)
      add_link(graph, gpus[a], gpus[b], LinkType::kXgmi, 512'000);
  expect_good_drawing({graph, {}});
  EXPECT_THAT(Drawing(svg({graph, {}})).lines(), SizeIs(16 + 28));
}

// Valid graphs of every shape: nothing is drawn twice, lost or malformed.
Graph random_graph(std::mt19937& random) {
  const auto below = [&](size_t n) { return static_cast<int32_t>(random() % n); };
  Graph graph;
  add_node(graph, "root", below(2) == 0 ? NodeKind::kCluster : NodeKind::kMachine, -1);
  const int32_t n_nodes = 1 + below(120);
  for (int32_t n = 1; n < n_nodes; ++n)
    add_node(graph, "n" + std::to_string(n), static_cast<NodeKind>(1 + below(11)),
             below(2) == 0 ? 0 : below(static_cast<size_t>(n)),
             {.speed_mbit_s = below(2) == 0 ? kUnknown : 100'000});
  constexpr int64_t kBandwidths[] = {kUnknown, 0, 8000, 200'000};
  for (int32_t l = n_nodes > 1 ? below(300) : 0; l > 0; --l) {
    const int32_t from = below(static_cast<size_t>(n_nodes));
    const int32_t to = below(static_cast<size_t>(n_nodes));
    if (from != to)
      add_link(graph, from, to, static_cast<LinkType>(below(7)), kBandwidths[below(4)]);
  }
  return graph;
}

TEST(Svg_RandomGraphs, AreCompleteAndWithoutOverlaps) {
  for (unsigned seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 random(seed);
    const Report report{random_graph(random), {}};
    ASSERT_NO_THROW(validate(report.graph));
    Overlay overlay;
    if (seed % 3 == 1) {
      overlay.links.resize(report.graph.links.size(), {0.5, 1, false});
      overlay.cut_nodes.resize(report.graph.nodes.size(), true);
    }
    const std::string text = svg(report, overlay);
    EXPECT_LT(text.size(), kMegabyte);
    const Drawing drawing(text);
    expect_complete(report.graph, drawing);
    expect_no_overlaps(drawing);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace tutti::topology
