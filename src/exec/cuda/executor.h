// SPDX-License-Identifier: Apache-2.0
// Runs compiled programs of one communicator's rank on its GPU: launches on the user's streams, and
// shows how they are going (docs/adr/0011).
//
// Set-up and launches throw Error and are made by the thread that owns the communicator's progress;
// what is noexcept may be called by any thread while the object lives. Launches of one executor run
// one after the other, whatever their streams. A graph's replays the program orders itself: behind
// what it has launched before, and before what it launches afterwards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "src/device/cuda/gpu.h"
#include "src/exec/cuda/device_program.h"
#include "src/exec/operation.h"
#include "src/exec/p2p.h"
#include "src/exec/program.h"
#include "src/kernels/cuda/report.h"

namespace tutti::exec {

struct ExecutorState;
struct MoeLaunch;
struct SymmetricCall;
struct SymmetricRegion;

// A program in the memory of the GPU, with its ends of connections. The executor outlives it. May
// be destroyed while launches of it run: what they use is kept until they have ended, and to the
// executor's end where a graph has it.
class DeviceProgram {
 public:
  struct State;
  explicit DeviceProgram(std::unique_ptr<State> state);
  ~DeviceProgram();
  DeviceProgram(const DeviceProgram&) = delete;
  DeviceProgram& operator=(const DeviceProgram&) = delete;
  State& state() noexcept { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

// Launches so far. What is captured is not issued: it begins and ends when the graph is replayed.
struct DeviceCounts {
  uint64_t issued = 0;  // put into streams to run
  uint64_t done = 0;    // of those, how many have ended; they end in the order of their issue
  uint64_t begun = 0;   // on the GPU, replays of graphs included
  uint64_t ended = 0;   // of those
  uint64_t call = 0;    // DeviceLaunch::call of the launch that began last
};

// What a thread block has been waiting for, for longer than a moment.
struct DeviceWaiting {
  gpu::WaitFor what = gpu::WaitFor::kNothing;
  int32_t rank = -1;   // -1: for no other rank
  uint32_t place = 0;  // see gpu::WaitFor
};

// Why a kernel has ended itself; kAborted only after abort().
struct DeviceFailure {
  gpu::Failure what = gpu::Failure::kNone;
  int32_t rank = -1;
  uint32_t got = 0;  // kMismatch: the signature that came; kReference: the message's kind
};

struct DeviceLaunch {
  Binding binding;  // buffers: addresses that the GPU reaches (see cuda::classify)
  // Of PreMulSum: where the GPU reads the scalar when the call runs; null: binding.scaling has it.
  const std::byte* pre_scalar = nullptr;
  Tiling tiling;
  uint32_t signature = 0;  // of the call; see exec::Launch
  // Of the connections that have an inline FIFO; agreed by all ranks. The others are kSimple. A
  // communicator uses LL or LL128 for all its life: what a ring has carried by LL128 could be taken
  // for flags of LL.
  DeviceProtocol protocol = DeviceProtocol::kSimple;
  uint64_t call = 0;  // its number, for who watches
  cuda::Stream stream = nullptr;
};

// The sends to one peer, or the receives from it, of one group.
struct DeviceTransfers {
  int peer = 0;
  // One of the two.
  transport::SendConnection* send = nullptr;
  transport::RecvConnection* recv = nullptr;
  std::span<const P2pTransfer> transfers;  // in issue order; data: an address that the GPU reaches
};

class DeviceExecutor {
 public:
  struct Settings {
    int device = 0;  // ordinal of the driver
    int rank = 0;
    int n_ranks = 1;
    unsigned threads = 0;      // of a block, a multiple of 32; 0: the library's choice
    unsigned most_blocks = 0;  // of a launch; 0: what the GPU runs together
  };
  // Throws UnhandledCudaError: the driver refuses, or the library has no code for the GPU.
  explicit DeviceExecutor(const Settings& settings);
  // Waits for kernels, which must have ended or have been told to (abort()). What a kernel that
  // does not end uses is not freed. No graph that has its launches is replayed any more.
  ~DeviceExecutor();
  DeviceExecutor(const DeviceExecutor&) = delete;
  DeviceExecutor& operator=(const DeviceExecutor&) = delete;

  const cuda::Gpu& gpu() const noexcept;
  // Of a launch, at most.
  unsigned most_blocks() const noexcept;

  // The program's connections, all of them ready. They, and the memory behind their views, outlive
  // the executor. Throws InvalidUsage when the program can't run on this GPU: more lanes than
  // blocks that are resident together, or a step with too many operands.
  std::unique_ptr<DeviceProgram> prepare(const Program& program, const Connections& connections);
  // Puts the program into the stream, behind what this executor has put into other streams. Also
  // while the stream captures: then behind what the same capture has of this executor. Arrays of
  // the binding are copied. True: it will run, and its messages are counted in the connections'
  // traffic. False: it has become part of a graph, or the rank has nothing to do.
  bool launch(DeviceProgram& program, const DeviceLaunch& launch);
  // The transfers of one group on as many blocks: those with one peer in one direction one after
  // the other, all others at once. At most one entry per peer and direction. `max_chunk_bytes`: of
  // a staging slot, as P2pLaunch; the messages are those of P2pOperation at the other end. Throws
  // InvalidUsage when there are more entries than blocks that are resident together.
  bool launch(std::span<const DeviceTransfers> transfers, size_t max_chunk_bytes, uint64_t call,
              cuda::Stream stream);

  // A collective on symmetric memory, in as many launches as it has pieces; see launch() above.
  bool launch(const SymmetricRegion& region, const SymmetricCall& call);

  // Kernels of a MoE layer, whose areas outlive the executor or the last launch; see launch()
  // above.
  bool launch(MoeLaunch& launch);

  // Around work of the caller that belongs to a launch in the same stream, before it and behind it.
  // Work that is put into the stream from now on waits for all launches so far.
  void order(cuda::Stream stream);
  // What has been put into the stream so far is part of the last launch, as far as order() goes.
  void mark(cuda::Stream stream);

  DeviceCounts counts() const noexcept;
  // All that was issued has ended, and nothing that was begun runs.
  bool idle() const noexcept;
  // The first block that waits for another rank; nullopt when none does.
  std::optional<DeviceWaiting> waiting() const noexcept;
  // Some block waits for that rank.
  bool waits_for(int rank) const noexcept;
  std::optional<DeviceFailure> failure() const noexcept;
  // The driver's error when the GPU has failed (kernels that crashed); kOk while it is well.
  Status gpu_failure() const noexcept;
  // Kernels that wait end within milliseconds, those launched later when they would wait, or, once
  // one has been ended, at once.
  void abort() noexcept;

 private:
  std::unique_ptr<ExecutorState> state_;
};

}  // namespace tutti::exec
