// SPDX-License-Identifier: Apache-2.0
// libnvidia-ml.so.1 of the simulated machine: what topology detection asks of NVML.
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <exception>
#include <mutex>
#include <string>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/machine.h"

#define NVML_ENTRY extern "C" __attribute__((visibility("default")))

namespace {

using cudasim::Gpu;
using cudasim::machine;
using cudasim::Nvlink;
using cudasim::NvlinkEnd;

enum Return {
  kSuccess = 0,
  kUninitialized = 1,
  kInvalidArgument = 2,
  kNotSupported = 3,
  kNotFound = 6,
  kInsufficientSize = 7,
  kDriverNotLoaded = 9,
};

struct PciInfo {
  char legacy_bus_id[16];
  unsigned domain, bus, device;
  unsigned pci_device_id, pci_subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(PciInfo) == 68);

struct FieldValue {
  unsigned field;
  unsigned scope;
  long long timestamp;
  long long latency_us;
  unsigned value_type;
  int result;
  union {
    unsigned as_unsigned;
    unsigned long long as_unsigned_long_long;
  } value;
};
static_assert(sizeof(FieldValue) == 40 && offsetof(FieldValue, value) == 32);

constexpr unsigned kFieldC2cLinkCount = 170;
constexpr unsigned kFieldC2cLinkStatus = 171;
constexpr unsigned kFieldC2cLinkMaxBandwidth = 172;  // MB/s
constexpr unsigned kHopper = 0x233010de;             // any: a device of the maker
constexpr unsigned kPeerGpu = 0;
constexpr unsigned kPeerCpu = 1;
constexpr unsigned kPeerSwitch = 2;

int started = 0;
std::mutex mutex;

template <class Body>
Return with_gpu(const void* device, Body&& body) {
  if (device == nullptr) return kInvalidArgument;
  return body(*static_cast<const Gpu*>(device));
}
template <class Body>
Return with_link(const void* device, unsigned link, Body&& body) {
  return with_gpu(device, [&](const Gpu& gpu) {
    return link < gpu.nvlinks.size() ? body(gpu.nvlinks[link]) : kInvalidArgument;
  });
}

template <class T>
Return put(T* to, T value) {
  if (to == nullptr) return kInvalidArgument;
  *to = value;
  return kSuccess;
}

Return put_text(char* to, unsigned bytes, const std::string& text) {
  if (to == nullptr || bytes <= text.size()) return kInsufficientSize;
  std::snprintf(to, bytes, "%s", text.c_str());
  return kSuccess;
}

Return put_pci(PciInfo* to, const std::string& address) {
  if (to == nullptr) return kInvalidArgument;
  *to = {};
  unsigned function = 0;
  if (std::sscanf(address.c_str(), "%x:%x:%x.%x", &to->domain, &to->bus, &to->device, &function) <
      3)
    return kNotFound;
  to->pci_device_id = kHopper;
  std::snprintf(to->bus_id, sizeof(to->bus_id), "%08X:%02X:%02X.0", to->domain, to->bus,
                to->device);
  std::snprintf(to->legacy_bus_id, sizeof(to->legacy_bus_id), "%04X:%02X:%02X.0",
                to->domain & 0xffff, to->bus & 0xff, to->device & 0xff);
  return kSuccess;
}

// As NVML numbers NVLink 1.0, 2.0, 3.0, 4.0, 5.0.
unsigned nvlink_version(int capability) {
  if (capability >= 100) return 7;
  if (capability >= 90) return 6;
  if (capability >= 80) return 5;
  return capability >= 70 ? 3 : 1;
}

void answer(const Gpu& gpu, FieldValue& value) {
  value.result = kSuccess;
  value.value_type = 1;  // unsigned
  const auto count = static_cast<unsigned>(gpu.c2c_links);
  if (value.field == kFieldC2cLinkCount && count > 0) {
    value.value.as_unsigned = count;
  } else if (value.field == kFieldC2cLinkStatus && value.scope < count) {
    value.value.as_unsigned = 1;
  } else if (value.field == kFieldC2cLinkMaxBandwidth && value.scope < count) {
    value.value.as_unsigned = static_cast<unsigned>(gpu.c2c_mbit_s / 8);
  } else {
    value.result = kNotSupported;
  }
}

const Gpu* gpu_at(const char* address) {
  PciInfo wanted{};
  if (put_pci(&wanted, address) != kSuccess) return nullptr;
  for (const Gpu& gpu : machine().gpus()) {
    PciInfo known{};
    put_pci(&known, gpu.address);
    if (std::strcmp(known.bus_id, wanted.bus_id) == 0) return &gpu;
  }
  return nullptr;
}

}  // namespace

