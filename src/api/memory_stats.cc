// SPDX-License-Identifier: Apache-2.0
// The account of a communicator's memory, for users.
#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/comm/communicator.h"
#include "src/comm/scratch.h"
#include "src/comm/staging_pool.h"

namespace tutti::api {
namespace {

using comm::Communicator;

tuttiCommMemStats_t mem_stats_of(Communicator& comm) {
  const MemoryBudget& budget = comm.local().budget;
  const comm::Links::Count connections = comm.path().links.count();
  return {.size = sizeof(tuttiCommMemStats_t),
          .totalBytes = budget.used_bytes(),
          .peakBytes = budget.peak_bytes(),
          .capBytes = budget.capped() ? budget.cap_bytes() : 0,
          .connectionBytes = budget.used_bytes(MemoryUse::kConnections),
          .scratchBytes = budget.used_bytes(MemoryUse::kScratch),
          .boardBytes = budget.used_bytes(MemoryUse::kBoards),
          .recordingBytes = budget.used_bytes(MemoryUse::kRecording),
          .programBytes = budget.used_bytes(MemoryUse::kPrograms),
          .objectBytes = budget.used_bytes(MemoryUse::kObjects),
          .peerConnectionBytes = budget.used_bytes(MemoryUse::kPeerConnections),
          .windowBytes = budget.used_bytes(MemoryUse::kPeerWindows),
          .sendConnections = connections.send,
          .recvConnections = connections.recv,
          .poolScratchBytes = comm::scratch_pool_bytes(),
          .poolStagingBytes = comm::staging_pool_bytes(),
          .peerBoardBytes = budget.used_bytes(MemoryUse::kPeerBoards)};
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace

tuttiResult_t tuttiCommGetMemStats(tuttiComm_t comm, tuttiCommMemStats_t* stats) {
  return guard("tuttiCommGetMemStats", [&] {
    require_size(stats, "TUTTI_COMM_MEM_STATS_INITIALIZER");
    hand_out(mem_stats_of(Handles<tuttiComm>::find(comm, "comm").ready()), stats);
  });
}
