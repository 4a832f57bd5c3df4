// A net plugin of our own making, to test the transport nccl_net: TCP over the loopback, or over
// the interface that TUTTI_TEST_NET_INTERFACE names, with everything that a real one may do and a
// caller must bear. Built once for each version of the interface, by TEST_VERSION; TEST_NO_DEVICE,
// TEST_FAILS_TO_START and TEST_NO_HOST_MEMORY make those that can't be used.
#include <fcntl.h>
#include <ifaddrs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "transport/nccl_net/abi.h"

namespace {

namespace abi = tutti::transport::nccl_net::abi;

constexpr int kOk = 0;
constexpr int kSystemError = 2;
constexpr int kInvalidArgument = 4;
constexpr int kInvalidUsage = 5;
constexpr int kRemoteError = 6;
constexpr size_t kMostRequests = 8;
constexpr size_t kBytesPerCall = 24000;  // of a transfer that one call of test() moves

std::atomic<int> live_objects{0};  // relaxed: read when nothing runs any more
abi::Logger logger = nullptr;

struct Counted {
  Counted() { live_objects.fetch_add(1, std::memory_order_relaxed); }
  ~Counted() { live_objects.fetch_sub(1, std::memory_order_relaxed); }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
};

struct Listening : Counted {
  int fd = -1;
  int asked = 0;
  bool used = false;
};
struct Memory : Counted {
  std::byte* data;
  size_t bytes;
};
struct Comm;
struct Request : Counted {
  Comm* comm = nullptr;
  std::byte* data = nullptr;
  uint32_t bytes = 0;  // to send, or room; once done, what came
  uint32_t length = 0;
  size_t moved = 0;  // of the length's bytes, then of the data's
  bool done = false;
};
struct Comm : Counted {
  int fd = -1;
  bool sends = false;
  unsigned calls = 0;
  std::deque<Request*> queue;      // not done, in order
  std::vector<Request*> untested;  // not tested to the end
  std::vector<Memory*> memory;
};
struct HandleContent {
  sockaddr_in address;
  int fd_plus_1;  // the state of connecting, in the caller's copy
};
static_assert(sizeof(HandleContent) <= abi::kHandleBytes);

int no_delay(int fd) {
  const int one = 1;
  return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

int do_devices(int* n) {
#if defined(TEST_NO_DEVICE)
  *n = 0;
#else
  *n = 1;
#endif
  return kOk;
}

int do_start(abi::Logger with) {
  logger = with;
  logger(abi::kLogInfo, ~0ul, __FILE__, __LINE__, "test plugin %d starts", TEST_VERSION);
#if defined(TEST_FAILS_TO_START)
  logger(abi::kLogWarn, ~0ul, __FILE__, __LINE__, "this one never starts");
  return kSystemError;
#else
  return kOk;
#endif
}

template <typename Properties>
int do_properties(int device, Properties* into) {
  static char name[] = "test0";
  if (device != 0) return kInvalidArgument;
  std::memset(into, 0, sizeof *into);
  into->name = name;
#if defined(TEST_NO_HOST_MEMORY)
  into->pointer_support = 2;
#else
  into->pointer_support = abi::kHostPointer;
#endif
  into->speed_mbps = 1000 + TEST_VERSION;
  into->port = 1;
  into->max_comms = 1024;
  into->max_receives = 1;
#if TEST_VERSION >= 9
  into->max_p2p_bytes = 1u << 30;
#endif
  return kOk;
}

// Of the interface that the environment names; without one, the loopback's. False: it has none.
bool own_address(in_addr* into) {
  const char* const wanted = std::getenv("TUTTI_TEST_NET_INTERFACE");
  into->s_addr = htonl(INADDR_LOOPBACK);
  if (wanted == nullptr) return true;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return false;
  bool found = false;
  for (const ifaddrs* one = all; one != nullptr && !found; one = one->ifa_next) {
    if (std::strcmp(one->ifa_name, wanted) != 0 || one->ifa_addr == nullptr ||
        one->ifa_addr->sa_family != AF_INET)
      continue;
    *into = reinterpret_cast<const sockaddr_in*>(one->ifa_addr)->sin_addr;
    found = true;
  }
  freeifaddrs(all);
  return found;
}

int do_listen(int device, void* handle, void** comm) {
  if (device != 0) return kInvalidArgument;
  auto made = std::make_unique<Listening>();
  made->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  HandleContent content{};
  content.address.sin_family = AF_INET;
  if (!own_address(&content.address.sin_addr)) return kSystemError;
  socklen_t bytes = sizeof content.address;
  auto* const address = reinterpret_cast<sockaddr*>(&content.address);
  if (made->fd < 0 || bind(made->fd, address, bytes) != 0 || listen(made->fd, 1) != 0 ||
      getsockname(made->fd, address, &bytes) != 0) {
    if (made->fd >= 0) close(made->fd);
    return kSystemError;
  }
  std::memcpy(handle, &content, sizeof content);
  *comm = made.release();
  return kOk;
}

// The first call only begins; the comm comes with the second or a later one.
int do_connect(int device, void* handle, void** comm) {
  *comm = nullptr;
  if (device != 0) return kInvalidArgument;
  HandleContent content;
  std::memcpy(&content, handle, sizeof content);
  if (content.fd_plus_1 == 0) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return kSystemError;
    content.fd_plus_1 = fd + 1;
    std::memcpy(handle, &content, sizeof content);
    return kOk;
  }
  const int fd = content.fd_plus_1 - 1;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&content.address), sizeof content.address) !=
      0) {
    if (errno == EINPROGRESS || errno == EALREADY || errno == EAGAIN) return kOk;
    if (errno != EISCONN) {
      close(fd);
      content.fd_plus_1 = 0;
      std::memcpy(handle, &content, sizeof content);
      return kRemoteError;
    }
  }
  auto* const made = new Comm;
  made->fd = fd;
  made->sends = true;
  no_delay(fd);
  *comm = made;
  return kOk;
}

