// SPDX-License-Identifier: Apache-2.0
// A rank's worker of UCX: opening and closing it, addresses, and memory that peers may write to.
#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>

#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/base/log.h"
#include "transport/ucx/ucx_carrier.h"

namespace tutti::transport::ucx {
namespace {

constexpr uint32_t kMagic = 0x31584355;         // "UCX1"
constexpr int64_t kGoodbyeNs = 100 * kNsPerMs;  // for the last messages to leave
constexpr int64_t kAnswerNs = 500 * kNsPerMs;   // for UCX's own answers to leave
constexpr int64_t kCloseNs = 500 * kNsPerMs;    // for endpoints to close by force

struct AddressHeader {
  uint32_t magic;
  uint16_t major;
  uint16_t minor;
};
static_assert(sizeof(AddressHeader) == kAddressHeaderBytes);

// UCX 1.13 packs {which devices : 8 bytes | type of memory : 1}, then for each device {length : 1 |
// its key}. A device that writes by itself has a key; a longer one of a later format only means
// that puts are used where messages would have been as good.
bool key_of_a_device(const void* packed, size_t bytes) {
  uint64_t devices = 0;
  if (bytes < sizeof devices + 1) return false;
  std::memcpy(&devices, packed, sizeof devices);
  return bytes > sizeof devices + 1 + static_cast<size_t>(std::popcount(devices));
}

[[noreturn]] void refuse(const Library& api, const char* what, ucs_status_t status) {
  throw Error(StatusCode::kSystemError,
              fmt::format("UCX {}: {} failed: {}; look at TUTTI_UCX_TLS, UCX_TLS and "
                          "UCX_NET_DEVICES (`ucx_info -d` lists what there is)",
                          api.version(), what, api.status_string(status)));
}

// The settings of UCX's own that we have an opinion on, where the user has none.
void configure(const Library& api, ucp_config_t* config, const std::string& tls) {
  if (!tls.empty()) {
    const ucs_status_t status = api.config_modify(config, "TLS", tls.c_str());
    if (status != UCS_OK) refuse(api, "taking TUTTI_UCX_TLS", status);
  }
  // A peer that is gone is noticed soon over transports that don't notice by themselves.
  if (!foreign_variable("UCX_KEEPALIVE_INTERVAL").has_value())
    (void)api.config_modify(config, "KEEPALIVE_INTERVAL", "2s");
}

}  // namespace

UcxCarrier::UcxCarrier(const TransportOptions& options) : api_(library()), rank_(options.rank) {
  const LogToUs inside;
  if (options.config != nullptr) {
    tls_ = options.config->ucx_tls;
    always_put_ = options.config->ucx_put == "1";
    never_put_ = options.config->ucx_put == "0";
  }
  try {
    open_context();
    open_worker();
  } catch (...) {
    close_worker();
    throw;
  }
}

void UcxCarrier::open_context() {
  ucp_config_t* config = nullptr;
  ucs_status_t status = api_.config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) refuse(api_, "reading UCX_* of the environment", status);
  try {
    configure(api_, config, tls_);
  } catch (...) {
    api_.config_release(config);
    throw;
  }
  ucp_params_t parameters{};
  parameters.field_mask =
      UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_NAME | UCP_PARAM_FIELD_MT_WORKERS_SHARED;
  parameters.features = UCP_FEATURE_AM | UCP_FEATURE_RMA | UCP_FEATURE_WAKEUP;
  parameters.name = "tutti";
  status = api_.init_version(UCP_API_MAJOR, UCP_API_MINOR, &parameters, config, &context_);
  api_.config_release(config);
  if (status != UCS_OK) {
    context_ = nullptr;
    refuse(api_, "opening devices", status);
  }
  ucp_context_attr_t attributes{};
  attributes.field_mask = UCP_ATTR_FIELD_MEMORY_TYPES;
  if (api_.context_query(context_, &attributes) == UCS_OK)
    host_only_ = (attributes.memory_types & ~UCS_BIT(UCS_MEMORY_TYPE_HOST)) == 0;
}

