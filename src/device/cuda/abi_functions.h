// SPDX-License-Identifier: Apache-2.0
// The CUDA driver's functions that are used, one row each. Only abi.h includes it.
#pragma once

// X(symbol that libcuda.so.1 exports, name and version for cuGetProcAddress_v2, parameters). Types
// are those of namespace tutti::cuda; every function returns a Result. Where the driver has several
// versions of a function, this is the one that CUDA 13's cuda.h calls, or, where the newest is
// beyond CUDA 12.0, an older one that both have.
#define TUTTI_CUDA_FUNCTIONS(X)   \
  TUTTI_CUDA_DEVICE_FUNCTIONS(X)  \
  TUTTI_CUDA_CONTEXT_FUNCTIONS(X) \
  TUTTI_CUDA_MEMORY_FUNCTIONS(X)  \
  TUTTI_CUDA_SHARING_FUNCTIONS(X) \
  TUTTI_CUDA_COPY_FUNCTIONS(X)    \
  TUTTI_CUDA_STREAM_FUNCTIONS(X)  \
  TUTTI_CUDA_MODULE_FUNCTIONS(X)  \
  TUTTI_CUDA_GRAPH_FUNCTIONS(X)

#define TUTTI_CUDA_DEVICE_FUNCTIONS(X)                                                          \
  X(cuInit, cuInit, 2000, unsigned flags)                                                       \
  X(cuDriverGetVersion, cuDriverGetVersion, 2020, int* version)                                 \
  X(cuGetErrorName, cuGetErrorName, 6000, Result error, const char** text)                      \
  X(cuGetErrorString, cuGetErrorString, 6000, Result error, const char** text)                  \
  X(cuGetProcAddress_v2, cuGetProcAddress, 12000, const char* symbol, void** function,          \
    int version, uint64_t flags, ProcAddressQuery* query)                                       \
  X(cuDeviceGet, cuDeviceGet, 2000, Device* device, int ordinal)                                \
  X(cuDeviceGetCount, cuDeviceGetCount, 2000, int* count)                                       \
  X(cuDeviceGetName, cuDeviceGetName, 2000, char* name, int bytes, Device device)               \
  X(cuDeviceGetUuid_v2, cuDeviceGetUuid, 11040, Uuid* uuid, Device device)                      \
  X(cuDeviceTotalMem_v2, cuDeviceTotalMem, 3020, size_t* bytes, Device device)                  \
  X(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000, int* value, DeviceAttribute attribute,    \
    Device device)                                                                              \
  X(cuDeviceGetPCIBusId, cuDeviceGetPCIBusId, 4010, char* id, int bytes, Device device)         \
  X(cuDeviceGetByPCIBusId, cuDeviceGetByPCIBusId, 4010, Device* device, const char* id)         \
  X(cuDeviceCanAccessPeer, cuDeviceCanAccessPeer, 4000, int* can, Device device, Device peer)   \
  X(cuDeviceGetP2PAttribute, cuDeviceGetP2PAttribute, 8000, int* value, P2pAttribute attribute, \
    Device from, Device to)

#define TUTTI_CUDA_CONTEXT_FUNCTIONS(X)                                                           \
  X(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, Context* context, Device device)    \
  X(cuDevicePrimaryCtxRelease_v2, cuDevicePrimaryCtxRelease, 11000, Device device)                \
  X(cuDevicePrimaryCtxReset_v2, cuDevicePrimaryCtxReset, 11000, Device device)                    \
  X(cuDevicePrimaryCtxSetFlags_v2, cuDevicePrimaryCtxSetFlags, 11000, Device device,              \
    unsigned flags)                                                                               \
  X(cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState, 7000, Device device, unsigned* flags, \
    int* active)                                                                                  \
  X(cuCtxSetCurrent, cuCtxSetCurrent, 4000, Context context)                                      \
  X(cuCtxGetCurrent, cuCtxGetCurrent, 4000, Context* context)                                     \
  X(cuCtxPushCurrent_v2, cuCtxPushCurrent, 4000, Context context)                                 \
  X(cuCtxPopCurrent_v2, cuCtxPopCurrent, 4000, Context* context)                                  \
  X(cuCtxGetDevice, cuCtxGetDevice, 2000, Device* device)                                         \
  X(cuCtxGetFlags, cuCtxGetFlags, 7000, unsigned* flags)                                          \
  X(cuCtxGetId, cuCtxGetId, 12000, Context context, unsigned long long* id)                       \
  X(cuCtxSynchronize, cuCtxSynchronize, 2000, )                                                   \
  X(cuCtxGetStreamPriorityRange, cuCtxGetStreamPriorityRange, 5050, int* least, int* greatest)    \
  X(cuCtxEnablePeerAccess, cuCtxEnablePeerAccess, 4000, Context peer, unsigned flags)             \
  X(cuCtxDisablePeerAccess, cuCtxDisablePeerAccess, 4000, Context peer)

