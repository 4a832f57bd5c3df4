// SPDX-License-Identifier: Apache-2.0
// Holds src/device/cuda/abi.h against the toolkit's cuda.h: sizes, offsets, values, signatures.
// Nearly all of it fails when it is compiled, not when it runs.
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <type_traits>

// Declares every version of every function under its own symbol's name.
#define __CUDA_API_VERSION_INTERNAL
#include <cuda.h>

#include <gtest/gtest.h>

#include "src/device/cuda/abi.h"

namespace tutti::cuda {
namespace {

// Whether two types are passed alike by the ABI: pointers are pointers, an enum is its integer,
// structs are compared by size (their members are compared below).
template <class A, class B>
constexpr bool alike() {
  if constexpr (std::is_pointer_v<A> || std::is_pointer_v<B>) {
    return std::is_pointer_v<A> && std::is_pointer_v<B>;
  } else {
    constexpr bool kScalars = !std::is_class_v<A> && !std::is_class_v<B>;
    return sizeof(A) == sizeof(B) && std::is_class_v<A> == std::is_class_v<B> &&
           (!kScalars || std::is_floating_point_v<A> == std::is_floating_point_v<B>);
  }
}

template <class A, class B>
struct SameSignature : std::false_type {};
template <class... A, class... B>
struct SameSignature<Result(A...), CUresult(B...)> {
  static constexpr bool compare() {
    if constexpr (sizeof...(A) != sizeof...(B)) {
      return false;
    } else {
      return (alike<A, B>() && ...);
    }
  }
  static constexpr bool value = compare();
};

#define SAME_FUNCTION(symbol, base, version, ...) \
  static_assert(SameSignature<Result(__VA_ARGS__), decltype(::symbol)>::value, #symbol);
TUTTI_CUDA_FUNCTIONS(SAME_FUNCTION)
#undef SAME_FUNCTION

#define SAME_VALUE(ours, theirs) \
  static_assert(static_cast<long long>(ours) == static_cast<long long>(theirs), #theirs)

SAME_VALUE(kApiVersion / 1000, CUDA_VERSION / 1000);
SAME_VALUE(Result::kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
SAME_VALUE(Result::kNotInitialized, CUDA_ERROR_NOT_INITIALIZED);
SAME_VALUE(Result::kNoDevice, CUDA_ERROR_NO_DEVICE);
SAME_VALUE(Result::kInvalidDevice, CUDA_ERROR_INVALID_DEVICE);
SAME_VALUE(Result::kInvalidImage, CUDA_ERROR_INVALID_IMAGE);
SAME_VALUE(Result::kInvalidContext, CUDA_ERROR_INVALID_CONTEXT);
SAME_VALUE(Result::kMapFailed, CUDA_ERROR_MAP_FAILED);
SAME_VALUE(Result::kUnmapFailed, CUDA_ERROR_UNMAP_FAILED);
SAME_VALUE(Result::kAlreadyMapped, CUDA_ERROR_ALREADY_MAPPED);
SAME_VALUE(Result::kNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU);
SAME_VALUE(Result::kNotMapped, CUDA_ERROR_NOT_MAPPED);
SAME_VALUE(Result::kPeerAccessUnsupported, CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
SAME_VALUE(Result::kFileNotFound, CUDA_ERROR_FILE_NOT_FOUND);
SAME_VALUE(Result::kOperatingSystem, CUDA_ERROR_OPERATING_SYSTEM);
SAME_VALUE(Result::kInvalidHandle, CUDA_ERROR_INVALID_HANDLE);
SAME_VALUE(Result::kIllegalState, CUDA_ERROR_ILLEGAL_STATE);
SAME_VALUE(Result::kNotFound, CUDA_ERROR_NOT_FOUND);
SAME_VALUE(Result::kNotReady, CUDA_ERROR_NOT_READY);
SAME_VALUE(Result::kIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS);
SAME_VALUE(Result::kLaunchOutOfResources, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
SAME_VALUE(Result::kLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT);
SAME_VALUE(Result::kPeerAccessAlreadyEnabled, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
SAME_VALUE(Result::kPeerAccessNotEnabled, CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
SAME_VALUE(Result::kHostMemoryAlreadyRegistered, CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
SAME_VALUE(Result::kHostMemoryNotRegistered, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
SAME_VALUE(Result::kIllegalInstruction, CUDA_ERROR_ILLEGAL_INSTRUCTION);
SAME_VALUE(Result::kMisalignedAddress, CUDA_ERROR_MISALIGNED_ADDRESS);
SAME_VALUE(Result::kLaunchFailed, CUDA_ERROR_LAUNCH_FAILED);
SAME_VALUE(Result::kCooperativeLaunchTooLarge, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
SAME_VALUE(Result::kNotSupported, CUDA_ERROR_NOT_SUPPORTED);
SAME_VALUE(Result::kSystemNotReady, CUDA_ERROR_SYSTEM_NOT_READY);
SAME_VALUE(Result::kStreamCaptureUnsupported, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
SAME_VALUE(Result::kStreamCaptureInvalidated, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
SAME_VALUE(Result::kStreamCaptureUnjoined, CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
SAME_VALUE(Result::kStreamCaptureImplicit, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
SAME_VALUE(Result::kCapturedEvent, CUDA_ERROR_CAPTURED_EVENT);
SAME_VALUE(Result::kTimeout, CUDA_ERROR_TIMEOUT);
SAME_VALUE(Result::kInvalidClusterSize, CUDA_ERROR_INVALID_CLUSTER_SIZE);
SAME_VALUE(Result::kUnknown, CUDA_ERROR_UNKNOWN);

#define SAME_ATTRIBUTE(ours, theirs) SAME_VALUE(DeviceAttribute::ours, CU_DEVICE_ATTRIBUTE_##theirs)
SAME_ATTRIBUTE(kMaxThreadsPerBlock, MAX_THREADS_PER_BLOCK);
SAME_ATTRIBUTE(kMaxSharedMemoryPerBlock, MAX_SHARED_MEMORY_PER_BLOCK);
SAME_ATTRIBUTE(kWarpSize, WARP_SIZE);
SAME_ATTRIBUTE(kMultiprocessorCount, MULTIPROCESSOR_COUNT);
SAME_ATTRIBUTE(kPciBusId, PCI_BUS_ID);
SAME_ATTRIBUTE(kPciDeviceId, PCI_DEVICE_ID);
SAME_ATTRIBUTE(kPciDomainId, PCI_DOMAIN_ID);
SAME_ATTRIBUTE(kMaxThreadsPerMultiprocessor, MAX_THREADS_PER_MULTIPROCESSOR);
SAME_ATTRIBUTE(kComputeCapabilityMajor, COMPUTE_CAPABILITY_MAJOR);
SAME_ATTRIBUTE(kComputeCapabilityMinor, COMPUTE_CAPABILITY_MINOR);
SAME_ATTRIBUTE(kMaxSharedMemoryPerBlockOptin, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN);
SAME_ATTRIBUTE(kMaxBlocksPerMultiprocessor, MAX_BLOCKS_PER_MULTIPROCESSOR);
SAME_ATTRIBUTE(kVirtualMemoryManagementSupported, VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
SAME_ATTRIBUTE(kHandleTypePosixFileDescriptorSupported,
               HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED);
SAME_ATTRIBUTE(kGpuDirectRdmaWithVmmSupported, GPU_DIRECT_RDMA_WITH_CUDA_VMM_SUPPORTED);
SAME_ATTRIBUTE(kGpuDirectRdmaSupported, GPU_DIRECT_RDMA_SUPPORTED);
SAME_ATTRIBUTE(kDmaBufSupported, DMA_BUF_SUPPORTED);
SAME_ATTRIBUTE(kCanUse64BitStreamMemOps, CAN_USE_64_BIT_STREAM_MEM_OPS);
SAME_ATTRIBUTE(kCanUseHostPointerForRegisteredMem, CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM);
SAME_ATTRIBUTE(kHandleTypeFabricSupported, HANDLE_TYPE_FABRIC_SUPPORTED);
SAME_ATTRIBUTE(kMulticastSupported, MULTICAST_SUPPORTED);
SAME_ATTRIBUTE(kCooperativeLaunch, COOPERATIVE_LAUNCH);
SAME_ATTRIBUTE(kHostNumaId, HOST_NUMA_ID);
#undef SAME_ATTRIBUTE

SAME_VALUE(P2pAttribute::kNativeAtomicSupported, CU_DEVICE_P2P_ATTRIBUTE_NATIVE_ATOMIC_SUPPORTED);
SAME_VALUE(FunctionAttribute::kMaxDynamicSharedSizeBytes,
           CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
SAME_VALUE(FunctionAttribute::kBinaryVersion, CU_FUNC_ATTRIBUTE_BINARY_VERSION);
SAME_VALUE(PointerAttribute::kMemoryType, CU_POINTER_ATTRIBUTE_MEMORY_TYPE);
SAME_VALUE(PointerAttribute::kDeviceOrdinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL);
SAME_VALUE(PointerAttribute::kIsLegacyIpcCapable, CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE);
SAME_VALUE(PointerAttribute::kRangeStartAddr, CU_POINTER_ATTRIBUTE_RANGE_START_ADDR);
SAME_VALUE(PointerAttribute::kRangeSize, CU_POINTER_ATTRIBUTE_RANGE_SIZE);
SAME_VALUE(PointerAttribute::kMapped, CU_POINTER_ATTRIBUTE_MAPPED);
SAME_VALUE(PointerAttribute::kAllowedHandleTypes, CU_POINTER_ATTRIBUTE_ALLOWED_HANDLE_TYPES);
SAME_VALUE(PointerAttribute::kIsGpuDirectRdmaCapable,
           CU_POINTER_ATTRIBUTE_IS_GPU_DIRECT_RDMA_CAPABLE);
SAME_VALUE(PointerAttribute::kAccessFlags, CU_POINTER_ATTRIBUTE_ACCESS_FLAGS);
SAME_VALUE(PointerAttribute::kMappingSize, CU_POINTER_ATTRIBUTE_MAPPING_SIZE);
SAME_VALUE(PointerAttribute::kMappingBaseAddr, CU_POINTER_ATTRIBUTE_MAPPING_BASE_ADDR);
SAME_VALUE(MemoryType::kUnified, CU_MEMORYTYPE_UNIFIED);
SAME_VALUE(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
SAME_VALUE(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
SAME_VALUE(kEventInterprocess, CU_EVENT_INTERPROCESS);
SAME_VALUE(kEventWaitExternal, CU_EVENT_WAIT_EXTERNAL);
SAME_VALUE(kEventRecordExternal, CU_EVENT_RECORD_EXTERNAL);
SAME_VALUE(kHostAllocWriteCombined, CU_MEMHOSTALLOC_WRITECOMBINED);
SAME_VALUE(kHostRegisterReadOnly, CU_MEMHOSTREGISTER_READ_ONLY);
SAME_VALUE(kIpcLazyEnablePeerAccess, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
SAME_VALUE(kMemAttachGlobal, CU_MEM_ATTACH_GLOBAL);
SAME_VALUE(kWaitEq, CU_STREAM_WAIT_VALUE_EQ);
SAME_VALUE(kWaitNor, CU_STREAM_WAIT_VALUE_NOR);
SAME_VALUE(kWaitFlush, CU_STREAM_WAIT_VALUE_FLUSH);
SAME_VALUE(kWriteNoMemoryBarrier, CU_STREAM_WRITE_VALUE_NO_MEMORY_BARRIER);
SAME_VALUE(HandleType::kPosixFileDescriptor, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
SAME_VALUE(HandleType::kFabric, CU_MEM_HANDLE_TYPE_FABRIC);
SAME_VALUE(AccessFlags::kReadWrite, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
SAME_VALUE(LocationType::kDevice, CU_MEM_LOCATION_TYPE_DEVICE);
SAME_VALUE(LocationType::kHostNuma, CU_MEM_LOCATION_TYPE_HOST_NUMA);
SAME_VALUE(AllocationType::kPinned, CU_MEM_ALLOCATION_TYPE_PINNED);
SAME_VALUE(Granularity::kRecommended, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED);
SAME_VALUE(RangeHandleType::kDmaBufFd, CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD);
SAME_VALUE(CaptureMode::kRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED);
SAME_VALUE(CaptureStatus::kInvalidated, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
SAME_VALUE(MemOp::kWait64, CU_STREAM_MEM_OP_WAIT_VALUE_64);
SAME_VALUE(MemOp::kWrite64, CU_STREAM_MEM_OP_WRITE_VALUE_64);
SAME_VALUE(MemOp::kFlushRemoteWrites, CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES);
SAME_VALUE(MemOp::kBarrier, CU_STREAM_MEM_OP_BARRIER);
SAME_VALUE(LaunchAttributeId::kCooperative, CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
SAME_VALUE(LaunchAttributeId::kClusterDimension, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
SAME_VALUE(LaunchAttributeId::kMemSyncDomain, CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN);
SAME_VALUE(LaunchAttributeId::kPriority, CU_LAUNCH_ATTRIBUTE_PRIORITY);
SAME_VALUE(ProcAddressQuery::kVersionNotSufficient, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
SAME_VALUE(kProcAddressPerThreadStream, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
#undef SAME_VALUE

// NOLINTBEGIN(bugprone-sizeof-expression): members that are pointers are compared as such
#define SAME_MEMBER(Ours, ours, Theirs, theirs)                     \
  static_assert(offsetof(Ours, ours) == offsetof(Theirs, theirs) && \
                sizeof(Ours::ours) == sizeof(Theirs::theirs))
static_assert(sizeof(AllocationProperties) == sizeof(CUmemAllocationProp));
SAME_MEMBER(AllocationProperties, requested_handle_types, CUmemAllocationProp,
            requestedHandleTypes);
SAME_MEMBER(AllocationProperties, location, CUmemAllocationProp, location);
SAME_MEMBER(AllocationProperties, gpu_direct_rdma_capable, CUmemAllocationProp,
            allocFlags.gpuDirectRDMACapable);
SAME_MEMBER(AllocationProperties, usage, CUmemAllocationProp, allocFlags.usage);
static_assert(sizeof(AccessDescriptor) == sizeof(CUmemAccessDesc));
SAME_MEMBER(AccessDescriptor, flags, CUmemAccessDesc, flags);
static_assert(sizeof(MulticastProperties) == sizeof(CUmulticastObjectProp));
SAME_MEMBER(MulticastProperties, size, CUmulticastObjectProp, size);
SAME_MEMBER(MulticastProperties, handle_types, CUmulticastObjectProp, handleTypes);
static_assert(sizeof(BatchMemOp) == sizeof(CUstreamBatchMemOpParams));
SAME_MEMBER(BatchMemOp, value.address, CUstreamBatchMemOpParams, waitValue.address);
SAME_MEMBER(BatchMemOp, value.value64, CUstreamBatchMemOpParams, writeValue.value64);
SAME_MEMBER(BatchMemOp, value.flags, CUstreamBatchMemOpParams, waitValue.flags);
static_assert(sizeof(LaunchConfig) == sizeof(CUlaunchConfig));
SAME_MEMBER(LaunchConfig, shared_bytes, CUlaunchConfig, sharedMemBytes);
SAME_MEMBER(LaunchConfig, stream, CUlaunchConfig, hStream);
SAME_MEMBER(LaunchConfig, attributes, CUlaunchConfig, attrs);
SAME_MEMBER(LaunchConfig, attribute_count, CUlaunchConfig, numAttrs);
static_assert(sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute));
SAME_MEMBER(LaunchAttribute, value, CUlaunchAttribute, value);
SAME_MEMBER(LaunchAttribute, value.cluster, CUlaunchAttribute, value.clusterDim);
SAME_MEMBER(GraphEdge, type, CUgraphEdgeData, type);
static_assert(sizeof(GraphEdge) == sizeof(CUgraphEdgeData));
static_assert(sizeof(IpcMemHandle) == sizeof(CUipcMemHandle));
static_assert(sizeof(Uuid) == sizeof(CUuuid));
#undef SAME_MEMBER
// NOLINTEND(bugprone-sizeof-expression)

TEST(Abi_Constants, AreTheToolkits) {
  EXPECT_EQ(static_cast<void*>(kLegacyStream), static_cast<void*>(CU_STREAM_LEGACY));
  EXPECT_EQ(static_cast<void*>(kPerThreadStream), static_cast<void*>(CU_STREAM_PER_THREAD));
  EXPECT_EQ(kLaunchParamBufferPointer, CU_LAUNCH_PARAM_BUFFER_POINTER);
  EXPECT_EQ(kLaunchParamBufferSize, CU_LAUNCH_PARAM_BUFFER_SIZE);
}

// The versions are what the toolkit's own function pointer types are named by.
TEST(Abi_Versions, AreTheToolkits) {
  std::FILE* const file = std::fopen(CUDA_TYPEDEFS_H, "r");
  ASSERT_NE(file, nullptr) << CUDA_TYPEDEFS_H;
  std::string text;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
#define KNOWN(symbol, base, version, ...) \
  EXPECT_NE(text.find("PFN_" #base "_v" #version ")"), std::string::npos) << #base << " " #version;
  TUTTI_CUDA_FUNCTIONS(KNOWN)
#undef KNOWN
}

}  // namespace
}  // namespace tutti::cuda
