// SPDX-License-Identifier: Apache-2.0
// Launches, and how many blocks fit.
#include <cstring>
#include <span>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/functions.h"
#include "tests/cudasim/src/driver/ops.h"
#include "tests/cudasim/src/driver/state.h"

namespace cudasim {
namespace {

uint64_t volume(const std::array<uint32_t, 3>& size) {
  return uint64_t{size[0]} * size[1] * size[2];
}

// The one parameter, by pointer or in a buffer of all parameters.
const void* argument_of(const KernelDescriptor& kernel, void** parameters, void** extra) {
  if (parameters != nullptr) {
    require(extra == nullptr, Result::kInvalidValue, "parameters are given in two ways");
    require(parameters[0] != nullptr, Result::kInvalidValue, "the parameter is missing");
    return parameters[0];
  }
  const void* buffer = nullptr;
  size_t bytes = 0;
  for (void** at = extra; at != nullptr && *at != abi::kLaunchParamEnd; at += 2) {
    if (*at == abi::kLaunchParamBufferPointer) buffer = at[1];
    if (*at == abi::kLaunchParamBufferSize) bytes = *static_cast<size_t*>(at[1]);
  }
  if (buffer == nullptr || bytes != kernel.args_bytes)
    throw Failure(Result::kInvalidValue, fmt::format("{} bytes of parameters, the kernel has {}",
                                                     bytes, kernel.args_bytes));
  return buffer;
}

void check_shape(const abi::FunctionObject& function, const Launch& launch, int device) {
  const uint64_t threads = volume(launch.block);
  require(threads > 0 && volume(launch.grid) > 0, Result::kInvalidValue, "no threads");
  if (threads > function.max_threads())
    throw Failure(
        threads > kMaxThreadsPerBlock ? Result::kInvalidValue : Result::kLaunchOutOfResources,
        fmt::format("{} threads in a block, kernel {} has at most {}", threads, function.name,
                    function.max_threads()));
  if (launch.shared_bytes > function.most_shared)
    throw Failure(Result::kInvalidValue,
                  fmt::format("{} bytes of dynamic shared memory, {} are allowed: set "
                              "CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES",
                              launch.shared_bytes, function.most_shared));
  if (!launch.cooperative) return;
  const uint64_t most = uint64_t{blocks_per_multiprocessor(threads, launch.shared_bytes)} *
                        machine().gpus()[device].multiprocessors;
  if (volume(launch.grid) > most)
    throw Failure(Result::kCooperativeLaunchTooLarge,
                  fmt::format("{} blocks, of which {} fit", volume(launch.grid), most));
}

// The alignment of arguments is the heap's.
std::vector<uint8_t> copy_argument(const KernelDescriptor& kernel, const void* from) {
  require(kernel.args_align <= 16, Result::kInvalidValue, "the parameter's alignment is over 16");
  std::vector<uint8_t> copy(kernel.args_bytes);
  std::memcpy(copy.data(), from, copy.size());
  return copy;
}

Result launch(abi::Function function, Launch what, abi::Stream stream, void** parameters,
              void** extra) {
  require(function != nullptr, Result::kInvalidHandle, "no function");
  const KernelDescriptor& kernel = *function->kernel;
  what.name = function->name;
  what.kernel = &kernel;
  what.args = copy_argument(kernel, argument_of(kernel, parameters, extra));
  const Lock lock(engine().mutex());
  abi::StreamObject& in = stream_of(stream);
  what.context = in.context;
  if (in.context != current_or_null())
    throw Failure(Result::kInvalidHandle, "the stream is of a context that is not current");
  check_shape(*function, what, in.context->device);
  submit(in, std::make_unique<KernelOp>(std::move(what)));
  return Result::kSuccess;
}

void apply(const abi::LaunchAttribute& attribute, Launch& what) {
  switch (attribute.id) {
    case abi::LaunchAttributeId::kCooperative:
      what.cooperative = attribute.value.cooperative != 0;
      return;
    case abi::LaunchAttributeId::kClusterDimension: {
      const auto& size = attribute.value.cluster;
      require(size.x * size.y * size.z == 1, Result::kInvalidClusterSize,
              "the simulator has no clusters of several blocks");
      return;
    }
    case abi::LaunchAttributeId::kProgrammaticStreamSerialization:
    case abi::LaunchAttributeId::kClusterSchedulingPolicyPreference:
    case abi::LaunchAttributeId::kPriority:
    case abi::LaunchAttributeId::kMemSyncDomain:
    case abi::LaunchAttributeId::kMemSyncDomainMap:
    case abi::LaunchAttributeId::kPreferredSharedMemoryCarveout:
    case abi::LaunchAttributeId::kIgnore:
      return;  // hints
  }
  throw Failure(Result::kNotSupported, fmt::format("the simulator has no launch attribute {}",
                                                   static_cast<int>(attribute.id)));
}

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuLaunchKernel(Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                      unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes,
                      Stream stream, void** parameters, void** extra) {
  return call("cuLaunchKernel", [&] {
    Launch what;
    what.grid = {grid_x, grid_y, grid_z};
    what.block = {block_x, block_y, block_z};
    what.shared_bytes = shared_bytes;
    return launch(function, std::move(what), stream, parameters, extra);
  });
}

Result cuLaunchCooperativeKernel(Function function, unsigned grid_x, unsigned grid_y,
                                 unsigned grid_z, unsigned block_x, unsigned block_y,
                                 unsigned block_z, unsigned shared_bytes, Stream stream,
                                 void** parameters) {
  return call("cuLaunchCooperativeKernel", [&] {
    Launch what;
    what.grid = {grid_x, grid_y, grid_z};
    what.block = {block_x, block_y, block_z};
    what.shared_bytes = shared_bytes;
    what.cooperative = true;
    return launch(function, std::move(what), stream, parameters, nullptr);
  });
}

Result cuLaunchKernelEx(const LaunchConfig* config, Function function, void** parameters,
                        void** extra) {
  return call("cuLaunchKernelEx", [&] {
    require(config != nullptr, Result::kInvalidValue, "no configuration");
    Launch what;
    what.grid = {config->grid_x, config->grid_y, config->grid_z};
    what.block = {config->block_x, config->block_y, config->block_z};
    what.shared_bytes = config->shared_bytes;
    for (const LaunchAttribute& attribute : std::span(config->attributes, config->attribute_count))
      apply(attribute, what);
    return launch(function, std::move(what), config->stream, parameters, extra);
  });
}

Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Function function,
                                                   int block_threads, size_t shared_bytes) {
  return call("cuOccupancyMaxActiveBlocksPerMultiprocessor", [&] {
    require(function != nullptr && block_threads > 0, Result::kInvalidValue,
            "no function or no threads");
    const auto threads = static_cast<uint32_t>(block_threads);
    *blocks = threads > function->max_threads()
                  ? 0
                  : static_cast<int>(blocks_per_multiprocessor(threads, shared_bytes));
    return Result::kSuccess;
  });
}

Result cuOccupancyMaxPotentialBlockSize(int* grid_blocks, int* block_threads, Function function,
                                        BlockSizeToShared shared_of, size_t shared_bytes,
                                        int limit) {
  return call("cuOccupancyMaxPotentialBlockSize", [&] {
    require(function != nullptr, Result::kInvalidHandle, "no function");
    auto threads = static_cast<int>(function->max_threads());
    if (limit > 0) threads = std::min(threads, limit);
    const size_t shared = shared_of != nullptr ? shared_of(threads) : shared_bytes;
    const auto blocks = blocks_per_multiprocessor(static_cast<uint64_t>(threads), shared);
    *block_threads = threads;
    *grid_blocks =
        static_cast<int>(blocks) * machine().gpus()[current_context().device].multiprocessors;
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
