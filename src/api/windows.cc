// SPDX-License-Identifier: Apache-2.0
// Memory, registration, windows and signals of the C API.
#include <memory>

#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/comm/group.h"
#include "src/device/device.h"

namespace tutti::api {
namespace {

using comm::Communicator;

// Registered memory needs nothing more on a host: regions of tuttiMemAlloc are found by address.
struct Registration {
  const Communicator* comm = nullptr;
  void* buff = nullptr;
  size_t bytes = 0;
};

void require_zero(unsigned value, const char* name) {
  if (value != 0) refuse(std::string(name) + " is " + std::to_string(value) + "; it must be 0");
}

void require_signal(int index) {
  if (index >= 0 && index < TUTTI_SIGNALS_PER_PEER) return;
  refuse("sigIdx is " + std::to_string(index) + "; allowed are 0 to " +
         std::to_string(TUTTI_SIGNALS_PER_PEER - 1));
}

void require_window_of(const comm::Window& window, const Communicator& comm) {
  if (window.comm_id() != comm.comm_id() || window.rank() != comm.rank()) {
    refuse("the window belongs to another communicator; it must have been registered with comm");
  }
}

struct Put {
  const void* data;
  size_t count;
  const tuttiDataType_t& datatype;
  tuttiWindow_t window;
  size_t offset;
};

// The bytes of the put, once everything about it is in order.
size_t check_put(const Put& put, int peer, const Communicator& comm) {
  if (put.window == nullptr) refuse("peerWin is NULL; it must come from tuttiCommWindowRegister");
  require_window_of(*put.window->window, comm);
  const size_t elem_bytes = size_of(dtype_of(put.datatype));
  check_buffer(
      {.name = "localbuff", .base = put.data, .elem_bytes = elem_bytes, .count = put.count});
  const size_t bytes = put.count * elem_bytes;
  const size_t room = put.window->window->bytes_of(peer);
  if (put.offset > room || bytes > room - put.offset) {
    refuse("peerWinOffset is " + std::to_string(put.offset) + " and the data has " +
           std::to_string(bytes) + " bytes; the window of rank " + std::to_string(peer) + " has " +
           std::to_string(room));
  }
  return bytes;
}

// A collective set-up call that a thread with several ranks must put into a group.
void set_up(Communicator& comm, std::function<void()> job) {
  comm.team().claim();
  if (!comm::Group::current().active()) comm::check_not_crowded(comm);
  comm::Group::current().set_up(&comm, std::move(job));
}

void deregister(const std::shared_ptr<Communicator>& comm, tuttiWindow_t win) {
  comm::run_now(*comm, comm::CollectiveCall{
                           .name = "CommWindowDeregister"});  // a barrier: nobody writes any more
  delete win;
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace
using tutti::comm::Communicator;

tuttiResult_t tuttiMemAlloc(void** ptr, size_t bytes) {
  return guard("tuttiMemAlloc", [&] {
    require(ptr, "ptr");
    *ptr = nullptr;
    if (bytes > PTRDIFF_MAX)
      refuse("bytes is " + std::to_string(bytes) + "; that is more than fits in memory");
    if (bytes != 0) *ptr = tutti::device::allocate_shared(bytes);
  });
}

tuttiResult_t tuttiMemFree(void* ptr) {
  return guard("tuttiMemFree", [&] {
    if (ptr != nullptr) tutti::device::free_shared(ptr);
  });
}

tuttiResult_t tuttiCommRegister(const tuttiComm_t comm, void* buff, size_t bytes, void** handle) {
  return guard("tuttiCommRegister", [&] {
    const Communicator& c = open_comm(comm);
    require(handle, "handle");
    if (bytes != 0) require(buff, "buff");
    *handle = std::make_unique<Registration>(Registration{&c, buff, bytes}).release();
  });
}

tuttiResult_t tuttiCommDeregister(const tuttiComm_t comm, void* handle) {
  return guard("tuttiCommDeregister", [&] {
    if (comm == nullptr) refuse("comm is NULL; it must be the communicator of the registration");
    require(handle, "handle");
    auto* registration = static_cast<Registration*>(handle);
    if (registration->comm != &comm->ready()) refuse("handle belongs to another communicator");
    delete registration;
  });
}

tuttiResult_t tuttiCommWindowRegister(tuttiComm_t comm, void* buff, size_t bytes,
                                      tuttiWindow_t* win, int winFlags) {
  return guard_call("tuttiCommWindowRegister", [&] {
    Communicator& c = open_comm(comm);
    require(win, "win");
    if (bytes != 0) require(buff, "buff");
    if ((winFlags & ~TUTTI_WIN_COLL_SYMMETRIC) != 0) {
      refuse("winFlags is " + std::to_string(winFlags) +
             "; allowed are TUTTI_WIN_DEFAULT (0) and TUTTI_WIN_COLL_SYMMETRIC (1)");
    }
    *win = nullptr;
    set_up(c, [=, owner = c.shared_from_this()] {
      *win = std::make_unique<tuttiWindow>(
                 tuttiWindow{tutti::comm::Window::create(*owner, buff, bytes)})
                 .release();
    });
  });
}

tuttiResult_t tuttiCommWindowDeregister(tuttiComm_t comm, tuttiWindow_t win) {
  return guard_call("tuttiCommWindowDeregister", [&] {
    Communicator& c = open_comm(comm);
    if (win == nullptr) refuse("win is NULL; it must come from tuttiCommWindowRegister");
    require_window_of(*win->window, c);
    set_up(c, [win, owner = c.shared_from_this()] { deregister(owner, win); });
  });
}

tuttiResult_t tuttiPutSignal(const void* localbuff, size_t count, tuttiDataType_t datatype,
                             int peer, tuttiWindow_t peerWin, size_t peerWinOffset, int sigIdx,
                             int ctx, unsigned int flags, tuttiComm_t comm, tuttiStream_t stream) {
  return guard_call("tuttiPutSignal", [&] {
    Communicator& c = open_comm(comm);
    require_rank(peer, c.n_ranks(), "peer");
    require_signal(sigIdx);
    require_zero(static_cast<unsigned>(ctx), "ctx");
    require_zero(flags, "flags");
    const size_t bytes = check_put({localbuff, count, datatype, peerWin, peerWinOffset}, peer, c);
    tutti::comm::issue(c,
                       tutti::comm::SignalCall{.name = "PutSignal",
                                               .peer = peer,
                                               .signal = sigIdx,
                                               .data = localbuff,
                                               .bytes = bytes,
                                               .offset = peerWinOffset,
                                               .window = peerWin->window},
                       stream);
  });
}

tuttiResult_t tuttiSignal(int peer, int sigIdx, int ctx, unsigned int flags, tuttiComm_t comm,
                          tuttiStream_t stream) {
  return guard_call("tuttiSignal", [&] {
    Communicator& c = open_comm(comm);
    require_rank(peer, c.n_ranks(), "peer");
    require_signal(sigIdx);
    require_zero(static_cast<unsigned>(ctx), "ctx");
    require_zero(flags, "flags");
    tutti::comm::issue(c, tutti::comm::SignalCall{.name = "Signal", .peer = peer, .signal = sigIdx},
                       stream);
  });
}

tuttiResult_t tuttiWaitSignal(int nDesc, tuttiWaitSignalDesc_t* signalDescs, tuttiComm_t comm,
                              tuttiStream_t stream) {
  return guard_call("tuttiWaitSignal", [&] {
    Communicator& c = open_comm(comm);
    if (nDesc < 0) refuse("nDesc is " + std::to_string(nDesc) + "; it must not be negative");
    if (nDesc > 0) require(signalDescs, "signalDescs");
    tutti::comm::WaitCall call;
    for (int i = 0; i < nDesc; ++i) {
      const tuttiWaitSignalDesc_t& d = signalDescs[i];
      require_rank(d.peer, c.n_ranks(), "peer");
      require_signal(d.sigIdx);
      require_zero(static_cast<unsigned>(d.ctx), "ctx");
      if (d.opCnt < 0) refuse("opCnt is " + std::to_string(d.opCnt) + "; it must not be negative");
      call.targets.push_back({d.peer, d.sigIdx, static_cast<uint64_t>(d.opCnt)});
    }
    tutti::comm::issue(c, std::move(call), stream);
  });
}
