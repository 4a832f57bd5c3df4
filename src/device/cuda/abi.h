// SPDX-License-Identifier: Apache-2.0
// The part of the CUDA driver's binary interface that is used: types, values and function
// signatures, as CUDA 13 has them. Declares no function: whoever wants one opens libcuda.so.1 and
// asks cuGetProcAddress_v2 for it, by the names and versions of TUTTI_CUDA_FUNCTIONS.
//
// tests/cudasim/tests/abi_test.cc holds all of it against the toolkit's cuda.h where that exists.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/device/cuda/abi_functions.h"

namespace tutti::cuda {

inline constexpr int kApiVersion = 13000;

enum class Result : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kDeinitialized = 4,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidImage = 200,
  kInvalidContext = 201,
  kMapFailed = 205,
  kUnmapFailed = 206,
  kAlreadyMapped = 208,
  kNoBinaryForGpu = 209,
  kNotMapped = 211,
  kUnsupportedLimit = 215,
  kPeerAccessUnsupported = 217,
  kFileNotFound = 301,
  kOperatingSystem = 304,
  kInvalidHandle = 400,
  kIllegalState = 401,
  kNotFound = 500,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchOutOfResources = 701,
  kLaunchTimeout = 702,
  kPeerAccessAlreadyEnabled = 704,
  kPeerAccessNotEnabled = 705,
  kPrimaryContextActive = 708,
  kContextIsDestroyed = 709,
  kAssert = 710,
  kHostMemoryAlreadyRegistered = 712,
  kHostMemoryNotRegistered = 713,
  kIllegalInstruction = 715,
  kMisalignedAddress = 716,
  kLaunchFailed = 719,
  kCooperativeLaunchTooLarge = 720,
  kNotPermitted = 800,
  kNotSupported = 801,
  kSystemNotReady = 802,
  kStreamCaptureUnsupported = 900,
  kStreamCaptureInvalidated = 901,
  kStreamCaptureMerge = 902,
  kStreamCaptureUnmatched = 903,
  kStreamCaptureUnjoined = 904,
  kStreamCaptureIsolation = 905,
  kStreamCaptureImplicit = 906,
  kCapturedEvent = 907,
  kStreamCaptureWrongThread = 908,
  kTimeout = 909,
  kInvalidClusterSize = 912,
  kUnknown = 999,
};

using Device = int;
using DevicePtr = unsigned long long;
using AllocationHandle = unsigned long long;
using Context = struct ContextObject*;
using Stream = struct StreamObject*;
using Event = struct EventObject*;
using Module = struct ModuleObject*;
using Library = struct LibraryObject*;
using Kernel = struct KernelObject*;
using Function = struct FunctionObject*;
using Graph = struct GraphObject*;
using GraphNode = struct GraphNodeObject*;
using GraphExec = struct GraphExecObject*;
using HostFunction = void (*)(void*);
using StreamCallback = void (*)(Stream, Result, void*);
using BlockSizeToShared = size_t (*)(int);

inline constexpr Device kCpuDevice = -1;
inline const Stream kLegacyStream = reinterpret_cast<Stream>(0x1);
inline const Stream kPerThreadStream = reinterpret_cast<Stream>(0x2);

