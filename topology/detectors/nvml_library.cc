// SPDX-License-Identifier: Apache-2.0
// Nvml on the driver's library. Declared here is the part of its ABI that is used, no more.
#include <array>
#include <cstddef>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/shared_library.h"
#include "topology/detectors/nvml.h"

namespace tutti::topology {
namespace {

using Device = void*;
using Result = int;
constexpr Result kSuccess = 0;

struct PciInfo {
  char legacy_bus_id[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pci_device_id;
  unsigned pci_subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(PciInfo) == 68);

struct FieldValue {
  unsigned field;
  unsigned scope;
  long long timestamp;
  long long latency_us;
  unsigned value_type;
  Result result;
  union {
    unsigned as_unsigned;
    unsigned long long as_unsigned_long_long;
  } value;
};
static_assert(sizeof(FieldValue) == 40 && offsetof(FieldValue, value) == 32);

constexpr unsigned kFieldC2cLinkCount = 170;
constexpr unsigned kFieldC2cLinkStatus = 171;        // 1: active
constexpr unsigned kFieldC2cLinkMaxBandwidth = 172;  // megabytes per second
constexpr unsigned kPeerGpu = 0;
constexpr unsigned kPeerIbmNpu = 1;
constexpr unsigned kPeerSwitch = 2;
constexpr size_t kTextBytes = 96;  // of the longest name and UUID, with the closing NUL

struct Functions {
  // Those without which nothing can be said must be there; the others depend on the driver's age.
  explicit Functions(SharedLibrary& library)
      : complete(library.find("nvmlInit_v2", init) && library.find("nvmlShutdown", shutdown) &&
                 library.find("nvmlErrorString", error_string) &&
                 library.find("nvmlDeviceGetCount_v2", count) &&
                 library.find("nvmlDeviceGetHandleByIndex_v2", handle) &&
                 library.find("nvmlDeviceGetPciInfo_v3", pci_info)) {
    if (!complete) return;
    library.find("nvmlDeviceGetName", name);
    library.find("nvmlDeviceGetUUID", uuid);
    library.find("nvmlDeviceGetCudaComputeCapability", compute_capability);
    library.find("nvmlDeviceGetMaxPcieLinkGeneration", max_generation);
    library.find("nvmlDeviceGetCurrPcieLinkWidth", width);
    library.find("nvmlDeviceGetNvLinkState", nvlink_state);
    library.find("nvmlDeviceGetNvLinkVersion", nvlink_version);
    library.find("nvmlDeviceGetNvLinkRemoteDeviceType", nvlink_peer);
    library.find("nvmlDeviceGetNvLinkRemotePciInfo_v2", nvlink_peer_pci);
    library.find("nvmlDeviceGetFieldValues", field_values);
  }

  Result (*init)() = nullptr;
  Result (*shutdown)() = nullptr;
  const char* (*error_string)(Result) = nullptr;
  Result (*count)(unsigned*) = nullptr;
  Result (*handle)(unsigned, Device*) = nullptr;
  Result (*pci_info)(Device, PciInfo*) = nullptr;
  Result (*name)(Device, char*, unsigned) = nullptr;
  Result (*uuid)(Device, char*, unsigned) = nullptr;
  Result (*compute_capability)(Device, int*, int*) = nullptr;
  Result (*max_generation)(Device, unsigned*) = nullptr;
  Result (*width)(Device, unsigned*) = nullptr;
  Result (*nvlink_state)(Device, unsigned, unsigned*) = nullptr;
  Result (*nvlink_version)(Device, unsigned, unsigned*) = nullptr;
  Result (*nvlink_peer)(Device, unsigned, unsigned*) = nullptr;
  Result (*nvlink_peer_pci)(Device, unsigned, PciInfo*) = nullptr;
  Result (*field_values)(Device, int, FieldValue*) = nullptr;
  bool complete;
};

std::string address_of(const PciInfo& info) {
  return fmt::format("{:04x}:{:02x}:{:02x}.0", info.domain, info.bus, info.device);
}

class LibraryNvml final : public Nvml {
 public:
  explicit LibraryNvml(const std::string& file) : library_(file), functions_(library_) {
    if (!functions_.complete) {
      reason_ = library_.reason();
      return;
    }
    const Result started = functions_.init();
    if (started != kSuccess) {
      reason_ = fmt::format("NVML can't start: {}", functions_.error_string(started));
      return;
    }
    running_ = true;
    unsigned count = 0;
    if (functions_.count(&count) != kSuccess) reason_ = "NVML does not tell the number of GPUs";
    for (unsigned i = 0; i < count; ++i) {
      Device device = nullptr;
      // A GPU that fell off the bus, or that this user may not see, stays a place without answers.
      if (functions_.handle(i, &device) != kSuccess) device = nullptr;
      devices_.push_back(device);
    }
  }
  ~LibraryNvml() override {
    if (running_) functions_.shutdown();
  }
  LibraryNvml(const LibraryNvml&) = delete;
  LibraryNvml& operator=(const LibraryNvml&) = delete;

