// SPDX-License-Identifier: Apache-2.0
// Memory, registration, windows and signals of the C API.
#include <memory>

#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/comm/group.h"
#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/user_memory.h"
#include "src/device/device.h"

namespace tutti::api {
namespace {

using comm::Communicator;

// Registered memory needs nothing more on a host: regions of tuttiMemAlloc are found by address.
struct Registration {
  uint64_t comm_id;
  int rank;
};
struct RegistrationSlot {  // as those of handles.h
  using Value = Registration;
  static constexpr HandleKind kKind{"registration", "tuttiCommRegister"};
  std::atomic<Resource<Value>*> resource{nullptr};
  std::atomic<int32_t> pid{0};
};
using Registrations = Handles<RegistrationSlot>;
using Windows = Handles<tuttiWindow>;

void require_zero(int64_t value, const char* name) {
  if (value != 0) refuse(std::string(name) + " is " + std::to_string(value) + "; it must be 0");
}

void require_signal(int index) {
  if (index >= 0 && index < TUTTI_SIGNALS_PER_PEER) return;
  refuse("sigIdx is " + std::to_string(index) + "; allowed are 0 to " +
         std::to_string(TUTTI_SIGNALS_PER_PEER - 1));
}

struct Put {
  const void* data;
  size_t count;
  const tuttiDataType_t& datatype;
  const comm::Window& window;
  size_t offset;
};

// The bytes of the put, once everything about it is in order.
size_t check_put(const Put& put, int peer) {
  const size_t elem_bytes = size_of(dtype_of(put.datatype));
  check_buffer(
      {.name = "localbuff", .base = put.data, .elem_bytes = elem_bytes, .count = put.count});
  const size_t bytes = put.count * elem_bytes;
  const size_t room = put.window.bytes_of(peer);
  if (put.offset > room || bytes > room - put.offset) {
    refuse("peerWinOffset is " + std::to_string(put.offset) + " and the data has " +
           std::to_string(bytes) + " bytes; the window of rank " + std::to_string(peer) + " has " +
           std::to_string(room));
  }
  return bytes;
}

void* allocate(size_t bytes, int device) {
  if (bytes > PTRDIFF_MAX)
    refuse("bytes is " + std::to_string(bytes) + "; that is more than fits in memory");
  if (bytes == 0) return nullptr;
  if (device == TUTTI_DEVICE_CURRENT) device = cuda::current_device();
  if (device >= 0) return cuda::allocate_for_user(device, bytes);
  if (device == TUTTI_DEVICE_HOST) return device::allocate_shared(bytes);
  refuse("device is " + std::to_string(device) +
         "; allowed are the number of a GPU, TUTTI_DEVICE_HOST (-1) and TUTTI_DEVICE_CURRENT (-2)");
}

// The driver is asked only about what is neither: programs on memory of the host need not start it.
void free_memory(void* ptr) {
  if (ptr == nullptr || cuda::free_for_user(ptr)) return;
  try {
    device::free_shared(ptr);
  } catch (const Error&) {
    const cuda::PointerFacts facts = cuda::classify(ptr);
    if (facts.kind != cuda::PointerKind::kDevice) throw;
    refuse("ptr is memory of CUDA device " + std::to_string(facts.device) +
           ", but not the start of memory from tuttiMemAllocDevice that has not been freed; free "
           "it by what has allocated it");
  }
}

void deregister(Communicator& comm, tuttiWindow_t win) {
  window_of(win, "win", comm);  // a group may name one twice
  // A barrier: nobody writes any more.
  comm::run_now(comm, comm::CollectiveCall{.name = "CommWindowDeregister"});
  Windows::take(win, "win");
}

}  // namespace

const std::shared_ptr<comm::Window>& window_of(tuttiWindow_t win, const char* name,
                                               const Communicator& comm) {
  const std::shared_ptr<comm::Window>& window = Windows::find(win, name).window;
  if (window->comm_id() != comm.comm_id() || window->rank() != comm.rank()) {
    refuse(std::string(name) +
           " belongs to another communicator; it must have been registered with comm");
  }
  return window;
}

}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace
using tutti::comm::Communicator;

tuttiResult_t tuttiMemAlloc(void** ptr, size_t bytes) {
  return guard("tuttiMemAlloc", [&] {
    require(ptr, "ptr");
    *ptr = nullptr;
    *ptr = allocate(bytes, TUTTI_DEVICE_HOST);
  });
}

tuttiResult_t tuttiMemAllocDevice(void** ptr, size_t bytes, int device) {
  return guard("tuttiMemAllocDevice", [&] {
    require(ptr, "ptr");
    *ptr = nullptr;
    *ptr = allocate(bytes, device);
  });
}

tuttiResult_t tuttiMemFree(void* ptr) {
  return guard("tuttiMemFree", [&] { free_memory(ptr); });
}

