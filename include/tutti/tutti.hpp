// SPDX-License-Identifier: Apache-2.0
// Thin RAII over tutti.h for C++17 and later: one class per handle, errors as exceptions, nothing
// else.
#ifndef TUTTI_TUTTI_HPP_
#define TUTTI_TUTTI_HPP_

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <tutti/tutti.h>

namespace tutti::cpp {

// A failed call: the result code and the library's message.
class Exception : public std::runtime_error {
 public:
  Exception(tuttiResult_t result, const char* message)
      : std::runtime_error(message != nullptr && *message != '\0' ? message
                                                                  : tuttiGetErrorString(result)),
        result_(result) {}
  tuttiResult_t result() const noexcept { return result_; }

 private:
  tuttiResult_t result_;
};

// Throws unless the call succeeded or has only been started (non-blocking communicators, queries).
inline void check(tuttiResult_t result, tuttiComm_t comm = nullptr) {
  if (result != tuttiSuccess && result != tuttiInProgress)
    throw Exception(result, tuttiGetLastError(comm));
}

// The datatype of a C++ element type.
template <typename T>
struct DataType;
template <>
struct DataType<int8_t> {
  static constexpr tuttiDataType_t value = tuttiInt8;
};
template <>
struct DataType<uint8_t> {
  static constexpr tuttiDataType_t value = tuttiUint8;
};
template <>
struct DataType<int32_t> {
  static constexpr tuttiDataType_t value = tuttiInt32;
};
template <>
struct DataType<uint32_t> {
  static constexpr tuttiDataType_t value = tuttiUint32;
};
template <>
struct DataType<int64_t> {
  static constexpr tuttiDataType_t value = tuttiInt64;
};
template <>
struct DataType<uint64_t> {
  static constexpr tuttiDataType_t value = tuttiUint64;
};
template <>
struct DataType<float> {
  static constexpr tuttiDataType_t value = tuttiFloat32;
};
template <>
struct DataType<double> {
  static constexpr tuttiDataType_t value = tuttiFloat64;
};

// Owns a handle; Free is the C function that ends it.
template <typename Handle, tuttiResult_t (*Free)(Handle)>
class Owned {
 public:
  Owned() noexcept = default;
  explicit Owned(Handle handle) noexcept : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Owned& operator=(Owned&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Owned() { reset(); }
  void reset() noexcept {
    if (handle_ != nullptr) (void)Free(std::exchange(handle_, nullptr));
  }
  Handle get() const noexcept { return handle_; }
  Handle release() noexcept { return std::exchange(handle_, nullptr); }
  explicit operator bool() const noexcept { return handle_ != nullptr; }

 private:
  Handle handle_ = nullptr;
};

// A host stream.
class Stream : public Owned<tuttiStream_t, tuttiStreamDestroy> {
 public:
  using Owned::Owned;
  static Stream create() {
    tuttiStream_t stream = nullptr;
    check(tuttiStreamCreate(&stream));
    return Stream(stream);
  }
  void synchronize() const { check(tuttiStreamSynchronize(get())); }
};

// Memory of tuttiMemAlloc, seen as `count` elements.
template <typename T>
class Memory {
 public:
  explicit Memory(size_t count) : count_(count) {
    void* data = nullptr;
    check(tuttiMemAlloc(&data, count * sizeof(T)));
    memory_ = Owned<void*, tuttiMemFree>(data);
  }
  T* data() const noexcept { return static_cast<T*>(memory_.get()); }
  size_t size() const noexcept { return count_; }
  T* begin() const noexcept { return data(); }
  T* end() const noexcept { return data() + count_; }
  T& operator[](size_t i) const noexcept { return data()[i]; }

 private:
  Owned<void*, tuttiMemFree> memory_;
  size_t count_;
};

// One rank of a communicator. Collectives as in tutti.h; a Stream may be passed as its handle.
class Communicator : public Owned<tuttiComm_t, tuttiCommDestroy> {
 public:
  using Owned::Owned;

  // What the launcher says: `tutti run`, torchrun, mpirun, srun; alone without one. Ranks call it
  // in the same order.
  static Communicator from_launch(tuttiConfig_t* config = nullptr) {
    int rank = 0;
    int size = 1;
    check(tuttiLaunchInfo(&rank, &size, nullptr, nullptr));
    tuttiUniqueId id;
    check(tuttiGetLaunchUniqueId(&id));
    return init_rank(size, id, rank, config);
  }
  static Communicator init_rank(int n_ranks, const tuttiUniqueId& id, int rank,
                                tuttiConfig_t* config = nullptr) {
    tuttiComm_t comm = nullptr;
    check(tuttiCommInitRankConfig(&comm, n_ranks, id, rank, config));
    return Communicator(comm);
  }
  static std::vector<Communicator> init_all(int n_ranks) {
    std::vector<tuttiComm_t> handles(static_cast<size_t>(n_ranks));
    check(tuttiCommInitAll(handles.data(), n_ranks, nullptr));
    std::vector<Communicator> all;
    for (tuttiComm_t handle : handles) all.emplace_back(handle);
    return all;
  }

