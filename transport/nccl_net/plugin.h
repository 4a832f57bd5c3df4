// SPDX-License-Identifier: Apache-2.0
// A net plugin, whatever the version of its interface: what the rest of this folder calls.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "src/base/shared_library.h"
#include "transport/nccl_net/abi.h"

namespace tutti::transport::nccl_net {

// Of a listening comm, for the peer; connecting changes the copy that it uses.
using Handle = std::array<std::byte, abi::kHandleBytes>;

struct Device {
  std::string name;
  int speed_mbps = 0;
  bool host_memory = false;
  int max_comms = 0;
};

// Calls return false when the plugin reports an error; last_error() has its words. What can't be
// done yet leaves its result null and returns true.
class Plugin {
 public:
  virtual ~Plugin() = default;
  Plugin(const Plugin&) = delete;
  Plugin& operator=(const Plugin&) = delete;

  virtual int version() const noexcept = 0;
  virtual std::string name() const = 0;
  virtual bool init(uint64_t comm_id) = 0;
  virtual void finalize() noexcept = 0;
  virtual bool devices(int* n) = 0;
  virtual bool device(int index, Device* device) = 0;

  virtual bool listen(int device, Handle* handle, void** comm) noexcept = 0;
  virtual bool connect(int device, Handle* handle, void** comm) noexcept = 0;
  virtual bool accept(void* listening, void** comm) noexcept = 0;
  virtual bool register_memory(void* comm, std::byte* data, size_t bytes,
                               void** memory) noexcept = 0;
  virtual void deregister_memory(void* comm, void* memory) noexcept = 0;
  virtual bool send(void* comm, std::byte* data, size_t bytes, void* memory,
                    void** request) noexcept = 0;
  virtual bool receive(void* comm, std::byte* data, size_t bytes, void* memory,
                       void** request) noexcept = 0;
  virtual bool test(void* request, bool* done, size_t* bytes) noexcept = 0;
  virtual void close_send(void* comm) noexcept = 0;
  virtual void close_receive(void* comm) noexcept = 0;
  virtual void close_listen(void* comm) noexcept = 0;

  // "isend: system error (2)"
  std::string last_error() const;
  // It blamed the peer: there is nobody at that handle.
  bool remote_error() const noexcept { return result_ == 6; }

 protected:
  Plugin() = default;
  bool check(const char* function, abi::Result result) noexcept {
    if (result == 0) return true;
    failed_ = function;
    result_ = result;
    return false;
  }

 private:
  const char* failed_ = "";  // a literal
  abi::Result result_ = 0;
};

// The newest interface, of those that we speak, that the library exports; null when it has none.
// One object per rank and communicator; `library` outlives it.
std::unique_ptr<Plugin> adapt(SharedLibrary& library);

}  // namespace tutti::transport::nccl_net