tuttiResult_t tuttiCommRegister(const tuttiComm_t comm, void* buff, size_t bytes, void** handle) {
  return guard("tuttiCommRegister", [&] {
    const Communicator& c = open_comm(comm);
    require(handle, "handle");
    *handle = nullptr;
    if (bytes != 0) require(buff, "buff");
    *handle = Registrations::publish(Registrations::make(c.comm_id(), c.rank()));
  });
}

tuttiResult_t tuttiCommDeregister(const tuttiComm_t comm, void* handle) {
  return guard("tuttiCommDeregister", [&] {
    const Communicator& c = Handles<tuttiComm>::find(comm, "comm").ready();
    auto* slot = static_cast<RegistrationSlot*>(handle);
    const Registration& registration = Registrations::find(slot, "handle");
    if (registration.comm_id != c.comm_id() || registration.rank != c.rank())
      refuse("handle belongs to another communicator; it must have been registered with comm");
    Registrations::take(slot, "handle");
  });
}

tuttiResult_t tuttiCommWindowRegister(tuttiComm_t comm, void* buff, size_t bytes,
                                      tuttiWindow_t* win, int winFlags) {
  return guard_call("tuttiCommWindowRegister", [&] {
    Communicator& c = open_comm(comm);
    require_host(c, "windows");
    require(win, "win");
    if (bytes != 0) require(buff, "buff");
    if ((winFlags & ~TUTTI_WIN_COLL_SYMMETRIC) != 0) {
      refuse("winFlags is " + std::to_string(winFlags) +
             "; allowed are TUTTI_WIN_DEFAULT (0) and TUTTI_WIN_COLL_SYMMETRIC (1)");
    }
    *win = nullptr;
    set_up(c, [=, owner = c.shared_from_this()] {
      *win = Windows::publish(Windows::make(tutti::comm::Window::create(*owner, buff, bytes)));
    });
  });
}

tuttiResult_t tuttiCommWindowDeregister(tuttiComm_t comm, tuttiWindow_t win) {
  return guard_call("tuttiCommWindowDeregister", [&] {
    Communicator& c = Handles<tuttiComm>::find(comm, "comm").ready();
    window_of(win, "win", c);
    if (!c.health().open()) {  // finalized or broken: no more barriers, and no more puts of ours
      Windows::take(win, "win");
      return;
    }
    set_up(c, [win, owner = c.shared_from_this()] { deregister(*owner, win); });
  });
}

tuttiResult_t tuttiPutSignal(const void* localbuff, size_t count, tuttiDataType_t datatype,
                             int peer, tuttiWindow_t peerWin, size_t peerWinOffset, int sigIdx,
                             int ctx, unsigned int flags, tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiPutSignal", [&] {
    Communicator& c = open_comm(comm);
    require_host(c, "signals");
    require_rank(peer, c.n_ranks(), "peer");
    require_signal(sigIdx);
    require_zero(ctx, "ctx");
    require_zero(flags, "flags");
    const std::shared_ptr<tutti::comm::Window>& window = window_of(peerWin, "peerWin", c);
    const size_t bytes = check_put({localbuff, count, datatype, *window, peerWinOffset}, peer);
    tutti::comm::issue(c,
                       tutti::comm::SignalCall{.name = "PutSignal",
                                               .peer = peer,
                                               .signal = sigIdx,
                                               .data = localbuff,
                                               .bytes = bytes,
                                               .offset = peerWinOffset,
                                               .window = window},
                       stream_of(stream));
  });
}

tuttiResult_t tuttiSignal(int peer, int sigIdx, int ctx, unsigned int flags, tuttiComm_t comm,
                          tuttiStream_t stream) {
  return guard_call("tuttiSignal", [&] {
    Communicator& c = open_comm(comm);
    require_host(c, "signals");
    require_rank(peer, c.n_ranks(), "peer");
    require_signal(sigIdx);
    require_zero(ctx, "ctx");
    require_zero(flags, "flags");
    tutti::comm::issue(c, tutti::comm::SignalCall{.name = "Signal", .peer = peer, .signal = sigIdx},
                       stream_of(stream));
  });
}

tuttiResult_t tuttiWaitSignal(int nDesc, tuttiWaitSignalDesc_t* signalDescs, tuttiComm_t comm,
                              tuttiStream_t stream) {
  return guard_call("tuttiWaitSignal", [&] {
    Communicator& c = open_comm(comm);
    require_host(c, "signals");
    if (nDesc < 0) refuse("nDesc is " + std::to_string(nDesc) + "; it must not be negative");
    if (nDesc > 0) require(signalDescs, "signalDescs");
    tutti::comm::WaitCall call;
    for (int i = 0; i < nDesc; ++i) {
      const tuttiWaitSignalDesc_t& d = signalDescs[i];
      require_rank(d.peer, c.n_ranks(), "peer");
      require_signal(d.sigIdx);
      require_zero(d.ctx, "ctx");
      if (d.opCnt < 0) refuse("opCnt is " + std::to_string(d.opCnt) + "; it must not be negative");
      call.targets.push_back({d.peer, d.sigIdx, static_cast<uint64_t>(d.opCnt)});
    }
    tutti::comm::issue(c, std::move(call), stream_of(stream));
  });
}
