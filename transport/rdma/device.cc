// SPDX-License-Identifier: Apache-2.0
// Opening devices, choosing ports and GIDs.
#include "transport/rdma/device.h"

#include <endian.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::transport::rdma {
namespace {

// A descriptor that is looked at and never waited for.
void never_wait(int fd, const std::string& what) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
    throw system_error("can't read " + what + " without waiting", errno);
}

std::string_view state_name(ibv_port_state state) {
  switch (state) {
    case IBV_PORT_DOWN:
      return "DOWN; check its cable and that its network interface is up";
    case IBV_PORT_INIT:
      return "INIT; does a subnet manager run?";
    case IBV_PORT_ARMED:
      return "ARMED; does a subnet manager run?";
    case IBV_PORT_ACTIVE:
      return "ACTIVE";
    default:
      return "in an unknown state";
  }
}

GidType type_of(const ibv_gid_entry& entry) {
  if (entry.gid_type == IBV_GID_TYPE_ROCE_V2) return GidType::kRoceV2;
  return entry.gid_type == IBV_GID_TYPE_ROCE_V1 ? GidType::kRoceV1 : GidType::kInfiniBand;
}

std::vector<GidEntry> gid_table(ibv_context* context, uint8_t port, int entries) {
  std::vector<GidEntry> table;
  for (int i = 0; i < entries; ++i) {
    ibv_gid_entry raw{};
    if (verbs().query_gid_ex(context, port, static_cast<uint32_t>(i), &raw, 0, sizeof raw) != 0)
      continue;  // an empty entry
    GidEntry& entry = table.emplace_back(GidEntry{.index = i, .type = type_of(raw)});
    std::memcpy(entry.gid.data(), raw.gid.raw, entry.gid.size());
  }
  return table;
}

// The place of the partition key in the port's table; the upper bit, full membership, need not be
// given. Throws Error.
uint16_t pkey_index(ibv_context* context, uint8_t port, int entries, int wanted) {
  if (wanted < 0) return 0;
  for (int i = 0; i < entries; ++i) {
    __be16 key = 0;
    if (verbs().query_pkey(context, port, i, &key) != 0) continue;
    if ((be16toh(key) & 0x7fff) == (wanted & 0x7fff)) return static_cast<uint16_t>(i);
  }
  throw Error(StatusCode::kSystemError,
              fmt::format("TUTTI_RDMA_PKEY={:#x} is not in its partition table", wanted));
}

// Throws Error with the reason why the port is of no use.
Rail make_rail(Device& device, uint8_t port, const RdmaConfig& config) {
  ibv_port_attr attributes{};
  ibv_context* const context = device.context();
  if (const int error =
          verbs().query_port(context, port, reinterpret_cast<_compat_ibv_port_attr*>(&attributes)))
    throw system_error("can't query it", error);
  if (attributes.state != IBV_PORT_ACTIVE)
    throw Error(StatusCode::kSystemError,
                fmt::format("its port is {}", state_name(attributes.state)));
  Rail rail{.device = &device,
            .mtu = attributes.active_mtu,
            .max_message_bytes = attributes.max_msg_sz != 0 ? attributes.max_msg_sz : 1u << 20};
  rail.address = {.device = device.name().substr(0, kMaxDeviceName), .port = port};
  const bool ethernet = attributes.link_layer == IBV_LINK_LAYER_ETHERNET;
  rail.address.fabric = device.iwarp() ? Fabric::kIwarp
                        : ethernet     ? Fabric::kRoce
                                       : Fabric::kInfiniBand;
  rail.address.lid = attributes.lid;
  rail.address.megabits = static_cast<uint32_t>(
      1000 * gbits_per_second(attributes.active_width, attributes.active_speed));
  if (device.iwarp()) return rail;
  const auto table = gid_table(context, port, attributes.gid_tbl_len);
  std::string why;
  const GidEntry* const chosen = choose_gid(table, ethernet, config.gid_index, &why);
  if (chosen == nullptr) throw Error(StatusCode::kSystemError, why);
  rail.address.gid = chosen->gid;
  rail.gid_index = chosen->index;
  rail.pkey_index = pkey_index(context, port, attributes.pkey_tbl_len, config.pkey);
  return rail;
}

std::unique_ptr<Device> open_device(ibv_device* device) {
  ibv_context* const context = verbs().open_device(device);
  if (context == nullptr) throw system_error("it can't be opened", errno);
  return std::make_unique<Device>(context);
}

void add_ports(Rails& rails, ibv_device* raw, const DeviceFilter& filter,
               const RdmaConfig& config) {
  const std::string name = verbs().get_device_name(raw);
  if (raw->transport_type != IBV_TRANSPORT_IB && raw->transport_type != IBV_TRANSPORT_IWARP)
    throw Error(StatusCode::kSystemError, "it has no reliable queue pairs of verbs");
  std::unique_ptr<Device> device;
  bool used = false, wanted = false;
  for (int port = 1; port <= (device ? device->limits().phys_port_cnt : 1); ++port) {
    if (!device) device = open_device(raw);  // to know how many ports there are
    if (!filter.wants(name, port)) continue;
    wanted = true;
    try {
      if (rails.rails.size() == kMaxRails)
        throw Error(StatusCode::kSystemError,
                    "enough ports are in use; choose others with "
                    "TUTTI_RDMA_DEVICES");
      rails.rails.push_back(make_rail(*device, static_cast<uint8_t>(port), config));
      used = true;
    } catch (const Error& e) {
      rails.unused.push_back(fmt::format("{}/{}: {}", name, port, e.what()));
    }
  }
  if (!wanted) rails.unused.push_back(name + ": TUTTI_RDMA_DEVICES does not want it");
  if (used) rails.devices.push_back(std::move(device));
}

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : "; ") + text;
  return all;
}

}  // namespace

