// SPDX-License-Identifier: Apache-2.0
// Life and properties of NCCL's communicators.
#include <string>
#include <vector>

#include "src/api/nccl/config.h"
#include "src/api/nccl/device.h"
#include "src/api/nccl/environment.h"
#include "src/api/nccl/forward.h"

namespace tutti::nccl {
namespace {

ncclResult_t init_rank(const char* name, ncclComm_t* comm, int nranks, const ncclUniqueId& id,
                       int rank, const ncclConfig_t* config) noexcept {
  report_environment();
  return theirs(api::guard_call(name, [&] {
    ConfigArgument argument = ConfigArgument::of_new(config);
    return tuttiCommInitRankConfig(ours(comm), nranks, ours(id), rank, argument.get());
  }));
}

}  // namespace
}  // namespace tutti::nccl

using namespace tutti::nccl;  // NOLINT(google-build-using-namespace): the C functions below are
                              // outside of any namespace

TUTTI_NCCL_API ncclResult_t ncclGetUniqueId(ncclUniqueId* uniqueId) {
  report_environment();
  auto* const id = reinterpret_cast<tuttiUniqueId*>(uniqueId);
  return theirs(id_comes_from_environment() ? tuttiGetLaunchUniqueId(id) : tuttiGetUniqueId(id));
}
TUTTI_NCCL_TWIN(ncclGetUniqueId);

TUTTI_NCCL_API ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int nranks,
                                                   ncclUniqueId commId, int rank,
                                                   ncclConfig_t* config) {
  return init_rank("ncclCommInitRankConfig", comm, nranks, commId, rank, config);
}
TUTTI_NCCL_TWIN(ncclCommInitRankConfig);

TUTTI_NCCL_API ncclResult_t ncclCommInitRank(ncclComm_t* comm, int nranks, ncclUniqueId commId,
                                             int rank) {
  return init_rank("ncclCommInitRank", comm, nranks, commId, rank, nullptr);
}
TUTTI_NCCL_TWIN(ncclCommInitRank);

// One id is enough: ranks meet over a tree in any case (src/bootstrap), so the first leads them
// all.
TUTTI_NCCL_API ncclResult_t ncclCommInitRankScalable(ncclComm_t* newcomm, int nranks, int myrank,
                                                     int nId, ncclUniqueId* commIds,
                                                     ncclConfig_t* config) {
  constexpr const char* kName = "ncclCommInitRankScalable";
  if (commIds == nullptr || nId < 1 || nId > nranks) {
    return theirs(tutti::api::report_in_group(
        kName, tutti::StatusCode::kInvalidArgument,
        commIds == nullptr ? "commIds is NULL" : "nId must be from 1 to nranks"));
  }
  return init_rank(kName, newcomm, nranks, commIds[0], myrank, config);
}
TUTTI_NCCL_TWIN(ncclCommInitRankScalable);

TUTTI_NCCL_API ncclResult_t ncclCommInitAll(ncclComm_t* comm, int ndev, const int* devlist) {
  report_environment();
  return theirs(tutti::api::guard_call("ncclCommInitAll", [&] {
    const std::vector<int> devices = devices_of_all(ndev, devlist);
    return tuttiCommInitAll(ours(comm), ndev, devices.empty() ? nullptr : devices.data());
  }));
}
TUTTI_NCCL_TWIN(ncclCommInitAll);

TUTTI_NCCL_API ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* newcomm,
                                          ncclConfig_t* config) {
  return theirs(tutti::api::guard_call("ncclCommSplit", [&] {
    ConfigArgument argument = ConfigArgument::of_child(config);
    return tuttiCommSplit(ours(comm), color, key, ours(newcomm), argument.get());
  }));
}
TUTTI_NCCL_TWIN(ncclCommSplit);

TUTTI_NCCL_API ncclResult_t ncclCommShrink(ncclComm_t comm, int* excludeRanksList,
                                           int excludeRanksCount, ncclComm_t* newcomm,
                                           ncclConfig_t* config, int shrinkFlags) {
  return theirs(tutti::api::guard_call("ncclCommShrink", [&] {
    ConfigArgument argument = ConfigArgument::of_child(config);
    return tuttiCommShrink(ours(comm), excludeRanksList, excludeRanksCount, ours(newcomm),
                           argument.get(), shrinkFlags);
  }));
}
TUTTI_NCCL_TWIN(ncclCommShrink);

