// SPDX-License-Identifier: Apache-2.0
// One adapter per version of the plugins' interface. What differs between versions is here and
// nowhere else.
#include <array>
#include <cstdarg>
#include <cstdio>
#include <limits>
#include <type_traits>

#include "src/base/log.h"
#include "transport/nccl_net/plugin.h"

namespace tutti::transport::nccl_net {
namespace {

void take_log(abi::LogLevel level, unsigned long, const char* file, int line, const char* format,
              ...) {
  const LogLevel ours = level == abi::kLogWarn   ? LogLevel::kWarn
                        : level == abi::kLogInfo ? LogLevel::kDebug
                                                 : LogLevel::kTrace;
  if (!log_enabled(ours, "transport")) return;
  std::array<char, 512> text{};
  va_list values;
  va_start(values, format);
  std::vsnprintf(text.data(), text.size(), format, values);
  va_end(values);
  log(ours, "transport", -1, "net plugin, {}:{}: {}", file == nullptr ? "" : file, line,
      text.data());
}

abi::Result no_profiler(void**, int, void*, int64_t, void*) { return 0; }

// Sizes are int up to some version.
constexpr size_t kMostBytes = std::numeric_limits<int>::max();
constexpr int kTag = 0;  // of all messages: receives are not grouped

// Everything that all versions do alike. The functions that are called most are found at compile
// time, so that a call costs one virtual call.
template <typename Table, int kVersion>
class Adapter : public Plugin {
 public:
  explicit Adapter(const Table& table) : table_(table) {}

  int version() const noexcept override { return kVersion; }
  std::string name() const override { return table_.name == nullptr ? "" : table_.name; }

  bool init(uint64_t comm_id) override {
    (void)comm_id;
    if constexpr (kVersion >= 11) {
      return check("init", table_.init(&context_, comm_id, &config_, take_log, no_profiler));
    } else if constexpr (kVersion == 10) {
      return check("init", table_.init(take_log, no_profiler));
    } else {
      return check("init", table_.init(take_log));
    }
  }
  void finalize() noexcept override {
    if constexpr (kVersion >= 11) {
      if (table_.finalize != nullptr) (void)table_.finalize(context_);
    }
  }
  bool devices(int* n) override { return check("devices", table_.devices(n)); }
  bool device(int index, Device* device) override {
    typename Table::Properties properties{};
    if (!check("getProperties", table_.properties(index, &properties))) return false;
    device->name = properties.name == nullptr ? "" : properties.name;
    device->speed_mbps = properties.speed_mbps;
    device->host_memory = (properties.pointer_support & abi::kHostPointer) != 0;
    device->max_comms = properties.max_comms;
    return true;
  }

  bool listen(int device, Handle* handle, void** comm) noexcept override {
    if constexpr (kVersion >= 11) {
      return check("listen", table_.listen(context_, device, handle->data(), comm));
    } else {
      return check("listen", table_.listen(device, handle->data(), comm));
    }
  }
  bool connect(int device, Handle* handle, void** comm) noexcept override {
    [[maybe_unused]] abi::DeviceHandle* no_gpu = nullptr;
    if constexpr (kVersion >= 11) {
      return check("connect", table_.connect(context_, device, handle->data(), comm, &no_gpu));
    } else if constexpr (kVersion == 10) {
      return check("connect", table_.connect(device, &config_, handle->data(), comm, &no_gpu));
    } else if constexpr (kVersion >= 7) {
      return check("connect", table_.connect(device, handle->data(), comm, &no_gpu));
    } else {
      return check("connect", table_.connect(device, handle->data(), comm));
    }
  }
  bool accept(void* listening, void** comm) noexcept override {
    if constexpr (kVersion >= 7) {
      abi::DeviceHandle* no_gpu = nullptr;
      return check("accept", table_.accept(listening, comm, &no_gpu));
    } else {
      return check("accept", table_.accept(listening, comm));
    }
  }

