// SPDX-License-Identifier: Apache-2.0
// Life and properties of communicators in the C API.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "src/api/arguments.h"
#include "src/api/config.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/base/config.h"
#include "src/base/file.h"
#include "src/base/log.h"
#include "src/comm/group.h"
#include "src/comm/reshape.h"
#include "src/comm/setup.h"
#include "src/device/cuda/driver.h"

namespace tutti::api {
namespace {

using comm::Communicator;
using comm::Group;
using CommHandles = Handles<tuttiComm>;

comm::Handle& handle_of(tuttiComm_t comm) { return CommHandles::find(comm, "comm"); }

bootstrap::UniqueId id_of(const tuttiUniqueId& id) {
  bootstrap::UniqueId inner;
  std::memcpy(inner.bytes.data(), id.internal, inner.bytes.size());
  return inner;
}

// Makes *out, now, in the background, or at the end of the group.
tuttiResult_t create(tuttiComm_t* out, const Communicator* parent, bool blocking,
                     comm::Handle::Make make) {
  *out = nullptr;
  if (!blocking) {
    auto owner = CommHandles::make();
    comm::Handle& handle = owner->value;
    tuttiComm_t published = CommHandles::publish(std::move(owner));
    try {
      handle.start_making(std::move(make));
    } catch (...) {
      CommHandles::take(published, "comm");
      throw;
    }
    *out = published;
    return tuttiInProgress;
  }
  Group::current().set_up(parent, [out, make = std::move(make)] {
    auto owner = CommHandles::make();
    owner->value.make(make);
    *out = CommHandles::publish(std::move(owner));
  });
  return tuttiSuccess;
}

constexpr int kMostRanks = 1 << 20;  // as TUTTI_SIZE
constexpr int kMostRanksHere = 4096;
constexpr int kFilesWhileJoining = 4;  // of one rank: sockets and memory; measured

// So many ranks can join in one process before it runs out of descriptors.
int most_ranks_here() {
  const uint64_t files = open_file_limit() / kFilesWhileJoining;
  return static_cast<int>(std::clamp<uint64_t>(files, 1, kMostRanksHere));
}

void require_number_of_ranks(int n, int most, const char* name) {
  if (n >= 1 && n <= most) return;
  refuse(
      std::string(name) + " is " + std::to_string(n) + "; allowed are 1 to " +
      std::to_string(most) +
      (most < kMostRanks ? " ranks in one process with its limit of open files (ulimit -n)" : ""));
}

// In a group the calling thread is going to drive all the ranks that it initialises there.
uint64_t owner_of_new_rank() { return Group::active() ? comm::this_thread_token() : 0; }

tuttiResult_t init_rank(tuttiComm_t* comm, int n_ranks, const tuttiUniqueId& id, int rank,
                        const tuttiConfig_t* config) {
  require(comm, "comm");
  *comm = nullptr;  // a refused call leaves no stale handle behind
  require_number_of_ranks(n_ranks, kMostRanks, "nranks");
  require_rank(rank, n_ranks, "rank");
  const comm::Options options = options_from(config, default_options());
  bootstrap::unpack(id_of(id));  // refuses a damaged id before anybody waits for it
  const comm::Seat seat{.rank = rank, .n_ranks = n_ranks};
  const uint64_t owner = owner_of_new_rank();
  return create(comm, nullptr, options.blocking,
                [=, inner = id_of(id)](const std::atomic<bool>* cancelled) {
                  return comm::join(inner, seat, options, cancelled, owner);
                });
}

// By rank. Without a CUDA driver the numbers of devices mean nothing.
std::vector<comm::Options> options_by_rank(int n_ranks, const int* devices) {
  std::vector<comm::Options> options(static_cast<size_t>(n_ranks), default_options());
  if (devices == nullptr) return options;
  if (cuda::find_driver() == nullptr) {
    log(LogLevel::kInfo, "api", -1, "devlist is not used, the communicators are of the host: {}",
        cuda::driver_reason());
    return options;
  }
  for (size_t i = 0; i < options.size(); ++i) {
    if (devices[i] < 0) {
      refuse("devlist[" + std::to_string(i) + "] is " + std::to_string(devices[i]) +
             "; allowed are numbers of GPUs, 0 to " + std::to_string(cuda::device_count() - 1));
    }
    options[i].config.local.device = devices[i];
  }
  return options;
}

void init_all(tuttiComm_t* comms, int n_ranks, const int* devices) {
  const std::vector<comm::Options> by_rank = options_by_rank(n_ranks, devices);
  const comm::Options& options = by_rank.front();
  const bootstrap::UniqueId id = bootstrap::create_unique_id(options.config.local.interface_prefix);
  std::vector<CommHandles::Owner> handles(static_cast<size_t>(n_ranks));
  std::vector<std::function<void()>> jobs;
  std::atomic<bool> cancelled{false};  // relaxed: a request
  for (int rank = 0; rank < n_ranks; ++rank) {
    auto& handle = handles[static_cast<size_t>(rank)];
    handle = CommHandles::make();
    jobs.emplace_back([&, rank] {
      handle->value.make([&](const std::atomic<bool>*) {  // nobody has the handle yet
        return comm::join(id, {.rank = rank, .n_ranks = n_ranks},
                          by_rank[static_cast<size_t>(rank)], &cancelled, 0);
      });
    });
  }
  comm::run_concurrently(jobs, [&] { cancelled.store(true, std::memory_order_relaxed); });
  for (size_t i = 0; i < handles.size(); ++i)
    comms[i] = CommHandles::publish(std::move(handles[i]));
}

tuttiResult_t split(tuttiComm_t comm, int color, int key, tuttiComm_t* newcomm,
                    const tuttiConfig_t* config) {
  Communicator& parent = open_comm(comm);
  require(newcomm, "newcomm");
  *newcomm = nullptr;
  if (color < 0 && color != TUTTI_SPLIT_NOCOLOR) {
    refuse("color is " + std::to_string(color) +
           "; allowed are 0 and above, and TUTTI_SPLIT_NOCOLOR (-1)");
  }
  const comm::Options options = options_from(config, parent.options());
  const bool in_group = Group::active();
  parent.team().claim();
  if (!in_group) comm::check_not_crowded(parent);
  const uint64_t owner = owner_of_new_rank();
  const auto make = [=, shared = parent.shared_from_this()](const std::atomic<bool>*) {
    return comm::split(*shared, color, key, options, owner);
  };
  if (color != TUTTI_SPLIT_NOCOLOR) return create(newcomm, &parent, options.blocking, make);
  Group::current().set_up(&parent, [make] { make(nullptr); });
  return tuttiSuccess;
}

std::vector<int> excluded_ranks(const int* list, int count, const Communicator& comm) {
  if (count < 0 || count >= comm.n_ranks()) {
    refuse("excludeRanksCount is " + std::to_string(count) + "; allowed are 0 to " +
           std::to_string(comm.n_ranks() - 1) + ", so that a rank is left");
  }
  if (count > 0) require(list, "excludeRanksList");
  std::vector<int> excluded(list, list + count);
  for (size_t i = 0; i < excluded.size(); ++i) {
    const std::string name = "excludeRanksList[" + std::to_string(i) + "]";
    require_rank(excluded[i], comm.n_ranks(), name.c_str());
    if (excluded[i] == comm.rank())
      refuse(name + " is the calling rank, which must not be excluded");
    if (std::count(excluded.begin(), excluded.end(), excluded[i]) > 1)
      refuse(name + " is " + std::to_string(excluded[i]) + ", which is in the list twice");
  }
  return excluded;
}

tuttiResult_t shrink(tuttiComm_t comm, const int* list, int count, tuttiComm_t* newcomm,
                     const tuttiConfig_t* config, int flags) {
  Communicator& parent = handle_of(comm).ready();
  require(newcomm, "newcomm");
  *newcomm = nullptr;
  if (flags != TUTTI_SHRINK_DEFAULT && flags != TUTTI_SHRINK_ABORT) {
    refuse("shrinkFlags is " + std::to_string(flags) +
           "; allowed are TUTTI_SHRINK_DEFAULT (0) and TUTTI_SHRINK_ABORT (1)");
  }
  const std::vector<int> excluded = excluded_ranks(list, count, parent);
  const comm::Options options = options_from(config, parent.options());
  const uint64_t owner = owner_of_new_rank();
  if (flags == TUTTI_SHRINK_ABORT) parent.break_off(comm::Cause::kAborted, "tuttiCommShrink");
  return create(newcomm, nullptr, options.blocking,
                [=, shared = parent.shared_from_this()](const std::atomic<bool>* cancelled) {
                  shared->drain(Deadline::never());  // each operation has its own deadline
                  return comm::shrink(*shared, excluded, {options, cancelled, owner});
                });
}

tuttiResult_t grow(tuttiComm_t comm, int n_ranks, const tuttiUniqueId* id, int rank,
                   tuttiComm_t* newcomm, const tuttiConfig_t* config) {
  if (comm == nullptr) {
    require(id, "uniqueId");
    return init_rank(newcomm, n_ranks, *id, rank, config);
  }
  Communicator& parent = handle_of(comm).ready();
  require(newcomm, "newcomm");
  *newcomm = nullptr;
  require_number_of_ranks(n_ranks, kMostRanks, "nRanks");
  if (n_ranks < parent.n_ranks()) {
    refuse("nRanks is " + std::to_string(n_ranks) + "; comm has " +
           std::to_string(parent.n_ranks()) + " ranks already");
  }
  if (rank != -1)
    refuse("rank is " + std::to_string(rank) + "; ranks of comm pass -1 and keep theirs");
  const comm::Options options = options_from(config, parent.options());
  const uint64_t owner = owner_of_new_rank();
  std::optional<bootstrap::UniqueId> inner;
  if (id != nullptr) {
    inner = id_of(*id);
    bootstrap::unpack(*inner);
  }
  return create(newcomm, nullptr, options.blocking,
                [=, shared = parent.shared_from_this()](const std::atomic<bool>* cancelled) {
                  return comm::grow(*shared, n_ranks, inner.has_value() ? &*inner : nullptr,
                                    {options, cancelled, owner});
                });
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace

tuttiResult_t tuttiCommInitRank(tuttiComm_t* comm, int nranks, tuttiUniqueId id, int rank) {
  return guard_call("tuttiCommInitRank",
                    [&] { return init_rank(comm, nranks, id, rank, nullptr); });
}

tuttiResult_t tuttiCommInitRankConfig(tuttiComm_t* comm, int nranks, tuttiUniqueId id, int rank,
                                      tuttiConfig_t* config) {
  return guard_call("tuttiCommInitRankConfig",
                    [&] { return init_rank(comm, nranks, id, rank, config); });
}

tuttiResult_t tuttiCommInitAll(tuttiComm_t* comms, int ndev, const int* devlist) {
  return guard("tuttiCommInitAll", [&] {
    require(comms, "comms");
    require_number_of_ranks(ndev, most_ranks_here(), "ndev");
    init_all(comms, ndev, devlist);
  });
}

tuttiResult_t tuttiCommSplit(tuttiComm_t comm, int color, int key, tuttiComm_t* newcomm,
                             tuttiConfig_t* config) {
  return guard_call("tuttiCommSplit", [&] { return split(comm, color, key, newcomm, config); });
}

tuttiResult_t tuttiCommShrink(tuttiComm_t comm, int* excludeRanksList, int excludeRanksCount,
                              tuttiComm_t* newcomm, tuttiConfig_t* config, int shrinkFlags) {
  return guard_call("tuttiCommShrink", [&] {
    return shrink(comm, excludeRanksList, excludeRanksCount, newcomm, config, shrinkFlags);
  });
}

tuttiResult_t tuttiCommGetUniqueId(tuttiComm_t comm, tuttiUniqueId* uniqueId) {
  return guard("tuttiCommGetUniqueId", [&] {
    const Communicator& parent = handle_of(comm).ready();
    require(uniqueId, "uniqueId");
    const auto id =
        tutti::bootstrap::create_unique_id(parent.options().config.local.interface_prefix);
    std::memcpy(uniqueId->internal, id.bytes.data(), id.bytes.size());
  });
}

tuttiResult_t tuttiCommGrow(tuttiComm_t comm, int nRanks, const tuttiUniqueId* uniqueId, int rank,
                            tuttiComm_t* newcomm, tuttiConfig_t* config) {
  return guard_call("tuttiCommGrow",
                    [&] { return grow(comm, nRanks, uniqueId, rank, newcomm, config); });
}

tuttiResult_t tuttiCommRevoke(tuttiComm_t comm, int revokeFlags) {
  return guard("tuttiCommRevoke", [&] {
    if (revokeFlags != 0)
      refuse("revokeFlags is " + std::to_string(revokeFlags) + "; it must be 0");
    handle_of(comm).ready().break_off(tutti::comm::Cause::kRevoked, "tuttiCommRevoke");
  });
}

tuttiResult_t tuttiCommFinalize(tuttiComm_t comm) {
  return guard("tuttiCommFinalize", [&] {
    tutti::comm::Handle& handle = handle_of(comm);
    if (handle.ready().options().blocking) {
      handle.finalize();
      return tuttiSuccess;
    }
    handle.start_finalize();
    return tuttiInProgress;
  });
}

tuttiResult_t tuttiCommDestroy(tuttiComm_t comm) {
  return guard("tuttiCommDestroy", [&] {
    if (comm == nullptr) return;  // as tuttiCommSplit leaves it for TUTTI_SPLIT_NOCOLOR
    CommHandles::take(comm, "comm")->value.close();
  });
}

tuttiResult_t tuttiCommAbort(tuttiComm_t comm) {
  return guard("tuttiCommAbort", [&] {
    if (comm == nullptr) return;
    CommHandles::take(comm, "comm")->value.abort();
  });
}

tuttiResult_t tuttiCommCount(const tuttiComm_t comm, int* count) {
  return guard("tuttiCommCount", [&] {
    require(count, "count");
    *count = handle_of(comm).ready().n_ranks();
  });
}

tuttiResult_t tuttiCommUserRank(const tuttiComm_t comm, int* rank) {
  return guard("tuttiCommUserRank", [&] {
    require(rank, "rank");
    *rank = handle_of(comm).ready().rank();
  });
}

tuttiResult_t tuttiCommDevice(const tuttiComm_t comm, int* device) {
  return guard("tuttiCommDevice", [&] {
    require(device, "device");
    *device = handle_of(comm).ready().options().config.local.device;
  });
}

tuttiResult_t tuttiCommCuDevice(const tuttiComm_t comm, int* device) {
  return tuttiCommDevice(comm, device);
}

tuttiResult_t tuttiCommGetAsyncError(tuttiComm_t comm, tuttiResult_t* asyncError) {
  return guard("tuttiCommGetAsyncError", [&] {
    require(asyncError, "asyncError");
    const tutti::comm::Handle& handle = handle_of(comm);
    *asyncError =
        handle.busy() ? tuttiInProgress : static_cast<tuttiResult_t>(handle.failure().code());
  });
}

tuttiResult_t tuttiRedOpCreatePreMulSum(tuttiRedOp_t* op, void* scalar, tuttiDataType_t datatype,
                                        tuttiScalarResidence_t residence, tuttiComm_t comm) {
  return guard("tuttiRedOpCreatePreMulSum", [&] {
    Communicator& c = open_comm(comm);
    require(op, "op");
    require(scalar, "scalar");
    const int where = number_of(residence);
    if (where != tuttiScalarDevice && where != tuttiScalarHostImmediate) {
      refuse("residence is " + std::to_string(where) +
             "; allowed are tuttiScalarDevice (0) and tuttiScalarHostImmediate (1)");
    }
    *op = static_cast<tuttiRedOp_t>(
        c.red_ops().create(scalar, dtype_of(datatype), where == tuttiScalarHostImmediate));
  });
}

tuttiResult_t tuttiRedOpDestroy(tuttiRedOp_t op, tuttiComm_t comm) {
  return guard("tuttiRedOpDestroy", [&] { open_comm(comm).red_ops().destroy(number_of(op)); });
}
