// SPDX-License-Identifier: Apache-2.0
// From addresses that users pass to launches.
#include "src/comm/device_calls.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/pairs.h"

namespace tutti::comm {
namespace {

constexpr size_t kStagingUnit = 256;  // what kernels like addresses to be multiples of
constexpr size_t kLeastStaging = 1 << 20;

size_t staged_bytes(size_t bytes) {
  return (bytes + kStagingUnit - 1) / kStagingUnit * kStagingUnit;
}

}  // namespace

std::string pci_address_of(int device) { return cuda::Gpu(device).facts().pci_address; }

bool sends_whole_lines(int device) {
  if (cuda::device_count() < 2) return false;
  for (int other = 0; other < cuda::device_count(); ++other) {
    if (other != device && !cuda::linked_by_nvlink(device, other)) return false;
  }
  return true;
}

struct DeviceCalls::Staging {
  Staging(const cuda::Gpu& gpu, size_t bytes) : memory(gpu, bytes) {}
  cuda::DeviceMemory memory;
  size_t used = 0;  // by the call that is being launched
};

DeviceCalls::DeviceCalls(const LocalConfig& config, int rank, int n_ranks)
    : executor_({.device = config.device,
                 .rank = rank,
                 .n_ranks = n_ranks,
                 .threads = config.gpu_threads,
                 .most_blocks = config.gpu_blocks}),
      own_stream_(executor_.gpu()),
      joining_(executor_.gpu()) {}

DeviceCalls::~DeviceCalls() = default;

// A place in the last piece of staging memory. Pieces that became too small stay: launches, or
// graphs that captured them, use them.
std::byte* DeviceCalls::staging(size_t bytes) {
  const size_t wanted = staged_bytes(bytes);
  if (staging_.empty() || staging_.back()->memory.bytes() - staging_.back()->used < wanted) {
    const size_t last = staging_.empty() ? kLeastStaging / 2 : staging_.back()->memory.bytes();
    const cuda::RelaxedCapture relaxed;
    staging_.push_back(std::make_unique<Staging>(executor_.gpu(), std::max(2 * last, wanted)));
  }
  Staging& piece = *staging_.back();
  std::byte* const at = piece.memory.as<std::byte>() + piece.used;
  piece.used += wanted;
  return at;
}

std::byte* DeviceCalls::own_address(const std::byte* data) const {
  const cuda::PointerFacts facts = cuda::classify(data);
  const int own = executor_.gpu().ordinal();
  if (facts.kind == cuda::PointerKind::kDevice && facts.device != own) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("a buffer is memory of CUDA device {}; this rank's communicator is of "
                            "device {} and takes its memory, managed memory and host memory",
                            facts.device, own));
  }
  return std::bit_cast<std::byte*>(facts.address);
}

std::byte* DeviceCalls::reachable(std::byte* data, size_t bytes, Use use) {
  if (bytes == 0) return data;
  if (std::byte* const address = own_address(data)) return address;
  std::byte* const copy = staging(bytes);
  copied_.push_back({data, reinterpret_cast<cuda::DevicePtr>(copy), bytes, use});
  return copy;
}

void DeviceCalls::begin() {
  copied_.clear();
  if (!staging_.empty()) staging_.back()->used = 0;
}

// Behind everything of this communicator: staging memory is used again.
void DeviceCalls::copy_in(cuda::Stream stream) {
  if (copied_.empty()) return;
  executor_.order(stream);
  for (const Copied& piece : copied_) {
    if (!piece.use.read) continue;
    cuda::check(cuda::driver().cuMemcpyHtoDAsync_v2(piece.device, piece.host, piece.bytes, stream),
                "copying a buffer of host memory to the GPU (a stream that is captured takes only "
                "page-locked host memory)");
  }
}

void DeviceCalls::copy_back(cuda::Stream stream) {
  if (copied_.empty()) return;
  for (const Copied& piece : copied_) {
    if (!piece.use.written) continue;
    cuda::check(cuda::driver().cuMemcpyDtoHAsync_v2(piece.host, piece.device, piece.bytes, stream),
                "copying a result to host memory");
  }
  executor_.mark(stream);
}

