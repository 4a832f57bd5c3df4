// SPDX-License-Identifier: Apache-2.0
// Sorts sends and receives into lanes and moves each as soon as its connection is there.
#include "src/comm/p2p.h"

#include <algorithm>

#include "src/base/hash.h"
#include "src/comm/health.h"
#include "src/comm/recording.h"

namespace tutti::comm {
namespace {

// Both ends compute it from their own arguments; a difference is noticed by the first message.
uint32_t p2p_signature(const P2pCall& call) {
  Hasher hash;
  hash.value(call.count);
  hash.value(call.dtype);
  return static_cast<uint32_t>(hash.finish()) & transport::kSignatureMask;
}

exec::P2pTransfer transfer_of(const P2pCall& call) {
  return {static_cast<std::byte*>(call.data), call.count * size_of(call.dtype),
          p2p_signature(call)};
}

std::string describe(const P2pCall& call) {
  return std::to_string(call.count) + " x " + name(call.dtype);
}

}  // namespace

P2pGroup::P2pGroup(const std::vector<P2pCall>& calls, int rank) : recorded_(recorded_call(calls)) {
  std::vector<P2pCall> self_sends;
  std::vector<P2pCall> self_recvs;
  for (const P2pCall& call : calls) {
    if (call.peer == rank) {
      (call.is_send ? self_sends : self_recvs).push_back(call);
    } else {
      Lane& one = lane(call.peer, call.is_send);
      one.transfers.push_back(transfer_of(call));
      one.facts.push_back({call.count, call.dtype});
    }
  }
  pair_self_calls(self_sends, self_recvs);
}

P2pGroup::Lane& P2pGroup::lane(int peer, bool is_send) {
  const auto at = std::find_if(lanes_.begin(), lanes_.end(), [&](const Lane& l) {
    return l.peer == peer && l.is_send == is_send;
  });
  if (at != lanes_.end()) return *at;
  lanes_.push_back({.peer = peer, .is_send = is_send});
  return lanes_.back();
}

void P2pGroup::pair_self_calls(const std::vector<P2pCall>& sends,
                               const std::vector<P2pCall>& recvs) {
  if (sends.size() != recvs.size()) {
    throw Error(
        StatusCode::kInvalidUsage,
        "a group has " + std::to_string(sends.size()) +
            " tuttiSend to the calling rank itself and " + std::to_string(recvs.size()) +
            " tuttiRecv from itself; each send to self needs its receive in the same group");
  }
  for (size_t i = 0; i < sends.size(); ++i) {
    if (sends[i].count != recvs[i].count || sends[i].dtype != recvs[i].dtype) {
      throw Error(StatusCode::kInvalidUsage,
                  "the " + std::to_string(i + 1) + ". send to self has " + describe(sends[i]) +
                      ", its receive has " + describe(recvs[i]) + "; both must be equal");
    }
    local_.emplace_back(transfer_of(sends[i]), transfer_of(recvs[i]));
  }
}

void P2pGroup::open(const Path& path, std::optional<Error>& caught) {
  path_.emplace(path);
  caught_ = &caught;
  for (Lane& lane : lanes_) {
    lane.first_ordinal =
        path.links.count_p2p(lane.peer, lane.is_send, static_cast<uint32_t>(lane.facts.size()));
    if (!lane.is_send) continue;
    lane.send = &path.links.send_to(lane.peer, kP2pChannel);
    for (size_t i = 0; i < lane.facts.size(); ++i)
      path.journal.note_send(lane.first_ordinal + static_cast<uint32_t>(i), lane.peer,
                             lane.facts[i]);
  }
  if (local_.empty()) return;
  exec::P2pLaunch here = launch();
  here.local = std::move(local_);
  local_operation_ = std::make_unique<exec::P2pOperation>(std::move(here));
}

exec::P2pLaunch P2pGroup::launch() const {
  exec::P2pLaunch launch;
  launch.max_chunk_bytes = path_->tuning.layout.area_bytes;
  launch.policy = path_->tuning.policy;
  launch.counters = &path_->counters;
  return launch;
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
  exec::P2pLaunch run = launch();
  if (lane.is_send) {
    run.sends.push_back({lane.peer, lane.send, std::move(lane.transfers)});
  } else {
    transport::RecvConnection* recv = path_->links.try_recv_from(lane.peer, kP2pChannel);
    if (recv == nullptr) return false;
    run.recvs.push_back({lane.peer, recv, std::move(lane.transfers)});
  }
  lane.operation = std::make_unique<exec::P2pOperation>(std::move(run));
  return true;
}

Status P2pGroup::progress_lane(Lane& lane, bool* advanced) noexcept {
  if (lane.operation == nullptr) {
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

Status P2pGroup::progress(bool* advanced) noexcept {
  if (local_operation_ != nullptr) {
    const Status status = local_operation_->progress(advanced);
    if (!status.ok() && !status.in_progress()) return status;
    if (status.ok()) local_operation_.reset();
  }
  bool complete = local_operation_ == nullptr;
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
    if (lane.peer != peer || lane.is_send || lane.done || lane.operation == nullptr) continue;
    const size_t next = lane.operation->received();
    if (next < lane.facts.size())
      return AwaitedSend{lane.first_ordinal + static_cast<uint32_t>(next), lane.facts[next]};
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
           (lane.operation == nullptr || lane.operation->needs(rank));
  });
}

}  // namespace tutti::comm