enum class DeviceAttribute : int {
  kMaxThreadsPerBlock = 1,
  kMaxBlockDimX = 2,
  kMaxBlockDimY = 3,
  kMaxBlockDimZ = 4,
  kMaxGridDimX = 5,
  kMaxGridDimY = 6,
  kMaxGridDimZ = 7,
  kMaxSharedMemoryPerBlock = 8,
  kWarpSize = 10,
  kMaxRegistersPerBlock = 12,
  kClockRate = 13,
  kMultiprocessorCount = 16,
  kIntegrated = 18,
  kCanMapHostMemory = 19,
  kComputeMode = 20,
  kConcurrentKernels = 31,
  kPciBusId = 33,
  kPciDeviceId = 34,
  kMemoryClockRate = 36,
  kGlobalMemoryBusWidth = 37,
  kL2CacheSize = 38,
  kMaxThreadsPerMultiprocessor = 39,
  kAsyncEngineCount = 40,
  kUnifiedAddressing = 41,
  kPciDomainId = 50,
  kComputeCapabilityMajor = 75,
  kComputeCapabilityMinor = 76,
  kStreamPrioritiesSupported = 78,
  kMaxSharedMemoryPerMultiprocessor = 81,
  kMaxRegistersPerMultiprocessor = 82,
  kManagedMemory = 83,
  kHostNativeAtomicSupported = 86,
  kPageableMemoryAccess = 88,
  kConcurrentManagedAccess = 89,
  kCanUseHostPointerForRegisteredMem = 91,
  kCooperativeLaunch = 95,
  kMaxSharedMemoryPerBlockOptin = 97,
  kCanFlushRemoteWrites = 98,
  kHostRegisterSupported = 99,
  kVirtualMemoryManagementSupported = 102,
  kHandleTypePosixFileDescriptorSupported = 103,
  kMaxBlocksPerMultiprocessor = 106,
  kGpuDirectRdmaWithVmmSupported = 110,
  kReservedSharedMemoryPerBlock = 111,
  kMemoryPoolsSupported = 115,
  kGpuDirectRdmaSupported = 116,
  kGpuDirectRdmaFlushWritesOptions = 117,
  kGpuDirectRdmaWritesOrdering = 118,
  kClusterLaunch = 120,
  kCanUse64BitStreamMemOps = 122,
  kCanUseStreamWaitValueNor = 123,
  kDmaBufSupported = 124,
  kIpcEventSupported = 125,
  kHandleTypeFabricSupported = 128,
  kMulticastSupported = 132,
  kHostNumaId = 134,
};

enum class P2pAttribute : int {
  kPerformanceRank = 1,
  kAccessSupported = 2,
  kNativeAtomicSupported = 3,
};

enum class FunctionAttribute : int {
  kMaxThreadsPerBlock = 0,
  kSharedSizeBytes = 1,
  kConstSizeBytes = 2,
  kLocalSizeBytes = 3,
  kNumRegs = 4,
  kPtxVersion = 5,
  kBinaryVersion = 6,
  kMaxDynamicSharedSizeBytes = 8,
  kPreferredSharedMemoryCarveout = 9,
};

enum class PointerAttribute : int {
  kContext = 1,
  kMemoryType = 2,
  kDevicePointer = 3,
  kHostPointer = 4,
  kSyncMemops = 6,
  kBufferId = 7,
  kIsManaged = 8,
  kDeviceOrdinal = 9,
  kIsLegacyIpcCapable = 10,
  kRangeStartAddr = 11,
  kRangeSize = 12,
  kMapped = 13,
  kAllowedHandleTypes = 14,
  kIsGpuDirectRdmaCapable = 15,
  kAccessFlags = 16,
  kMappingSize = 18,
  kMappingBaseAddr = 19,
};
enum class MemoryType : unsigned { kHost = 1, kDevice = 2, kArray = 3, kUnified = 4 };

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventBlockingSync = 1;
inline constexpr unsigned kEventDisableTiming = 2;
inline constexpr unsigned kEventInterprocess = 4;
inline constexpr unsigned kEventWaitExternal = 1;
inline constexpr unsigned kEventRecordExternal = 1;
inline constexpr unsigned kHostAllocPortable = 1;
inline constexpr unsigned kHostAllocDeviceMap = 2;
inline constexpr unsigned kHostAllocWriteCombined = 4;
inline constexpr unsigned kHostRegisterPortable = 1;
inline constexpr unsigned kHostRegisterDeviceMap = 2;
inline constexpr unsigned kHostRegisterIoMemory = 4;
inline constexpr unsigned kHostRegisterReadOnly = 8;
inline constexpr unsigned kIpcLazyEnablePeerAccess = 1;
inline constexpr unsigned kMemAttachGlobal = 1;