#define TUTTI_CUDA_MEMORY_FUNCTIONS(X)                                                             \
  X(cuMemGetInfo_v2, cuMemGetInfo, 3020, size_t* free_bytes, size_t* total_bytes)                  \
  X(cuMemAlloc_v2, cuMemAlloc, 3020, DevicePtr* pointer, size_t bytes)                             \
  X(cuMemFree_v2, cuMemFree, 3020, DevicePtr pointer)                                              \
  X(cuMemAllocManaged, cuMemAllocManaged, 6000, DevicePtr* pointer, size_t bytes, unsigned flags)  \
  X(cuMemGetAddressRange_v2, cuMemGetAddressRange, 3020, DevicePtr* base, size_t* bytes,           \
    DevicePtr pointer)                                                                             \
  X(cuMemGetHandleForAddressRange, cuMemGetHandleForAddressRange, 11070, void* handle,             \
    DevicePtr pointer, size_t bytes, RangeHandleType type, unsigned long long flags)               \
  X(cuMemAllocHost_v2, cuMemAllocHost, 3020, void** pointer, size_t bytes)                         \
  X(cuMemFreeHost, cuMemFreeHost, 2000, void* pointer)                                             \
  X(cuMemHostAlloc, cuMemHostAlloc, 2020, void** pointer, size_t bytes, unsigned flags)            \
  X(cuMemHostGetDevicePointer_v2, cuMemHostGetDevicePointer, 3020, DevicePtr* pointer, void* host, \
    unsigned flags)                                                                                \
  X(cuMemHostGetFlags, cuMemHostGetFlags, 2030, unsigned* flags, void* host)                       \
  X(cuMemHostRegister_v2, cuMemHostRegister, 6050, void* host, size_t bytes, unsigned flags)       \
  X(cuMemHostUnregister, cuMemHostUnregister, 4000, void* host)                                    \
  X(cuPointerGetAttribute, cuPointerGetAttribute, 4000, void* data, PointerAttribute attribute,    \
    DevicePtr pointer)                                                                             \
  X(cuPointerGetAttributes, cuPointerGetAttributes, 7000, unsigned count,                          \
    PointerAttribute* attributes, void** data, DevicePtr pointer)                                  \
  X(cuPointerSetAttribute, cuPointerSetAttribute, 6000, const void* value,                         \
    PointerAttribute attribute, DevicePtr pointer)

