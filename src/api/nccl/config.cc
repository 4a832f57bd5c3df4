// SPDX-License-Identifier: Apache-2.0
// Reads as much of the configuration as the program's version of NCCL's header has.
#include "src/api/nccl/config.h"

#include <algorithm>
#include <cstring>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "src/api/nccl/device.h"
#include "src/api/nccl/environment.h"
#include "src/base/error.h"
#include "src/base/log.h"

namespace tutti::nccl {
namespace {

constexpr unsigned int kMagic = 0xcafebeef;

// The struct as of NCCL 2.32; every version is a beginning of it.
struct Whole {
  size_t size;
  unsigned int magic;
  unsigned int version;
  int blocking = NCCL_CONFIG_UNDEF_INT;
  int cga_cluster_size = NCCL_CONFIG_UNDEF_INT;
  int min_ctas = NCCL_CONFIG_UNDEF_INT;
  int max_ctas = NCCL_CONFIG_UNDEF_INT;
  const char* net_name = nullptr;
  int split_share = NCCL_CONFIG_UNDEF_INT;
  int traffic_class = NCCL_CONFIG_UNDEF_INT;
  const char* comm_name = nullptr;
  int collnet_enable = NCCL_CONFIG_UNDEF_INT;
  int cta_policy = NCCL_CONFIG_UNDEF_INT;
  int shrink_share = NCCL_CONFIG_UNDEF_INT;
  int nvls_ctas = NCCL_CONFIG_UNDEF_INT;
  int channels_per_net_peer = NCCL_CONFIG_UNDEF_INT;
  int nvlink_centric_sched = NCCL_CONFIG_UNDEF_INT;
  int newer[9] = {NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,
                  NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT,
                  NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT, NCCL_CONFIG_UNDEF_INT};
};
static_assert(offsetof(Whole, newer) == 80 && sizeof(Whole) == 120);
static_assert(offsetof(Whole, nvlink_centric_sched) == offsetof(ncclConfig_t, nvlinkCentricSched));

// A field and the version of the program's header that has it. The size alone does not tell: the
// struct is padded, and 2.18 without trafficClass is as long as 2.25 with it.
struct Field {
  const char* name;
  unsigned int since;
  size_t offset;
  size_t bytes;
};
#define TUTTI_NCCL_FIELD(name, since, member) \
  { #name, since, offsetof(Whole, member), sizeof(Whole::member) }
constexpr Field kFields[] = {
    TUTTI_NCCL_FIELD(blocking, 21400, blocking),
    TUTTI_NCCL_FIELD(cgaClusterSize, 21700, cga_cluster_size),
    TUTTI_NCCL_FIELD(minCTAs, 21700, min_ctas),
    TUTTI_NCCL_FIELD(maxCTAs, 21700, max_ctas),
    TUTTI_NCCL_FIELD(netName, 21700, net_name),
    TUTTI_NCCL_FIELD(splitShare, 21800, split_share),
    TUTTI_NCCL_FIELD(trafficClass, 22500, traffic_class),
    TUTTI_NCCL_FIELD(commName, 22500, comm_name),
    TUTTI_NCCL_FIELD(collnetEnable, 22700, collnet_enable),
    TUTTI_NCCL_FIELD(CTAPolicy, 22700, cta_policy),
    TUTTI_NCCL_FIELD(shrinkShare, 22700, shrink_share),
    TUTTI_NCCL_FIELD(nvlsCTAs, 22700, nvls_ctas),
    TUTTI_NCCL_FIELD(nChannelsPerNetPeer, 22800, channels_per_net_peer),
    TUTTI_NCCL_FIELD(nvlinkCentricSched, 22800, nvlink_centric_sched),
};
#undef TUTTI_NCCL_FIELD
// They mean nothing here; the log names those that are set.
constexpr const char* kNewer[] = {"graphUsageMode",      "numRmaCtx",           "maxP2pPeers",
                                  "graphStreamOrdering", "launchOrderImplicit", "numRmaSig",
                                  "rmaEagerInit",        "hostCftMode",         "nvlsHostMode"};
constexpr unsigned int kNewerSince[] = {22900, 22900, 23000, 23005, 23100,
                                        23100, 23100, 23100, 23200};
static_assert(std::size(kNewer) == std::size(kNewerSince) &&
              std::size(kNewer) == sizeof(Whole::newer) / sizeof(int));

void copy_field(Whole& whole, const char* from, const Field& field) {
  const size_t end = field.offset + field.bytes;
  if (end > whole.size || field.since > whole.version) return;
  std::memcpy(reinterpret_cast<char*>(&whole) + field.offset, from + field.offset, field.bytes);
}

void report_newer(const Whole& whole) {
  for (size_t i = 0; i < std::size(kNewer); ++i) {
    if (whole.newer[i] != NCCL_CONFIG_UNDEF_INT)
      log(LogLevel::kInfo, "config", -1, "config.{} = {} has no effect", kNewer[i], whole.newer[i]);
  }
  if (whole.size > sizeof(Whole)) {
    log(LogLevel::kInfo, "config", -1,
        "config has {} bytes, of NCCL {}; what is behind the first {} has no effect", whole.size,
        whole.version, sizeof(Whole));
  }
}

Whole read(const ncclConfig_t& config) {
  const char* const from = reinterpret_cast<const char*>(&config);
  Whole whole{.size = 0, .magic = 0, .version = 0};
  std::memcpy(&whole.magic, from + offsetof(Whole, magic), sizeof whole.magic);
  if (whole.magic != kMagic) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("config.magic is {:#x}, expected {:#x}; initialise it with "
                            "NCCL_CONFIG_INITIALIZER",
                            whole.magic, kMagic));
  }
  std::memcpy(&whole.size, from, sizeof whole.size);
  std::memcpy(&whole.version, from + offsetof(Whole, version), sizeof whole.version);
  if (whole.size < offsetof(Whole, cga_cluster_size)) {
    throw Error(
        StatusCode::kInvalidArgument,
        fmt::format("config.size is {}; it must be sizeof(ncclConfig_t), 24 or more", whole.size));
  }
  for (const Field& field : kFields) copy_field(whole, from, field);
  for (size_t i = 0; i < std::size(kNewer); ++i) {
    copy_field(whole, from,
               {kNewer[i], kNewerSince[i], offsetof(Whole, newer) + i * sizeof(int), sizeof(int)});
  }
  report_newer(whole);
  return whole;
}

// NCCL's names of networks; the text must last as long as the configuration is used.
const char* transports_of_name(const char* net_name) {
  if (net_name == nullptr) return TUTTI_CONFIG_UNDEF_PTR;
  static thread_local std::string list;
  list = transports_of(net_name);
  return list.c_str();
}

void fill(tuttiConfig_t& into, const Whole& from) {
  into.blocking = from.blocking;
  into.splitShare = from.split_share;
  into.commName = from.comm_name;
  into.minCTAs = from.min_ctas;
  into.maxCTAs = from.max_ctas;
  into.netName = transports_of_name(from.net_name);
  into.cgaClusterSize = from.cga_cluster_size;
  into.trafficClass = from.traffic_class;
  into.collnetEnable = from.collnet_enable;
  into.CTAPolicy = from.cta_policy;
  into.shrinkShare = from.shrink_share;
  into.nvlsCTAs = from.nvls_ctas;
  into.nChannelsPerNetPeer = from.channels_per_net_peer;
  into.nvlinkCentricSched = from.nvlink_centric_sched;
}

}  // namespace

ConfigArgument ConfigArgument::of_child(const ncclConfig_t* config) {
  ConfigArgument argument;
  if (config == nullptr) return argument;
  argument.given_ = true;
  fill(argument.config_, read(*config));
  return argument;
}

ConfigArgument ConfigArgument::of_new(const ncclConfig_t* config) {
  ConfigArgument argument = of_child(config);
  if (const auto blocking = blocking_from_environment(); blocking.has_value()) {
    argument.given_ = true;
    argument.config_.blocking = *blocking;
  }
  if (const int device = device_of_thread(); device != TUTTI_DEVICE_HOST) {
    argument.given_ = true;
    argument.config_.device = device;
  }
  return argument;
}

}  // namespace tutti::nccl
