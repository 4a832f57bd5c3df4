// SPDX-License-Identifier: Apache-2.0
// Addresses with a handle for each peer, dialling, accepting.
#include "transport/nccl_net/net_carrier.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "transport/nccl_net/nccl_net.h"

namespace tutti::transport::nccl_net {
namespace {

constexpr uint32_t kMagic = 0x314e434e;  // "NCN1"
constexpr int kMostRails = 4;
constexpr int kRanksWhenNotTold = 16;
// Asking every listening comm whether somebody has come costs a system call each in many plugins.
constexpr int64_t kAcceptEveryNs = kNsPerMs / 5;   // soon after somebody has come
constexpr int64_t kAcceptSeldomNs = 2 * kNsPerMs;  // when nobody has for a while
constexpr int64_t kGoodbyeNs = 100 * kNsPerMs;

// At the start of an address; then, by rail and peer, {length : 1 byte | that much of a handle}:
// the zeros at a handle's end are left out.
struct AddressHeader {
  uint32_t magic;
  uint16_t rails;
  uint16_t reserved;
  uint32_t ranks;
  char plugin[36];
};
static_assert(sizeof(AddressHeader) == 48);

bool read_header(const Peer& peer, AddressHeader* header) {
  if (peer.address.size() < sizeof *header) return false;
  std::memcpy(header, peer.address.data(), sizeof *header);
  header->plugin[sizeof header->plugin - 1] = '\0';
  return header->magic == kMagic;
}

void append_handle(const Handle& handle, std::vector<std::byte>* into) {
  size_t bytes = handle.size();
  while (bytes > 0 && handle[bytes - 1] == std::byte{0}) --bytes;
  into->push_back(static_cast<std::byte>(bytes));
  into->insert(into->end(), handle.begin(), handle.begin() + static_cast<std::ptrdiff_t>(bytes));
}

// The handle that `peer` listens on for this rank; false when the address has none.
bool read_handle(const Peer& peer, int rail, int rank, Handle* handle) {
  AddressHeader header{};
  if (!read_header(peer, &header) || rail >= header.rails ||
      static_cast<uint32_t>(rank) >= header.ranks)
    return false;
  const size_t wanted = static_cast<size_t>(rail) * header.ranks + static_cast<size_t>(rank);
  size_t at = sizeof header;
  for (size_t i = 0; at < peer.address.size(); ++i) {
    const auto bytes = std::to_integer<size_t>(peer.address[at++]);
    if (bytes > handle->size() || bytes > peer.address.size() - at) return false;
    if (i == wanted) {
      handle->fill(std::byte{0});
      std::copy_n(peer.address.begin() + static_cast<std::ptrdiff_t>(at), bytes, handle->begin());
      return bytes > 0;
    }
    at += bytes;
  }
  return false;
}

}  // namespace

NetCarrier::NetCarrier(const TransportOptions& options)
    : rank_(options.rank),
      n_ranks_(options.n_ranks > 0 ? options.n_ranks : kRanksWhenNotTold),
      loaded_(load_plugin(options.config == nullptr ? "" : options.config->net_plugin,
                          options.comm_id)),
      plugin_(*loaded_.plugin),
      n_rails_(std::min(static_cast<int>(loaded_.devices.size()), kMostRails)) {
  try {
    listening_.resize(static_cast<size_t>(n_rails_) * static_cast<size_t>(n_ranks_));
    AddressHeader header{.magic = kMagic,
                         .rails = static_cast<uint16_t>(n_rails_),
                         .reserved = 0,
                         .ranks = static_cast<uint32_t>(n_ranks_),
                         .plugin = {}};
    const std::string name = plugin_.name();
    name.copy(header.plugin, sizeof header.plugin - 1);
    address_.resize(sizeof header);
    std::memcpy(address_.data(), &header, sizeof header);
    for (int rail = 0; rail < n_rails_; ++rail) {
      for (int peer = 0; peer < n_ranks_; ++peer) {
        Listening& one = listening(rail, peer);
        one = listen_on(rail);
        append_handle(one.handle, &address_);
      }
    }
  } catch (...) {
    close_all();
    throw;
  }
  log(LogLevel::kInfo, "transport", rank_, "{}", describe());
}

// Lets the last messages leave. Whoever dials meanwhile is too late: the acceptor is being
// destroyed.
NetCarrier::~NetCarrier() {
  acceptor_ = nullptr;
  const Deadline deadline = Deadline::after_ns(kGoodbyeNs);
  bool moved = false;
  const auto is_retired = [](const std::unique_ptr<Link>& link) { return link->is_retired(); };
  while (std::ranges::any_of(links_, is_retired) && !deadline.expired()) (void)progress(&moved);
  close_all();
}

void NetCarrier::close_all() noexcept {
  links_.clear();
  for (const Listening& one : listening_) {
    if (one.comm != nullptr) plugin_.close_listen(one.comm);
  }
  listening_.clear();
  plugin_.finalize();
}

NetCarrier::Listening NetCarrier::listen_on(int rail) {
  Listening made;
  if (!plugin_.listen(device_index(rail), &made.handle, &made.comm) || made.comm == nullptr) {
    throw Error(StatusCode::kSystemError,
                fmt::format("net plugin {} does not listen on {}: {}", loaded_.file,
                            device_name(rail), plugin_.last_error()));
  }
  return made;
}

std::vector<std::byte> NetCarrier::address() const { return address_; }

Reach NetCarrier::reach(const Peer& peer) const {
  AddressHeader header{};
  if (!read_header(peer, &header)) return {false, "the peer has no net plugin"};
  if (plugin_.name().substr(0, sizeof header.plugin - 1) != header.plugin) {
    return {false, fmt::format("this rank has the net plugin '{}', the peer '{}'", plugin_.name(),
                               header.plugin)};
  }
  Handle handle;
  if (!read_handle(peer, 0, rank_, &handle))
    return {false, "the peer's address has no handle for this rank"};
  return {true, ""};
}

std::string NetCarrier::describe() const {
  std::string text = fmt::format("net plugin {} ({}, interface {}):", plugin_.name(), loaded_.file,
                                 plugin_.version());
  for (size_t i = 0; i < loaded_.devices.size(); ++i) {
    const Device& device = loaded_.devices[i];
    text += fmt::format(" {} {} Mb/s{}", device.name, device.speed_mbps,
                        static_cast<int>(i) < n_rails_ ? "," : " (not used: four rails at most),");
  }
  for (const std::string& one : loaded_.left_out) text += " not " + one + ",";
  return text + " polled, payloads copied at both ends";
}

int NetCarrier::paths_to(const Peer& peer) const {
  AddressHeader header{};
  if (!read_header(peer, &header)) return 1;
  return std::max(1, std::min(n_rails_, static_cast<int>(header.rails)));
}

std::unique_ptr<network::Path> NetCarrier::dial(const Peer& peer, int index,
                                                network::FrameSink& sink, std::string* why) {
  try {
    const Reach to = reach(peer);
    if (!to.reachable) throw Error(StatusCode::kInvalidArgument, to.reason);
    const int rail = index % n_rails_;
    const auto key = std::pair(peer.rank, rail);
    Handle handle{};
    const auto next = next_.find(key);
    if (next != next_.end()) {
      handle = next->second;
    } else if (used_.contains(key) || !read_handle(peer, rail, rank_, &handle)) {
      throw Error(StatusCode::kRemoteError,
                  "the peer's handle is used up and its last path broke before it gave another");
    }
    auto link = std::make_unique<Link>(*this, plugin_, peer.rank, rail, true);
    link->start_dial(handle);
    links_.reserve(links_.size() + 1);
    auto path = std::make_unique<NetPath>(sink, *link);
    links_.push_back(std::move(link));
    return path;
  } catch (const std::exception& error) {
    *why = error.what();
    return nullptr;
  }
}

void NetCarrier::used_handle(int peer, int rail) noexcept {
  const auto key = std::pair(peer, rail);
  next_.erase(key);
  used_.insert(key);
}

void NetCarrier::next_handle(int peer, int rail, const Handle& handle) noexcept {
  next_[std::pair(peer, rail)] = handle;
}

// ---- accepting

void NetCarrier::accept(int rail, int peer, bool* moved) noexcept {
  Listening& one = listening(rail, peer);
  if (one.comm == nullptr) return;
  void* comm = nullptr;
  if (!plugin_.accept(one.comm, &comm)) {
    log(LogLevel::kWarn, "transport", rank_, "{} for rank {}: {}", device_name(rail), peer,
        plugin_.last_error());
    plugin_.close_listen(std::exchange(one.comm, nullptr));
    return;
  }
  if (comm == nullptr) return;
  *moved = true;
  plugin_.close_listen(std::exchange(one.comm, nullptr));
  try {
    auto link = std::make_unique<Link>(*this, plugin_, peer, rail, false);
    const bool started = link->start_accepted(comm);
    if (!started)
      log(LogLevel::kWarn, "transport", rank_, "{}: {}", link->describe(), plugin_.last_error());
    one = listen_on(rail);
    link->offer_next(one.handle);
    if (started) links_.push_back(std::move(link));
  } catch (const std::exception& error) {
    log(LogLevel::kWarn, "transport", rank_, "rank {} can't dial again: {}", peer, error.what());
  }
}

void NetCarrier::accept_all(bool* moved) noexcept {
  const int64_t now = now_ns();
  if (acceptor_ == nullptr || now < next_accept_ns_) return;
  bool came = false;
  for (int rail = 0; rail < n_rails_; ++rail) {
    for (int peer = 0; peer < n_ranks_; ++peer) accept(rail, peer, &came);
  }
  accept_every_ns_ = came ? kAcceptEveryNs : std::min(accept_every_ns_ * 5 / 4, kAcceptSeldomNs);
  next_accept_ns_ = now + accept_every_ns_;
  if (came) *moved = true;
}

void NetCarrier::greeted(Link& link) noexcept {
  if (acceptor_ == nullptr) return;
  try {
    auto path = std::make_unique<NetPath>(acceptor_->stranger_sink(), link);
    acceptor_->accepted(std::move(path));
  } catch (const std::exception& error) {
    log(LogLevel::kWarn, "transport", rank_, "{} is dropped: {}", link.describe(), error.what());
  }
}

Status NetCarrier::progress(bool* moved) noexcept {
  accept_all(moved);
  for (size_t i = 0; i < links_.size(); ++i) {  // what is called may dial
    Link& link = *links_[i];
    if (link.turn()) *moved = true;
  }
  std::erase_if(links_, [](const std::unique_ptr<Link>& link) { return link->finished(); });
  return kOkStatus;
}

}  // namespace tutti::transport::nccl_net

namespace tutti::transport {

std::unique_ptr<network::Carrier> make_nccl_net_carrier(const TransportOptions& options) {
  return std::make_unique<nccl_net::NetCarrier>(options);
}

}  // namespace tutti::transport
