// SPDX-License-Identifier: Apache-2.0
// Opens libcuda.so.1 and asks it for each function by name and version.
#include "src/device/cuda/driver.h"

#include <pthread.h>

#include <atomic>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/shared_library.h"

namespace tutti::cuda {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";
constexpr int kOldestVersion = 12000;

// Set in a child of fork(). relaxed: the child begins with one thread.
std::atomic<bool> forked{false};

// In the driver's words; null: there is none to ask.
std::string text_by(const Driver* functions, Result result) {
  const char* name = nullptr;
  const char* meaning = nullptr;
  if (functions != nullptr) {
    (void)functions->cuGetErrorName(result, &name);
    (void)functions->cuGetErrorString(result, &meaning);
  }
  if (name == nullptr || meaning == nullptr)
    return fmt::format("CUDA error {}", static_cast<int>(result));
  return fmt::format("{} ({})", name, meaning);
}

class Opened {
 public:
  Opened() : library_(kLibrary, SharedLibrary::Unload::kNever) {
    if (!library_.is_open()) {
      reason_ = "the CUDA driver is not installed: " + library_.reason();
    } else if (find_all()) {
      initialise();
    }
    if (usable()) ::pthread_atfork(nullptr, nullptr, [] { forked.store(true); });
  }

  bool usable() const noexcept { return reason_.empty(); }
  const Driver& functions() const noexcept { return functions_; }
  const std::string& reason() const noexcept { return reason_; }
  int devices() const noexcept { return devices_; }

 private:
  bool find_all() {
    Result (*get)(const char*, void**, int, uint64_t, ProcAddressQuery*) = nullptr;
    if (!library_.find("cuGetProcAddress_v2", get)) {
      reason_ = fmt::format(
          "{} has no cuGetProcAddress_v2: expected a driver of CUDA 12.0 or newer", kLibrary);
      return false;
    }
#define TUTTI_CUDA_FIND(symbol, name, version, ...) \
  if (!find_one(get, #name, version, functions_.symbol)) return false;
    TUTTI_CUDA_FUNCTIONS(TUTTI_CUDA_FIND)
#undef TUTTI_CUDA_FIND
    return true;
  }

  template <typename Get, typename Function>
  bool find_one(Get get, const char* name, int version, Function& function) {
    void* found = nullptr;
    ProcAddressQuery query = ProcAddressQuery::kSuccess;
    const Result result = get(name, &found, version, 0, &query);
    function = result == Result::kSuccess ? reinterpret_cast<Function>(found) : nullptr;
    if (function != nullptr || version > kOldestVersion) return true;
    reason_ = fmt::format("{} has no {} of version {}.{}: expected a driver of CUDA 12.0 or newer",
                          kLibrary, name, version / 1000, version % 1000 / 10);
    return false;
  }

  void initialise() {
    if (const Result result = functions_.cuInit(0); result != Result::kSuccess) {
      reason_ = "the CUDA driver can't be initialised: " + text_by(&functions_, result);
      return;
    }
    int version = 0;
    (void)functions_.cuDriverGetVersion(&version);
    if (version < kOldestVersion) {
      reason_ = fmt::format("the CUDA driver is of version {}.{}, expected 12.0 or newer",
                            version / 1000, version % 1000 / 10);
      return;
    }
    if (functions_.cuDeviceGetCount(&devices_) != Result::kSuccess || devices_ == 0)
      reason_ = "the CUDA driver finds no device (CUDA_VISIBLE_DEVICES may hide them)";
  }

  SharedLibrary library_;
  Driver functions_;
  std::string reason_;
  int devices_ = 0;
};

const Opened& opened() {
  static const Opened driver;
  return driver;
}

}  // namespace

const Driver* find_driver() noexcept {
  if (!opened().usable() || forked.load(std::memory_order_relaxed)) return nullptr;
  return &opened().functions();
}

const std::string& driver_reason() noexcept {
  static const std::string child =
      "this process is a child of fork(), in which the driver that its parent uses does not work; "
      "start it with exec, or fork before CUDA is used";
  if (opened().usable() && forked.load(std::memory_order_relaxed)) return child;
  return opened().reason();
}

const Driver& driver() {
  if (const Driver* const found = find_driver()) return *found;
  throw Error(StatusCode::kUnhandledCudaError, "CUDA can't be used: " + driver_reason());
}

int device_count() noexcept { return find_driver() == nullptr ? 0 : opened().devices(); }

std::string text_of(Result result) { return text_by(find_driver(), result); }

void check(Result result, std::string_view what) {
  if (result == Result::kSuccess) return;
  throw Error(StatusCode::kUnhandledCudaError, fmt::format("{}: {}", what, text_of(result)));
}

}  // namespace tutti::cuda