Device::Device(ibv_context* context)
    : context_(context), name_(verbs().get_device_name(context->device)) {
  try {
    if (const int error = verbs().query_device(context, &limits_))
      throw system_error("its limits can't be queried", error);
    domain_ = {verbs().alloc_pd(context), [](ibv_pd* pd) { verbs().dealloc_pd(pd); }};
    if (!domain_) throw system_error("it gives no protection domain", errno);
    channel_ = {verbs().create_comp_channel(context),
                [](ibv_comp_channel* c) { verbs().destroy_comp_channel(c); }};
    if (!channel_) throw system_error("it gives no completion channel", errno);
    never_wait(channel_->fd, "completion events");
    never_wait(context->async_fd, "device events");
  } catch (...) {
    channel_.reset();
    domain_.reset();
    verbs().close_device(context_);
    throw;
  }
}

Device::~Device() {
  queues_.clear();
  channel_.reset();
  domain_.reset();
  verbs().close_device(context_);
}

CompletionQueue& Device::queue_with_room() {
  for (const auto& queue : queues_) {
    if (queue->users < kPathsPerQueue) return *queue;
  }
  // Twice what can be outstanding: entries of queue pairs that are gone may still lie there.
  const int wanted = 2 * kPathsPerQueue * static_cast<int>(kSendDepth + kReceiveDepth);
  auto queue = std::make_unique<CompletionQueue>();
  queue->cq = {
      verbs().create_cq(context_, std::min(wanted, limits_.max_cqe), nullptr, channel_.get(), 0),
      [](ibv_cq* cq) { verbs().destroy_cq(cq); }};
  if (!queue->cq)
    throw system_error(name_ + " gives no completion queue of " + std::to_string(wanted) +
                           " entries; is the limit of locked memory (ulimit -l) too low?",
                       errno);
  queues_.push_back(std::move(queue));
  return *queues_.back();
}

bool Device::request_events() noexcept {
  bool good = true;
  for (const auto& queue : queues_) good &= ibv_req_notify_cq(queue->cq.get(), 0) == 0;
  return good;
}

void Device::take_events() noexcept {
  ibv_cq* cq = nullptr;
  void* context = nullptr;
  while (verbs().get_cq_event(channel_.get(), &cq, &context) == 0) verbs().ack_cq_events(cq, 1);
}

std::unique_ptr<Rails> open_rails(const RdmaConfig& config) {
  const DeviceFilter filter(config.devices);
  int count = 0;
  ibv_device** const list = verbs().get_device_list(&count);
  if (list == nullptr)
    throw system_error("no RDMA: devices can't be listed (is the module ib_uverbs loaded?)", errno);
  const Owned<ibv_device*> holder(list, [](ibv_device** l) { verbs().free_device_list(l); });
  if (count == 0)
    throw Error(StatusCode::kSystemError,
                "no RDMA device: libibverbs lists none (`rdma link` shows what the kernel has; "
                "inside a container /dev/infiniband must be passed in)");
  auto rails = std::make_unique<Rails>();
  for (int i = 0; i < count; ++i) {
    try {
      add_ports(*rails, list[i], filter, config);
    } catch (const Error& e) {
      rails->unused.push_back(std::string(verbs().get_device_name(list[i])) + ": " + e.what());
    }
  }
  if (rails->rails.empty())
    throw Error(StatusCode::kSystemError, "no usable RDMA port: " + joined(rails->unused));
  return rails;
}

void look_again(Rail& rail) noexcept {
  if (rail.address.fabric == Fabric::kIwarp && rail.address.cm_port == 0) return;  // never usable
  ibv_port_attr attributes{};
  ibv_context* const context = rail.device->context();
  if (verbs().query_port(context, rail.address.port,
                         reinterpret_cast<_compat_ibv_port_attr*>(&attributes)) != 0) {
    rail.down = "its port can't be queried any more";
    return;
  }
  rail.down.clear();
  if (attributes.state != IBV_PORT_ACTIVE) {
    rail.down = fmt::format("its port is {}", state_name(attributes.state));
  } else if (rail.address.fabric == Fabric::kInfiniBand && attributes.lid != rail.address.lid) {
    rail.down = fmt::format("its LID has changed from {} to {}", rail.address.lid, attributes.lid);
  } else if (rail.address.fabric != Fabric::kIwarp) {
    ibv_gid_entry entry{};
    const int error = verbs().query_gid_ex(
        context, rail.address.port, static_cast<uint32_t>(rail.gid_index), &entry, 0, sizeof entry);
    if (error != 0 || std::memcmp(entry.gid.raw, rail.address.gid.data(), 16) != 0)
      rail.down = "its GID " + to_string(rail.address.gid) +
                  " is gone; has the interface lost its "
                  "address?";
  }
}

}  // namespace tutti::transport::rdma
