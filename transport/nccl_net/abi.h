// SPDX-License-Identifier: Apache-2.0
// The binary interface of NCCL's net plugins, versions 6 to 12: a plugin exports ncclNetPlugin_vN,
// a table of functions. Written down from the public description of that interface; only what the
// layout needs is here. Facts that matter to a caller:
//
// - Functions return 0 or an error code. Nothing blocks: connect and accept may leave the comm
// null,
//   isend and irecv the request, which means "again later".
// - A comm carries one way, from who connected to who accepted. Sends and receives match in the
//   order in which they were posted; a receive has at least the size of its send.
// - The handle that listen fills is opaque and travels to the peer; connect keeps its state in the
//   caller's copy of it, so all tries of one connect use the same copy.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::transport::nccl_net::abi {

inline constexpr int kOldest = 6;
inline constexpr int kNewest = 12;
inline constexpr size_t kHandleBytes = 128;
inline constexpr int kHostPointer = 1;
inline constexpr int kTrafficClassUndefined = -1;

using Result = int;
enum LogLevel : int { kLogNone, kLogVersion, kLogWarn, kLogInfo, kLogAbort, kLogTrace };
using Logger = void (*)(LogLevel level, unsigned long flags, const char* file, int line,
                        const char* format, ...);
using ProfilerCallback = Result (*)(void** event, int type, void* parent, int64_t plugin,
                                    void* data);

// For work that a GPU does; none is asked for.
struct DeviceHandle {
  int type;
  int version;
  void* handle;
  size_t bytes;
  int needs_proxy;
};
struct CommConfig {
  int traffic_class;
};
template <int kDevices>
struct VirtualDevice {
  int n_devices;
  int devices[kDevices];
};

struct PropertiesV6 {
  char* name;
  char* pci_path;
  uint64_t guid;
  int pointer_support;
  int speed_mbps;
  int port;
  float latency_us;
  int max_comms;
  int max_receives;
};
struct PropertiesV7 {
  char* name;
  char* pci_path;
  uint64_t guid;
  int pointer_support;
  int speed_mbps;
  int port;
  float latency_us;
  int max_comms;
  int max_receives;
  int device_type;
  int device_version;
};
struct PropertiesV8 {
  char* name;
  char* pci_path;
  uint64_t guid;
  int pointer_support;
  int registration_is_global;
  int speed_mbps;
  int port;
  float latency_us;
  int max_comms;
  int max_receives;
  int device_type;
  int device_version;
};
struct PropertiesV9 {
  char* name;
  char* pci_path;
  uint64_t guid;
  int pointer_support;
  int registration_is_global;
  int force_flush;
  int speed_mbps;
  int port;
  float latency_us;
  int max_comms;
  int max_receives;
  int device_type;
  int device_version;
  VirtualDevice<4> made_of;
  size_t max_p2p_bytes;
  size_t max_collective_bytes;
};
using PropertiesV10 = PropertiesV9;
struct PropertiesV11 {
  char* name;
  char* pci_path;
  uint64_t guid;
  int pointer_support;
  int registration_is_global;
  int force_flush;
  int speed_mbps;
  int port;
  float latency_us;
  int max_comms;
  int max_receives;
  int device_type;
  int device_version;
  VirtualDevice<4> made_of;
  size_t max_p2p_bytes;
  size_t max_collective_bytes;
  int max_requests_of_one;
};
struct PropertiesV12 {
  char* name;
  char* pci_path;
  uint64_t guid;
  int pointer_support;
  int registration_is_global;
  int force_flush;
  int speed_mbps;
  int port;
  float latency_us;
  int max_comms;
  int max_receives;
  int device_type;
  int device_version;
  VirtualDevice<8> made_of;
  size_t max_p2p_bytes;
  size_t max_collective_bytes;
  int max_requests_of_one;
  int16_t rail;
  int16_t plane;
};
static_assert(sizeof(PropertiesV6) == 48 && sizeof(PropertiesV7) == 56 &&
              sizeof(PropertiesV8) == 64 && sizeof(PropertiesV9) == 104 &&
              sizeof(PropertiesV11) == 112 && sizeof(PropertiesV12) == 128);
static_assert(offsetof(PropertiesV9, max_p2p_bytes) == 88 &&
              offsetof(PropertiesV12, max_p2p_bytes) == 104);

struct NetV6 {
  using Properties = PropertiesV6;
  const char* name;
  Result (*init)(Logger logger);
  Result (*devices)(int* n);
  Result (*properties)(int device, PropertiesV6* properties);
  Result (*listen)(int device, void* handle, void** listen_comm);
  Result (*connect)(int device, void* handle, void** send_comm);
  Result (*accept)(void* listen_comm, void** recv_comm);
  Result (*reg_mr)(void* comm, void* data, int bytes, int pointer, void** memory);
  Result (*reg_mr_dma_buf)(void* comm, void* data, size_t bytes, int pointer, uint64_t offset,
                           int fd, void** memory);
  Result (*dereg_mr)(void* comm, void* memory);
  Result (*isend)(void* comm, void* data, int bytes, int tag, void* memory, void** request);
  Result (*irecv)(void* comm, int n, void** data, int* bytes, int* tags, void** memory,
                  void** request);
  Result (*iflush)(void* comm, int n, void** data, int* bytes, void** memory, void** request);
  Result (*test)(void* request, int* done, int* bytes);
  Result (*close_send)(void* comm);
  Result (*close_recv)(void* comm);
  Result (*close_listen)(void* comm);
};

