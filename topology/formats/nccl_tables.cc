// SPDX-License-Identifier: Apache-2.0
// Tables of link bandwidths by generation. NCCL 2.30.7 and RCCL; their figures are GB/s.
#include "topology/formats/nccl_tables.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include <spdlog/fmt/fmt.h>

namespace tutti::topology::nccl {
namespace {

// Width times this is the bandwidth: width * k / 80 GB/s with k = 15 for the first generation.
struct PcieGeneration {
  double gigatransfers;
  const char* text;
  int64_t mbit_s_per_lane;
};
constexpr std::array<PcieGeneration, 6> kPcie = {{{2.5, "2.5 GT/s PCIe", 1500},
                                                  {5, "5.0 GT/s PCIe", 3000},
                                                  {8, "8.0 GT/s PCIe", 6000},
                                                  {16, "16.0 GT/s PCIe", 12000},
                                                  {32, "32.0 GT/s PCIe", 24000},
                                                  {64, "64.0 GT/s PCIe", 48000}}};

// Of a link, the most usual first.
constexpr std::array<int, 7> kWidths = {16, 8, 4, 2, 1, 12, 32};

// A compute capability between two rows has the row below it.
struct NvLinkRow {
  int64_t compute_capability;
  int64_t mbit_s;
};
constexpr std::array<NvLinkRow, 6> kNvLink = {
    {{60, 144'000}, {70, 160'000}, {80, 160'000}, {86, 96'000}, {90, 164'800}, {100, 320'800}}};
constexpr int64_t kLowestNvLink = 96'000;

// By how the architecture's name begins.
struct XgmiRow {
  std::string_view arch;
  int64_t mbit_s;
};
constexpr std::array<XgmiRow, 5> kXgmi = {{{"gfx94", 384'000},
                                           {"gfx90a", 288'000},
                                           {"gfx908", 160'000},
                                           {"gfx906", 160'000},
                                           {"gfx900", 160'000}}};
constexpr int64_t kLowestXgmi = 160'000;

// Intel CPUs of family 6 from this model on.
struct IntelRow {
  int64_t model;
  int64_t mbit_s;
};
constexpr std::array<IntelRow, 4> kIntel = {
    {{0, 48'000}, {0x55, 80'000}, {0x8f, 176'000}, {0xcf, 320'000}}};
constexpr int64_t kAmdMbit = 128'000;
constexpr int64_t kPowerMbit = 256'000;
constexpr int64_t kArmMbit = 48'000;

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

const PcieGeneration* generation(std::string_view speed) {
  for (const std::string_view unit : {" PCIe", " GT/s"})
    if (speed.ends_with(unit)) speed.remove_suffix(unit.size());
  const auto gigatransfers = number<double>(speed);
  const auto* found = std::find_if(kPcie.begin(), kPcie.end(), [&](const PcieGeneration& row) {
    return gigatransfers && row.gigatransfers == *gigatransfers;
  });
  return found == kPcie.end() ? nullptr : found;
}

// Takes " NAME 12" off the end of `text`.
int64_t take_number(std::string_view& text, std::string_view name) {
  const size_t at = text.rfind(name);
  if (at == std::string_view::npos) return kUnknown;
  const auto value = number<int64_t>(text.substr(at + name.size()));
  if (!value || *value < 0 || *value > INT32_MAX) return kUnknown;
  text = text.substr(0, at);
  return *value;
}

}  // namespace

std::optional<int64_t> pcie_mbit_s(std::string_view speed, std::string_view width) {
  const PcieGeneration* row = generation(speed);
  const auto lanes = number<int>(width);
  if (row == nullptr || !lanes ||
      std::find(kWidths.begin(), kWidths.end(), *lanes) == kWidths.end())
    return std::nullopt;
  return row->mbit_s_per_lane * *lanes;
}

bool is_first_generation(std::string_view speed) { return generation(speed) == kPcie.data(); }

PcieRate pcie_rate(int64_t mbit_s) {
  if (mbit_s <= 0) return {};
  PcieRate best{kPcie[0].text, "1"};
  int64_t best_mbit_s = 0;
  for (const bool first_generation : {false, true}) {
    for (const int lanes : kWidths) {
      for (const PcieGeneration& row : kPcie) {
        const int64_t rate = row.mbit_s_per_lane * lanes;
        if ((&row == kPcie.data()) != first_generation || rate > mbit_s || rate <= best_mbit_s)
          continue;
        best_mbit_s = rate;  // the first of equals stays
        best = {row.text, std::to_string(lanes)};
      }
    }
  }
  return best;
}

std::string arch_of_gcn(std::string_view gcn) {
  gcn = gcn.substr(0, gcn.find(':'));
  if (gcn == "910") return "gfx90a";  // how older drivers number it
  return (number<int>(gcn) ? "gfx" : "") + std::string(gcn);
}

std::optional<int64_t> compute_capability(std::string_view arch) {
  if (!arch.starts_with("sm")) return std::nullopt;
  const auto value = number<int64_t>(arch.substr(2));
  // As it is written: "sm090" is a name like any other.
  return value && arch == fmt::format("sm{}", *value) && *value > 0 ? value : std::nullopt;
}

int64_t gpu_link_mbit_s(LinkType type, std::string_view arch, bool* known) {
  *known = true;
  if (type == LinkType::kXgmi) {
    for (const XgmiRow& row : kXgmi)
      if (arch.starts_with(row.arch)) return row.mbit_s;
    *known = false;
    return kLowestXgmi;
  }
  const auto capability = compute_capability(arch);
  if (!capability || *capability < kNvLink[0].compute_capability) {
    *known = false;
    return kLowestNvLink;
  }
  const auto* above = std::find_if(kNvLink.begin(), kNvLink.end(), [&](const NvLinkRow& row) {
    return row.compute_capability > *capability;
  });
  return std::prev(above)->mbit_s;
}

int64_t gpu_link_mbit_s(LinkType type, const Node& gpu, const Node& other) {
  bool known = false;
  const int64_t one = gpu_link_mbit_s(type, gpu.attributes.arch, &known);
  if (other.kind != NodeKind::kGpu) return one;
  return std::min(one, gpu_link_mbit_s(type, other.attributes.arch, &known));
}

bool is_network_class(std::string_view pci_class) {
  return pci_class.starts_with("02") || pci_class == "0c06";
}
bool is_display_class(std::string_view pci_class) {
  return pci_class.starts_with("03") || pci_class.starts_with("12");
}
bool makes_gpus(std::string_view vendor) {
  return vendor == "10de" || vendor == "1002" || vendor == "8086";
}

std::string to_text(const CpuModel& cpu) {
  std::string text = cpu.vendor;
  if (cpu.family != kUnknown) text += fmt::format(" family {}", cpu.family);
  if (cpu.model != kUnknown) text += fmt::format(" model {}", cpu.model);
  return text;
}

CpuModel parse_cpu_model(std::string_view text) {
  CpuModel cpu;
  cpu.model = take_number(text, " model ");
  cpu.family = take_number(text, " family ");
  cpu.vendor = text;
  return cpu;
}

int64_t inter_socket_mbit_s(const Attributes& numa) {
  if (numa.arch == "arm64" || numa.arch == "aarch64") return kArmMbit;
  if (numa.arch == "ppc64" || numa.arch == "ppc64le") return kPowerMbit;
  if (numa.arch != "x86_64") return kUnknown;
  const CpuModel cpu = parse_cpu_model(numa.model);
  if (cpu.vendor == "AuthenticAMD") return kAmdMbit;
  if (cpu.vendor != "GenuineIntel" || cpu.family != 6 || cpu.model == kUnknown) return kUnknown;
  const auto* above = std::find_if(kIntel.begin(), kIntel.end(),
                                   [&](const IntelRow& row) { return row.model > cpu.model; });
  return std::prev(above)->mbit_s;
}

}  // namespace tutti::topology::nccl
