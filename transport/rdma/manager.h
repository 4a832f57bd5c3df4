// SPDX-License-Identifier: Apache-2.0
// rdma_cm, for devices whose queue pairs can't be connected by hand (iWARP).
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "transport/rdma/address.h"
#include "transport/rdma/core.h"
#include "transport/rdma/verbs.h"

namespace tutti::transport::rdma {

// Owns one id. Events of it that have been taken must have been acknowledged.
class ManagerId {
 public:
  explicit ManagerId(rdma_cm_id* id) noexcept : id_(id) {}
  ~ManagerId() { connection_manager().destroy_id(id_); }
  ManagerId(const ManagerId&) = delete;
  ManagerId& operator=(const ManagerId&) = delete;
  rdma_cm_id* get() const noexcept { return id_; }
  // Events with this id are for the path with this number.
  void belongs_to(uint32_t path) noexcept { id_->context = std::bit_cast<void*>(uintptr_t{path}); }

 private:
  rdma_cm_id* id_;
};

// A peer asks to be connected; `token` is what it was told on the side channel.
struct JoinRequest {
  std::unique_ptr<ManagerId> id;
  Token token{};
};

class Manager {
 public:
  // Listens on every rail that needs it and writes port and address into the rail's address.
  // Throws SystemError.
  explicit Manager(Core& core);
  ~Manager();
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Starts looking for the way to the peer's rail. Throws SystemError.
  std::unique_ptr<ManagerId> dial(const Rail& from, const RailAddress& to, uint32_t path);
  // Takes all events: hands requests to `join` and those of paths to them.
  void take_events(const std::function<void(JoinRequest)>& join) noexcept;

  static void resolve_route(ManagerId& id);  // throws SystemError
  // Connect the queue pair with this number. Throw SystemError.
  static void connect(ManagerId& id, const Token& token, uint32_t queue_pair);
  static void accept(ManagerId& id, uint32_t queue_pair);

 private:
  void listen(Rail& rail, std::span<const SocketAddress> own);

  Core& core_;
  Owned<rdma_event_channel> channel_;
  std::vector<std::unique_ptr<ManagerId>> listeners_;
};

}  // namespace tutti::transport::rdma
