// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/executor_run.h"

#include <cstring>

namespace tutti::test {

using cudasim::test::address;

TestFifo::TestFifo(const Gpus& gpus, const FifoSetting& setting, int from, int to) {
  const transport::FifoLayout& layout = setting.layout;
  memory_.reset(static_cast<std::byte*>(::operator new(layout.total_bytes(), kAlignment)));
  memset(memory_.get(), 0, layout.total_bytes());
  send_.view.attach(memory_.get(), layout, nullptr);
  recv_.view.attach(memory_.get(), layout, nullptr);
  const bool between_devices = from < gpus.count() && to < gpus.count();
  if (between_devices && setting.in_gpu_memory) {
    // Each part where it is polled.
    transport::DeviceFifo& fifo = send_.device;
    fifo.lines = address(gpus.alloc(to, layout.n_lines * sizeof(transport::SlotLine)));
    fifo.areas = address(gpus.alloc(to, layout.staging_bytes()));
    fifo.release_word = address(gpus.alloc(from, sizeof(transport::ReleaseWord)));
    fifo.layout = layout;
  }
  if (between_devices && setting.ring_bytes != 0) {
    send_.device.inline_fifo = {
        .slots = address(gpus.alloc(to, size_t{layout.n_areas} * setting.ring_bytes)),
        .released = address(gpus.alloc_of<uint64_t>(from, 1)),
        .n_slots = layout.n_areas,
        .slot_bytes = setting.ring_bytes,
        .whole_lines = true};
  }
  recv_.device = send_.device;
}

TestFifo& TestFifos::find(int from, int to, int channel) {
  auto& fifo = fifos_[{from, to, channel}];
  if (fifo == nullptr) fifo = std::make_unique<TestFifo>(gpus_, setting_, from, to);
  return *fifo;
}

exec::Connections TestFifos::connections(const exec::Program& program) {
  exec::Connections all;
  for (const exec::Endpoint& end : program.send_peers) {
    all.send.push_back(&find(program.rank, end.peer, end.channel).send());
  }
  for (const exec::Endpoint& end : program.recv_peers) {
    all.recv.push_back(&find(end.peer, program.rank, end.channel).recv());
  }
  return all;
}

namespace {

void use_no_device() { OK(cuda::cuCtxSetCurrent(nullptr)); }

}  // namespace

DeviceRank::DeviceRank(TestFifos& fifos, int rank, int n_ranks) : fifos_(fifos), rank_(rank) {
  use_no_device();
  executor_ = std::make_unique<exec::DeviceExecutor>(exec::DeviceExecutor::Settings{
      .device = rank, .rank = rank, .n_ranks = n_ranks, .threads = 64});
}

DeviceRank::~DeviceRank() {
  use_no_device();
  prepared_.reset();
  executor_.reset();
}

void DeviceRank::prepare(const std::shared_ptr<const planner::VerifiedPlan>& plan) {
  program_ = exec::compile(plan, rank_);
  const exec::Connections connections = fifos_.connections(program_);
  use_no_device();
  prepared_.reset();
  prepared_ = executor_->prepare(program_, connections);
}

bool DeviceRank::launch(const exec::DeviceLaunch& launch) {
  use_no_device();
  return executor_->launch(*prepared_, launch);
}

namespace {

void run_to_end(exec::Task& task) {
  for (;;) {
    bool advanced = false;
    const Status status = task.progress(&advanced);
    if (status.ok()) return;
    if (!status.in_progress()) std::fprintf(stderr, "a host rank: %s\n", status.reason);
    WANT(status.in_progress());
    if (!advanced) yield_core();
  }
}

}  // namespace

void run_host_rank(TestFifos& fifos, const exec::Program& program, const exec::Binding& binding,
                   const exec::Tiling& tiling, uint32_t signature) {
  const exec::Connections connections = fifos.connections(program);
  std::vector<std::byte> scratch(exec::scratch_bytes(program, tiling, binding.dtype) + 64);
  void* aligned = scratch.data();
  size_t room = scratch.size();
  exec::SentKinds sent;
  exec::Launch launch{.program = &program, .connections = &connections};
  launch.binding = binding;
  launch.tiling = tiling;
  launch.signature = signature;
  launch.scratch = static_cast<std::byte*>(std::align(64, scratch.size() - 64, aligned, room));
  launch.sent = &sent;
  exec::Operation operation;
  operation.start(launch);
  run_to_end(operation);
}

void run_host_transfers(TestFifos& fifos, int rank, int peer, bool sends,
                        std::vector<exec::P2pTransfer> transfers) {
  exec::SentKinds sent;
  exec::P2pLaunch launch{.peer = peer};
  if (sends) {
    launch.send = &fifos.find(rank, peer).send();
  } else {
    launch.recv = &fifos.find(peer, rank).recv();
  }
  launch.transfers = transfers;
  launch.max_chunk_bytes = fifos.setting().layout.area_bytes;
  launch.sent = &sent;
  exec::P2pOperation operation(launch);
  run_to_end(operation);
}

}  // namespace tutti::test