#define TUTTI_CUDA_SHARING_FUNCTIONS(X)                                                         \
  X(cuMemAddressReserve, cuMemAddressReserve, 10020, DevicePtr* pointer, size_t bytes,          \
    size_t alignment, DevicePtr address, unsigned long long flags)                              \
  X(cuMemAddressFree, cuMemAddressFree, 10020, DevicePtr pointer, size_t bytes)                 \
  X(cuMemCreate, cuMemCreate, 10020, AllocationHandle* handle, size_t bytes,                    \
    const AllocationProperties* properties, unsigned long long flags)                           \
  X(cuMemRelease, cuMemRelease, 10020, AllocationHandle handle)                                 \
  X(cuMemMap, cuMemMap, 10020, DevicePtr pointer, size_t bytes, size_t offset,                  \
    AllocationHandle handle, unsigned long long flags)                                          \
  X(cuMemUnmap, cuMemUnmap, 10020, DevicePtr pointer, size_t bytes)                             \
  X(cuMemSetAccess, cuMemSetAccess, 10020, DevicePtr pointer, size_t bytes,                     \
    const AccessDescriptor* descriptors, size_t count)                                          \
  X(cuMemGetAccess, cuMemGetAccess, 10020, unsigned long long* flags, const Location* location, \
    DevicePtr pointer)                                                                          \
  X(cuMemExportToShareableHandle, cuMemExportToShareableHandle, 10020, void* shareable,         \
    AllocationHandle handle, HandleType type, unsigned long long flags)                         \
  X(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle, 10020,                      \
    AllocationHandle* handle, void* shareable, HandleType type)                                 \
  X(cuMemGetAllocationGranularity, cuMemGetAllocationGranularity, 10020, size_t* bytes,         \
    const AllocationProperties* properties, Granularity option)                                 \
  X(cuMemGetAllocationPropertiesFromHandle, cuMemGetAllocationPropertiesFromHandle, 10020,      \
    AllocationProperties* properties, AllocationHandle handle)                                  \
  X(cuMemRetainAllocationHandle, cuMemRetainAllocationHandle, 11000, AllocationHandle* handle,  \
    void* pointer)                                                                              \
  X(cuIpcGetMemHandle, cuIpcGetMemHandle, 4010, IpcMemHandle* handle, DevicePtr pointer)        \
  X(cuIpcOpenMemHandle_v2, cuIpcOpenMemHandle, 11000, DevicePtr* pointer, IpcMemHandle handle,  \
    unsigned flags)                                                                             \
  X(cuIpcCloseMemHandle, cuIpcCloseMemHandle, 4010, DevicePtr pointer)                          \
  X(cuIpcGetEventHandle, cuIpcGetEventHandle, 4010, IpcEventHandle* handle, Event event)        \
  X(cuIpcOpenEventHandle, cuIpcOpenEventHandle, 4010, Event* event, IpcEventHandle handle)      \
  X(cuMulticastCreate, cuMulticastCreate, 12010, AllocationHandle* handle,                      \
    const MulticastProperties* properties)                                                      \
  X(cuMulticastAddDevice, cuMulticastAddDevice, 12010, AllocationHandle handle, Device device)  \
  X(cuMulticastBindMem, cuMulticastBindMem, 12010, AllocationHandle multicast, size_t offset,   \
    AllocationHandle memory, size_t memory_offset, size_t bytes, unsigned long long flags)      \
  X(cuMulticastBindAddr, cuMulticastBindAddr, 12010, AllocationHandle multicast, size_t offset, \
    DevicePtr pointer, size_t bytes, unsigned long long flags)                                  \
  X(cuMulticastUnbind, cuMulticastUnbind, 12010, AllocationHandle multicast, Device device,     \
    size_t offset, size_t bytes)                                                                \
  X(cuMulticastGetGranularity, cuMulticastGetGranularity, 12010, size_t* bytes,                 \
    const MulticastProperties* properties, Granularity option)

#define TUTTI_CUDA_COPY_FUNCTIONS(X)                                                               \
  X(cuMemcpy, cuMemcpy, 4000, DevicePtr to, DevicePtr from, size_t bytes)                          \
  X(cuMemcpyHtoD_v2, cuMemcpyHtoD, 3020, DevicePtr to, const void* from, size_t bytes)             \
  X(cuMemcpyDtoH_v2, cuMemcpyDtoH, 3020, void* to, DevicePtr from, size_t bytes)                   \
  X(cuMemcpyDtoD_v2, cuMemcpyDtoD, 3020, DevicePtr to, DevicePtr from, size_t bytes)               \
  X(cuMemcpyPeer, cuMemcpyPeer, 4000, DevicePtr to, Context to_context, DevicePtr from,            \
    Context from_context, size_t bytes)                                                            \
  X(cuMemcpyAsync, cuMemcpyAsync, 4000, DevicePtr to, DevicePtr from, size_t bytes, Stream stream) \
  X(cuMemcpyHtoDAsync_v2, cuMemcpyHtoDAsync, 3020, DevicePtr to, const void* from, size_t bytes,   \
    Stream stream)                                                                                 \
  X(cuMemcpyDtoHAsync_v2, cuMemcpyDtoHAsync, 3020, void* to, DevicePtr from, size_t bytes,         \
    Stream stream)                                                                                 \
  X(cuMemcpyDtoDAsync_v2, cuMemcpyDtoDAsync, 3020, DevicePtr to, DevicePtr from, size_t bytes,     \
    Stream stream)                                                                                 \
  X(cuMemcpyPeerAsync, cuMemcpyPeerAsync, 4000, DevicePtr to, Context to_context, DevicePtr from,  \
    Context from_context, size_t bytes, Stream stream)                                             \
  X(cuMemsetD8_v2, cuMemsetD8, 3020, DevicePtr to, unsigned char value, size_t count)              \
  X(cuMemsetD16_v2, cuMemsetD16, 3020, DevicePtr to, unsigned short value, size_t count)           \
  X(cuMemsetD32_v2, cuMemsetD32, 3020, DevicePtr to, unsigned value, size_t count)                 \
  X(cuMemsetD8Async, cuMemsetD8Async, 3020, DevicePtr to, unsigned char value, size_t count,       \
    Stream stream)                                                                                 \
  X(cuMemsetD16Async, cuMemsetD16Async, 3020, DevicePtr to, unsigned short value, size_t count,    \
    Stream stream)                                                                                 \
  X(cuMemsetD32Async, cuMemsetD32Async, 3020, DevicePtr to, unsigned value, size_t count,          \
    Stream stream)