NVML_ENTRY Return nvmlInit_v2() {
  const std::lock_guard lock(mutex);
  try {
    machine();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cudasim: %s\n", error.what());
    return kDriverNotLoaded;
  }
  ++started;
  return kSuccess;
}
NVML_ENTRY Return nvmlInit() { return nvmlInit_v2(); }
NVML_ENTRY Return nvmlInitWithFlags(unsigned) { return nvmlInit_v2(); }

NVML_ENTRY Return nvmlShutdown() {
  const std::lock_guard lock(mutex);
  return started > 0 ? (--started, kSuccess) : kUninitialized;
}

NVML_ENTRY const char* nvmlErrorString(Return code) {
  switch (code) {
    case kSuccess:
      return "Success";
    case kUninitialized:
      return "Uninitialized";
    case kInvalidArgument:
      return "Invalid Argument";
    case kNotSupported:
      return "Not Supported";
    case kNotFound:
      return "Not Found";
    case kInsufficientSize:
      return "Insufficient Size";
    case kDriverNotLoaded:
      return "Driver Not Loaded";
  }
  return "Unknown Error";
}

NVML_ENTRY Return nvmlSystemGetDriverVersion(char* text, unsigned bytes) {
  return put_text(text, bytes, "580.0");
}

NVML_ENTRY Return nvmlDeviceGetCount_v2(unsigned* count) {
  if (started == 0) return kUninitialized;
  return put(count, static_cast<unsigned>(machine().gpus().size()));
}
NVML_ENTRY Return nvmlDeviceGetCount(unsigned* count) { return nvmlDeviceGetCount_v2(count); }

NVML_ENTRY Return nvmlDeviceGetHandleByIndex_v2(unsigned index, const void** device) {
  if (started == 0) return kUninitialized;
  if (index >= machine().gpus().size()) return kInvalidArgument;
  return put<const void*>(device, &machine().gpus()[index]);
}
NVML_ENTRY Return nvmlDeviceGetHandleByIndex(unsigned index, const void** device) {
  return nvmlDeviceGetHandleByIndex_v2(index, device);
}

NVML_ENTRY Return nvmlDeviceGetHandleByPciBusId_v2(const char* address, const void** device) {
  if (started == 0) return kUninitialized;
  const Gpu* const gpu = address != nullptr ? gpu_at(address) : nullptr;
  return gpu != nullptr ? put<const void*>(device, gpu) : kNotFound;
}
NVML_ENTRY Return nvmlDeviceGetHandleByPciBusId(const char* address, const void** device) {
  return nvmlDeviceGetHandleByPciBusId_v2(address, device);
}

NVML_ENTRY Return nvmlDeviceGetHandleByUUID(const char* uuid, const void** device) {
  for (const Gpu& gpu : machine().gpus())
    if ("GPU-" + gpu.uuid == uuid) return put<const void*>(device, &gpu);
  return kNotFound;
}

NVML_ENTRY Return nvmlDeviceGetIndex(const void* device, unsigned* index) {
  return with_gpu(device,
                  [&](const Gpu& gpu) { return put(index, static_cast<unsigned>(gpu.index)); });
}

NVML_ENTRY Return nvmlDeviceGetName(const void* device, char* name, unsigned bytes) {
  return with_gpu(device, [&](const Gpu& gpu) { return put_text(name, bytes, gpu.name); });
}

NVML_ENTRY Return nvmlDeviceGetUUID(const void* device, char* uuid, unsigned bytes) {
  return with_gpu(device, [&](const Gpu& gpu) { return put_text(uuid, bytes, "GPU-" + gpu.uuid); });
}

NVML_ENTRY Return nvmlDeviceGetPciInfo_v3(const void* device, PciInfo* info) {
  return with_gpu(device, [&](const Gpu& gpu) { return put_pci(info, gpu.address); });
}
NVML_ENTRY Return nvmlDeviceGetPciInfo(const void* device, PciInfo* info) {
  return nvmlDeviceGetPciInfo_v3(device, info);
}

