// SPDX-License-Identifier: Apache-2.0
// The RDMA devices that a rank uses, and their ports as rails.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/base/config.h"
#include "src/base/socket.h"
#include "transport/rdma/settings.h"
#include "transport/rdma/verbs.h"

namespace tutti::transport::rdma {

// A completion queue that up to kPathsPerQueue queue pairs of one device share.
struct CompletionQueue {
  Owned<ibv_cq> cq{nullptr, nullptr};
  int users = 0;
};
inline constexpr int kPathsPerQueue = 16;

// Most entries of a queue pair's queues; every one may end as a completion.
inline constexpr uint32_t kSendDepth = 128;
inline constexpr uint32_t kReceiveDepth = 64;

// One opened device. Everything made on it is destroyed before it.
class Device {
 public:
  explicit Device(ibv_context* context);  // closes it in the end; throws SystemError
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  ibv_context* context() const noexcept { return context_; }
  ibv_pd* domain() const noexcept { return domain_.get(); }
  const std::string& name() const noexcept { return name_; }
  const ibv_device_attr& limits() const noexcept { return limits_; }
  bool iwarp() const noexcept { return context_->device->transport_type == IBV_TRANSPORT_IWARP; }
  int event_fd() const noexcept { return channel_->fd; }
  int async_fd() const noexcept { return context_->async_fd; }

  // A completion queue with room for another queue pair. Throws SystemError.
  CompletionQueue& queue_with_room();
  const std::vector<std::unique_ptr<CompletionQueue>>& queues() const noexcept { return queues_; }
  // Asks for an event at the next completion of each queue; false when a queue refuses.
  bool request_events() noexcept;
  // Takes the events that have come.
  void take_events() noexcept;

  bool lost = false;  // the device has said that it is broken

 private:
  ibv_context* context_;
  std::string name_;
  ibv_device_attr limits_{};
  Owned<ibv_pd> domain_{nullptr, nullptr};
  Owned<ibv_comp_channel> channel_{nullptr, nullptr};
  std::vector<std::unique_ptr<CompletionQueue>> queues_;
};

// A port in use.
struct Rail {
  Device* device = nullptr;
  RailAddress address;
  int gid_index = 0;
  uint16_t pkey_index = 0;
  ibv_mtu mtu = IBV_MTU_1024;
  uint32_t max_message_bytes = 0;
  std::string down;  // why it can't be used now; "" when it can

  std::string name() const { return address.device + "/" + std::to_string(int{address.port}); }
};

struct Rails {
  std::vector<std::unique_ptr<Device>> devices;
  std::vector<Rail> rails;
  std::vector<SocketAddress> own_addresses;  // of this host, for the side channel
  std::vector<std::string> unused;           // "mlx5_1/1: its port is DOWN", for reports
};

// Opens every device that the configuration wants and that has a usable port. Throws SystemError
// when there is none, with the reason for each device.
std::unique_ptr<Rails> open_rails(const RdmaConfig& config);
// Looks at the port again, after an event: updates `down`, and sets it too when GID or LID are no
// longer those that peers were told.
void look_again(Rail& rail) noexcept;

}  // namespace tutti::transport::rdma
