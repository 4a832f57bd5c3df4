// SPDX-License-Identifier: Apache-2.0
// The machines that synthetic lines know. Bandwidths are each way.
#include "topology/synthetic/model.h"

#include "topology/synthetic/boxes.h"

namespace tutti::topology {
namespace {

constexpr int64_t gigabytes(int64_t per_second) { return per_second * kMbitPerGigabyte; }

// The hybrid cube mesh: six NVLinks per GPU, one or two to each of four neighbours.
constexpr MeshEdge kCubeMesh[] = {{0, 1, 1}, {0, 2, 1}, {0, 3, 2}, {0, 4, 2}, {1, 2, 2}, {1, 3, 1},
                                  {1, 5, 2}, {2, 3, 2}, {2, 6, 1}, {3, 7, 1}, {4, 5, 1}, {4, 6, 1},
                                  {4, 7, 2}, {5, 6, 2}, {5, 7, 1}, {6, 7, 2}};

// Eight modules of two dies: four links within a module, and seven links per die.
constexpr MeshEdge kMi250Mesh[] = {
    {0, 1, 4},   {2, 3, 4},  {4, 5, 4},  {6, 7, 4},  {8, 9, 4},   {10, 11, 4}, {12, 13, 4},
    {14, 15, 4}, {0, 4, 2},  {3, 7, 2},  {8, 12, 2}, {11, 15, 2}, {0, 2, 1},   {1, 2, 1},
    {1, 3, 1},   {1, 5, 1},  {2, 6, 1},  {8, 10, 1}, {9, 10, 1},  {9, 11, 1},  {9, 13, 1},
    {10, 14, 1}, {4, 12, 1}, {5, 13, 1}, {5, 14, 1}, {6, 13, 1},  {6, 14, 1},  {7, 15, 1}};

constexpr std::string_view kHostKeys[] = {"cores", "numa", "memory", "nics", "nic"};
constexpr std::string_view kNicKeys[] = {"nics"};
constexpr std::string_view kPcieKeys[] = {"gpus", "per-switch", "gen", "sockets",
                                          "smp",  "nics",       "nic"};

constexpr Model kModels[] = {
    {.name = "host",
     .doc = "a host without GPUs",
     .build = build_host,
     .keys = kHostKeys,
     .nics_by_option = true,
     .most_nics = 64},
    {.name = "dgx-1v",
     .doc = "8 V100, hybrid cube mesh of 25 GB/s NVLinks; nics=4: 12.5 GB/s, one per 2 GPUs",
     .build = build_mesh_box,
     .keys = kNicKeys,
     .nics_by_option = true,
     .most_nics = 4,
     .gpus = 8,
     .gpus_per_nic = 2,
     .gpu_mbit_s = gigabytes(25),
     .nic_mbit_s = 100'000,
     .mesh = kCubeMesh},
    {.name = "dgx-2",
     .doc = "16 V100, 150 GB/s each to an NVSwitch, 12.5 GB/s NIC for each 2",
     .build = build_nvswitch_box,
     .gpus = 16,
     .gpus_per_nic = 2,
     .gpu_mbit_s = gigabytes(150),
     .nic_mbit_s = 100'000},
    {.name = "dgx-a100",
     .doc = "8 A100, 300 GB/s each to an NVSwitch, 25 GB/s NIC each",
     .build = build_nvswitch_box,
     .gpus = 8,
     .gpu_mbit_s = gigabytes(300),
     .nic_mbit_s = gigabytes(25)},
    {.name = "dgx-h100",
     .doc = "8 H100, 450 GB/s each to an NVSwitch that reduces, 50 GB/s NIC each",
     .build = build_nvswitch_box,
     .gpus = 8,
     .gpu_mbit_s = gigabytes(450),
     .nic_mbit_s = gigabytes(50),
     .nvls = true},
    {.name = "hgx-b200",
     .doc = "8 B200, 900 GB/s each to an NVSwitch that reduces, 50 GB/s NIC each",
     .build = build_nvswitch_box,
     .gpus = 8,
     .gpu_mbit_s = gigabytes(900),
     .nic_mbit_s = gigabytes(50),
     .nvls = true},
    {.name = "gb200-nvl72",
     .doc = "18 trays of 4 B200, 900 GB/s each to one NVSwitch that reduces, 50 GB/s NIC each",
     .build = build_nvl_rack,
     .gpus = 72,
     .gpu_mbit_s = gigabytes(900),
     .nic_mbit_s = gigabytes(50),
     .nvls = true},
    {.name = "mi250",
     .doc = "8 MI250 of 2 dies, 16 GPUs, 50 GB/s xGMI links, 25 GB/s NIC for each 2",
     .build = build_mesh_box,
     .gpus = 16,
     .gpus_per_nic = 2,
     .gpu_link = LinkType::kXgmi,
     .gpu_mbit_s = gigabytes(50),
     .nic_mbit_s = gigabytes(25),
     .mesh = kMi250Mesh},
    {.name = "mi300x",
     .doc = "8 MI300X, a 64 GB/s xGMI link between any two, 50 GB/s NIC each",
     .build = build_full_mesh_box,
     .gpus = 8,
     .gpu_link = LinkType::kXgmi,
     .gpu_mbit_s = gigabytes(64),
     .nic_mbit_s = gigabytes(50)},
    {.name = "pcie",
     .doc = "GPUs without links of their own, behind PCIe switches",
     .build = build_pcie_box,
     .keys = kPcieKeys,
     .nics_by_option = true,
     .most_nics = 64},
};

}  // namespace

std::span<const Model> models() { return kModels; }

}  // namespace tutti::topology
