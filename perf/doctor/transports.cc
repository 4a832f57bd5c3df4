// SPDX-License-Identifier: Apache-2.0
// Tries every transport of the table between two ranks in this process, and what it uses of the
// kernel.
#include <algorithm>
#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "perf/doctor/rank_report.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/base/liveness.h"
#include "src/base/wait.h"
#include "src/device/cuda/driver.h"
#include "transport/transport.h"

namespace tutti::command {
namespace {

constexpr int64_t kProbeNs = 2 * kNsPerSecond;
constexpr uint64_t kProbeComm = 0x646f63746f72;  // "doctor"
constexpr uint32_t kProbeSignature = 1;

// The first two GPUs, or the only one twice.
int gpu_for(int rank) { return std::max(std::min(rank, cuda::device_count() - 1), 0); }

struct ProbeRank {
  ProbeRank(const transport::TransportRow& row, int which)
      : rank(which),
        bell(SharedBell::allocate()),
        transport(row.create({.comm_id = kProbeComm,
                              .rank = which,
                              .budget = &budget,
                              .bell = &bell,
                              .device = row.between_gpus ? gpu_for(which) : -1})) {
    transport->start();
  }
  transport::Peer as_peer() const { return {rank, this_process(), transport->address()}; }

  int rank;
  MemoryBudget budget;
  SharedBell bell;
  std::unique_ptr<transport::Transport> transport;
};

// Waits for `done`; throws when it does not come true in time.
template <typename Done>
void await(const char* what, Done done) {
  const Deadline deadline = Deadline::after_ns(kProbeNs);
  while (!done()) {
    if (deadline.expired())
      throw Error(StatusCode::kRemoteError, std::string(what) + " did not come in time");
    sleep_ns(kNsPerMs / 10);
  }
}

// Sends one message from rank 0 to rank 1, unless only a kernel could. Returns what direct messages
// are possible; throws Error when anything fails.
std::string probe(const transport::TransportRow& row) {
  ProbeRank source(row, 0);
  ProbeRank sink(row, 1);
  const transport::Reach reach = source.transport->reach(sink.as_peer());
  if (!reach.reachable) throw Error(StatusCode::kSystemError, reach.reason);
  const transport::ConnectionId id{kProbeComm, 0, 1, 0};
  const auto send =
      source.transport->connect(id, sink.as_peer(), {.n_areas = 1, .area_bytes = 4096});
  std::unique_ptr<transport::RecvConnection> recv;
  // Some receivers learn of a connection only when the sender has asked whether it is ready.
  await("both ends of a connection", [&] {
    bool ready = false;
    const Status status = send->ready(&ready);
    if (!status.ok()) throw Error(status.code, status.reason);
    if (recv == nullptr) recv = sink.transport->try_accept(id, source.as_peer());
    return ready && recv != nullptr;
  });
  if (row.between_gpus) return source.transport->direct_capability();
  send->view.commit(kProbeSignature, transport::MessageKind::kInline);
  await("a message", [&] {
    transport::MessageKind kind;
    return recv->view.peek(kProbeSignature, &kind) == transport::Peeked::kMessage;
  });
  recv->view.release();
  return source.transport->direct_capability();
}

// The library works without it, only less well.
template <typename Try>
Finding feature(const char* name, const char* uses, const char* remedy, Try attempt) {
  try {
    attempt();
    return {name, std::string("works: ") + uses};
  } catch (const Error& error) {
    return {name, std::string("does not work: ") + error.what(), remedy};
  }
}

std::string setting(const char* path) {
  std::ifstream file(path);
  std::string line;
  return std::getline(file, line) ? line : std::string("not there");
}

}  // namespace

Section transports_section() {
  Section section{"transports", {}};
  for (const transport::TransportRow& row : transport::transport_table()) {
    try {
      section.findings.push_back({row.name, fmt::format("usable {}; {}", row.doc, probe(row))});
    } catch (const Error& error) {
      // A machine need not have every network, nor GPUs; two processes of it must reach each other.
      section.findings.push_back(
          {row.name, std::string("not usable: ") + error.what(),
           row.crosses_hosts || row.between_gpus
               ? ""
               : "see the features below, and the container's seccomp profile"});
    }
  }
  section.findings.push_back(
      feature("memfd, sealed", "memory that processes share", "a kernel from 3.17 on is needed",
              [] { (void)create_sealed_memfd("tutti-doctor", kPageBytes); }));
  section.findings.push_back(
      feature("pidfd", "deaths of peers are seen at once, not within 0.1 s",
              "allow pidfd_open in the container's seccomp profile; a kernel from 5.3 on is needed",
              [] { (void)open_pidfd(own_pid()); }));
  section.findings.push_back(
      {"membarrier", sleepers_are_safe() ? "works: idle ranks sleep until they are rung"
                                         : "does not work: idle ranks look every millisecond"});
  section.findings.push_back(
      {"huge pages, shared", setting("/sys/kernel/mm/transparent_hugepage/shmem_enabled")});
  return section;
}

}  // namespace tutti::command
