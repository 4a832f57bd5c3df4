// SPDX-License-Identifier: Apache-2.0
// The driver's virtual memory, multicast and host memory calls behind owning objects.
#include "src/device/cuda/memory.h"

#include <unistd.h>

#include <cstring>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/stream.h"

namespace tutti::cuda {
namespace {

size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

AllocationProperties properties_of(const Gpu& gpu) {
  AllocationProperties properties{};
  properties.type = AllocationType::kPinned;
  properties.requested_handle_types =
      gpu.facts().shares_by_descriptor ? HandleType::kPosixFileDescriptor : HandleType::kNone;
  properties.location = {LocationType::kDevice, gpu.ordinal()};
  properties.gpu_direct_rdma_capable = gpu.facts().dma_buf ? 1 : 0;
  return properties;
}

MulticastProperties multicast_properties(int n_devices, size_t bytes) {
  return {.device_count = static_cast<unsigned>(n_devices),
          .size = bytes,
          .handle_types = static_cast<unsigned long long>(HandleType::kPosixFileDescriptor),
          .flags = 0};
}

// Null where the driver is older than CUDA 12.1.
void expect_multicast(const Driver& cuda) {
  if (cuda.cuMulticastCreate != nullptr) return;
  throw Error(StatusCode::kUnhandledCudaError,
              "multicast objects: expected a driver of CUDA 12.1 or newer");
}

AllocationHandle import_handle(int fd) {
  AllocationHandle handle = 0;
  // The driver takes the number itself for the pointer.
  // NOLINTNEXTLINE(performance-no-int-to-ptr): nobody follows it
  void* const number = reinterpret_cast<void*>(static_cast<intptr_t>(fd));
  check(driver().cuMemImportFromShareableHandle(&handle, number, HandleType::kPosixFileDescriptor),
        "importing GPU memory of a peer");
  return handle;
}

}  // namespace

std::shared_ptr<Allocation> Allocation::create(const Gpu& gpu, size_t bytes) {
  const Driver& cuda = driver();
  const AllocationProperties properties = properties_of(gpu);
  size_t unit = 0;
  check(cuda.cuMemGetAllocationGranularity(&unit, &properties, Granularity::kRecommended),
        fmt::format("what CUDA device {} maps at once", gpu.ordinal()));
  const size_t whole = rounded(bytes, unit);
  AllocationHandle handle = 0;
  check(cuda.cuMemCreate(&handle, whole, &properties, 0),
        fmt::format("{} bytes of memory on CUDA device {}", whole, gpu.ordinal()));
  return std::shared_ptr<Allocation>(new Allocation(handle, whole));
}

std::shared_ptr<Allocation> Allocation::import(int fd, size_t bytes) {
  return std::shared_ptr<Allocation>(new Allocation(import_handle(fd), bytes));
}

Allocation::~Allocation() {
  if (const Driver* const cuda = find_driver()) (void)cuda->cuMemRelease(handle_);
}

FileDescriptor Allocation::export_descriptor() const {
  int fd = -1;
  check(driver().cuMemExportToShareableHandle(&fd, handle_, HandleType::kPosixFileDescriptor, 0),
        "exporting GPU memory as a file descriptor");
  return FileDescriptor(fd);
}

std::shared_ptr<Multicast> Multicast::create(int n_devices, size_t bytes) {
  const Driver& cuda = driver();
  expect_multicast(cuda);
  const MulticastProperties properties = multicast_properties(n_devices, bytes);
  AllocationHandle handle = 0;
  check(cuda.cuMulticastCreate(&handle, &properties),
        fmt::format("a multicast object of {} bytes over {} devices", bytes, n_devices));
  return std::shared_ptr<Multicast>(new Multicast(handle, bytes));
}

std::shared_ptr<Multicast> Multicast::import_multicast(int fd, size_t bytes) {
  expect_multicast(driver());
  return std::shared_ptr<Multicast>(new Multicast(import_handle(fd), bytes));
}

void Multicast::add(const Gpu& gpu) {
  check(driver().cuMulticastAddDevice(handle(), gpu.ordinal()),
        fmt::format("adding CUDA device {} to a multicast object", gpu.ordinal()));
}

void Multicast::bind(std::shared_ptr<Allocation> memory) {
  check(driver().cuMulticastBindMem(handle(), 0, memory->handle(), 0, bytes(), 0),
        "binding GPU memory to a multicast object");
  bound_ = std::move(memory);
}

size_t multicast_bytes(int n_devices, size_t bytes) {
  const Driver& cuda = driver();
  expect_multicast(cuda);
  const MulticastProperties properties = multicast_properties(n_devices, bytes);
  size_t unit = 0;
  check(cuda.cuMulticastGetGranularity(&unit, &properties, Granularity::kRecommended),
        "what multicast objects consist of");
  return rounded(bytes, unit);
}

Range::Range(std::shared_ptr<Allocation> memory, std::span<const Gpu* const> users)
    : memory_(std::move(memory)) {
  const Driver& cuda = driver();
  const size_t bytes = memory_->bytes();
  check(cuda.cuMemAddressReserve(&address_, bytes, 0, 0, 0),
        fmt::format("{} bytes of GPU addresses", bytes));
  std::vector<AccessDescriptor> access;
  for (const Gpu* const gpu : users)
    access.push_back({{LocationType::kDevice, gpu->ordinal()}, AccessFlags::kReadWrite});
  try {
    check(cuda.cuMemMap(address_, bytes, 0, memory_->handle(), 0), "mapping GPU memory");
    check(cuda.cuMemSetAccess(address_, bytes, access.data(), access.size()),
          "letting GPUs use mapped memory");
  } catch (...) {
    reset();
    throw;
  }
}

Range::Range(Range&& other) noexcept
    : memory_(std::move(other.memory_)), address_(std::exchange(other.address_, 0)) {}

Range& Range::operator=(Range&& other) noexcept {
  std::swap(memory_, other.memory_);
  std::swap(address_, other.address_);
  return *this;
}

void Range::reset() noexcept {
  const DevicePtr address = std::exchange(address_, 0);
  const Driver* const cuda = find_driver();
  if (address != 0 && cuda != nullptr) {
    (void)cuda->cuMemUnmap(address, memory_->bytes());  // refused where nothing was mapped
    (void)cuda->cuMemAddressFree(address, memory_->bytes());
  }
  memory_.reset();
}

DeviceMemory::DeviceMemory(const Gpu& gpu, size_t bytes) : gpu_(&gpu), bytes_(bytes) {
  const Driver& cuda = driver();
  const Current current(gpu);
  check(cuda.cuMemAlloc_v2(&address_, bytes),
        fmt::format("{} bytes of memory of CUDA device {}", bytes, gpu.ordinal()));
  // By a stream of its own: the legacy one would wait for the user's.
  try {
    const OwnedStream stream(gpu);
    check(cuda.cuMemsetD8Async(address_, 0, bytes, stream.get()), "zeroing GPU memory");
    stream.synchronize();
  } catch (...) {
    reset();
    throw;
  }
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : gpu_(other.gpu_),
      address_(std::exchange(other.address_, 0)),
      bytes_(std::exchange(other.bytes_, 0)) {}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  if (this == &other) return *this;
  reset();
  gpu_ = other.gpu_;
  address_ = std::exchange(other.address_, 0);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void DeviceMemory::reset() noexcept {
  const Driver* const cuda = find_driver();
  if (cuda == nullptr || address_ == 0) return;
  if (cuda->cuCtxPushCurrent_v2(gpu_->context()) != Result::kSuccess) return;
  (void)cuda->cuMemFree_v2(std::exchange(address_, 0));
  Context popped = nullptr;
  (void)cuda->cuCtxPopCurrent_v2(&popped);
}

PinnedMemory::PinnedMemory(size_t bytes) : bytes_(bytes) {
  const Driver& cuda = driver();
  void* host = nullptr;
  check(cuda.cuMemHostAlloc(&host, bytes, kHostAllocPortable | kHostAllocDeviceMap),
        fmt::format("{} bytes of page-locked host memory", bytes));
  host_ = static_cast<std::byte*>(host);
  std::memset(host_, 0, bytes);
  const Result result = cuda.cuMemHostGetDevicePointer_v2(&device_, host, 0);
  if (result == Result::kSuccess) return;
  (void)cuda.cuMemFreeHost(host);
  check(result, "the GPU's address of page-locked host memory");
}

PinnedMemory::~PinnedMemory() {
  if (const Driver* const cuda = find_driver()) (void)cuda->cuMemFreeHost(host_);
}

HostRegistration::HostRegistration(void* base, size_t bytes) {
  const Driver& cuda = driver();
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t before = reinterpret_cast<uintptr_t>(base) % page;
  std::byte* const start = static_cast<std::byte*>(base) - before;
  const size_t whole = rounded(before + bytes, page);
  const Result result =
      cuda.cuMemHostRegister_v2(start, whole, kHostRegisterPortable | kHostRegisterDeviceMap);
  if (result != Result::kHostMemoryAlreadyRegistered) {
    check(result, fmt::format("registering {} bytes of host memory for GPUs", whole));
    registered_ = start;
  }
  const Result found = cuda.cuMemHostGetDevicePointer_v2(&device_, base, 0);
  if (found == Result::kSuccess) return;
  reset();
  check(found, "the GPU's address of registered host memory");
}

HostRegistration::HostRegistration(HostRegistration&& other) noexcept
    : registered_(std::exchange(other.registered_, nullptr)),
      device_(std::exchange(other.device_, 0)) {}

HostRegistration& HostRegistration::operator=(HostRegistration&& other) noexcept {
  std::swap(registered_, other.registered_);
  std::swap(device_, other.device_);
  return *this;
}

void HostRegistration::reset() noexcept {
  const Driver* const cuda = find_driver();
  void* const registered = std::exchange(registered_, nullptr);
  if (registered != nullptr && cuda != nullptr) (void)cuda->cuMemHostUnregister(registered);
}

PointerFacts classify(const void* pointer) noexcept {
  PointerFacts facts;
  const Driver* const cuda = find_driver();
  if (cuda == nullptr || pointer == nullptr) return facts;
  const auto address = reinterpret_cast<DevicePtr>(pointer);
  MemoryType type{};
  int managed = 0;
  DevicePtr for_kernels = 0;
  int device = -1;
  PointerAttribute names[] = {PointerAttribute::kMemoryType, PointerAttribute::kIsManaged,
                              PointerAttribute::kDevicePointer, PointerAttribute::kDeviceOrdinal};
  void* values[] = {&type, &managed, &for_kernels, &device};
  // Of memory that the driver does not know every value is 0.
  if (cuda->cuPointerGetAttributes(4, names, values, address) != Result::kSuccess ||
      static_cast<unsigned>(type) == 0)
    return facts;
  facts.device = device;
  facts.address = for_kernels;
  if (managed != 0) {
    facts.kind = PointerKind::kManaged;
  } else if (type == MemoryType::kDevice) {
    facts.kind = PointerKind::kDevice;
    (void)cuda->cuMemGetAddressRange_v2(&facts.range_base, &facts.range_bytes, address);
  } else {
    facts.kind = PointerKind::kRegistered;
  }
  return facts;
}

FileDescriptor export_dma_buf(DevicePtr base, size_t bytes) {
  int fd = -1;
  check(driver().cuMemGetHandleForAddressRange(&fd, base, bytes, RangeHandleType::kDmaBufFd, 0),
        fmt::format("a dma-buf for {} bytes of GPU memory", bytes));
  return FileDescriptor(fd);
}

}  // namespace tutti::cuda