struct NetV7 {
  using Properties = PropertiesV7;
  const char* name;
  Result (*init)(Logger logger);
  Result (*devices)(int* n);
  Result (*properties)(int device, PropertiesV7* properties);
  Result (*listen)(int device, void* handle, void** listen_comm);
  Result (*connect)(int device, void* handle, void** send_comm, DeviceHandle** device_comm);
  Result (*accept)(void* listen_comm, void** recv_comm, DeviceHandle** device_comm);
  Result (*reg_mr)(void* comm, void* data, int bytes, int pointer, void** memory);
  Result (*reg_mr_dma_buf)(void* comm, void* data, size_t bytes, int pointer, uint64_t offset,
                           int fd, void** memory);
  Result (*dereg_mr)(void* comm, void* memory);
  Result (*isend)(void* comm, void* data, int bytes, int tag, void* memory, void** request);
  Result (*irecv)(void* comm, int n, void** data, int* bytes, int* tags, void** memory,
                  void** request);
  Result (*iflush)(void* comm, int n, void** data, int* bytes, void** memory, void** request);
  Result (*test)(void* request, int* done, int* bytes);
  Result (*close_send)(void* comm);
  Result (*close_recv)(void* comm);
  Result (*close_listen)(void* comm);
  Result (*device_memory)(void* comm, void* memory, void** device);
  Result (*irecv_consumed)(void* comm, int n, void* request);
};

struct NetV8 {
  using Properties = PropertiesV8;
  const char* name;
  Result (*init)(Logger logger);
  Result (*devices)(int* n);
  Result (*properties)(int device, PropertiesV8* properties);
  Result (*listen)(int device, void* handle, void** listen_comm);
  Result (*connect)(int device, void* handle, void** send_comm, DeviceHandle** device_comm);
  Result (*accept)(void* listen_comm, void** recv_comm, DeviceHandle** device_comm);
  Result (*reg_mr)(void* comm, void* data, size_t bytes, int pointer, void** memory);
  Result (*reg_mr_dma_buf)(void* comm, void* data, size_t bytes, int pointer, uint64_t offset,
                           int fd, void** memory);
  Result (*dereg_mr)(void* comm, void* memory);
  Result (*isend)(void* comm, void* data, int bytes, int tag, void* memory, void** request);
  Result (*irecv)(void* comm, int n, void** data, int* bytes, int* tags, void** memory,
                  void** request);
  Result (*iflush)(void* comm, int n, void** data, int* bytes, void** memory, void** request);
  Result (*test)(void* request, int* done, int* bytes);
  Result (*close_send)(void* comm);
  Result (*close_recv)(void* comm);
  Result (*close_listen)(void* comm);
  Result (*device_memory)(void* comm, void* memory, void** device);
  Result (*irecv_consumed)(void* comm, int n, void* request);
};

struct NetV9 {
  using Properties = PropertiesV9;
  const char* name;
  Result (*init)(Logger logger);
  Result (*devices)(int* n);
  Result (*properties)(int device, PropertiesV9* properties);
  Result (*listen)(int device, void* handle, void** listen_comm);
  Result (*connect)(int device, void* handle, void** send_comm, DeviceHandle** device_comm);
  Result (*accept)(void* listen_comm, void** recv_comm, DeviceHandle** device_comm);
  Result (*reg_mr)(void* comm, void* data, size_t bytes, int pointer, void** memory);
  Result (*reg_mr_dma_buf)(void* comm, void* data, size_t bytes, int pointer, uint64_t offset,
                           int fd, void** memory);
  Result (*dereg_mr)(void* comm, void* memory);
  Result (*isend)(void* comm, void* data, size_t bytes, int tag, void* memory, void** request);
  Result (*irecv)(void* comm, int n, void** data, size_t* bytes, int* tags, void** memory,
                  void** request);
  Result (*iflush)(void* comm, int n, void** data, int* bytes, void** memory, void** request);
  Result (*test)(void* request, int* done, int* bytes);
  Result (*close_send)(void* comm);
  Result (*close_recv)(void* comm);
  Result (*close_listen)(void* comm);
  Result (*device_memory)(void* comm, void* memory, void** device);
  Result (*irecv_consumed)(void* comm, int n, void* request);
  Result (*make_virtual)(int* device, void* made_of);
};

