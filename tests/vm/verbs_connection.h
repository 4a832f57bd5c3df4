// SPDX-License-Identifier: Apache-2.0
// The two ways to a connected queue pair in the test bed: by hand, where the device lets us, and by
// the connection manager. the connection manager.
#pragma once

#include <memory>
#include <string>

#include <arpa/inet.h>
#include <rdma/rdma_cma.h>

#include "tests/vm/verbs_end.h"

namespace tutti::vm {

// A connected queue pair on one rail, set up by hand.
class ByHand {
 public:
  ByHand(const Talk& talk, const Rail& mine)
      : context_(open_device(mine.device)), end_(context_.get()) {
    const ibv_port_attr port = active_port(context_.get(), mine.device);
    ibv_qp_init_attr wanted = end_.wanted_qp();
    qp_.reset(ibv_create_qp(end_.pd(), &wanted));
    must(qp_ != nullptr, "ibv_create_qp");
    end_.use(qp_.get());
    Facts facts = end_.facts();
    const std::uint8_t gid_index = ipv4_gid(context_.get(), port, &facts.gid);
    peer_ = talk.exchange(facts);
    to_init();
    to_ready_to_receive(gid_index, port.active_mtu);
    to_ready_to_send();
    end_.post_receive();
    talk.meet();
  }
  End& end() { return end_; }
  const Facts& peer() const { return peer_; }

 private:
  void to_init() {
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_INIT;
    attr.port_num = 1;
    attr.qp_access_flags = kAccess;
    must_zero(ibv_modify_qp(qp_.get(), &attr,
                            IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS),
              "to INIT");
  }
  void to_ready_to_receive(std::uint8_t gid_index, ibv_mtu mtu) {
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_RTR;
    attr.path_mtu = mtu;
    attr.dest_qp_num = peer_.qp_number;
    attr.max_dest_rd_atomic = 1;
    attr.min_rnr_timer = 12;
    attr.ah_attr.is_global = 1;
    attr.ah_attr.port_num = 1;
    attr.ah_attr.grh = {.dgid = peer_.gid,
                        .flow_label = 0,
                        .sgid_index = gid_index,
                        .hop_limit = 64,
                        .traffic_class = 0};
    must_zero(ibv_modify_qp(qp_.get(), &attr,
                            IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                                IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER),
              "to RTR");
  }
  void to_ready_to_send() {
    ibv_qp_attr attr{};
    attr.qp_state = IBV_QPS_RTS;
    attr.timeout = kTimeout;
    attr.retry_cnt = kRetries;
    attr.rnr_retry = kRetries;
    attr.max_rd_atomic = 1;
    must_zero(ibv_modify_qp(qp_.get(), &attr,
                            IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                                IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC),
              "to RTS");
  }

  Handle<ibv_context, ibv_close_device> context_;
  End end_;
  Handle<ibv_qp, ibv_destroy_qp> qp_;
  Facts peer_{};
};

inline sockaddr_in socket_address(const Rail& rail, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  must(::inet_pton(AF_INET, rail.address.c_str(), &address.sin_addr) == 1,
       "the address " + rail.address);
  return address;
}

// A connected queue pair on one rail, set up by the connection manager: host 1 listens.
class ByManager {
 public:
  ByManager(const Talk& talk, const Rail& mine, const Rail& theirs, int host)
      : events_(rdma_create_event_channel()) {
    must(events_ != nullptr, "rdma_create_event_channel");
    rdma_cm_id* id = nullptr;
    must(rdma_create_id(events_.get(), &id, nullptr, RDMA_PS_TCP) == 0, "rdma_create_id");
    (host == 0 ? id_ : listener_).reset(id);
    host == 0 ? connect(talk, mine, theirs) : accept(talk, mine);
    peer_ = talk.exchange(end_->facts());
  }
  ~ByManager() {
    if (id_ != nullptr && id_->qp != nullptr) rdma_destroy_qp(id_.get());
    end_.reset();
  }
  ByManager(const ByManager&) = delete;
  ByManager& operator=(const ByManager&) = delete;
  End& end() { return *end_; }
  const Facts& peer() const { return peer_; }

 private:
  rdma_cm_id* await(rdma_cm_event_type wanted) {
    wait_readable(events_->fd, rdma_event_str(wanted));
    rdma_cm_event* event = nullptr;
    must(rdma_get_cm_event(events_.get(), &event) == 0, "rdma_get_cm_event");
    const rdma_cm_event_type came = event->event;
    const int status = event->status;
    rdma_cm_id* id = event->id;
    rdma_ack_cm_event(event);
    if (came != wanted) {
      fail(std::string("expected ") + rdma_event_str(wanted) + ", came " + rdma_event_str(came) +
           " " + std::to_string(status));
    }
    return id;
  }

  static rdma_conn_param parameters() {
    rdma_conn_param chosen{};
    chosen.responder_resources = 1;
    chosen.initiator_depth = 1;
    chosen.retry_count = kRetries;
    chosen.rnr_retry_count = kRetries;
    return chosen;
  }

  void make_qp() {
    end_ = std::make_unique<End>(id_->verbs);
    ibv_qp_init_attr wanted = end_->wanted_qp();
    must(rdma_create_qp(id_.get(), end_->pd(), &wanted) == 0, "rdma_create_qp");
    end_->use(id_->qp);
    end_->post_receive();
  }

  void connect(const Talk& talk, const Rail& mine, const Rail& theirs) {
    sockaddr_in from = socket_address(mine, 0);
    sockaddr_in to = socket_address(theirs, kPort);
    talk.meet();  // the other listens
    must(rdma_resolve_addr(id_.get(), reinterpret_cast<sockaddr*>(&from),
                           reinterpret_cast<sockaddr*>(&to), kDeadlineMs) == 0,
         "rdma_resolve_addr");
    await(RDMA_CM_EVENT_ADDR_RESOLVED);
    must(rdma_resolve_route(id_.get(), kDeadlineMs) == 0, "rdma_resolve_route");
    await(RDMA_CM_EVENT_ROUTE_RESOLVED);
    make_qp();
    rdma_conn_param chosen = parameters();
    must(rdma_connect(id_.get(), &chosen) == 0, "rdma_connect");
    await(RDMA_CM_EVENT_ESTABLISHED);
  }

  void accept(const Talk& talk, const Rail& mine) {
    sockaddr_in at = socket_address(mine, kPort);
    must(rdma_bind_addr(listener_.get(), reinterpret_cast<sockaddr*>(&at)) == 0,
         "rdma_bind_addr " + mine.address);
    must(rdma_listen(listener_.get(), 1) == 0, "rdma_listen");
    talk.meet();
    id_.reset(await(RDMA_CM_EVENT_CONNECT_REQUEST));
    make_qp();
    rdma_conn_param chosen = parameters();
    must(rdma_accept(id_.get(), &chosen) == 0, "rdma_accept");
    await(RDMA_CM_EVENT_ESTABLISHED);
  }

  Handle<rdma_event_channel, rdma_destroy_event_channel> events_;
  Handle<rdma_cm_id, rdma_destroy_id> listener_;
  Handle<rdma_cm_id, rdma_destroy_id> id_;
  std::unique_ptr<End> end_;
  Facts peer_{};
};

}  // namespace tutti::vm