  std::string reason() const override { return reason_; }
  int device_count() override { return static_cast<int>(devices_.size()); }

  std::string pci_address(int device) override {
    PciInfo info{};
    return ask(functions_.pci_info, device, &info) ? address_of(info) : "";
  }
  std::string name(int device) override { return text(functions_.name, device); }
  std::string uuid(int device) override { return text(functions_.uuid, device); }

  std::optional<int> compute_capability(int device) override {
    int major = 0;
    int minor = 0;
    if (!ask(functions_.compute_capability, device, &major, &minor)) return std::nullopt;
    return major * 10 + minor;
  }
  std::optional<int> max_pcie_generation(int device) override {
    return number(functions_.max_generation, device);
  }
  std::optional<int> pcie_lanes(int device) override { return number(functions_.width, device); }

  std::optional<bool> nvlink_active(int device, int link) override {
    const auto state = number(functions_.nvlink_state, device, link);
    return state ? std::optional(*state == 1) : std::nullopt;
  }
  std::optional<int> nvlink_version(int device, int link) override {
    return number(functions_.nvlink_version, device, link);
  }
  NvlinkPeer nvlink_peer(int device, int link) override {
    unsigned peer = 0;
    if (!ask(functions_.nvlink_peer, device, static_cast<unsigned>(link), &peer))
      return NvlinkPeer::kUnknown;
    if (peer == kPeerGpu) return NvlinkPeer::kGpu;
    if (peer == kPeerIbmNpu) return NvlinkPeer::kCpu;
    return peer == kPeerSwitch ? NvlinkPeer::kSwitch : NvlinkPeer::kUnknown;
  }
  std::string nvlink_peer_address(int device, int link) override {
    PciInfo info{};
    const bool told = ask(functions_.nvlink_peer_pci, device, static_cast<unsigned>(link), &info);
    return told ? address_of(info) : "";
  }

  std::optional<int> c2c_links(int device) override {
    const auto count = field(device, kFieldC2cLinkCount, 0);
    return count ? std::optional(static_cast<int>(*count)) : std::nullopt;
  }
  std::optional<int64_t> c2c_mbit_s(int device, int link) override {
    const auto scope = static_cast<unsigned>(link);
    if (field(device, kFieldC2cLinkStatus, scope) != 1U) return std::nullopt;
    const auto megabytes = field(device, kFieldC2cLinkMaxBandwidth, scope);
    return megabytes ? std::optional(int64_t{*megabytes} * 8) : std::nullopt;
  }

 private:
  template <typename Function, typename... Arguments>
  bool ask(Function* function, int device, Arguments... arguments) const {
    const Device handle = devices_[device];
    return function != nullptr && handle != nullptr && function(handle, arguments...) == kSuccess;
  }

  std::optional<int> number(Result (*function)(Device, unsigned*), int device) const {
    unsigned value = 0;
    if (!ask(function, device, &value)) return std::nullopt;
    return static_cast<int>(value);
  }
  std::optional<int> number(Result (*function)(Device, unsigned, unsigned*), int device,
                            int link) const {
    unsigned value = 0;
    if (!ask(function, device, static_cast<unsigned>(link), &value)) return std::nullopt;
    return static_cast<int>(value);
  }

  std::string text(Result (*function)(Device, char*, unsigned), int device) const {
    std::array<char, kTextBytes> buffer{};
    if (!ask(function, device, buffer.data(), static_cast<unsigned>(buffer.size() - 1))) return "";
    return buffer.data();
  }

  std::optional<unsigned> field(int device, unsigned which, unsigned scope) const {
    FieldValue value{};
    value.field = which;
    value.scope = scope;
    const bool told = ask(functions_.field_values, device, 1, &value) && value.result == kSuccess;
    return told ? std::optional(value.value.as_unsigned) : std::nullopt;
  }

  SharedLibrary library_;
  Functions functions_;
  std::string reason_;
  bool running_ = false;
  std::vector<Device> devices_;
};

}  // namespace

std::unique_ptr<Nvml> open_nvml(const std::string& library) {
  return std::make_unique<LibraryNvml>(library);
}

}  // namespace tutti::topology