NVML_ENTRY Return nvmlDeviceGetCudaComputeCapability(const void* device, int* major, int* minor) {
  return with_gpu(device, [&](const Gpu& gpu) {
    const Return first = put(major, gpu.capability / 10);
    return first != kSuccess ? first : put(minor, gpu.capability % 10);
  });
}

NVML_ENTRY Return nvmlDeviceGetMaxPcieLinkGeneration(const void* device, unsigned* generation) {
  return with_gpu(device, [&](const Gpu& gpu) {
    return put(generation, static_cast<unsigned>(gpu.pcie_generation));
  });
}
NVML_ENTRY Return nvmlDeviceGetCurrPcieLinkGeneration(const void* device, unsigned* generation) {
  return nvmlDeviceGetMaxPcieLinkGeneration(device, generation);
}
NVML_ENTRY Return nvmlDeviceGetCurrPcieLinkWidth(const void* device, unsigned* lanes) {
  return with_gpu(
      device, [&](const Gpu& gpu) { return put(lanes, static_cast<unsigned>(gpu.pcie_lanes)); });
}
NVML_ENTRY Return nvmlDeviceGetMaxPcieLinkWidth(const void* device, unsigned* lanes) {
  return nvmlDeviceGetCurrPcieLinkWidth(device, lanes);
}
// MB/s of one lane.
NVML_ENTRY Return nvmlDeviceGetPcieLinkMaxSpeed(const void* device, unsigned* speed) {
  constexpr unsigned kSpeeds[] = {0, 2500, 5000, 8000, 16000, 32000, 64000};
  return with_gpu(device, [&](const Gpu& gpu) { return put(speed, kSpeeds[gpu.pcie_generation]); });
}

NVML_ENTRY Return nvmlDeviceGetNvLinkState(const void* device, unsigned link, unsigned* active) {
  return with_link(device, link,
                   [&](const Nvlink& known) { return put(active, known.active ? 1U : 0U); });
}

NVML_ENTRY Return nvmlDeviceGetNvLinkVersion(const void* device, unsigned link, unsigned* version) {
  return with_link(device, link, [&](const Nvlink&) {
    return put(version, nvlink_version(static_cast<const Gpu*>(device)->capability));
  });
}

NVML_ENTRY Return nvmlDeviceGetNvLinkRemoteDeviceType(const void* device, unsigned link,
                                                      unsigned* type) {
  return with_link(device, link, [&](const Nvlink& known) {
    return put(type, known.end == NvlinkEnd::kGpu   ? kPeerGpu
                     : known.end == NvlinkEnd::kCpu ? kPeerCpu
                                                    : kPeerSwitch);
  });
}

NVML_ENTRY Return nvmlDeviceGetNvLinkRemotePciInfo_v2(const void* device, unsigned link,
                                                      PciInfo* info) {
  return with_link(device, link, [&](const Nvlink& known) { return put_pci(info, known.address); });
}
NVML_ENTRY Return nvmlDeviceGetNvLinkRemotePciInfo(const void* device, unsigned link,
                                                   PciInfo* info) {
  return nvmlDeviceGetNvLinkRemotePciInfo_v2(device, link, info);
}

// All of peer access, system memory access and atomics; no SLI.
NVML_ENTRY Return nvmlDeviceGetNvLinkCapability(const void* device, unsigned link,
                                                unsigned capability, unsigned* value) {
  constexpr unsigned kSli = 4;
  return with_link(device, link,
                   [&](const Nvlink&) { return put(value, capability < kSli ? 1U : 0U); });
}

NVML_ENTRY Return nvmlDeviceGetP2PStatus(const void* device, const void* peer, unsigned,
                                         unsigned* status) {
  constexpr unsigned kGood = 0;
  constexpr unsigned kChipset = 1;
  return with_gpu(device, [&](const Gpu& from) {
    return with_gpu(peer, [&](const Gpu& to) {
      return put(status, machine().can_access(from.index, to.index) ? kGood : kChipset);
    });
  });
}

NVML_ENTRY Return nvmlDeviceGetFieldValues(const void* device, int count, FieldValue* values) {
  return with_gpu(device, [&](const Gpu& gpu) {
    for (int i = 0; i < count; ++i) answer(gpu, values[i]);
    return kSuccess;
  });
}

// No GPU is in a fabric beyond its machine.
NVML_ENTRY Return nvmlDeviceGetGpuFabricInfoV(const void*, void*) { return kNotSupported; }
NVML_ENTRY Return nvmlDeviceGetGpuFabricInfo(const void*, void*) { return kNotSupported; }