// One connection for each listening comm, and nothing at the first call.
int do_accept(void* listening, void** comm) {
  *comm = nullptr;
  auto* const from = static_cast<Listening*>(listening);
  if (from->used) return kInvalidUsage;
  if (from->asked++ == 0) return kOk;
  const int fd = accept4(from->fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (fd < 0) return errno == EAGAIN || errno == ECONNABORTED ? kOk : kSystemError;
  from->used = true;
  auto* const made = new Comm;
  made->fd = fd;
  no_delay(fd);
  *comm = made;
  return kOk;
}

int do_register(void* comm, void* data, size_t bytes, int pointer, void** memory) {
  if (pointer != abi::kHostPointer || data == nullptr || bytes == 0) return kInvalidArgument;
  auto* const made = new Memory;
  made->data = static_cast<std::byte*>(data);
  made->bytes = bytes;
  static_cast<Comm*>(comm)->memory.push_back(made);
  *memory = made;
  return kOk;
}

int do_deregister(void* comm, void* memory) {
  auto& all = static_cast<Comm*>(comm)->memory;
  const auto found = std::find(all.begin(), all.end(), memory);
  if (found == all.end()) return kInvalidArgument;
  delete *found;
  all.erase(found);
  return kOk;
}

int start(void* comm, void* data, size_t bytes, void* memory, bool sends, void** request) {
  *request = nullptr;
  auto* const on = static_cast<Comm*>(comm);
  const auto* const region = static_cast<Memory*>(memory);
  auto* const begin = static_cast<std::byte*>(data);
  if (on->sends != sends ||
      std::find(on->memory.begin(), on->memory.end(), region) == on->memory.end() ||
      begin < region->data || begin + bytes > region->data + region->bytes)
    return kInvalidArgument;
  if (on->untested.size() >= kMostRequests || ++on->calls % 5 == 0) return kOk;  // later
  auto* const made = new Request;
  made->comm = on;
  made->data = begin;
  made->bytes = static_cast<uint32_t>(bytes);
  made->length = sends ? made->bytes : 0;
  on->queue.push_back(made);
  on->untested.push_back(made);
  *request = made;
  return kOk;
}

// Moves at most `budget` bytes of {length, data}. Returns an error code.
int move(Comm& comm, Request& request, size_t* budget) {
  while (*budget > 0) {
    const bool in_length = request.moved < sizeof request.length;
    if (!in_length && request.moved == sizeof request.length + request.length) break;
    std::byte* at = reinterpret_cast<std::byte*>(&request.length) + request.moved;
    size_t left = sizeof request.length - request.moved;
    if (!in_length) {
      at = request.data + (request.moved - sizeof request.length);
      left = request.length - (request.moved - sizeof request.length);
    }
    left = std::min(left, *budget);
    const ssize_t n =
        comm.sends ? send(comm.fd, at, left, MSG_NOSIGNAL) : recv(comm.fd, at, left, 0);
    if (n == 0) return kRemoteError;
    if (n < 0) return errno == EAGAIN || errno == EINTR ? kOk : kRemoteError;
    request.moved += static_cast<size_t>(n);
    *budget -= static_cast<size_t>(n);
    if (!comm.sends && request.moved == sizeof request.length && request.length > request.bytes)
      return kInvalidUsage;
  }
  if (request.moved == sizeof request.length + request.length) request.done = true;
  return kOk;
}

int do_test(void* request, int* done, int* bytes) {
  auto* const asked = static_cast<Request*>(request);
  Comm& comm = *asked->comm;
  *done = 0;
  size_t budget = kBytesPerCall;
  while (!comm.queue.empty() && budget > 0) {
    Request& first = *comm.queue.front();
    const int result = move(comm, first, &budget);
    if (result != kOk) return result;
    if (!first.done) break;
    comm.queue.pop_front();
  }
  if (!asked->done) return kOk;
  *done = 1;
  if (bytes != nullptr) *bytes = static_cast<int>(asked->length);
  std::erase(comm.untested, asked);
  delete asked;
  return kOk;
}

int do_close(void* comm) {
  auto* const closed = static_cast<Comm*>(comm);
  close(closed->fd);
  for (Request* const request : closed->untested) delete request;
  if (!closed->memory.empty()) {
    logger(abi::kLogWarn, ~0ul, __FILE__, __LINE__, "closed with memory registered");
    return kInvalidUsage;
  }
  delete closed;
  return kOk;
}

int do_close_listen(void* comm) {
  auto* const closed = static_cast<Listening*>(comm);
  close(closed->fd);
  delete closed;
  return kOk;
}

#if TEST_VERSION >= 9
using Size = size_t;
#else
using Size = int;
#endif
#if TEST_VERSION >= 8
using MemorySize = size_t;
#else
using MemorySize = int;
#endif

int reg_mr(void* comm, void* data, MemorySize bytes, int pointer, void** memory) {
  return do_register(comm, data, static_cast<size_t>(bytes), pointer, memory);
}
int flush(void*, int, void**, int*, void**, void**) { return kInvalidUsage; }  // of GPUs only

#define TUTTI_JOIN_(a, b) a##b
#define TUTTI_JOIN(a, b) TUTTI_JOIN_(a, b)
using Net = abi::TUTTI_JOIN(NetV, TEST_VERSION);

#if TEST_VERSION >= 11
int context_object;
int init(void** context, uint64_t, abi::CommConfig* config, abi::Logger log,
         abi::ProfilerCallback profiler) {
  *context = &context_object;
  return config == nullptr || profiler == nullptr ? kInvalidArgument : do_start(log);
}
int finalize(void* context) { return context == &context_object ? kOk : kInvalidArgument; }
int listen_on(void* context, int device, void* handle, void** comm) {
  return context == &context_object ? do_listen(device, handle, comm) : kInvalidArgument;
}
int connect_to(void* context, int device, void* handle, void** comm, abi::DeviceHandle** gpu) {
  return context != &context_object || *gpu != nullptr ? kInvalidArgument
                                                       : do_connect(device, handle, comm);
}
#else
#if TEST_VERSION == 10
int init(abi::Logger log, abi::ProfilerCallback profiler) {
  return profiler == nullptr ? kInvalidArgument : do_start(log);
}
int connect_to(int device, abi::CommConfig* config, void* handle, void** comm,
               abi::DeviceHandle** gpu) {
  return config == nullptr || config->traffic_class != abi::kTrafficClassUndefined ||
                 *gpu != nullptr
             ? kInvalidArgument
             : do_connect(device, handle, comm);
}
#else
int init(abi::Logger log) { return do_start(log); }
#if TEST_VERSION >= 7
int connect_to(int device, void* handle, void** comm, abi::DeviceHandle** gpu) {
  return *gpu != nullptr ? kInvalidArgument : do_connect(device, handle, comm);
}
#else
int connect_to(int device, void* handle, void** comm) { return do_connect(device, handle, comm); }
#endif
#endif
int listen_on(int device, void* handle, void** comm) { return do_listen(device, handle, comm); }
#endif

#if TEST_VERSION >= 7
int accept_from(void* listening, void** comm, abi::DeviceHandle** gpu) {
  return *gpu != nullptr ? kInvalidArgument : do_accept(listening, comm);
}
#else
int accept_from(void* listening, void** comm) { return do_accept(listening, comm); }
#endif

#if TEST_VERSION >= 10
int isend(void* comm, void* data, Size bytes, int, void* memory, void*, void** request) {
  return start(comm, data, bytes, memory, true, request);
}
int irecv(void* comm, int n, void** data, Size* bytes, int*, void** memory, void**,
          void** request) {
  return n != 1 ? kInvalidArgument : start(comm, data[0], bytes[0], memory[0], false, request);
}
#else
int isend(void* comm, void* data, Size bytes, int, void* memory, void** request) {
  return start(comm, data, static_cast<size_t>(bytes), memory, true, request);
}
int irecv(void* comm, int n, void** data, Size* bytes, int*, void** memory, void** request) {
  return n != 1 ? kInvalidArgument
                : start(comm, data[0], static_cast<size_t>(bytes[0]), memory[0], false, request);
}
#endif

}  // namespace