#define TUTTI_CUDA_STREAM_FUNCTIONS(X)                                                            \
  X(cuStreamCreate, cuStreamCreate, 2000, Stream* stream, unsigned flags)                         \
  X(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050, Stream* stream, unsigned flags, \
    int priority)                                                                                 \
  X(cuStreamDestroy_v2, cuStreamDestroy, 4000, Stream stream)                                     \
  X(cuStreamGetPriority, cuStreamGetPriority, 5050, Stream stream, int* priority)                 \
  X(cuStreamGetFlags, cuStreamGetFlags, 5050, Stream stream, unsigned* flags)                     \
  X(cuStreamGetId, cuStreamGetId, 12000, Stream stream, unsigned long long* id)                   \
  X(cuStreamGetCtx, cuStreamGetCtx, 9020, Stream stream, Context* context)                        \
  X(cuStreamQuery, cuStreamQuery, 2000, Stream stream)                                            \
  X(cuStreamSynchronize, cuStreamSynchronize, 2000, Stream stream)                                \
  X(cuStreamWaitEvent, cuStreamWaitEvent, 3020, Stream stream, Event event, unsigned flags)       \
  X(cuStreamAddCallback, cuStreamAddCallback, 5000, Stream stream, StreamCallback callback,       \
    void* user, unsigned flags)                                                                   \
  X(cuLaunchHostFunc, cuLaunchHostFunc, 10000, Stream stream, HostFunction function, void* user)  \
  X(cuStreamWaitValue32_v2, cuStreamWaitValue32, 11070, Stream stream, DevicePtr address,         \
    uint32_t value, unsigned flags)                                                               \
  X(cuStreamWaitValue64_v2, cuStreamWaitValue64, 11070, Stream stream, DevicePtr address,         \
    uint64_t value, unsigned flags)                                                               \
  X(cuStreamWriteValue32_v2, cuStreamWriteValue32, 11070, Stream stream, DevicePtr address,       \
    uint32_t value, unsigned flags)                                                               \
  X(cuStreamWriteValue64_v2, cuStreamWriteValue64, 11070, Stream stream, DevicePtr address,       \
    uint64_t value, unsigned flags)                                                               \
  X(cuStreamBatchMemOp_v2, cuStreamBatchMemOp, 11070, Stream stream, unsigned count,              \
    BatchMemOp* operations, unsigned flags)                                                       \
  X(cuStreamBeginCapture_v2, cuStreamBeginCapture, 10010, Stream stream, CaptureMode mode)        \
  X(cuStreamEndCapture, cuStreamEndCapture, 10000, Stream stream, Graph* graph)                   \
  X(cuStreamIsCapturing, cuStreamIsCapturing, 10000, Stream stream, CaptureStatus* status)        \
  X(cuStreamGetCaptureInfo_v2, cuStreamGetCaptureInfo, 11030, Stream stream,                      \
    CaptureStatus* status, uint64_t* id, Graph* graph, const GraphNode** dependencies,            \
    size_t* count)                                                                                \
  X(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, 10010,                  \
    CaptureMode* mode)                                                                            \
  X(cuEventCreate, cuEventCreate, 2000, Event* event, unsigned flags)                             \
  X(cuEventDestroy_v2, cuEventDestroy, 4000, Event event)                                         \
  X(cuEventRecord, cuEventRecord, 2000, Event event, Stream stream)                               \
  X(cuEventRecordWithFlags, cuEventRecordWithFlags, 11010, Event event, Stream stream,            \
    unsigned flags)                                                                               \
  X(cuEventQuery, cuEventQuery, 2000, Event event)                                                \
  X(cuEventSynchronize, cuEventSynchronize, 2000, Event event)                                    \
  X(cuEventElapsedTime, cuEventElapsedTime, 2000, float* ms, Event start, Event end)

