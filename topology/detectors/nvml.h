// SPDX-License-Identifier: Apache-2.0
// NVIDIA GPUs and their NVLinks, asked of the driver's management library, NVML.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "topology/report.h"

namespace tutti::topology {

enum class NvlinkPeer : uint8_t { kGpu, kCpu, kSwitch, kUnknown };

// What is asked of NVML. Devices count from 0 in the order of their PCI addresses, NVLinks from 0
// per device. Nothing throws: "" and nullopt are what the driver does not tell.
class Nvml {
 public:
  static constexpr int kMaxNvlinks = 36;  // of one device, with what NVML knows today

  virtual ~Nvml() = default;
  virtual std::string reason() const = 0;  // why nothing can be asked; "" when it can
  virtual int device_count() = 0;
  virtual std::string pci_address(int device) = 0;  // "0000:1b:00.0"
  virtual std::string name(int device) = 0;         // "NVIDIA H100 80GB HBM3"
  virtual std::string uuid(int device) = 0;
  virtual std::optional<int> compute_capability(int device) = 0;        // 90 for 9.0
  virtual std::optional<int> max_pcie_generation(int device) = 0;       // with this slot
  virtual std::optional<int> pcie_lanes(int device) = 0;                // in use now
  virtual std::optional<bool> nvlink_active(int device, int link) = 0;  // nullopt: no such link
  virtual std::optional<int> nvlink_version(int device, int link) = 0;  // NVML's number for it
  virtual NvlinkPeer nvlink_peer(int device, int link) = 0;
  virtual std::string nvlink_peer_address(int device, int link) = 0;
  virtual std::optional<int> c2c_links(int device) = 0;  // chip to chip, to the CPU of a superchip
  virtual std::optional<int64_t> c2c_mbit_s(int device, int link) = 0;  // nullopt: down
};

// The driver's, opened at run time.
std::unique_ptr<Nvml> open_nvml(const std::string& library = "libnvidia-ml.so.1");

// Completes a machine's report: GPU nodes found by their PCI address learn their name,
// architecture, index and UUID, and the PCIe capacity that they have under load (an idle GPU lowers
// its generation); GPUs that the report lacks are added. Then their links: one for each NVLink, to
// the other GPU, or to the one node "nvswitch" that stands for all NVSwitch chips of the machine; a
// link that is down has capacity 0 when its other end is known. C2C links lead to the GPU's NUMA
// node. MIG slices are not looked at. What can't be asked is noted.
void detect_gpus(Nvml& nvml, Report& report);

}  // namespace tutti::topology
