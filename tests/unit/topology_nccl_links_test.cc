// SPDX-License-Identifier: Apache-2.0
// NCCL XML: links between GPUs, to NVSwitches and CPUs, and between sockets.
#include <string>

#include "tests/unit/topology_nccl_support.h"

namespace tutti::topology {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string link_to(const char* element, const std::string& target, int count,
                    const char* target_class = "0x030200") {
  return std::string("<") + element + " target=\"" + target + "\" count=\"" +
         std::to_string(count) + "\" tclass=\"" + target_class + "\"/>";
}

// Two GPUs with the given links to each other; 0: none.
Report pair_of_gpus(const char* element, const std::string& a, int a_to_b, const std::string& b,
                    int b_to_a) {
  return read_nccl(
      nccl_machine(nccl_gpu("01:00.0", "dev=\"0\" " + a,
                            a_to_b == 0 ? "" : link_to(element, "0000:02:00.0", a_to_b)) +
                   nccl_gpu("02:00.0", "dev=\"1\" " + b,
                            b_to_a == 0 ? "" : link_to(element, "01:00.0", b_to_a))));
}

TEST(NcclXml_NvLink, CarriesWhatItsGenerationDoes) {
  struct Case {
    const char* a;
    const char* b;
    int64_t mbit_s;
  };
  const Case cases[] = {{"sm=\"60\"", "sm=\"60\"", 144'000}, {"sm=\"70\"", "sm=\"70\"", 160'000},
                        {"sm=\"80\"", "sm=\"80\"", 160'000}, {"sm=\"86\"", "sm=\"86\"", 96'000},
                        {"sm=\"90\"", "sm=\"90\"", 164'800}, {"sm=\"100\"", "sm=\"103\"", 320'800},
                        {"sm=\"90\"", "sm=\"86\"", 96'000}};
  for (const Case& c : cases) {
    const Report report = pair_of_gpus("nvlink", c.a, 1, c.b, 1);
    const auto links =
        links_between(report, "gpu:0000:01:00.0", "gpu:0000:02:00.0", LinkType::kNvLink);
    ASSERT_EQ(links.size(), 1U) << c.a;
    EXPECT_EQ(links[0].forward_mbit_s, c.mbit_s) << c.a << c.b;
    EXPECT_EQ(links[0].reverse_mbit_s, c.mbit_s) << c.a << c.b;
    EXPECT_THAT(report.notes, IsEmpty());
  }
}

TEST(NcclXml_XgmiLink, CarriesWhatItsGenerationDoes) {
  struct Case {
    const char* gcn;
    const char* arch;
    int64_t mbit_s;
  };
  const Case cases[] = {{"gfx942", "gfx942", 384'000},
                        {"940", "gfx940", 384'000},
                        {"gfx90a:sramecc+:xnack-", "gfx90a", 288'000},
                        {"910", "gfx90a", 288'000},
                        {"908", "gfx908", 160'000},
                        {"906", "gfx906", 160'000}};
  for (const Case& c : cases) {
    const std::string gcn = std::string("sm=\"104\" gcn=\"") + c.gcn + "\"";
    const Report report = pair_of_gpus("xgmi", gcn, 2, gcn, 2);
    const auto links =
        links_between(report, "gpu:0000:01:00.0", "gpu:0000:02:00.0", LinkType::kXgmi);
    ASSERT_EQ(links.size(), 2U) << c.gcn;
    for (const Link& link : links) EXPECT_EQ(link.forward_mbit_s, c.mbit_s) << c.gcn;
    EXPECT_EQ(part(report, "gpu:0000:01:00.0").attributes.arch, c.arch);
    EXPECT_THAT(report.notes, IsEmpty());
  }
}

TEST(NcclXml_UnknownArchitecture, IsTakenAsTheSlowestWithANote) {
  struct Case {
    const char* element;
    const char* attributes;
    int64_t mbit_s;
  };
  const Case cases[] = {{"xgmi", "gcn=\"gfx9999\"", 160'000},
                        {"xgmi", "gcn=\"\"", 160'000},
                        {"nvlink", "", 96'000},
                        {"nvlink", "sm=\"50\"", 96'000}};
  for (const Case& c : cases) {
    const Report report = pair_of_gpus(c.element, c.attributes, 3, c.attributes, 3);
    EXPECT_EQ(report.graph.links.back().forward_mbit_s, c.mbit_s) << c.attributes;
    EXPECT_THAT(note_texts(report), ElementsAre(HasSubstr("taken as the slowest that is")))
        << c.attributes;
  }
}

TEST(NcclXml_LinkThatBothEndsName, IsThereOnceWithTheLargerCount) {
  struct Case {
    int a_to_b;
    int b_to_a;
    size_t links;
  };
  for (const Case& c :
       {Case{4, 4, 4}, Case{2, 4, 4}, Case{4, 1, 4}, Case{3, 0, 3}, Case{0, 3, 3}}) {
    const Report report = pair_of_gpus("xgmi", "gcn=\"910\"", c.a_to_b, "gcn=\"910\"", c.b_to_a);
    EXPECT_EQ(links_between(report, "gpu:0000:01:00.0", "gpu:0000:02:00.0", LinkType::kXgmi).size(),
              c.links);
    if (c.a_to_b == c.b_to_a)
      EXPECT_THAT(report.notes, IsEmpty());
    else
      EXPECT_THAT(note_texts(report), ElementsAre(HasSubstr("taken as the larger")));
  }
}

TEST(NcclXml_NvSwitches, AreOneNode) {
  struct Case {
    const char* sm;
    bool reduces;
  };
  for (const Case& c : {Case{"80", false}, Case{"90", true}}) {
    const auto gpu = [&](const char* address, const char* dev) {
      return nccl_gpu(address, std::string("dev=\"") + dev + "\" sm=\"" + c.sm + '"',
                      link_to("nvlink", "0000:1a:00.0", 4, "0x068000") +
                          link_to("nvlink", "0000:1b:00.0", 5, "0x068000") +
                          link_to("nvlink", "fffffff:ff:ff.0", 3, "0x068000") +
                          link_to("nvlink", "0000:1c:00.0", 6, ""));
    };
    // One of them is in the file, two are only named, and one target has no class.
    const Report report = read_nccl(nccl_machine(
        gpu("01:00.0", "0") + gpu("02:00.0", "1") +
        nccl_pci("1c:00.0", R"(class="0x068000" link_speed="8 GT/s" link_width="2")")));
    EXPECT_THAT(ids_of(report, NodeKind::kNvSwitch), ElementsAre("nvswitch"));
    EXPECT_EQ(part(report, "nvswitch").attributes.reduces, c.reduces);
    EXPECT_EQ(part(report, "nvswitch").attributes.multicasts, c.reduces);
    for (const char* id : {"gpu:0000:01:00.0", "gpu:0000:02:00.0"})
      EXPECT_EQ(links_between(report, id, "nvswitch", LinkType::kNvLink).size(), 18U);
    EXPECT_THAT(report.notes, IsEmpty());
  }
}

TEST(NcclXml_LinksThatLeadNowhere, AreNoted) {
  const Report report = read_nccl(nccl_machine(
      nccl_gpu("01:00.0", "dev=\"0\" sm=\"80\"",
               link_to("nvlink", "0000:07:00.0", 2) + link_to("nvlink", "01:00.0", 12) +
                   link_to("nvlink", "02:00.0", 1) + link_to("nvlink", "03:00.0", 0)) +
      nccl_switch("02:00.0", "") + nccl_gpu("03:00.0", "dev=\"1\" sm=\"80\"")));
  for (const Link& link : report.graph.links) EXPECT_EQ(link.type, LinkType::kPcie);
  EXPECT_THAT(note_texts(report), ElementsAre(HasSubstr("the file has no GPU 0000:07:00.0"),
                                              HasSubstr("joins the GPU with itself"),
                                              HasSubstr("the file has no GPU 0000:02:00.0"),
                                              HasSubstr("it counts 0 links")));
}

TEST(NcclXml_C2c, LinksTheGpuToItsCpu) {
  const Report report = read_nccl(nccl_machine(
      nccl_gpu("01:00.0", "dev=\"0\" sm=\"90\"", R"(<c2c bw="44712" count="10"/><c2c bw="1"/>)")));
  const auto links = links_between(report, "numa0", "gpu:0000:01:00.0", LinkType::kC2c);
  ASSERT_EQ(links.size(), 11U);
  EXPECT_EQ(links.front().forward_mbit_s, 8);
  EXPECT_EQ(links.back().forward_mbit_s, 44'712 * 8);
}

TEST(NcclXml_NvLinkOfPower, LinksTheGpuToItsCpu) {
  const Report report =
      read_nccl(nccl_system("<cpu numaid=\"8\" arch=\"ppc64\">" +
                            nccl_gpu("0035:03:00.0", "dev=\"0\" sm=\"70\"",
                                     link_to("nvlink", "0034:00:00.0", 3, "0x068001")) +
                            "</cpu>"));
  const auto links = links_between(report, "numa8", "gpu:0035:03:00.0", LinkType::kNvLink);
  ASSERT_EQ(links.size(), 3U);
  EXPECT_EQ(links[0].forward_mbit_s, 160'000);
}

TEST(NcclXml_PciLink, JoinsTwoSwitchesOnce) {
  const auto bridge = [](const char* address, const std::string& inside) {
    return nccl_switch(address, inside);
  };
  const Report report = read_nccl(nccl_machine(
      bridge("01:00.0", "<pcilink target=\"02:00.0\"/>") +
      bridge("02:00.0", "<pcilink target=\"01:00.0\"/><pcilink target=\"09:00.0\"/>")));
  EXPECT_EQ(
      links_between(report, "pci_switch:0000:01:00.0", "pci_switch:0000:02:00.0", LinkType::kPcie)
          .size(),
      1U);
  EXPECT_THAT(note_texts(report), ElementsAre(HasSubstr("0000:09:00.0 is no other switch")));
}

TEST(NcclXml_Sockets, AreJoinedByWhatTheirGenerationHas) {
  struct Case {
    const char* cpu;
    int64_t mbit_s;
  };
  const Case cases[] = {
      {R"(arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="79")", 48'000},
      {R"(arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="85")", 80'000},
      {R"(arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143")", 176'000},
      {R"(arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="207")", 320'000},
      {R"(arch="x86_64" vendor="AuthenticAMD" familyid="143" modelid="49")", 128'000},
      {R"(arch="ppc64")", 256'000},
      {R"(arch="arm64")", 48'000},
      {R"(arch="x86_64" vendor="CentaurHauls" familyid="7" modelid="91")", kUnknown},
      {R"(arch="x86_64" vendor="GenuineIntel")", kUnknown},
      {"", kUnknown}};
  for (const Case& c : cases) {
    std::string cpus;
    for (const char* index : {"0", "1", "2"})
      cpus += std::string("<cpu numaid=\"") + index + "\" " + c.cpu + "/>\n";
    const Report report = read_nccl(nccl_system(cpus));
    EXPECT_EQ(report.graph.links.size(), 3U);
    for (const Link& link : report.graph.links) {
      EXPECT_EQ(link.type, LinkType::kSmp);
      EXPECT_EQ(link.forward_mbit_s, c.mbit_s) << c.cpu;
    }
    EXPECT_EQ(report.notes.size(), c.mbit_s == kUnknown ? 1U : 0U) << c.cpu;
  }
}

}  // namespace
}  // namespace tutti::topology