void UcxCarrier::open_worker() {
  ucp_worker_params_t parameters{};
  parameters.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE | UCP_WORKER_PARAM_FIELD_EVENTS;
  parameters.thread_mode = UCS_THREAD_MODE_SERIALIZED;  // one thread at a time, under our lock
  parameters.events = UCP_WAKEUP_TX | UCP_WAKEUP_RX;
  ucs_status_t status = api_.worker_create(context_, &parameters, &worker_);
  if (status != UCS_OK) {
    worker_ = nullptr;
    refuse(api_, "making a worker", status);
  }
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS |
                       UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kActiveMessage;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG | UCP_AM_FLAG_PERSISTENT_DATA;
  handler.cb = on_message;
  handler.arg = this;
  status = api_.set_am_recv_handler(worker_, &handler);
  if (status != UCS_OK) refuse(api_, "setting the handler of messages", status);
  ucp_worker_attr_t attributes{};
  attributes.field_mask = UCP_WORKER_ATTR_FIELD_MAX_AM_HEADER;
  status = api_.worker_query(worker_, &attributes);
  if (status != UCS_OK || attributes.max_am_header < sizeof(AmHeader))
    refuse(api_, "sending headers of 80 bytes", status == UCS_OK ? UCS_ERR_UNSUPPORTED : status);
  status = api_.worker_get_efd(worker_, &event_fd_);
  if (status != UCS_OK)
    event_fd_ = -1;  // a transport without: the network thread looks now and then
  ucp_address_t* address = nullptr;
  size_t bytes = 0;
  status = api_.worker_get_address(worker_, &address, &bytes);
  if (status != UCS_OK) refuse(api_, "asking for the worker's address", status);
  const auto* const begin = reinterpret_cast<const std::byte*>(address);
  worker_address_.assign(begin, begin + bytes);
  api_.worker_release_address(worker_, address);
}

UcxCarrier::~UcxCarrier() { close_worker(); }

// Lets leave what is under way, also on endpoints that UCX has made by itself to answer peers that
// connect. False: not all of it has.
bool UcxCarrier::flush(int64_t limit_ns) noexcept {
  const ucp_request_param_t parameters{};
  const ucs_status_ptr_t flush = api_.worker_flush(worker_, &parameters);
  if (flush == nullptr || UCS_PTR_IS_ERR(flush)) return true;
  const auto done = [&] { return api_.request_check_status(flush) != UCS_INPROGRESS; };
  turn_until(limit_ns, done);
  const bool is_done = done();
  api_.request_free(flush);
  return is_done;
}

// Lets the last messages leave, then closes every endpoint.
void UcxCarrier::close_worker() noexcept {
  const LogToUs inside;
  if (worker_ != nullptr) {
    (void)flush(kGoodbyeNs);
    for (const auto& remote : remotes_) fail(*remote, UCS_ERR_CANCELED, "closing");
    turn_until(kCloseNs, [this] { return !failures_; });
    turn_until(kCloseNs, [this] {
      return std::ranges::all_of(links_, [](const auto& entry) { return entry.second->idle(); });
    });
    const bool answered = flush(kAnswerNs);
    for (const auto& [in, link] : links_) link->drop_arrivals();
    for (const ucp_mem_h memory : exposed_) api_.mem_unmap(context_, memory);
    if (!answered) return keep_worker();
    api_.worker_destroy(worker_);
  }
  if (context_ != nullptr) api_.cleanup(context_);
  worker_ = nullptr;
  context_ = nullptr;
}

// Destroying a worker that still has to answer a peer aborts the process (UCX 1.13: "got REP
// message"), so such a one stays; nothing calls us from it.
void UcxCarrier::keep_worker() noexcept {
  log(LogLevel::kWarn, "transport", rank_,
      "a peer that was connecting to this rank, and is stopped or gone, keeps UCX's worker: its "
      "memory and descriptors stay until the process ends");
  worker_ = nullptr;
  context_ = nullptr;
}

