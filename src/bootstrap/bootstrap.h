// SPDX-License-Identifier: Apache-2.0
// How the ranks of a communicator find each other: unique id, rendezvous, and an all-gather over a
// tree.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/base/clock.h"
#include "src/base/socket.h"

namespace tutti::bootstrap {

// The 128 bytes that users pass around. Layout (little endian): magic "TUTTI\0" and version u16
// (8), family u8, port u16, scope u32, ip 16 or abstract name (up to 63) in a 72-byte field,
// key[32], checksum u64, zero fill.
struct UniqueId {
  std::array<std::byte, 128> bytes{};
};
struct UniqueIdFields {
  SocketAddress address;
  std::array<std::byte, 32> key{};
};
UniqueId pack(const UniqueIdFields& fields);
// Throws InvalidArgument when magic, version or checksum is wrong ("not a Tutti unique id, or
// damaged in transit").
UniqueIdFields unpack(const UniqueId& id);

// Starts a rendezvous root in this process (on its control thread) and returns the id that leads to
// it. The root gives up after 10 minutes; once the rendezvous is complete or has failed it lingers
// for 30 s to tell latecomers so.
UniqueId create_unique_id(const std::string& interface_prefix);

// What a launcher told this process, from the first that is present: TUTTI_RANK/TUTTI_SIZE (tutti
// run), torchrun, Open MPI, MPICH and PMI, Slurm, an indexed Job of Kubernetes, PMIx alone.
struct Launch {
  std::string launcher;  // "tutti", "torchrun", "openmpi", "pmi", "slurm", "kubernetes", "pmix"
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
  std::string job;  // what names the job on this host
};
std::optional<Launch>
detect_launch();  // throws InvalidArgument on half-set or malformed variables, naming them
// The job's `sequence`-th unique id; the process with rank 0 starts the root.
//  - One host: an abstract Unix socket named by the job, peer credentials checked; without
//    communication.
//  - Several hosts and a secret (TUTTI_KEY, TUTTI_KEY_FILE): MASTER_ADDR and the port after
//    MASTER_PORT (or TUTTI_PORT) plus sequence; without communication.
//  - Several hosts else: a directory in rank 0's process, whose place and fresh key the launcher
//    passes (PMIx, PMI). The first call of a process waits for all ranks. Ranks may know the root
//    by different addresses of rank 0's host.
UniqueId launch_unique_id(const Launch& launch, uint64_t sequence);

// Out-of-band collectives among the ranks of one communicator, over a tree of fan-in 8. Set-up
// code: throws.
class Bootstrap {
 public:
  // Rendezvous. Every connection proves the key (challenge and HMAC) before anything else is read.
  // Throws RemoteError at the deadline, naming the ranks that did not come; InvalidUsage when two
  // processes claim one rank or sizes differ, and early when *aborted becomes true (may be null);
  // InvalidArgument when `rank` is none of `n_ranks`.
  static std::unique_ptr<Bootstrap> join(const UniqueId& id, int n_ranks, int rank,
                                         Deadline deadline, const std::atomic<bool>* aborted);
  ~Bootstrap();
  int rank() const noexcept;
  int n_ranks() const noexcept;
  // Everybody's bytes, by rank; lengths may differ. At most 64 MiB in all. Throws RemoteError
  // naming the rank that died, left or did not come by the deadline (every rank gets it, and so
  // does every later call); InvalidUsage early when *aborted.
  std::vector<std::vector<std::byte>> all_gather(std::span<const std::byte> mine, Deadline deadline,
                                                 const std::atomic<bool>* aborted = nullptr);
  // A number that all ranks of this rendezvous agree on and that no other communicator of the job
  // has.
  uint64_t comm_id() const noexcept;

 private:
  Bootstrap();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tutti::bootstrap