#define TUTTI_CUDA_MODULE_FUNCTIONS(X)                                                            \
  X(cuModuleLoadData, cuModuleLoadData, 2000, Module* module, const void* image)                  \
  X(cuModuleLoadDataEx, cuModuleLoadDataEx, 2010, Module* module, const void* image,              \
    unsigned count, int* options, void** values)                                                  \
  X(cuModuleUnload, cuModuleUnload, 2000, Module module)                                          \
  X(cuModuleGetFunction, cuModuleGetFunction, 2000, Function* function, Module module,            \
    const char* name)                                                                             \
  X(cuLibraryLoadData, cuLibraryLoadData, 12000, Library* library, const void* code,              \
    int* jit_options, void** jit_values, unsigned jit_count, int* options, void** values,         \
    unsigned count)                                                                               \
  X(cuLibraryUnload, cuLibraryUnload, 12000, Library library)                                     \
  X(cuLibraryGetKernel, cuLibraryGetKernel, 12000, Kernel* kernel, Library library,               \
    const char* name)                                                                             \
  X(cuLibraryGetModule, cuLibraryGetModule, 12000, Module* module, Library library)               \
  X(cuKernelGetFunction, cuKernelGetFunction, 12000, Function* function, Kernel kernel)           \
  X(cuKernelGetAttribute, cuKernelGetAttribute, 12000, int* value, FunctionAttribute attribute,   \
    Kernel kernel, Device device)                                                                 \
  X(cuKernelSetAttribute, cuKernelSetAttribute, 12000, FunctionAttribute attribute, int value,    \
    Kernel kernel, Device device)                                                                 \
  X(cuFuncGetAttribute, cuFuncGetAttribute, 2020, int* value, FunctionAttribute attribute,        \
    Function function)                                                                            \
  X(cuFuncSetAttribute, cuFuncSetAttribute, 9000, Function function, FunctionAttribute attribute, \
    int value)                                                                                    \
  X(cuFuncGetName, cuFuncGetName, 12030, const char** name, Function function)                    \
  X(cuLaunchKernel, cuLaunchKernel, 4000, Function function, unsigned grid_x, unsigned grid_y,    \
    unsigned grid_z, unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes, \
    Stream stream, void** parameters, void** extra)                                               \
  X(cuLaunchKernelEx, cuLaunchKernelEx, 11060, const LaunchConfig* config, Function function,     \
    void** parameters, void** extra)                                                              \
  X(cuLaunchCooperativeKernel, cuLaunchCooperativeKernel, 9000, Function function,                \
    unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,        \
    unsigned block_z, unsigned shared_bytes, Stream stream, void** parameters)                    \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessor, cuOccupancyMaxActiveBlocksPerMultiprocessor,     \
    6050, int* blocks, Function function, int block_threads, size_t shared_bytes)                 \
  X(cuOccupancyMaxPotentialBlockSize, cuOccupancyMaxPotentialBlockSize, 6050, int* grid_blocks,   \
    int* block_threads, Function function, BlockSizeToShared shared_of, size_t shared_bytes,      \
    int limit)

#define TUTTI_CUDA_GRAPH_FUNCTIONS(X)                                                              \
  X(cuGraphCreate, cuGraphCreate, 10000, Graph* graph, unsigned flags)                             \
  X(cuGraphDestroy, cuGraphDestroy, 10000, Graph graph)                                            \
  X(cuGraphGetNodes, cuGraphGetNodes, 10000, Graph graph, GraphNode* nodes, size_t* count)         \
  X(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags, 11040, GraphExec* exec, Graph graph, \
    unsigned long long flags)                                                                      \
  X(cuGraphUpload, cuGraphUpload, 11010, GraphExec exec, Stream stream)                            \
  X(cuGraphLaunch, cuGraphLaunch, 10000, GraphExec exec, Stream stream)                            \
  X(cuGraphExecDestroy, cuGraphExecDestroy, 10000, GraphExec exec)
