// SPDX-License-Identifier: Apache-2.0
// A rank's worker of UCX: connecting, accepting, moving everything on, and what happens to broken
// endpoints.
#include "transport/ucx/ucx_carrier.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "transport/ucx/ucx.h"

namespace tutti::transport::ucx {
namespace {

constexpr int kRoundsPerProgress = 16;
constexpr int64_t kRetireNs = 20 * kNsPerMs;    // for payloads to leave before force is used
constexpr int64_t kForceNs = 2 * kNsPerSecond;  // for UCX to give back memory after force

}  // namespace

void UcxCarrier::mark(Link& link) noexcept {
  if (std::exchange(link.marked, true)) return;
  marked_.push_back(&link);  // room was made when the link was
}

// ---- endpoints

// Where the peer's machine refuses, the endpoint has failed as one does that breaks later.
void UcxCarrier::make_endpoint(Remote& remote) {
  ucp_ep_params_t parameters{};
  parameters.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                          UCP_EP_PARAM_FIELD_ERR_HANDLER;
  parameters.address = reinterpret_cast<const ucp_address_t*>(remote.address.data());
  parameters.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  parameters.err_handler = {.cb = on_error, .arg = &remote};
  (void)LogToUs::take_refusal();
  const ucs_status_t status = api_.ep_create(worker_, &parameters, &remote.endpoint);
  if (status == UCS_OK) return;
  remote.endpoint = nullptr;
  if (LogToUs::take_refusal()) {
    fail(remote, UCS_ERR_REJECTED, "nobody listens there any more");
  } else {
    throw Error(StatusCode::kSystemError,
                fmt::format("UCX can't make an endpoint to the peer: {}; do both ranks have a "
                            "transport in common (TUTTI_UCX_TLS, UCX_TLS, UCX_NET_DEVICES)?",
                            api_.status_string(status)));
  }
}

// The endpoint to that worker. `peer_generation` 0: not told. A peer that comes with a newer
// endpoint than the one known here has lost that one, whatever UCX knows of it.
Remote& UcxCarrier::remote_at(std::vector<std::byte> address, uint32_t peer_generation) {
  for (const auto& remote : remotes_) {
    if (remote->failed || remote->address != address) continue;
    if (remote->heard_generation == 0 || peer_generation <= remote->heard_generation) {
      remote->heard_generation = std::max(remote->heard_generation, peer_generation);
      return *remote;
    }
    fail(*remote, UCS_ERR_CONNECTION_RESET, "the peer came with a new endpoint");
  }
  auto remote = std::make_unique<Remote>();
  remote->carrier = this;
  remote->generation = ++generations_[address];
  remote->heard_generation = peer_generation;
  remote->address = std::move(address);
  make_endpoint(*remote);
  remotes_.push_back(std::move(remote));
  return *remotes_.back();
}

void UcxCarrier::on_error(void* arg, ucp_ep_h, ucs_status_t status) noexcept {
  Remote& remote = *static_cast<Remote*>(arg);
  remote.carrier->fail(remote, status, "the endpoint broke");
}

// Only notes it, since it may be called from inside of UCX; settle_failures() does the rest.
void UcxCarrier::fail(Remote& remote, ucs_status_t status, const std::string& why) noexcept {
  if (std::exchange(remote.failed, true)) return;
  remote.status = status;
  failures_ = true;
  try {
    remote.why = fmt::format("{}: {}", why, api_.status_string(status));
  } catch (const std::exception&) {
    remote.why.clear();
  }
}

void UcxCarrier::release_keys(Remote& remote) noexcept {
  for (const auto& [bytes, key] : remote.keys) api_.rkey_destroy(key);
  remote.keys.clear();
}

// Closes the endpoint by force, which ends what is under way on it. True when it is closed.
bool UcxCarrier::closed(Remote& remote) noexcept {
  if (remote.endpoint == nullptr) return true;
  if (remote.closing == nullptr) {
    release_keys(remote);
    ucp_request_param_t parameters{};
    parameters.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
    parameters.flags = UCP_EP_CLOSE_FLAG_FORCE;
    remote.closing = api_.ep_close(remote.endpoint, &parameters);
  }
  const bool is_request = remote.closing != nullptr && !UCS_PTR_IS_ERR(remote.closing);
  if (is_request && api_.request_check_status(remote.closing) == UCS_INPROGRESS) return false;
  if (is_request) api_.request_free(remote.closing);
  remote.closing = nullptr;
  remote.endpoint = nullptr;
  return true;
}

void UcxCarrier::settle_failures() noexcept {
  if (!failures_) return;
  failures_ = false;
  for (const auto& [in, link] : links_) {
    Remote* const remote = link->remote();
    if (remote != nullptr && remote->failed) link->fail(remote->why);
  }
  for (const auto& remote : remotes_) {
    if (remote->failed && !closed(*remote)) failures_ = true;
  }
  std::erase_if(remotes_, [](const std::unique_ptr<Remote>& remote) {
    return remote->failed && remote->endpoint == nullptr && remote->links == 0;
  });
}

// ---- paths

std::unique_ptr<network::Path> UcxCarrier::dial(const Peer& peer, int, network::FrameSink& sink,
                                                std::string* why) {
  const LogToUs inside;
  try {
    const Reach to = reach(peer);
    if (!to.reachable) throw Error(StatusCode::kInvalidArgument, to.reason);
    const auto header = static_cast<std::ptrdiff_t>(kAddressHeaderBytes);
    Remote& remote = remote_at({peer.address.begin() + header, peer.address.end()}, 0);
    // What comes has the lowest bit clear: it is sent by the acceptor.
    const uint64_t in = uint64_t{static_cast<uint32_t>(rank_)} << 32 | uint64_t{++dials_} << 1;
    auto link = std::make_unique<Link>(*this, in, true, peer.rank);
    marked_.reserve(links_.size() + 1);
    settling_.reserve(links_.size() + 1);
    auto path = std::make_unique<UcxPath>(sink, *link);
    link->attach(remote);
    links_.emplace(in, std::move(link));
    return path;
  } catch (const std::exception& error) {
    *why = error.what();
    return nullptr;
  }
}

void UcxCarrier::turn_until(int64_t limit_ns, const std::function<bool()>& done) noexcept {
  const Deadline deadline = Deadline::after_ns(limit_ns);
  while (!done() && !deadline.expired()) {
    api_.worker_progress(worker_);
    settle_failures();
  }
}

void UcxCarrier::retire(Link& link) noexcept {
  const LogToUs inside;
  link.retire();
  mark(link);
  if (!link.reads_user_memory()) return;
  const auto free = [&link] { return !link.reads_user_memory(); };
  turn_until(kRetireNs, free);
  if (free()) return;
  fail(*link.remote(), UCS_ERR_CANCELED, "a path was destroyed while it was sending");
  turn_until(kForceNs, free);
  if (!free()) {
    log(LogLevel::kError, "transport", rank_, "{}: UCX still reads payloads of a destroyed path",
        link.describe());
  }
}

// ---- arrivals

ucs_status_t UcxCarrier::on_message(void* arg, const void* header, size_t header_bytes, void* data,
                                    size_t bytes, const ucp_am_recv_param_t* parameters) noexcept {
  AmHeader copy;
  if (header_bytes != sizeof copy) return UCS_OK;  // not from a rank of ours
  std::memcpy(&copy, header, sizeof copy);
  return static_cast<UcxCarrier*>(arg)->take(copy, data, bytes, parameters->recv_attr);
}

ucs_status_t UcxCarrier::take(const AmHeader& header, void* data, size_t bytes,
                              uint64_t attributes) noexcept {
  Link* link = nullptr;
  try {
    link = link_for(header, attributes);
    if (link == nullptr) return UCS_OK;  // of a path that is gone
    return link->take(header, data, bytes, (attributes & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0);
  } catch (const std::exception&) {
    if (link != nullptr && link->remote() != nullptr)
      fail(*link->remote(), UCS_ERR_NO_MEMORY, "receiving");
    return UCS_OK;
  }
}

// Made here when it is the first of a path that a peer has dialled; UCX's callback is no place to
// make the endpoint, so welcome() does that.
Link* UcxCarrier::link_for(const AmHeader& header, uint64_t attributes) {
  const auto known = links_.find(header.path);
  if (known != links_.end()) return known->second.get();
  const bool opens = (header.path & 1) != 0 && header.sequence == 0 && header.address_bytes > 0 &&
                     header.message == Message::kFrame &&
                     (attributes & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0;
  if (!opens || acceptor_ == nullptr) return nullptr;
  const int peer_rank = static_cast<int>(header.path >> 32);
  auto link = std::make_unique<Link>(*this, header.path, false, peer_rank);
  link->fresh = true;
  marked_.reserve(links_.size() + 1);
  settling_.reserve(links_.size() + 1);
  return links_.emplace(header.path, std::move(link)).first->second.get();
}

void UcxCarrier::welcome(Link& link) noexcept {
  try {
    std::vector<std::byte> address = link.dialler_address();
    if (address.empty()) throw Error(StatusCode::kRemoteError, "its first message has no address");
    link.attach(remote_at(std::move(address), link.dialler_generation()));
    auto path = std::make_unique<UcxPath>(acceptor_->stranger_sink(), link);
    link.fresh = false;
    acceptor_->accepted(std::move(path));
  } catch (const std::exception& error) {
    link.fresh = false;
    log(LogLevel::kWarn, "transport", rank_, "a path that a peer dialled by UCX is dropped: {}",
        error.what());
  }
}

bool UcxCarrier::settle() noexcept {
  settle_failures();
  if (marked_.empty()) return false;
  bool moved = false;
  std::swap(marked_, settling_);
  for (size_t i = 0; i < settling_.size(); ++i) {  // what is called may dial, which makes room
    Link* const link = settling_[i];
    link->marked = false;
    if (link->fresh) welcome(*link);
    moved |= link->settle();
  }
  for (Link* const link : settling_) {
    if (link->path == nullptr && !link->fresh && !link->marked && link->idle())
      links_.erase(link->in());
  }
  settling_.clear();
  return moved;
}

Status UcxCarrier::progress(bool* moved) noexcept {
  const LogToUs inside;
  bool any = settle();
  for (int i = 0; i < kRoundsPerProgress && api_.worker_progress(worker_) != 0; ++i) any = true;
  any |= settle();
  if (any) *moved = true;
  return kOkStatus;
}

bool UcxCarrier::arm(bool) noexcept {
  const LogToUs inside;
  if (!marked_.empty() || failures_) return false;
  // Refused while there are events that worker_progress() has not seen.
  return api_.worker_arm(worker_) == UCS_OK;
}

}  // namespace tutti::transport::ucx

namespace tutti::transport {

std::unique_ptr<network::Carrier> make_ucx_carrier(const TransportOptions& options) {
  return std::make_unique<ucx::UcxCarrier>(options);
}

}  // namespace tutti::transport