std::byte* DeviceCalls::reachable_input(const CallMemory& memory) {
  auto* const input = const_cast<std::byte*>(memory.input);  // only read
  return reachable(input, memory.input_bytes, {.read = true});
}
std::byte* DeviceCalls::reachable_output(const CallMemory& memory) {
  return reachable(memory.output, memory.output_bytes,
                   {.read = !memory.output_is_whole, .written = true});
}

bool DeviceCalls::launch(exec::DeviceProgram& program, const exec::DeviceLaunch& given,
                         const CallMemory& memory) {
  begin();
  const cuda::Current current(executor_.gpu());
  exec::DeviceLaunch launch = given;
  launch.binding.input = reachable_input(memory);
  launch.binding.output = reachable_output(memory);
  if (launch.pre_scalar != nullptr) {
    launch.pre_scalar = own_address(given.pre_scalar);
    if (launch.pre_scalar == nullptr)
      std::memcpy(launch.binding.scaling.pre, given.pre_scalar, size_of(launch.binding.dtype));
  }
  copy_in(launch.stream);
  const bool runs = executor_.launch(program, launch);
  copy_back(launch.stream);
  return runs;
}

bool DeviceCalls::launch(const exec::SymmetricRegion& region, const exec::SymmetricCall& given,
                         const CallMemory& memory) {
  begin();
  const cuda::Current current(executor_.gpu());
  exec::SymmetricCall call = given;
  call.input = reachable_input(memory);
  call.output = reachable_output(memory);
  copy_in(call.stream);
  const bool runs = executor_.launch(region, call);
  copy_back(call.stream);
  return runs;
}

bool DeviceCalls::launch(std::span<const TransferLane> lanes, size_t max_chunk_bytes, uint64_t call,
                         cuda::Stream stream) {
  begin();
  const cuda::Current current(executor_.gpu());
  std::vector<std::vector<exec::P2pTransfer>> reached;
  std::vector<exec::DeviceTransfers> transfers;
  reached.reserve(lanes.size());
  for (const TransferLane& lane : lanes) {
    const Use use{.read = lane.send != nullptr, .written = lane.send == nullptr};
    auto& own = reached.emplace_back(lane.transfers.begin(), lane.transfers.end());
    for (exec::P2pTransfer& transfer : own)
      transfer.data = reachable(transfer.data, transfer.bytes, use);
    transfers.push_back({lane.peer, lane.send, lane.recv, own});
  }
  copy_in(stream);
  const bool runs = executor_.launch(transfers, max_chunk_bytes, call, stream);
  copy_back(stream);
  return runs;
}

bool DeviceCalls::launch(exec::MoeLaunch& launch) {
  const cuda::Current current(executor_.gpu());
  return executor_.launch(launch);
}

std::byte* DeviceCalls::reached(const void* data, const char* name) const {
  std::byte* const address = own_address(static_cast<const std::byte*>(data));
  if (address != nullptr || data == nullptr) return address;
  throw Error(
      StatusCode::kInvalidArgument,
      fmt::format("{} is ordinary memory of the host; kernels of CUDA device {} use it when "
                  "the call runs, so it must be memory of that GPU, managed memory or "
                  "page-locked memory of the host",
                  name, executor_.gpu().ordinal()));
}

void DeviceCalls::join(cuda::Stream stream, cuda::Stream other) {
  if (stream == other) return;
  const cuda::Current current(executor_.gpu());
  joining_.record(other);
  joining_.hold(stream);
}

void DeviceCalls::copy_to_self(const exec::P2pTransfer& from, const exec::P2pTransfer& to,
                               cuda::Stream stream) {
  if (from.bytes == 0) return;
  const cuda::Current current(executor_.gpu());
  // By unified addressing the driver knows of both what they are.
  cuda::check(cuda::driver().cuMemcpyAsync(reinterpret_cast<cuda::DevicePtr>(to.data),
                                           reinterpret_cast<cuda::DevicePtr>(from.data), from.bytes,
                                           stream),
              "copying what a rank sends to itself");
}

}  // namespace tutti::comm