struct NetV10 {
  using Properties = PropertiesV10;
  const char* name;
  Result (*init)(Logger logger, ProfilerCallback profiler);
  Result (*devices)(int* n);
  Result (*properties)(int device, PropertiesV10* properties);
  Result (*listen)(int device, void* handle, void** listen_comm);
  Result (*connect)(int device, CommConfig* config, void* handle, void** send_comm,
                    DeviceHandle** device_comm);
  Result (*accept)(void* listen_comm, void** recv_comm, DeviceHandle** device_comm);
  Result (*reg_mr)(void* comm, void* data, size_t bytes, int pointer, void** memory);
  Result (*reg_mr_dma_buf)(void* comm, void* data, size_t bytes, int pointer, uint64_t offset,
                           int fd, void** memory);
  Result (*dereg_mr)(void* comm, void* memory);
  Result (*isend)(void* comm, void* data, size_t bytes, int tag, void* memory, void* parent,
                  void** request);
  Result (*irecv)(void* comm, int n, void** data, size_t* bytes, int* tags, void** memory,
                  void** parents, void** request);
  Result (*iflush)(void* comm, int n, void** data, int* bytes, void** memory, void** request);
  Result (*test)(void* request, int* done, int* bytes);
  Result (*close_send)(void* comm);
  Result (*close_recv)(void* comm);
  Result (*close_listen)(void* comm);
  Result (*device_memory)(void* comm, void* memory, void** device);
  Result (*irecv_consumed)(void* comm, int n, void* request);
  Result (*make_virtual)(int* device, void* made_of);
};

struct NetV11 {
  using Properties = PropertiesV11;
  const char* name;
  Result (*init)(void** context, uint64_t comm_id, CommConfig* config, Logger logger,
                 ProfilerCallback profiler);
  Result (*devices)(int* n);
  Result (*properties)(int device, PropertiesV11* properties);
  Result (*listen)(void* context, int device, void* handle, void** listen_comm);
  Result (*connect)(void* context, int device, void* handle, void** send_comm,
                    DeviceHandle** device_comm);
  Result (*accept)(void* listen_comm, void** recv_comm, DeviceHandle** device_comm);
  Result (*reg_mr)(void* comm, void* data, size_t bytes, int pointer, void** memory);
  Result (*reg_mr_dma_buf)(void* comm, void* data, size_t bytes, int pointer, uint64_t offset,
                           int fd, void** memory);
  Result (*dereg_mr)(void* comm, void* memory);
  Result (*isend)(void* comm, void* data, size_t bytes, int tag, void* memory, void* parent,
                  void** request);
  Result (*irecv)(void* comm, int n, void** data, size_t* bytes, int* tags, void** memory,
                  void** parents, void** request);
  Result (*iflush)(void* comm, int n, void** data, int* bytes, void** memory, void** request);
  Result (*test)(void* request, int* done, int* bytes);
  Result (*close_send)(void* comm);
  Result (*close_recv)(void* comm);
  Result (*close_listen)(void* comm);
  Result (*device_memory)(void* comm, void* memory, void** device);
  Result (*irecv_consumed)(void* comm, int n, void* request);
  Result (*make_virtual)(int* device, void* made_of);
  Result (*finalize)(void* context);
  Result (*set_attributes)(void* context, void* attributes);
};

struct NetV12 {
  using Properties = PropertiesV12;
  const char* name;
  Result (*init)(void** context, uint64_t comm_id, CommConfig* config, Logger logger,
                 ProfilerCallback profiler);
  Result (*devices)(int* n);
  Result (*properties)(int device, PropertiesV12* properties);
  Result (*listen)(void* context, int device, void* handle, void** listen_comm);
  Result (*connect)(void* context, int device, void* handle, void** send_comm,
                    DeviceHandle** device_comm);
  Result (*accept)(void* listen_comm, void** recv_comm, DeviceHandle** device_comm);
  Result (*reg_mr)(void* comm, void* data, size_t bytes, int pointer, void** memory);
  Result (*reg_mr_dma_buf)(void* comm, void* data, size_t bytes, int pointer, uint64_t offset,
                           int fd, void** memory);
  Result (*dereg_mr)(void* comm, void* memory);
  Result (*isend)(void* comm, void* data, size_t bytes, int tag, void* memory, void* parent,
                  void** request);
  Result (*irecv)(void* comm, int n, void** data, size_t* bytes, int* tags, void** memory,
                  void** parents, void** request);
  Result (*iflush)(void* comm, int n, void** data, int* bytes, void** memory, void** request);
  Result (*test)(void* request, int* done, int* bytes);
  Result (*close_send)(void* comm);
  Result (*close_recv)(void* comm);
  Result (*close_listen)(void* comm);
  Result (*device_memory)(void* comm, void* memory, void** device);
  Result (*irecv_consumed)(void* comm, int n, void* request);
  Result (*make_virtual)(int* device, void* made_of);
  Result (*finalize)(void* context);
  Result (*set_attributes)(void* context, void* attributes);
};

static_assert(sizeof(NetV6) == 17 * sizeof(void*) && sizeof(NetV7) == 19 * sizeof(void*) &&
              sizeof(NetV8) == 19 * sizeof(void*) && sizeof(NetV9) == 20 * sizeof(void*) &&
              sizeof(NetV10) == 20 * sizeof(void*) && sizeof(NetV11) == 22 * sizeof(void*) &&
              sizeof(NetV12) == 22 * sizeof(void*));

}  // namespace tutti::transport::nccl_net::abi
