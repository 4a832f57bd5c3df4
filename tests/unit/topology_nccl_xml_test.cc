// SPDX-License-Identifier: Apache-2.0
// NCCL XML: the tree of machine, CPUs, switches, GPUs and NICs, and the traps that real files hold.
#include <string>

#include "tests/unit/topology_nccl_support.h"

namespace tutti::topology {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(NcclXml_SmallMachine, BecomesTheGraph) {
  const Report report = read_nccl(nccl_system(
      R"(<cpu host_hash="0xAB" numaid="1" affinity="00000003,80000000" arch="x86_64" vendor="AuthenticAMD" familyid="25" modelid="1">
  <pci busid="0000:C1:00.0" class="0x060400" vendor="0x1000" device="0xc010" link_speed="16.0 GT/s PCIe" link_width="16">
    <pci busid="0000:c2:00.0" class="0x030200" vendor="0x10de" device="0x20b0" link_speed="16 GT/s" link_width="8">
      <gpu dev="3" sm="80" rank="0" gdr="1"/>
    </pci>
    <pci busid="0000:c3:00.0" class="0x020700" vendor="0x15b3" device="0x101b" link_speed="8 GT/s" link_width="16">
      <nic><net name="mlx5_2" dev="2" speed="200000" port="1" guid="0xb8cef60003f6ceb8" rail="5" maxconn="4" gdr="1"/></nic>
    </pci>
  </pci>
</cpu>
)"));
  Graph expected;
  const int32_t machine =
      add_node(expected, "machine", NodeKind::kMachine, -1, {.host_id = "00000000000000ab"});
  const int32_t numa = add_node(expected, "numa1", NodeKind::kNuma, machine,
                                {.os_index = 1,
                                 .model = "AuthenticAMD family 25 model 1",
                                 .arch = "x86_64",
                                 .cpus = "31-33"});
  const int32_t bridge =
      add_node(expected, "pci_switch:0000:c1:00.0", NodeKind::kPciSwitch, numa,
               {.pci_address = "0000:c1:00.0", .pci_class = "0604", .pci_id = "1000:c010"});
  const int32_t nic = add_node(expected, "nic:mlx5_2:1", NodeKind::kNic, bridge,
                               {.os_index = 2,
                                .pci_address = "0000:c3:00.0",
                                .pci_class = "0207",
                                .pci_id = "15b3:101b",
                                .verbs_device = "mlx5_2",
                                .guid = "0xb8cef60003f6ceb8",
                                .port = 1,
                                .speed_mbit_s = 200'000,
                                .rail = 5});
  const int32_t gpu = add_node(expected, "gpu:0000:c2:00.0", NodeKind::kGpu, bridge,
                               {.os_index = 3,
                                .arch = "sm80",
                                .pci_address = "0000:c2:00.0",
                                .pci_class = "0302",
                                .pci_id = "10de:20b0"});
  add_link(expected, numa, bridge, LinkType::kPcie, 192'000);
  add_link(expected, bridge, nic, LinkType::kPcie, 96'000);
  add_link(expected, bridge, gpu, LinkType::kPcie, 96'000);
  EXPECT_EQ(report.graph, expected);
  EXPECT_THAT(report.notes, IsEmpty());
}

TEST(NcclXml_CommentsAndDeclaration, AreAccepted) {
  const std::string plain = nccl_machine(nccl_gpu("0000:01:00.0", R"(dev="0" sm="90")"));
  const std::string decorated =
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- (c) -->\n" + plain;
  EXPECT_EQ(read_nccl(decorated).graph, read_nccl(plain).graph);
}

TEST(NcclXml_BusIds, AreNormalised) {
  struct Case {
    const char* text;
    const char* expected;
  };
  const Case cases[] = {{"0000:41:00.0", "0000:41:00.0"},     {"41:00.0", "0000:41:00.0"},
                        {"00000000:0A:1F.7", "0000:0a:1f.7"}, {"0:1:2.3", "0000:01:02.3"},
                        {"10000:e1:00.0", "10000:e1:00.0"},   {"ffff:ff:01.0", "ffff:ff:01.0"}};
  for (const Case& c : cases)
    EXPECT_THAT(ids_of(read_nccl(nccl_machine(nccl_switch(c.text, ""))), NodeKind::kPciSwitch),
                ElementsAre(std::string("pci_switch:") + c.expected));
}

TEST(NcclXml_Affinity, BecomesTheCpuList) {
  struct Case {
    const char* affinity;
    const char* cpus;
  };
  const Case cases[] = {{"", ""},
                        {"0", ""},
                        {"f", "0-3"},
                        {"80000001", "0,31"},
                        {"0003ff,f0003fff", "0-13,28-41"},
                        {"fff0000,00000000,00000000", "80-91"}};
  for (const Case& c : cases) {
    const std::string cpu = std::string("<cpu numaid=\"0\" affinity=\"") + c.affinity + "\"/>";
    EXPECT_EQ(part(read_nccl(nccl_system(cpu)), "numa0").attributes.cpus, c.cpus) << c.affinity;
  }
}

TEST(NcclXml_UnknownNumaNode, IsAccepted) {
  const Report report = read_nccl(nccl_system("<cpu numaid=\"-1\" arch=\"x86_64\"/>"));
  EXPECT_EQ(part(report, "numa").attributes.os_index, kUnknown);
}

TEST(NcclXml_GpuOrder, IsThatOfDevWhateverTheTree) {
  const Report report = read_nccl(nccl_machine(
      nccl_switch("0000:01:00.0", nccl_gpu("0000:02:00.0", R"(dev="2" sm="90" rank="2")")) +
      nccl_gpu("0000:04:00.0", R"(sm="90")") + nccl_gpu("0000:05:00.0", R"(dev="0" rank="1")") +
      nccl_gpu("0000:03:00.0", R"(dev="1" sm="90" rank="0")")));
  EXPECT_THAT(ids_of(report, NodeKind::kGpu), ElementsAre("gpu:0000:05:00.0", "gpu:0000:03:00.0",
                                                          "gpu:0000:02:00.0", "gpu:0000:04:00.0"));
  EXPECT_THAT(note_texts(report),
              Contains(HasSubstr("rank 1 is not kept: by its dev it is GPU 0")));
  EXPECT_THAT(note_texts(report), Contains(HasSubstr("has no dev")));
}

TEST(NcclXml_TwoPortsOfOneCard, ShareItsPcieLink) {
  const Report report = read_nccl(nccl_machine(
      nccl_nic("0000:0c:00.0", R"(<net name="mlx5_0" dev="0" speed="200000" port="1" guid="0x9a"/>
                                  <net name="mlx5_1" dev="1" speed="200000" port="2" guid="0x9a"/>)")));
  EXPECT_THAT(ids_of(report, NodeKind::kNic), ElementsAre("nic:mlx5_0:1", "nic:mlx5_1:2"));
  EXPECT_EQ(mbit_to_parent(report, "nic_card:0000:0c:00.0"), 192'000);
  for (const char* port : {"nic:mlx5_0:1", "nic:mlx5_1:2"}) {
    EXPECT_EQ(report.graph.nodes[part(report, port).parent].id, "nic_card:0000:0c:00.0");
    EXPECT_EQ(part(report, port).attributes.guid, "0x000000000000009a");
    EXPECT_EQ(mbit_to_parent(report, port), 192'000);
  }
}

TEST(NcclXml_VirtualNetUnderEachCpu, IsOneNic) {
  const std::string nic =
      R"(<nic><net name="veth1" dev="1" speed="10000" port="0" guid="0x1"/></nic>)";
  const Report report =
      read_nccl(nccl_system("<cpu numaid=\"0\" arch=\"arm64\">" + nic +
                            "</cpu>\n<cpu numaid=\"1\" arch=\"arm64\">" + nic + "</cpu>"));
  EXPECT_THAT(ids_of(report, NodeKind::kNic), ElementsAre("nic:veth1"));
  EXPECT_EQ(part(report, "nic:veth1").attributes.device, "veth1");
  EXPECT_EQ(mbit_to_parent(report, "nic:veth1"), kUnknown);
  EXPECT_THAT(note_texts(report),
              ElementsAre(HasSubstr("line 2: <net> veth1 is in no PCI device"),
                          HasSubstr("line 3: <net> is left out: veth1 is the one of line 2")));
}

TEST(NcclXml_NetThatNcclIgnores, IsIgnoredWithANote) {
  const Report report = read_nccl(
      nccl_machine(nccl_nic("0000:0c:00.0", R"(<net name="mlx5_0" dev="0" speed="200000" port="1"/>
                                  <net name="mlx5_9" speed="200000" port="1"/>
                                  <net name="mlx5_8" dev="8" net="0" speed="200000" port="1"/>)")));
  EXPECT_THAT(ids_of(report, NodeKind::kNic), ElementsAre("nic:mlx5_0:1"));
  EXPECT_THAT(note_texts(report), ElementsAre(HasSubstr("mlx5_9 has no dev"),
                                              HasSubstr("mlx5_8 is part of another device")));
}

TEST(NcclXml_NetSpeed, IsKeptOrSaidToBeAbsurd) {
  struct Case {
    const char* attribute;
    int64_t mbit_s;
    const char* note;  // "" is none
  };
  const Case cases[] = {{R"(speed="400000")", 400'000, ""},
                        {"", kUnknown, "states no speed"},
                        {R"(speed="0")", kUnknown, "states no speed"},
                        {R"(speed="-1")", kUnknown, "states no speed"},
                        {R"(speed="10000000")", 10'000'000, ""},
                        {R"(speed="200000000")", 200'000, "taken as kbit/s"},
                        {R"(speed="200000001")", kUnknown, "which no NIC has: unknown"},
                        {R"(speed="9000000000000")", kUnknown, "which no NIC has: unknown"}};
  for (const Case& c : cases) {
    const Report report = read_nccl(
        nccl_machine(nccl_nic("0000:0c:00.0", std::string(R"(<net name="cxi0" dev="0" port="1" )") +
                                                  c.attribute + "/>")));
    EXPECT_EQ(part(report, "nic:cxi0:1").attributes.speed_mbit_s, c.mbit_s) << c.attribute;
    if (*c.note == '\0')
      EXPECT_THAT(report.notes, IsEmpty()) << c.attribute;
    else
      EXPECT_THAT(note_texts(report), ElementsAre(HasSubstr(c.note)));
  }
}

TEST(NcclXml_NetsOfOneName, AreKeptApart) {
  const Report report =
      read_nccl(nccl_machine(nccl_nic("0000:01:00.0", R"(<net name="eth0" dev="0" speed="1"/>)") +
                             nccl_nic("0000:02:00.0", R"(<net name="eth0" dev="0" speed="1"/>)")));
  EXPECT_THAT(ids_of(report, NodeKind::kNic), ElementsAre("nic:eth0", "nic:eth0.2"));
  EXPECT_THAT(note_texts(report), ElementsAre(HasSubstr("dev 0 is another net's too")));
}

TEST(NcclXml_PcieLink, HasTheBandwidthOfItsWidthAndSpeed) {
  struct Case {
    const char* speed;
    const char* width;
    int64_t mbit_s;
  };
  const Case cases[] = {{"2.5 GT/s", "1", 1500},
                        {"5 GT/s", "8", 24'000},
                        {"8 GT/s", "16", 96'000},
                        {"8.0 GT/s PCIe", "16", 96'000},
                        {"16.0 GT/s PCIe", "16", 192'000},
                        {"32.0 GT/s PCIe", "16", 384'000},
                        {"64.0 GT/s PCIe", "16", 768'000},
                        {"16 GT/s", "12", 144'000},
                        {"", "0", kUnknown},
                        {"16 GT/s", "0", kUnknown},
                        {"16 GT/s", "", kUnknown},
                        {"16 GT/s", "3", kUnknown},
                        {"16 GT/s", "32", 384'000},
                        {"Unknown", "16", kUnknown},
                        {"17 GT/s", "16", kUnknown}};
  for (const Case& c : cases) {
    const Report report = read_nccl(
        nccl_machine(nccl_pci("0000:01:00.0", std::string(R"(class="0x060400" link_speed=")") +
                                                  c.speed + "\" link_width=\"" + c.width + "\"")));
    EXPECT_EQ(mbit_to_parent(report, "pci_switch:0000:01:00.0"), c.mbit_s) << c.speed << c.width;
    EXPECT_EQ(report.notes.size(), c.mbit_s == kUnknown ? 1U : 0U) << c.speed << c.width;
  }
}

// In virtual machines and chipsets "2.5 GT/s" means that nobody knows.
TEST(NcclXml_FirstGenerationAboveWhatIsFaster, IsNotBelieved) {
  const auto bridge = [](const char* width, const std::string& inside) {
    return nccl_pci(
        "0000:01:00.0",
        std::string(R"(class="0x060400" link_speed="2.5 GT/s" link_width=")") + width + '"',
        inside);
  };
  const std::string slow =
      nccl_pci("0000:02:00.0", R"(class="0x020000" link_speed="2.5 GT/s" link_width="1")",
               R"(<nic><net name="eth0" dev="0" speed="1000" port="0"/></nic>)");
  const Report virtual_bridge =
      read_nccl(nccl_machine(bridge("1", nccl_gpu("0000:02:00.0", R"(dev="0" sm="80")"))));
  EXPECT_EQ(mbit_to_parent(virtual_bridge, "pci_switch:0000:01:00.0"), kUnknown);
  EXPECT_EQ(mbit_to_parent(virtual_bridge, "gpu:0000:02:00.0"), 192'000);
  EXPECT_THAT(note_texts(virtual_bridge), ElementsAre(HasSubstr("not believed")));

  const Report real_bridge = read_nccl(nccl_machine(bridge("1", slow)));
  EXPECT_EQ(mbit_to_parent(real_bridge, "pci_switch:0000:01:00.0"), 1500);
  EXPECT_EQ(mbit_to_parent(real_bridge, "nic:eth0"), 1500);
  EXPECT_THAT(real_bridge.notes, IsEmpty());

  std::string fast = slow;
  fast.replace(fast.find("\"1000\""), 6, "\"10000\"");
  const Report chipset_nic = read_nccl(nccl_machine(fast));
  EXPECT_EQ(mbit_to_parent(chipset_nic, "nic:eth0"), kUnknown);
  EXPECT_THAT(note_texts(chipset_nic), ElementsAre(HasSubstr("not believed")));
}

TEST(NcclXml_DevicesByTheirClassAlone, AreGpusAndNics) {
  struct Case {
    const char* attributes;
    const char* id;  // "" is left out
  };
  const Case cases[] = {{R"(class="0x030200")", "gpu:0000:01:00.0"},
                        {R"(class="0x038000" vendor="0x1002" device="0x740c")", "gpu:0000:01:00.0"},
                        {R"(class="0x120000" vendor="0x1002")", "gpu:0000:01:00.0"},
                        {R"(class="0x0302")", "gpu:0000:01:00.0"},
                        {R"(class="0x030000" vendor="0x1a03")", ""},
                        {R"(class="0x020700")", "nic:0000:01:00.0"},
                        {R"(class="0x010802")", ""},
                        {R"(class="0x068000")", ""},
                        {"", ""}};
  for (const Case& c : cases) {
    const Report report = read_nccl(nccl_machine(nccl_pci("0000:01:00.0", c.attributes)));
    EXPECT_EQ(report.graph.nodes.size(), *c.id == '\0' ? 2U : 3U) << c.attributes;
    EXPECT_EQ(report.graph.nodes.back().id, *c.id == '\0' ? "numa0" : c.id) << c.attributes;
    EXPECT_FALSE(report.notes.empty()) << c.attributes;
  }
}

TEST(NcclXml_WhatItDoesNotKnow, IsNotedAndLeftOut) {
  const Report report = read_nccl(
      "<system version=\"1\">\n<rack/>\n<cpu numaid=\"0\">\n<cache/>\n<pci busid=\"01:00.0\" "
      "class=\"0x060400\" link_speed=\"8 GT/s\" link_width=\"16\">\n<fan/></pci>\n" +
      nccl_gpu("02:00.0", "dev=\"0\"", "\n<tensor/>") + nccl_nic("03:00.0", "<gin dev=\"0\"/>") +
      "</cpu></system>");
  EXPECT_EQ(report.graph.nodes.size(), 5U);
  EXPECT_THAT(
      note_texts(report),
      ElementsAre(StartsWith("line 2: <rack> is left out"),
                  StartsWith("line 4: <cache> is left out"),
                  StartsWith("line 6: <fan> is left out"), StartsWith("line 9: <gin> is left out"),
                  HasSubstr("is a NIC without a net"), StartsWith("line 8: <tensor> is left out")));
}

TEST(NcclXml_SeveralHosts, BecomeACluster) {
  const auto host = [](const char* hash) {
    return std::string("<cpu numaid=\"0\" arch=\"arm64\" host_hash=\"") + hash + "\">" +
           nccl_gpu("0009:01:00.0", R"(dev="0" sm="100")",
                    R"(<nvlink target="fffffff:ff:ff.0" count="18" tclass="0x068000"/>)") +
           "</cpu>\n";
  };
  const Report report = read_nccl(nccl_system(host("0x1") + host("0x2")));
  EXPECT_EQ(report.graph.nodes[0].kind, NodeKind::kCluster);
  EXPECT_EQ(part(report, "host0").attributes.host_id, "0000000000000001");
  EXPECT_EQ(part(report, "host1").attributes.host_id, "0000000000000002");
  EXPECT_THAT(ids_of(report, NodeKind::kNvSwitch), ElementsAre("nvswitch"));
  for (const char* gpu : {"host0/gpu:0009:01:00.0", "host1/gpu:0009:01:00.0"})
    EXPECT_EQ(links_between(report, gpu, "nvswitch", LinkType::kNvLink).size(), 18U);
}

TEST(NcclXml_OneAddressTwice, IsRefusedUnlessTheDevicesDiffer) {
  const std::string gpu = nccl_gpu("0000:01:00.0", R"(dev="0" sm="90")");
  EXPECT_EQ(
      refusal([&] { read_nccl_xml(nccl_machine(gpu + gpu), "twice.xml"); }),
      "twice.xml:4: <pci> busid: expected each PCI address once, got 0000:01:00.0, which line "
      "3 has");
  const Report report = read_nccl(nccl_machine(nccl_switch(
      "0000:01:00.0", nccl_nic("0000:01:00.0", R"(<net name="a" dev="0" speed="1"/>)"))));
  EXPECT_EQ(report.graph.nodes.size(), 4U);
  EXPECT_THAT(note_texts(report),
              ElementsAre(HasSubstr("the address 0000:01:00.0 of another device")));
}

struct MalformedCase {
  std::string text;
  const char* message;
};

TEST(NcclXml_MalformedFile, NamesFileLineAndReason) {
  const auto in_gpu = [](const std::string& link) {
    return nccl_machine(nccl_gpu("01:00.0", "dev=\"0\" sm=\"90\"", "\n" + link));
  };
  const MalformedCase cases[] = {
      {"", ":1: not XML: No document element found"},
      {"<system version=\"1\">\n<cpu", ":2: not XML: "},
      {"<system version=\"1\">\n<cpu></system>", ":2: not XML: "},
      {"\n<graphs/>", ":2: <graphs> expected the element <system>"},
      {"<system/>", ":1: <system> version: expected an integer from 1 to 2, got no such attribute"},
      {"<system version=\"3\"/>", "version: expected an integer from 1 to 2, got \"3\""},
      {nccl_system(""), ":1: <system> expected at least one cpu element, got none"},
      {nccl_system("<cpu numaid=\"0\"/>") + "<system/>", ":3: <system> expected nothing after"},
      {nccl_system("<cpu/>"), ":2: <cpu> numaid: expected an integer from -1 to 65535"},
      {nccl_system("<cpu numaid=\"0\"/>\n<cpu numaid=\"0\"/>"),
       ":3: <cpu> numaid: expected each NUMA node once, got 0 again"},
      {nccl_system("<cpu numaid=\"0\" affinity=\"0,,1\"/>"), ":2: <cpu> affinity: expected"},
      {nccl_system("<cpu numaid=\"0\" affinity=\"123456789\"/>"), "got \"123456789\""},
      {nccl_system("<cpu numaid=\"0\" host_hash=\"me\"/>"), "host_hash: expected a hexadecimal"},
      {nccl_system("<cpu numaid=\"0\" familyid=\"six\"/>"), "familyid: expected an integer"},
      {nccl_machine("\n<pci class=\"0x060400\"/>"), ":4: <pci> busid: expected a PCI address"},
      {nccl_machine(nccl_switch("0000:41:00", "")),
       "busid: expected a PCI address as 0000:41:00.0"},
      {nccl_machine(nccl_pci("01:00.0", "class=\"bridge\"")), "class: expected a hexadecimal"},
      {nccl_machine(nccl_pci("01:00.0", "class=\"0x1234567\"")), "class: expected a hexadecimal"},
      {nccl_machine(nccl_gpu("01:00.0", "dev=\"one\"")), ":3: <gpu> dev: expected an integer"},
      {nccl_machine(nccl_nic("01:00.0", "<net dev=\"0\" speed=\"fast\"/>")), "speed: expected an"},
      {nccl_machine(nccl_nic("01:00.0", "<net dev=\"0\" guid=\"0x1g\"/>")), "guid: expected a"},
      {in_gpu("<nvlink target=\"02:00.0\"/>"),
       ":4: <nvlink> count: expected an integer from 0 to 4096"},
      {in_gpu("<nvlink target=\"02:00.0\" count=\"4097\"/>"), "got \"4097\""},
      {in_gpu("<xgmi target=\"gpu1\" count=\"1\"/>"), ":4: <xgmi> target: expected a PCI address"},
      {in_gpu("<c2c count=\"1\"/>"), ":4: <c2c> bw: expected an integer"},
  };
  for (const MalformedCase& c : cases) {
    const std::string message = refusal([&] { read_nccl_xml(c.text, "bad.xml"); });
    EXPECT_THAT(message, StartsWith("bad.xml:")) << c.text;
    EXPECT_THAT(message, HasSubstr(c.message)) << c.text;
  }
}

TEST(NcclXml_HostileSize, IsRefusedOrCutShort) {
  const auto nested = [](int levels) {
    std::string inside;
    for (int i = 0; i < levels; ++i) inside = nccl_switch(std::to_string(i) + ":0.0", inside);
    return nccl_machine(inside);
  };
  EXPECT_NO_THROW(read_nccl(nested(kMaxDepth - 4)));
  EXPECT_THAT(refusal([&] { read_nccl_xml(nested(kMaxDepth), "deep"); }),
              HasSubstr("expected at most 64 levels"));

  std::string links;
  for (int i = 0; i < 100; ++i)
    links += R"(<nvlink target="fffffff:ff:ff.0" count="4096" tclass="0x068000"/>)";
  EXPECT_THAT(refusal([&] {
                read_nccl_xml(nccl_machine(nccl_gpu("01:00.0", "dev=\"0\" sm=\"90\"", links)),
                              "many");
              }),
              HasSubstr("expected at most 65536 links in all"));

  std::string cpus;
  for (int i = 0; i < 1000; ++i) cpus += "<cpu numaid=\"" + std::to_string(i) + "\"/>";
  EXPECT_THAT(refusal([&] { read_nccl_xml(nccl_system(cpus), "cpus"); }),
              HasSubstr("expected at most 65536 links in all"));

  std::string unknown;
  for (int i = 0; i < 1000; ++i) unknown += "<x/>";
  const Report noted = read_nccl(nccl_machine(unknown));
  EXPECT_EQ(noted.notes.size(), 257U);
  EXPECT_EQ(noted.notes.back().text, "and 744 more notes");
}

}  // namespace
}  // namespace tutti::topology