TUTTI_NCCL_API ncclResult_t ncclCommGetUniqueId(ncclComm_t comm, ncclUniqueId* uniqueId) {
  return theirs(tuttiCommGetUniqueId(ours(comm), reinterpret_cast<tuttiUniqueId*>(uniqueId)));
}
TUTTI_NCCL_TWIN(ncclCommGetUniqueId);

TUTTI_NCCL_API ncclResult_t ncclCommGrow(ncclComm_t comm, int nRanks, const ncclUniqueId* uniqueId,
                                         int rank, ncclComm_t* newcomm, ncclConfig_t* config) {
  report_environment();
  return theirs(tutti::api::guard_call("ncclCommGrow", [&] {
    ConfigArgument argument =
        comm == nullptr ? ConfigArgument::of_new(config) : ConfigArgument::of_child(config);
    return tuttiCommGrow(ours(comm), nRanks, reinterpret_cast<const tuttiUniqueId*>(uniqueId), rank,
                         ours(newcomm), argument.get());
  }));
}
TUTTI_NCCL_TWIN(ncclCommGrow);

TUTTI_NCCL_API ncclResult_t ncclCommRevoke(ncclComm_t comm, int revokeFlags) {
  return theirs(tuttiCommRevoke(ours(comm), revokeFlags));
}
TUTTI_NCCL_TWIN(ncclCommRevoke);

TUTTI_NCCL_API ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  return theirs(tuttiCommFinalize(ours(comm)));
}
TUTTI_NCCL_TWIN(ncclCommFinalize);

TUTTI_NCCL_API ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  return theirs(tuttiCommDestroy(ours(comm)));
}
TUTTI_NCCL_TWIN(ncclCommDestroy);

TUTTI_NCCL_API ncclResult_t ncclCommAbort(ncclComm_t comm) {
  return theirs(tuttiCommAbort(ours(comm)));
}
TUTTI_NCCL_TWIN(ncclCommAbort);

TUTTI_NCCL_API ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* asyncError) {
  return theirs(tuttiCommGetAsyncError(ours(comm), reinterpret_cast<tuttiResult_t*>(asyncError)));
}
TUTTI_NCCL_TWIN(ncclCommGetAsyncError);

TUTTI_NCCL_API ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) {
  return theirs(tuttiCommCount(ours(comm), count));
}
TUTTI_NCCL_TWIN(ncclCommCount);

TUTTI_NCCL_API ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int* device) {
  return theirs(tuttiCommCuDevice(ours(comm), device));
}
TUTTI_NCCL_TWIN(ncclCommCuDevice);

TUTTI_NCCL_API ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) {
  return theirs(tuttiCommUserRank(ours(comm), rank));
}
TUTTI_NCCL_TWIN(ncclCommUserRank);

// The memory of a communicator of the host: all of it stays until the end.
TUTTI_NCCL_API ncclResult_t ncclCommMemStats(ncclComm_t comm, ncclCommMemStat_t stat,
                                             uint64_t* value) {
  return theirs(tutti::api::guard("ncclCommMemStats", [&]() -> tuttiResult_t {
    const int which = std::bit_cast<int>(stat);
    if (value == nullptr || which < ncclStatGpuMemSuspend || which > ncclStatGpuMemTotal) {
      throw tutti::Error(tutti::StatusCode::kInvalidArgument,
                         value == nullptr ? "value is NULL"
                                          : "stat is " + std::to_string(which) +
                                                "; allowed are 0 to 3 (ncclCommMemStat_t)");
    }
    tuttiCommMemStats_t stats = TUTTI_COMM_MEM_STATS_INITIALIZER;
    const tuttiResult_t result = tuttiCommGetMemStats(ours(comm), &stats);
    if (result != tuttiSuccess) return result;
    *value = which == ncclStatGpuMemPersist || which == ncclStatGpuMemTotal ? stats.totalBytes : 0;
    return tuttiSuccess;
  }));
}
TUTTI_NCCL_TWIN(ncclCommMemStats);

TUTTI_NCCL_API ncclResult_t ncclCommSuspend(ncclComm_t comm, int flags) {
  (void)comm;
  (void)flags;
  return not_supported("ncclCommSuspend",
                       "a communicator's memory can't be given back while it lives; idle ones keep "
                       "little (TUTTI_STAGING_POOL), and destroying it gives back all");
}
TUTTI_NCCL_TWIN(ncclCommSuspend);

TUTTI_NCCL_API ncclResult_t ncclCommResume(ncclComm_t comm) {
  (void)comm;
  return not_supported("ncclCommResume", "no communicator is suspended (see ncclCommSuspend)");
}
TUTTI_NCCL_TWIN(ncclCommResume);
