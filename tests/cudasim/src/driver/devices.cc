// SPDX-License-Identifier: Apache-2.0
// Start, devices and what they can, and finding functions.
#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstring>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/state.h"
#include "tests/cudasim/src/occupancy.h"

namespace cudasim {
namespace {

void make_primary_contexts() {
  State& all = state();
  for (const Gpu& gpu : machine().gpus()) {
    auto context = std::make_unique<abi::ContextObject>();
    context->device = gpu.index;
    context->id = ++all.ids;
    context->primary = true;
    all.contexts.insert(context.get());
    all.primary.push_back(std::move(context));
  }
}

Result start() {
  try {
    if (machine().gpus().empty()) throw Failure(Result::kNoDevice, "the topology has no GPU");
    space();
  } catch (const tutti::Error& error) {
    std::fprintf(stderr, "cudasim: %s\n", error.what());
    throw Failure(Result::kNoDevice, error.what());
  }
  const Lock lock(engine().mutex());
  if (state().pid.load(std::memory_order_relaxed) != 0) return Result::kSuccess;
  make_primary_contexts();
  state().pid.store(getpid(), std::memory_order_release);  // pairs with begin_call
  return Result::kSuccess;
}

int pci_part(const std::string& address, size_t from, size_t count) {
  return static_cast<int>(std::strtol(address.substr(from, count).c_str(), nullptr, 16));
}

using abi::DeviceAttribute;

// Sizes; -1 when the attribute is none.
int size_of(const Gpu& gpu, DeviceAttribute attribute) {
  switch (attribute) {
    case DeviceAttribute::kMaxThreadsPerBlock:
    case DeviceAttribute::kMaxBlockDimX:
    case DeviceAttribute::kMaxBlockDimY:
      return kMaxThreadsPerBlock;
    case DeviceAttribute::kMaxBlockDimZ:
      return 64;
    case DeviceAttribute::kMaxGridDimX:
      return 0x7fffffff;
    case DeviceAttribute::kMaxGridDimY:
    case DeviceAttribute::kMaxGridDimZ:
      return 65535;
    case DeviceAttribute::kMaxSharedMemoryPerBlock:
      return kSharedPerBlock;
    case DeviceAttribute::kMaxSharedMemoryPerBlockOptin:
      return kSharedPerBlockOptin;
    case DeviceAttribute::kMaxSharedMemoryPerMultiprocessor:
      return kSharedPerMultiprocessor;
    case DeviceAttribute::kReservedSharedMemoryPerBlock:
      return 1024;
    case DeviceAttribute::kWarpSize:
      return 32;
    case DeviceAttribute::kMaxRegistersPerBlock:
    case DeviceAttribute::kMaxRegistersPerMultiprocessor:
      return 65536;
    case DeviceAttribute::kClockRate:
      return 1'980'000;
    case DeviceAttribute::kMemoryClockRate:
      return 2'619'000;
    case DeviceAttribute::kGlobalMemoryBusWidth:
      return 5120;
    case DeviceAttribute::kL2CacheSize:
      return 50 << 20;
    case DeviceAttribute::kMultiprocessorCount:
      return gpu.multiprocessors;
    case DeviceAttribute::kMaxThreadsPerMultiprocessor:
      return kMaxThreadsPerMultiprocessor;
    case DeviceAttribute::kMaxBlocksPerMultiprocessor:
      return kMaxBlocksPerMultiprocessor;
    case DeviceAttribute::kAsyncEngineCount:
      return 3;
    default:
      return -1;
  }
}

int attribute_of(const Gpu& gpu, DeviceAttribute attribute) {
  if (const int size = size_of(gpu, attribute); size >= 0) return size;
  switch (attribute) {
    case DeviceAttribute::kPciBusId:
      return pci_part(gpu.address, 5, 2);
    case DeviceAttribute::kPciDeviceId:
      return pci_part(gpu.address, 8, 2);
    case DeviceAttribute::kPciDomainId:
      return pci_part(gpu.address, 0, 4);
    case DeviceAttribute::kComputeCapabilityMajor:
      return gpu.capability / 10;
    case DeviceAttribute::kComputeCapabilityMinor:
      return gpu.capability % 10;
    case DeviceAttribute::kHostNumaId:
      return gpu.numa;
    case DeviceAttribute::kMulticastSupported:
      return machine().multicasts() && gpu.capability >= 90 ? 1 : 0;
    case DeviceAttribute::kGpuDirectRdmaFlushWritesOptions:
      return 1;  // by the host
    case DeviceAttribute::kGpuDirectRdmaWritesOrdering:
      return 100;  // by the owner
    case DeviceAttribute::kClusterLaunch:
      return gpu.capability >= 90 ? 1 : 0;
    case DeviceAttribute::kCanMapHostMemory:
    case DeviceAttribute::kConcurrentKernels:
    case DeviceAttribute::kUnifiedAddressing:
    case DeviceAttribute::kStreamPrioritiesSupported:
    case DeviceAttribute::kManagedMemory:
    case DeviceAttribute::kConcurrentManagedAccess:
    case DeviceAttribute::kCanUseHostPointerForRegisteredMem:
    case DeviceAttribute::kCooperativeLaunch:
    case DeviceAttribute::kHostRegisterSupported:
    case DeviceAttribute::kVirtualMemoryManagementSupported:
    case DeviceAttribute::kHandleTypePosixFileDescriptorSupported:
    case DeviceAttribute::kCanUse64BitStreamMemOps:
    case DeviceAttribute::kCanUseStreamWaitValueNor:
    case DeviceAttribute::kIpcEventSupported:
      return 1;
    default:  // what the simulator has not, dma-buf and fabric handles among it
      return 0;
  }
}

bool same_text(std::string_view a, std::string_view b) {
  return std::ranges::equal(
      a, b, [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

struct Row {
  const char* base;
  int version;
  void* function;
};

const Row kRows[] = {
#define CUDASIM_ROW(symbol, base, version, ...) \
  {#base, version, reinterpret_cast<void*>(&abi::symbol)},
    TUTTI_CUDA_FUNCTIONS(CUDASIM_ROW)
#undef CUDASIM_ROW
};

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuInit(unsigned flags) {
  return call_any_time("cuInit", false, [&] {
    require(flags == 0, Result::kInvalidValue, "flags must be 0");
    return start();
  });
}

Result cuDriverGetVersion(int* version) {
  return call_any_time("cuDriverGetVersion", false, [&] {
    require(version != nullptr, Result::kInvalidValue, "no place for the version");
    *version = kApiVersion;
    return Result::kSuccess;
  });
}

Result cuGetProcAddress_v2(const char* symbol, void** function, int version, uint64_t,
                           ProcAddressQuery* query) {
  return call_any_time("cuGetProcAddress", false, [&] {
    require(symbol != nullptr && function != nullptr, Result::kInvalidValue, "no name or no place");
    *function = nullptr;
    ProcAddressQuery found = ProcAddressQuery::kSymbolNotFound;
    for (const Row& row : kRows) {
      if (std::strcmp(row.base, symbol) != 0) continue;
      found = row.version <= version ? ProcAddressQuery::kSuccess
                                     : ProcAddressQuery::kVersionNotSufficient;
      if (row.version <= version) *function = row.function;
    }
    if (query != nullptr) {
      *query = found;
      return Result::kSuccess;
    }
    return *function != nullptr ? Result::kSuccess : Result::kNotFound;
  });
}

Result cuDeviceGet(Device* device, int ordinal) {
  return call("cuDeviceGet", [&] {
    *device = check_device(ordinal);
    return Result::kSuccess;
  });
}

Result cuDeviceGetCount(int* count) {
  return call("cuDeviceGetCount", [&] {
    *count = static_cast<int>(machine().gpus().size());
    return Result::kSuccess;
  });
}

Result cuDeviceGetName(char* name, int bytes, Device device) {
  return call("cuDeviceGetName", [&] {
    const Gpu& gpu = machine().gpus()[check_device(device)];
    require(name != nullptr && bytes > 0, Result::kInvalidValue, "no place for the name");
    std::snprintf(name, static_cast<size_t>(bytes), "%s", gpu.name.c_str());
    return Result::kSuccess;
  });
}

Result cuDeviceGetUuid_v2(Uuid* uuid, Device device) {
  return call("cuDeviceGetUuid", [&] {
    const std::string& text = machine().gpus()[check_device(device)].uuid;
    std::string digits;
    for (const char c : text)
      if (c != '-') digits += c;
    for (size_t i = 0; i < sizeof(uuid->bytes); ++i)
      uuid->bytes[i] = static_cast<char>(std::strtol(digits.substr(2 * i, 2).c_str(), nullptr, 16));
    return Result::kSuccess;
  });
}

Result cuDeviceTotalMem_v2(size_t* bytes, Device device) {
  return call("cuDeviceTotalMem", [&] {
    *bytes = machine().gpus()[check_device(device)].memory_bytes;
    return Result::kSuccess;
  });
}

Result cuDeviceGetAttribute(int* value, DeviceAttribute attribute, Device device) {
  return call("cuDeviceGetAttribute", [&] {
    *value = attribute_of(machine().gpus()[check_device(device)], attribute);
    return Result::kSuccess;
  });
}

Result cuDeviceGetPCIBusId(char* id, int bytes, Device device) {
  return call("cuDeviceGetPCIBusId", [&] {
    const Gpu& gpu = machine().gpus()[check_device(device)];
    require(id != nullptr && bytes > 12, Result::kInvalidValue, "no place for 13 characters");
    std::snprintf(id, static_cast<size_t>(bytes), "%s", gpu.address.c_str());
    return Result::kSuccess;
  });
}

Result cuDeviceGetByPCIBusId(Device* device, const char* id) {
  return call("cuDeviceGetByPCIBusId", [&] {
    for (const Gpu& gpu : machine().gpus()) {
      if (!same_text(gpu.address, id) && !same_text("0000" + gpu.address, id)) continue;
      *device = gpu.index;
      return Result::kSuccess;
    }
    throw Failure(Result::kInvalidDevice, fmt::format("no device has the PCI address {}", id));
  });
}

Result cuDeviceCanAccessPeer(int* can, Device device, Device peer) {
  return call("cuDeviceCanAccessPeer", [&] {
    *can = machine().can_access(check_device(device), check_device(peer)) ? 1 : 0;
    return Result::kSuccess;
  });
}

Result cuDeviceGetP2PAttribute(int* value, P2pAttribute attribute, Device from, Device to) {
  return call("cuDeviceGetP2PAttribute", [&] {
    require(check_device(from) != check_device(to), Result::kInvalidDevice, "one device, twice");
    const bool nvlink = machine().by_nvlink(from, to);
    switch (attribute) {
      case P2pAttribute::kPerformanceRank:
        *value = nvlink ? 0 : 1;
        break;
      case P2pAttribute::kAccessSupported:
        *value = machine().can_access(from, to) ? 1 : 0;
        break;
      case P2pAttribute::kNativeAtomicSupported:
        *value = nvlink ? 1 : 0;
        break;
      default:
        *value = 0;
    }
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
