// SPDX-License-Identifier: Apache-2.0
// Reads the user's configuration struct, as much of it as the user's version has.
#include "src/api/config.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "src/api/arguments.h"
#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/gpu.h"

namespace tutti::api {
namespace {

constexpr tuttiConfig_t kUndefined = TUTTI_CONFIG_INITIALIZER;
constexpr double kMostSeconds = 1e9;

// Fields that the user's older struct does not have stay undefined.
tuttiConfig_t widen(const tuttiConfig_t& config) {
  if (config.magic != TUTTI_CONFIG_MAGIC) {
    refuse("config has no magic number; initialise it with TUTTI_CONFIG_INITIALIZER");
  }
  if (config.size < offsetof(tuttiConfig_t, blocking)) {
    refuse("config.size is " + std::to_string(config.size) + "; it must be sizeof(tuttiConfig_t)");
  }
  tuttiConfig_t whole = kUndefined;
  std::memcpy(&whole, &config, std::min(config.size, sizeof whole));
  return whole;
}

template <size_t N>
void set_name(char (&into)[N], const char* value, const char* field) {
  if (value == nullptr) return;
  if (std::strlen(value) >= N) {
    refuse(std::string("config.") + field + " is '" + value + "'; names have at most " +
           std::to_string(N - 1) + " characters");
  }
  std::memset(into, 0, N);
  std::memcpy(into, value, std::strlen(value));
}

void set_seconds(int64_t& into_ns, double seconds, const char* field) {
  if (seconds == 0 || seconds == kUndefined.timeoutSeconds) return;
  if (!(seconds > 0 && seconds <= kMostSeconds)) {  // NaN is refused as well
    char text[32];
    std::snprintf(text, sizeof text, "%g", seconds);
    refuse(std::string("config.") + field + " is " + text +
           "; allowed are more than 0 and at most 1e9 seconds, and 0 or -1 for undefined");
  }
  // 0 ns would mean no limit.
  into_ns = std::max<int64_t>(static_cast<int64_t>(seconds * static_cast<double>(kNsPerSecond)), 1);
}

// Undefined: 0.
int channel_count(int value, const char* field) {
  if (value == TUTTI_CONFIG_UNDEF_INT) return 0;
  if (value < 1)
    refuse(std::string("config.") + field + " is " + std::to_string(value) +
           "; it must be at least 1");
  return value;
}

void set_channels(AgreedConfig& agreed, const tuttiConfig_t& config) {
  const int least = channel_count(config.minCTAs, "minCTAs");
  const int most = channel_count(config.maxCTAs, "maxCTAs");
  if (least != 0 && most != 0 && least > most) {
    refuse("config.minCTAs is " + std::to_string(least) + ", above config.maxCTAs, which is " +
           std::to_string(most));
  }
  if (const int channels = channel_count(config.channels, "channels"); channels != 0) {
    agreed.channels = static_cast<uint32_t>(channels);
  }
  if (least != 0) agreed.channels = std::max(agreed.channels, static_cast<uint32_t>(least));
  if (most != 0) agreed.channels = std::min(agreed.channels, static_cast<uint32_t>(most));
}

bool flag(int value, const char* field, bool otherwise) {
  if (value == TUTTI_CONFIG_UNDEF_INT) return otherwise;
  if (value != 0 && value != 1) {
    refuse(std::string("config.") + field + " is " + std::to_string(value) +
           "; allowed are 0 and 1");
  }
  return value == 1;
}

// The GPU that is meant, at the time of the call.
int32_t device_of(int device) {
  if (device == TUTTI_DEVICE_CURRENT) return cuda::current_device();
  if (device < TUTTI_DEVICE_HOST) {
    refuse("config.device is " + std::to_string(device) +
           "; allowed are the number of a GPU, TUTTI_DEVICE_HOST (-1) and TUTTI_DEVICE_CURRENT "
           "(-2)");
  }
  return device;
}

}  // namespace

comm::Options default_options() {
  warn_of_unknown_variables();
  comm::Options options{.config = config_from_environment()};
  options.config.local.device = device_of(options.config.local.device);
  return options;
}

int gpu_count() noexcept { return cuda::device_count(); }
int thread_device() noexcept { return cuda::current_device(); }

comm::Options options_from(const tuttiConfig_t* config, comm::Options base) {
  if (config == nullptr) return base;
  const tuttiConfig_t c = widen(*config);
  base.blocking = flag(c.blocking, "blocking", base.blocking);
  flag(c.splitShare, "splitShare", false);
  if (c.commName != nullptr) base.name = c.commName;
  LocalConfig& local = base.config.local;
  set_seconds(local.timeout_ns, c.timeoutSeconds, "timeoutSeconds");
  set_seconds(local.init_timeout_ns, c.initTimeoutSeconds, "initTimeoutSeconds");
  if (c.memoryCapBytes != 0) local.memory_cap_bytes = c.memoryCapBytes;
  AgreedConfig& agreed = base.config.agreed;
  set_name(agreed.transport, c.netName, "netName");
  set_name(agreed.transport, c.transport, "transport");
  set_name(agreed.algorithm, c.algorithm, "algorithm");
  set_name(agreed.protocol, c.protocol, "protocol");
  set_channels(agreed, c);
  if (c.device != TUTTI_CONFIG_UNDEF_INT) local.device = device_of(c.device);
  agreed.deterministic = flag(c.deterministic, "deterministic", agreed.deterministic != 0) ? 1 : 0;
  return base;
}

}  // namespace tutti::api