  bool register_memory(void* comm, std::byte* data, size_t bytes, void** memory) noexcept override {
    if (bytes > kMostBytes) return check("regMr of more than 2 GiB", 4);
    if constexpr (kVersion >= 8) {
      return check("regMr", table_.reg_mr(comm, data, bytes, abi::kHostPointer, memory));
    } else {
      return check("regMr",
                   table_.reg_mr(comm, data, static_cast<int>(bytes), abi::kHostPointer, memory));
    }
  }
  void deregister_memory(void* comm, void* memory) noexcept override {
    (void)table_.dereg_mr(comm, memory);
  }

  bool send(void* comm, std::byte* data, size_t bytes, void* memory,
            void** request) noexcept override {
    if constexpr (kVersion >= 10) {
      return check("isend", table_.isend(comm, data, bytes, kTag, memory, nullptr, request));
    } else if constexpr (kVersion == 9) {
      return check("isend", table_.isend(comm, data, bytes, kTag, memory, request));
    } else {
      return check("isend",
                   table_.isend(comm, data, static_cast<int>(bytes), kTag, memory, request));
    }
  }
  bool receive(void* comm, std::byte* data, size_t bytes, void* memory,
               void** request) noexcept override {
    using Size = std::conditional_t<(kVersion >= 9), size_t, int>;
    void* buffer = data;
    Size size = static_cast<Size>(bytes);
    int tag = kTag;
    if constexpr (kVersion >= 10) {
      void* parent = nullptr;
      return check("irecv", table_.irecv(comm, 1, &buffer, &size, &tag, &memory, &parent, request));
    } else {
      return check("irecv", table_.irecv(comm, 1, &buffer, &size, &tag, &memory, request));
    }
  }
  bool test(void* request, bool* done, size_t* bytes) noexcept override {
    int is_done = 0;
    int size = 0;
    if (!check("test", table_.test(request, &is_done, &size))) return false;
    *done = is_done != 0;
    *bytes = size < 0 ? 0 : static_cast<size_t>(size);
    return true;
  }
  void close_send(void* comm) noexcept override { (void)table_.close_send(comm); }
  void close_receive(void* comm) noexcept override { (void)table_.close_recv(comm); }
  void close_listen(void* comm) noexcept override { (void)table_.close_listen(comm); }

 private:
  const Table& table_;
  void* context_ = nullptr;  // from version 11
  // The plugin may keep the pointer.
  abi::CommConfig config_{abi::kTrafficClassUndefined};
};

template <typename Table, int kVersion>
std::unique_ptr<Plugin> adapter(SharedLibrary& library) {
  const std::string symbol = "ncclNetPlugin_v" + std::to_string(kVersion);
  const Table* table = nullptr;
  if (!library.find(symbol.c_str(), table)) return nullptr;
  return std::make_unique<Adapter<Table, kVersion>>(*table);
}

}  // namespace

std::string Plugin::last_error() const {
  static constexpr std::array kWords{"success",           "unhandled CUDA error", "system error",
                                     "internal error",    "invalid argument",     "invalid usage",
                                     "error at the peer", "in progress"};
  const auto index = static_cast<size_t>(result_);
  return fmt::format("{}: {} ({})", failed_, index < kWords.size() ? kWords[index] : "unknown",
                     result_);
}

std::unique_ptr<Plugin> adapt(SharedLibrary& library) {
  static constexpr std::array kNewestFirst{adapter<abi::NetV12, 12>, adapter<abi::NetV11, 11>,
                                           adapter<abi::NetV10, 10>, adapter<abi::NetV9, 9>,
                                           adapter<abi::NetV8, 8>,   adapter<abi::NetV7, 7>,
                                           adapter<abi::NetV6, 6>};
  for (const auto make : kNewestFirst) {
    if (auto plugin = make(library)) return plugin;
  }
  return nullptr;
}

}  // namespace tutti::transport::nccl_net