inline constexpr unsigned kWaitGeq = 0;
inline constexpr unsigned kWaitEq = 1;
inline constexpr unsigned kWaitAnd = 2;
inline constexpr unsigned kWaitNor = 3;
inline constexpr unsigned kWaitFlush = 1U << 30;
inline constexpr unsigned kWriteDefault = 0;
inline constexpr unsigned kWriteNoMemoryBarrier = 1;

enum class HandleType : int { kNone = 0, kPosixFileDescriptor = 1, kFabric = 8 };
enum class AccessFlags : int { kNone = 0, kRead = 1, kReadWrite = 3 };
enum class LocationType : int { kInvalid = 0, kDevice = 1, kHost = 2, kHostNuma = 3 };
enum class AllocationType : int { kInvalid = 0, kPinned = 1, kManaged = 2 };
enum class Granularity : int { kMinimum = 0, kRecommended = 1 };
enum class RangeHandleType : int { kDmaBufFd = 1 };

struct Location {
  LocationType type;
  int id;
};
struct AllocationProperties {
  AllocationType type;
  HandleType requested_handle_types;
  Location location;
  void* win32_meta_data;
  unsigned char compression_type;
  unsigned char gpu_direct_rdma_capable;
  unsigned short usage;
  unsigned char reserved[4];
};
struct AccessDescriptor {
  Location location;
  AccessFlags flags;
};
struct MulticastProperties {
  unsigned device_count;
  size_t size;
  unsigned long long handle_types;
  unsigned long long flags;
};
struct Uuid {
  char bytes[16];
};
struct IpcMemHandle {
  char reserved[64];
};
struct IpcEventHandle {
  char reserved[64];
};

enum class CaptureMode : int { kGlobal = 0, kThreadLocal = 1, kRelaxed = 2 };
enum class CaptureStatus : int { kNone = 0, kActive = 1, kInvalidated = 2 };
struct GraphEdge {
  unsigned char from_port;
  unsigned char to_port;
  unsigned char type;
  unsigned char reserved[5];
};

enum class MemOp : int {
  kWait32 = 1,
  kWrite32 = 2,
  kFlushRemoteWrites = 3,
  kWait64 = 4,
  kWrite64 = 5,
  kBarrier = 6,
};
union BatchMemOp {
  MemOp operation;
  struct Value {  // of waits and writes
    MemOp operation;
    DevicePtr address;
    union {
      uint32_t value32;
      uint64_t value64;
    };
    unsigned flags;
    DevicePtr alias;
  } value;
  struct Plain {  // of barriers and flushes
    MemOp operation;
    unsigned flags;
  } plain;
  uint64_t pad[6];
};

enum class LaunchAttributeId : int {
  kIgnore = 0,
  kCooperative = 2,
  kClusterDimension = 4,
  kClusterSchedulingPolicyPreference = 5,
  kProgrammaticStreamSerialization = 6,
  kPriority = 8,
  kMemSyncDomainMap = 9,
  kMemSyncDomain = 10,
  kPreferredSharedMemoryCarveout = 14,
};
struct LaunchAttribute {
  LaunchAttributeId id;
  char pad[4];
  union Value {
    char pad[64];
    int cooperative;
    struct {
      unsigned x, y, z;
    } cluster;
    int priority;
  } value;
};
static_assert(sizeof(LaunchAttribute) == 72 && sizeof(BatchMemOp) == 48);
struct LaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  Stream stream;
  LaunchAttribute* attributes;
  unsigned attribute_count;
};
// For the `extra` parameter of launches.
inline void* const kLaunchParamEnd = nullptr;
inline void* const kLaunchParamBufferPointer = reinterpret_cast<void*>(0x1);
inline void* const kLaunchParamBufferSize = reinterpret_cast<void*>(0x2);

inline constexpr uint64_t kProcAddressPerThreadStream = 2;
enum class ProcAddressQuery : int { kSuccess = 0, kSymbolNotFound = 1, kVersionNotSufficient = 2 };

}  // namespace tutti::cuda