#if defined(TEST_WRONG_SYMBOL)
#define TUTTI_SYMBOL ncclNetPlugin_v5
#else
#define TUTTI_SYMBOL TUTTI_JOIN(ncclNetPlugin_v, TEST_VERSION)
#endif

extern "C" {
// What has been made and not closed; for tests.
__attribute__((visibility("default"))) int test_plugin_live_objects() {
  return live_objects.load(std::memory_order_relaxed);
}
__attribute__((visibility("default"))) extern const Net TUTTI_SYMBOL;
const Net TUTTI_SYMBOL {
  .name = "Test", .init = init, .devices = do_devices, .properties = do_properties<Net::Properties>,
  .listen = listen_on, .connect = connect_to, .accept = accept_from, .reg_mr = reg_mr,
  .reg_mr_dma_buf = nullptr, .dereg_mr = do_deregister, .isend = isend, .irecv = irecv,
  .iflush = flush, .test = do_test, .close_send = do_close, .close_recv = do_close,
  .close_listen = do_close_listen,
#if TEST_VERSION >= 7
  .device_memory = nullptr, .irecv_consumed = nullptr,
#endif
#if TEST_VERSION >= 9
  .make_virtual = nullptr,
#endif
#if TEST_VERSION >= 11
  .finalize = finalize, .set_attributes = nullptr,
#endif
};
}
