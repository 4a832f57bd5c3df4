// SPDX-License-Identifier: Apache-2.0
// Version, error texts, ids and launch information of the C API.
#include <atomic>
#include <cstring>

#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/base/config.h"
#include "src/bootstrap/bootstrap.h"

namespace tutti::api {
namespace {

void store(const bootstrap::UniqueId& id, tuttiUniqueId* into) {
  static_assert(sizeof into->internal == sizeof id.bytes);
  std::memcpy(into->internal, id.bytes.data(), id.bytes.size());
}

// Contradicting launcher variables are no argument of the call.
std::optional<bootstrap::Launch> launch_of_this_process() {
  try {
    return bootstrap::detect_launch();
  } catch (const Error& e) {
    throw Error(e.code() == StatusCode::kInvalidArgument ? StatusCode::kInvalidUsage : e.code(),
                e.what());
  }
}

// Numbers the ids of a launch; every process makes them in the same order. relaxed: a number.
uint64_t next_launch_id() noexcept {
  static std::atomic<uint64_t> next{0};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace

tuttiResult_t tuttiGetVersion(int* version) {
  return guard("tuttiGetVersion", [&] {
    require(version, "version");
    *version = TUTTI_VERSION_CODE;
  });
}

const char* tuttiGetErrorString(tuttiResult_t result) {
  static constexpr const char* kTexts[] = {
      "no error",         "unhandled CUDA error", "system error", "internal error",
      "invalid argument", "invalid usage",        "remote error", "operation in progress",
  };
  static_assert(sizeof kTexts / sizeof *kTexts == tuttiNumResults);
  const int code = number_of(result);
  return code >= 0 && code < tuttiNumResults ? kTexts[code] : "unknown result code";
}

const char* tuttiGetLastError(tuttiComm_t comm) {
  const tutti::comm::Handle* handle = Handles<tuttiComm>::find_if_live(comm);
  if (handle != nullptr && *handle->failure_text() != '\0') return handle->failure_text();
  return last_error();
}

tuttiResult_t tuttiGetUniqueId(tuttiUniqueId* id) {
  return guard("tuttiGetUniqueId", [&] {
    require(id, "id");
    store(
        tutti::bootstrap::create_unique_id(tutti::config_from_environment().local.interface_prefix),
        id);
  });
}

tuttiResult_t tuttiLaunchInfo(int* rank, int* size, int* localRank, int* localSize) {
  return guard("tuttiLaunchInfo", [&] {
    const tutti::bootstrap::Launch launch =
        launch_of_this_process().value_or(tutti::bootstrap::Launch{});
    if (rank != nullptr) *rank = launch.rank;
    if (size != nullptr) *size = launch.size;
    if (localRank != nullptr) *localRank = launch.local_rank;
    if (localSize != nullptr) *localSize = launch.local_size;
  });
}

tuttiResult_t tuttiGetLaunchUniqueId(tuttiUniqueId* id) {
  return guard("tuttiGetLaunchUniqueId", [&] {
    require(id, "id");
    if (const auto launch = launch_of_this_process()) {
      store(tutti::bootstrap::launch_unique_id(*launch, next_launch_id()), id);
    } else {
      store(tutti::bootstrap::create_unique_id(
                tutti::config_from_environment().local.interface_prefix),
            id);
    }
  });
}
