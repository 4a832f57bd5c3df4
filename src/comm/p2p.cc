// SPDX-License-Identifier: Apache-2.0
// Sorts sends and receives into lanes and moves each as soon as its connection is there.
#include "src/comm/p2p.h"

#include <algorithm>
#include <string>
#include <utility>

#include "src/base/hash.h"
#include "src/comm/health.h"
#include "src/comm/recording.h"
#include "src/kernels/reduce_copy.h"

namespace tutti::comm {
namespace {

exec::P2pTransfer transfer_of(const P2pCall& call) {
  return {static_cast<std::byte*>(call.data), call.count * size_of(call.dtype),
          p2p_signature(call.count, call.dtype)};
}

}  // namespace

uint32_t p2p_signature(size_t count, DType dtype) noexcept {
  Hasher hash;
  hash.value(count);
  hash.value(dtype);
  return transport::to_signature(hash.finish());
}

void P2pGroup::assign(std::span<const P2pCall> calls, int rank) {
  begun_.reset();
  lanes_.clear();
  self_sends_.clear();
  self_recvs_.clear();
  path_.reset();
  streams_.clear();
  recorded_ = recorded_call(calls);
  for (const P2pCall& call : calls) {
    if (std::ranges::find(streams_, call.device_stream) == streams_.end())
      streams_.push_back(call.device_stream);
    if (call.peer == rank) {
      (call.is_send ? self_sends_ : self_recvs_)
          .push_back({transfer_of(call), {call.count, call.dtype}});
    } else {
      ++lane(call.peer, call.is_send).count;
    }
  }
  check_self_calls();
  size_t total = 0;
  for (Lane& lane : lanes_) {
    lane.first = total;
    total += std::exchange(lane.count, 0);
  }
  transfers_.resize(total);
  facts_.resize(total);
  for (const P2pCall& call : calls) {
    if (call.peer == rank) continue;
    Lane& one = lane(call.peer, call.is_send);
    const size_t at = one.first + one.count++;
    transfers_[at] = transfer_of(call);
    facts_[at] = {call.count, call.dtype};
  }
}

P2pGroup::Lane& P2pGroup::lane(int peer, bool is_send) {
  const auto at = std::find_if(lanes_.begin(), lanes_.end(), [&](const Lane& l) {
    return l.peer == peer && l.is_send == is_send;
  });
  if (at != lanes_.end()) return *at;
  lanes_.push_back({.peer = peer, .is_send = is_send});
  return lanes_.back();
}

void P2pGroup::check_self_calls() const {
  if (self_sends_.size() != self_recvs_.size()) {
    throw Error(
        StatusCode::kInvalidUsage,
        "a group has " + std::to_string(self_sends_.size()) +
            " tuttiSend to the calling rank itself and " + std::to_string(self_recvs_.size()) +
            " tuttiRecv from itself; each send to self needs its receive in the same group");
  }
  for (size_t i = 0; i < self_sends_.size(); ++i) {
    const SendFacts& sent = self_sends_[i].facts;
    const SendFacts& received = self_recvs_[i].facts;
    if (sent.count == received.count && sent.dtype == received.dtype) continue;
    throw Error(StatusCode::kInvalidUsage, "the " + std::to_string(i + 1) + ". send to self has " +
                                               describe(sent) + ", its receive has " +
                                               describe(received) + "; both must be equal");
  }
}

void P2pGroup::open(const Path& path, std::optional<Error>& caught) {
  path_.emplace(path);
  caught_ = &caught;
  if (path.links.resting()) path.links.resume();
  for (Lane& lane : lanes_) {
    if (begun_.has_value()) {
      lane.first_ordinal = *path.links.p2p_count(lane.peer, lane.is_send) - 1;
      if (lane.is_send) lane.send = &path.links.send_to(lane.peer, kP2pChannel);
      continue;
    }
    lane.first_ordinal =
        path.links.count_p2p(lane.peer, lane.is_send, static_cast<uint32_t>(lane.count));
    if (!lane.is_send) continue;
    lane.send = &path.links.send_to(lane.peer, kP2pChannel);
    for (size_t i = 0; i < lane.count; ++i)
      path.journal.note_send(lane.first_ordinal + static_cast<uint32_t>(i), lane.peer,
                             facts_[lane.first + i]);
  }
}

void P2pGroup::copy_to_self() noexcept {
  for (size_t i = 0; i < self_sends_.size(); ++i) {
    const exec::P2pTransfer& from = self_sends_[i].transfer;
    kernels::copy_bytes(self_recvs_[i].transfer.data, from.data, from.bytes, false);
  }
  self_sends_.clear();
}

// A failure names the peer.
Status P2pGroup::poll_send(const Lane& lane, bool* ready) noexcept {
  if (!lane.is_send) {
    *ready = true;
    return kOkStatus;
  }
  Status status = lane.send->ready(ready);
  if (!status.ok()) status.rank = lane.peer;
  return status;
}

// Throws Error. The sending end is ready.
bool P2pGroup::try_connect(Lane& lane) {
  transport::RecvConnection* const recv =
      lane.is_send ? nullptr : path_->links.try_recv_from(lane.peer, kP2pChannel);
  if (!lane.is_send && recv == nullptr) return false;
  lane.operation.emplace(exec::P2pLaunch{.peer = lane.peer,
                                         .send = lane.send,
                                         .recv = recv,
                                         .transfers = {&transfers_[lane.first], lane.count},
                                         .max_chunk_bytes = path_->tuning.layout.area_bytes,
                                         .policy = path_->tuning.policy,
                                         .sent = &path_->sent,
                                         .begun = begun_.value_or(exec::P2pProgress{})});
  return true;
}

Status P2pGroup::progress_lane(Lane& lane, bool* advanced) noexcept {
  if (!lane.operation.has_value()) {
    bool ready = false;
    Status status = poll_send(lane, &ready);
    if (!status.ok()) return status;
    if (!ready) return kInProgressStatus;
    bool connected = false;
    status = contained(*caught_, [&] { connected = try_connect(lane); });
    if (!status.ok()) return status;
    if (!connected) return kInProgressStatus;
    *advanced = true;
  }
  return lane.operation->progress(advanced);
}

Status P2pGroup::connect_lane(Lane& lane, bool* advanced) noexcept {
  bool ready = false;
  Status status = poll_send(lane, &ready);
  if (!status.ok() || !ready) return status;
  status = contained(*caught_, [&] {
    if (!lane.is_send) lane.recv = path_->links.try_recv_from(lane.peer, kP2pChannel);
  });
  lane.done = status.ok() && (lane.is_send || lane.recv != nullptr);
  *advanced = *advanced || lane.done;
  return status;
}

Status P2pGroup::launch_when_connected(bool* advanced) noexcept {
  bool connected = true;
  for (Lane& lane : lanes_) {
    if (lane.done) continue;
    const Status status = connect_lane(lane, advanced);
    if (!status.ok()) return status;
    connected = connected && lane.done;
  }
  if (!connected) return kInProgressStatus;
  return contained(*caught_, [&] { launch(); });
}

void P2pGroup::launch() {
  DeviceCalls& device = *path_->device;
  const auto stream = static_cast<cuda::Stream>(streams_.front());
  // The group is one piece of work, behind what each of its streams has.
  for (size_t i = 1; i < streams_.size(); ++i)
    device.join(stream, static_cast<cuda::Stream>(streams_[i]));
  for (size_t i = 0; i < self_sends_.size(); ++i)
    device.copy_to_self(self_sends_[i].transfer, self_recvs_[i].transfer, stream);
  std::vector<TransferLane> lanes;
  lanes.reserve(lanes_.size());
  for (const Lane& lane : lanes_) {
    lanes.push_back({.peer = lane.peer,
                     .send = lane.send,
                     .recv = lane.recv,
                     .transfers = {&transfers_[lane.first], lane.count}});
  }
  runs_ = lanes.empty() ||
          device.launch(lanes, path_->tuning.layout.area_bytes, kTransfersCall, stream);
  for (size_t i = 1; i < streams_.size(); ++i)
    device.join(static_cast<cuda::Stream>(streams_[i]), stream);
}

Status P2pGroup::progress(bool* advanced) noexcept {
  if (path_->device != nullptr) return launch_when_connected(advanced);
  if (!self_sends_.empty()) {
    copy_to_self();
    *advanced = true;
  }
  bool complete = true;
  for (Lane& lane : lanes_) {
    if (lane.done) continue;
    const Status status = progress_lane(lane, advanced);
    if (!status.ok() && !status.in_progress()) return status;
    lane.done = status.ok();
    complete = complete && lane.done;
  }
  return complete ? kOkStatus : kInProgressStatus;
}

std::optional<AwaitedSend> P2pGroup::awaited_send(int peer) const noexcept {
  for (const Lane& lane : lanes_) {
    if (lane.peer != peer || lane.is_send || lane.done || !lane.operation.has_value()) continue;
    const size_t next = lane.operation->ended();
    if (next < lane.count)
      return AwaitedSend{lane.first_ordinal + static_cast<uint32_t>(next),
                         facts_[lane.first + next]};
  }
  return std::nullopt;
}

int P2pGroup::waiting_for() const noexcept {
  for (const Lane& lane : lanes_) {
    if (!lane.done) return lane.peer;
  }
  return -1;
}

bool P2pGroup::needs(int rank) const noexcept {
  return std::any_of(lanes_.begin(), lanes_.end(), [&](const Lane& lane) {
    return !lane.done && lane.peer == rank &&
           (!lane.operation.has_value() || lane.operation->needs(rank));
  });
}

}  // namespace tutti::comm
