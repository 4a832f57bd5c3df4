// SPDX-License-Identifier: Apache-2.0
// From a user's buffers to launches.
#include "src/moe/device_handle.h"

#include <span>
#include <utility>

#include "src/base/hash.h"
#include "src/exec/cuda/moe.h"

namespace tutti::moe {
namespace {

using exec::MoeKernel;

constexpr MoeKernel kDispatch[] = {MoeKernel::kRoute, MoeKernel::kStage, MoeKernel::kLayOut,
                                   MoeKernel::kReceive};
constexpr MoeKernel kCombine[] = {MoeKernel::kSum, MoeKernel::kGather};

// The first half of them sends, the second receives.
std::span<const MoeKernel> of_phases(std::span<const MoeKernel> all, Phases phases) {
  const size_t half = all.size() / 2;
  if (!phases.receive) return all.first(half);
  return phases.send ? all : all.last(half);
}

template <typename T>
T* reached(const comm::DeviceCalls& device, T* data, const char* name) {
  if (data == nullptr) return nullptr;
  return reinterpret_cast<T*>(device.reached(data, name));
}

}  // namespace

class DeviceHandle::Task final : public comm::OrderedTask {
 public:
  // `noted`, of the handle, gets the launch's number; null: nobody asks.
  Task(std::shared_ptr<DeviceHandle> handle, const exec::MoeLaunch& launch, uint64_t* noted)
      : handle_(std::move(handle)),
        comm_(handle_->group_->comm().shared_from_this()),
        launch_(launch),
        noted_(noted) {}

  void begin(std::optional<Error>& /*caught*/) override {
    comm::DataPath& path = comm_->path();
    for (int peer = 0; peer < comm_->n_ranks(); ++peer)
      if (peer != comm_->rank()) path.links.note_direct_use(peer);
    runs_ = path.device->launch(launch_);
    if (runs_ && noted_ != nullptr) *noted_ = path.device->executor().counts().issued;
    path.collectives.sent().mask |= 1u << static_cast<unsigned>(transport::MessageKind::kMapped);
  }
  Status progress(bool* advanced) noexcept override {
    *advanced = true;
    return kOkStatus;
  }
  int waiting_for() const noexcept override { return -1; }
  bool needs(int /*rank*/) const noexcept override { return false; }
  std::optional<Error> refusal() override { return std::nullopt; }
  std::optional<Launched> launched() const override { return Launched{runs_, launch_.call}; }

 private:
  const std::shared_ptr<DeviceHandle> handle_;      // shared: a queued call keeps it
  const std::shared_ptr<comm::Communicator> comm_;  // shared: as it was when the call was issued
  exec::MoeLaunch launch_;
  uint64_t* const noted_;
  bool runs_ = true;
};

void DeviceHandle::route(const TopK& top_k) {
  const comm::DeviceCalls& device = *group_->comm().path().device;
  TopK reachable = top_k;
  if (top_k.tokens != 0 && top_k.k != 0) {
    reachable.experts = reached(device, top_k.experts, "topkIdx");
    reachable.weights = reached(device, top_k.weights, "topkWeights");
  }
  top_k_ = reachable;
}

uint32_t DeviceHandle::sign(uint64_t kind) {
  Hasher hash;
  hash.value(static_cast<uint64_t>(slot_));
  hash.value(calls_++);
  hash.value(kind);
  return transport::to_signature(hash.finish());
}

gpu::MoeArgs DeviceHandle::args() const {
  gpu::MoeArgs args = group_->device()->args_of(slot_);
  gpu::MoeBuffers user = user_;
  user.homes = args.user.homes;
  user.slots = args.user.slots;
  user.capacities = args.user.capacities;
  user.experts = top_k_.experts;
  user.weights = top_k_.weights;
  args.user = user;
  args.team.signature = signature_;
  args.tokens = static_cast<uint32_t>(top_k_.tokens);
  args.top_k = static_cast<uint32_t>(top_k_.k);
  return args;
}

std::shared_ptr<comm::OrderedTask> DeviceHandle::dispatch(const std::byte* input,
                                                          const Output& output, Phases phases,
                                                          void* stream) {
  const comm::DeviceCalls& device = *group_->comm().path().device;
  gpu::MoeBuffers user = user_;
  if (phases.send) user.input = top_k_.tokens == 0 ? nullptr : reached(device, input, "x");
  if (phases.receive) {
    user.rows = reached(device, output.rows, "output.rows");
    user.scales = reached(device, output.scales, "output.scales");
    user.row_experts = reached(device, output.experts, "output.topkIdx");
    user.row_weights = reached(device, output.weights, "output.topkWeights");
    user.source_ranks = reached(device, output.source_ranks, "output.sourceRank");
    user.source_tokens = reached(device, output.source_tokens, "output.sourceToken");
  }
  user_ = user;
  if (phases.send) signature_ = sign(0);
  return std::make_shared<Task>(shared_from_this(),
                                exec::MoeLaunch{.kernels = of_phases(kDispatch, phases),
                                                .args = args(),
                                                .call = comm::kMoeDispatchCall,
                                                .stream = static_cast<cuda::Stream>(stream)},
                                &last_launch_);
}

std::shared_ptr<comm::OrderedTask> DeviceHandle::combine(const std::byte* rows, std::byte* output,
                                                         Phases phases, void* stream) {
  const comm::DeviceCalls& device = *group_->comm().path().device;
  gpu::MoeBuffers user = user_;
  if (phases.send) user.computed = reached(device, rows, "y");
  if (phases.receive) user.output = top_k_.tokens == 0 ? nullptr : reached(device, output, "out");
  user_ = user;
  if (phases.send) signature_ = sign(1);
  return std::make_shared<Task>(shared_from_this(),
                                exec::MoeLaunch{.kernels = of_phases(kCombine, phases),
                                                .args = args(),
                                                .call = comm::kMoeCombineCall,
                                                .stream = static_cast<cuda::Stream>(stream)},
                                nullptr);
}

std::optional<DeviceReport> DeviceHandle::report() const noexcept {
  if (group_->comm().path().device->executor().counts().done < last_launch_) return std::nullopt;
  return group_->device()->report(slot_);
}

}  // namespace tutti::moe