std::vector<std::byte> UcxCarrier::address() const {
  const AddressHeader header{kMagic, static_cast<uint16_t>(api_.major),
                             static_cast<uint16_t>(api_.minor)};
  std::vector<std::byte> all(sizeof header + worker_address_.size());
  std::memcpy(all.data(), &header, sizeof header);
  std::ranges::copy(worker_address_, all.begin() + sizeof header);
  return all;
}

Reach UcxCarrier::reach(const Peer& peer) const {
  AddressHeader header{};
  if (peer.address.size() > sizeof header) std::memcpy(&header, peer.address.data(), sizeof header);
  if (header.magic != kMagic) return {false, "the peer has no address of UCX"};
  if (header.major != api_.major) {
    return {false, fmt::format("this rank has UCX {}, the peer {}.{}", api_.version(), header.major,
                               header.minor)};
  }
  return {true, ""};
}

std::string UcxCarrier::describe() const {
  return fmt::format("UCX {}{}, memory: {}, wake-up by {}; puts: {}", api_.version(),
                     tls_.empty() ? "" : ", transports " + tls_,
                     host_only_ ? "host" : "found by UCX", event_fd_ < 0 ? "polling" : "event",
                     put_report_);
}

void UcxCarrier::describe_memory(ucp_request_param_t* parameters) const noexcept {
  if (!host_only_) return;  // UCX finds out
  parameters->op_attr_mask |= UCP_OP_ATTR_FIELD_MEMORY_TYPE;
  parameters->memory_type = UCS_MEMORY_TYPE_HOST;
}

// The key to memory that UCX has registered; all zero when puts are not worthwhile. They are where
// a device needs a key to write: then no CPU of the peer's takes part. Elsewhere UCX would carry
// them in messages of its own, and the flush after each costs a round trip more.
network::MemoryKey UcxCarrier::pack(const std::byte* base, ucp_mem_h memory) noexcept {
  network::MemoryKey key;
  void* packed = nullptr;
  size_t bytes = 0;
  if (api_.rkey_pack(context_, memory, &packed, &bytes) != UCS_OK) {
    put_report_ = "no: UCX packs no key";
    return key;
  }
  const bool by_device = key_of_a_device(packed, bytes);
  if (bytes > sizeof key.bytes - kKeyLengthAt - 1) {
    put_report_ = "no: its keys are longer than 55 bytes, too many devices (UCX_NET_DEVICES)";
  } else if (!by_device && !always_put_) {
    put_report_ = "no: no device here writes to a peer's memory by itself";
  } else {
    put_report_ = by_device ? "yes" : "yes, by TUTTI_UCX_PUT";
    const uint64_t address = reinterpret_cast<uintptr_t>(base);
    std::memcpy(key.bytes, &address, sizeof address);
    key.bytes[kKeyLengthAt] = static_cast<std::byte>(bytes);
    std::memcpy(key.bytes + kKeyLengthAt + 1, packed, bytes);
  }
  api_.rkey_buffer_release(packed);
  return key;
}

network::MemoryKey UcxCarrier::expose(std::byte* base, size_t bytes) {
  const LogToUs inside;
  if (never_put_) {
    put_report_ = "off by TUTTI_UCX_PUT";
    return {};
  }
  ucp_mem_map_params_t parameters{};
  parameters.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  parameters.address = base;
  parameters.length = bytes;
  ucp_mem_h memory = nullptr;
  const ucs_status_t status = api_.mem_map(context_, &parameters, &memory);
  if (status != UCS_OK) refuse(api_, "registering memory", status);
  const network::MemoryKey key = pack(base, memory);
  if (key == network::MemoryKey{}) {
    api_.mem_unmap(context_, memory);
  } else {
    exposed_.push_back(memory);
  }
  return key;
}

}  // namespace tutti::transport::ucx