  int rank() const {
    int rank = -1;
    check(tuttiCommUserRank(get(), &rank), get());
    return rank;
  }
  int size() const {
    int size = 0;
    check(tuttiCommCount(get(), &size), get());
    return size;
  }
  // Empty for TUTTI_SPLIT_NOCOLOR.
  Communicator split(int color, int key, tuttiConfig_t* config = nullptr) const {
    tuttiComm_t part = nullptr;
    check(tuttiCommSplit(get(), color, key, &part, config), get());
    return Communicator(part);
  }
  // Works on a broken communicator.
  Communicator shrink(std::vector<int> excluded, int flags = TUTTI_SHRINK_DEFAULT,
                      tuttiConfig_t* config = nullptr) const {
    tuttiComm_t smaller = nullptr;
    check(tuttiCommShrink(get(), excluded.data(), static_cast<int>(excluded.size()), &smaller,
                          config, flags),
          get());
    return Communicator(smaller);
  }
  // `id`: on one rank, which has handed it to the new processes.
  Communicator grow(int n_ranks, const tuttiUniqueId* id, tuttiConfig_t* config = nullptr) const {
    tuttiComm_t larger = nullptr;
    check(tuttiCommGrow(get(), n_ranks, id, -1, &larger, config), get());
    return Communicator(larger);
  }
  void revoke() const { check(tuttiCommRevoke(get(), 0), get()); }
  tuttiCommStats_t stats() const {
    tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
    check(tuttiCommGetStats(get(), &stats), get());
    return stats;
  }
  tuttiPeerStats_t peer_stats(int peer) const {
    tuttiPeerStats_t stats = TUTTI_PEER_STATS_INITIALIZER;
    check(tuttiCommGetPeerStats(get(), peer, &stats), get());
    return stats;
  }
  // `call`: "AllReduce", "Send", ...
  tuttiCallStats_t call_stats(const char* call) const {
    tuttiCallStats_t stats = TUTTI_CALL_STATS_INITIALIZER;
    check(tuttiCommGetCallStats(get(), call, &stats), get());
    return stats;
  }
  void finalize() const { check(tuttiCommFinalize(get()), get()); }
  void abort() { check(tuttiCommAbort(release())); }

  template <typename T>
  void all_reduce(const T* send, T* recv, size_t count, tuttiRedOp_t op = tuttiSum,
                  tuttiStream_t stream = nullptr) const {
    check(tuttiAllReduce(send, recv, count, DataType<T>::value, op, get(), stream));
  }
  template <typename T>
  void reduce(const T* send, T* recv, size_t count, int root, tuttiRedOp_t op = tuttiSum,
              tuttiStream_t stream = nullptr) const {
    check(tuttiReduce(send, recv, count, DataType<T>::value, op, root, get(), stream));
  }
  template <typename T>
  void broadcast(T* buffer, size_t count, int root, tuttiStream_t stream = nullptr) const {
    check(tuttiBcast(buffer, count, DataType<T>::value, root, get(), stream));
  }
  template <typename T>
  void all_gather(const T* send, T* recv, size_t count, tuttiStream_t stream = nullptr) const {
    check(tuttiAllGather(send, recv, count, DataType<T>::value, get(), stream));
  }
  template <typename T>
  void reduce_scatter(const T* send, T* recv, size_t count, tuttiRedOp_t op = tuttiSum,
                      tuttiStream_t stream = nullptr) const {
    check(tuttiReduceScatter(send, recv, count, DataType<T>::value, op, get(), stream));
  }
  template <typename T>
  void all_to_all(const T* send, T* recv, size_t count, tuttiStream_t stream = nullptr) const {
    check(tuttiAllToAll(send, recv, count, DataType<T>::value, get(), stream));
  }
  template <typename T>
  void send(const T* data, size_t count, int peer, tuttiStream_t stream = nullptr) const {
    check(tuttiSend(data, count, DataType<T>::value, peer, get(), stream));
  }
  template <typename T>
  void recv(T* data, size_t count, int peer, tuttiStream_t stream = nullptr) const {
    check(tuttiRecv(data, count, DataType<T>::value, peer, get(), stream));
  }
  void barrier(tuttiStream_t stream = nullptr) const { check(tuttiBarrier(get(), stream)); }
};

// The counters of all communicators of this process, as Prometheus text.
inline std::string metrics_text() {
  std::string text;
  size_t bytes = 0;
  tuttiResult_t result = tuttiMetricsText(nullptr, 0, &bytes);
  while (text.size() < bytes) {  // again when other threads have counted on meanwhile
    text.resize(bytes + bytes / 4);
    result = tuttiMetricsText(text.data(), text.size(), &bytes);
  }
  check(result);
  text.resize(bytes - 1);
  return text;
}

// Runs `body` between GroupStart and GroupEnd.
template <typename Body>
void group(Body&& body) {
  check(tuttiGroupStart());
  try {
    body();
  } catch (...) {
    (void)tuttiGroupEnd();  // the refused call has refused the group
    throw;
  }
  check(tuttiGroupEnd());
}

// A registered window. Ending it is collective, so it is explicit: close() on every rank.
class Window {
 public:
  Window(const Communicator& comm, void* buffer, size_t bytes, int flags = TUTTI_WIN_DEFAULT)
      : comm_(comm.get()) {
    check(tuttiCommWindowRegister(comm_, buffer, bytes, &window_, flags), comm_);
  }
  Window(Window&& other) noexcept
      : comm_(other.comm_), window_(std::exchange(other.window_, nullptr)) {}
  Window& operator=(Window&&) = delete;
  tuttiWindow_t get() const noexcept { return window_; }
  void close() { check(tuttiCommWindowDeregister(comm_, std::exchange(window_, nullptr)), comm_); }

 private:
  tuttiComm_t comm_;
  tuttiWindow_t window_ = nullptr;
};

}  // namespace tutti::cpp

#endif  // TUTTI_TUTTI_HPP_
