// SPDX-License-Identifier: Apache-2.0
// Making a queue pair and moving it through its states.
#include "transport/rdma/queue_pair.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "src/base/error.h"
#include "transport/rdma/memory.h"

namespace tutti::transport::rdma {
namespace {

constexpr size_t kMemoryBytes = kRingBytes + kReceiveDepth * kReceiveBytes;
constexpr std::array<uint32_t, 4> kInlineToTry = {256, 128, 64, 0};
// A receiver without a buffer answers "not ready"; credits see to it that this does not happen, so
// these only bound what a broken peer can do: repeat after 0.64 ms, six times.
constexpr uint8_t kNotReadyTimer = 12;
constexpr uint8_t kNotReadyRetries = 6;
constexpr uint8_t kHopLimit = 64;

}  // namespace

bool SendRing::take(size_t bytes, size_t* offset, uint32_t* taken) noexcept {
  const size_t left = bytes_ - next_;
  const size_t skipped = left < bytes ? left : 0;
  if (used_ + skipped + bytes > bytes_) return false;
  if (skipped != 0) next_ = 0;
  *offset = next_;
  *taken = static_cast<uint32_t>(skipped + bytes);
  next_ = next_ + bytes == bytes_ ? 0 : next_ + bytes;
  used_ += *taken;
  return true;
}

QueuePair::QueuePair(Rail& rail, const RdmaConfig& config, MemoryBudget* budget)
    : rail_(rail), config_(config), first_packet_(random_packet_number()) {
  if (budget != nullptr)
    // Beside the total: paths come and go by themselves, so ranks can't agree on their memory.
    charge_ =
        MemoryCharge(*budget, MemoryUse::kPaths, kMemoryBytes, "a queue pair on " + rail.name());
  memory_.reset(new (std::align_val_t{kPageBytes}) std::byte[kMemoryBytes]);
  try {
    mr_ = register_host(*rail.device, memory_.get(), kMemoryBytes, false);
    if (mr_ == nullptr)
      throw system_error(rail.name() +
                             " can't register the memory of a queue pair; raise the limit "
                             "of locked memory (ulimit -l)",
                         errno);
    make();
    to_init();
  } catch (...) {
    destroy();
    throw;
  }
}

QueuePair::~QueuePair() { destroy(); }

void QueuePair::destroy() noexcept {
  if (qp_ != nullptr) {
    verbs().destroy_qp(qp_);
    --queue_->users;
  }
  qp_ = nullptr;
  if (mr_ != nullptr) verbs().dereg_mr(mr_);
  mr_ = nullptr;
}

void QueuePair::make() {
  Device& device = *rail_.device;
  queue_ = &device.queue_with_room();
  const auto most = static_cast<uint32_t>(std::max(device.limits().max_qp_wr, 1));
  send_depth_ = std::min(kSendDepth, most);
  receive_depth_ = std::min(kReceiveDepth, most);
  int error = 0;
  for (const uint32_t inline_bytes : kInlineToTry) {
    ibv_qp_init_attr wanted{};
    wanted.send_cq = wanted.recv_cq = queue_->cq.get();
    wanted.qp_type = IBV_QPT_RC;
    wanted.cap = {.max_send_wr = send_depth_,
                  .max_recv_wr = receive_depth_,
                  .max_send_sge = 2,
                  .max_recv_sge = 1,
                  .max_inline_data = inline_bytes};
    qp_ = verbs().create_qp(device.domain(), &wanted);
    error = qp_ == nullptr ? errno : 0;
    if (qp_ == nullptr) continue;
    ++queue_->users;
    inline_bytes_ = std::max(wanted.cap.max_inline_data, inline_bytes);
    return;
  }
  throw system_error(rail_.name() +
                         " gives no queue pair; `rdma resource show qp` lists those in "
                         "use, ulimit -l bounds their memory",
                     error);
}

void QueuePair::modify(ibv_qp_attr& attributes, int mask, const char* what) {
  const int error = verbs().modify_qp(qp_, &attributes, mask);
  if (error != 0)
    throw system_error(
        rail_.name() + " can't move queue pair " + std::to_string(number()) + " to " + what, error);
}

void QueuePair::to_init() {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.pkey_index = rail_.pkey_index;
  attributes.port_num = rail_.address.port;
  attributes.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
  modify(attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
         "its initial state");
}

ibv_ah_attr QueuePair::way_to(const QueuePairFacts& peer) const noexcept {
  ibv_ah_attr way{};
  way.dlid = peer.lid;
  way.sl = static_cast<uint8_t>(config_.service_level);
  way.port_num = rail_.address.port;
  // On InfiniBand the global header is only needed across subnets, but costs little, and carries
  // the traffic class.
  way.is_global = rail_.address.fabric == Fabric::kRoce || config_.traffic_class != 0 ? 1 : 0;
  std::memcpy(way.grh.dgid.raw, peer.gid.data(), peer.gid.size());
  way.grh.sgid_index = static_cast<uint8_t>(rail_.gid_index);
  way.grh.hop_limit = kHopLimit;
  way.grh.traffic_class = static_cast<uint8_t>(config_.traffic_class);
  return way;
}

void QueuePair::to_receive(const QueuePairFacts& peer) {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_RTR;
  attributes.path_mtu = std::min(rail_.mtu, static_cast<ibv_mtu>(peer.mtu));
  attributes.dest_qp_num = peer.queue_pair;
  attributes.rq_psn = peer.first_packet & 0xffffff;
  attributes.max_dest_rd_atomic = 1;
  attributes.min_rnr_timer = kNotReadyTimer;
  attributes.ah_attr = way_to(peer);
  modify(attributes,
         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
             IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER,
         "ready to receive");
}

void QueuePair::to_send() {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_RTS;
  attributes.timeout = static_cast<uint8_t>(config_.timeout);
  attributes.retry_cnt = static_cast<uint8_t>(config_.retries);
  attributes.rnr_retry = kNotReadyRetries;
  attributes.sq_psn = first_packet_;
  attributes.max_rd_atomic = 1;
  modify(attributes,
         IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
             IBV_QP_MAX_QP_RD_ATOMIC,
         "ready to send");
}

QueuePairFacts QueuePair::facts() const noexcept {
  QueuePairFacts facts;
  facts.queue_pair = number();
  facts.first_packet = first_packet_;
  facts.receives = receive_depth_;
  facts.receive_bytes = kReceiveBytes;
  facts.lid = rail_.address.lid;
  facts.mtu = static_cast<uint8_t>(rail_.mtu);
  facts.gid = rail_.address.gid;
  facts.fabric = static_cast<uint8_t>(rail_.address.fabric);
  return facts;
}

void QueuePair::post_all_receives() {
  std::array<uint32_t, kReceiveDepth> slots;
  for (uint32_t i = 0; i < slots.size(); ++i) slots[i] = i;
  if (const int error = post_receives(slots.data(), receive_depth_))
    throw system_error(rail_.name() + " does not take receives", error);
}

void QueuePair::connect(const QueuePairFacts& peer) {
  post_all_receives();
  to_receive(peer);
  to_send();
}

bool QueuePair::to_error() noexcept {
  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_ERR;
  return verbs().modify_qp(qp_, &attributes, IBV_QP_STATE) == 0;
}

int QueuePair::post_receives(const uint32_t* slots, size_t count) noexcept {
  constexpr size_t kBatch = 16;
  while (count > 0) {
    const size_t now = std::min(count, kBatch);
    ibv_recv_wr requests[kBatch];
    ibv_sge places[kBatch];
    for (size_t i = 0; i < now; ++i) {
      places[i] = {.addr = reinterpret_cast<uint64_t>(receive_slot(slots[i])),
                   .length = kReceiveBytes,
                   .lkey = mr_->lkey};
      requests[i] = {.wr_id = uint64_t{tag_} << 32 | slots[i],
                     .next = i + 1 < now ? &requests[i + 1] : nullptr,
                     .sg_list = &places[i],
                     .num_sge = 1};
    }
    ibv_recv_wr* bad = nullptr;
    if (const int error = ibv_post_recv(qp_, requests, &bad)) return error;
    slots += now;
    count -= now;
  }
  return 0;
}

}  // namespace tutti::transport::rdma
