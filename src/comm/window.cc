// SPDX-License-Identifier: Apache-2.0
// Exchanges tokens for window memory and writes through them.
#include "src/comm/window.h"

#include <algorithm>
#include <cstring>

#include "src/comm/bytes.h"
#include "src/comm/group.h"
#include "src/comm/setup.h"
#include "src/device/device.h"

namespace tutti::comm {
namespace {

constexpr int64_t kMapWindowNs = 30 * kNsPerSecond;

std::vector<std::byte> encode_part(const Transports& transports, void* base, size_t bytes) {
  device::attach_shared(base);  // taken away when another communicator failed
  if (bytes != 0 && device::find_shared(base, bytes) == nullptr) {
    throw Error(
        StatusCode::kInvalidArgument,
        "buff with bytes " + std::to_string(bytes) +
            " is not within one allocation of tuttiMemAlloc; only such memory can be a window");
  }
  ByteWriter out;
  out.value(static_cast<uint64_t>(bytes));
  const auto tokens = bytes == 0 ? std::vector<TransportAddress>{} : transports.tokens(base, bytes);
  out.value(static_cast<uint32_t>(tokens.size()));
  for (const TransportAddress& t : tokens) {
    out.text(t.transport);
    out.blob(t.board);
  }
  return out.take();
}

std::vector<std::byte> token_of(ByteReader& in, std::string_view transport, int rank) {
  const auto n = in.value<uint32_t>();
  for (uint32_t i = 0; i < n; ++i) {
    const std::string name = in.text();
    std::vector<std::byte> token = in.blob();
    if (name == transport) return token;
  }
  throw Error(
      StatusCode::kInternalError,
      "rank " + std::to_string(rank) + " exposed no window memory by " + std::string(transport));
}

}  // namespace

std::shared_ptr<Window> Window::create(Communicator& comm, void* base, size_t bytes) {
  const Exchange exchange = exchange_over(comm, "CommWindowRegister");
  const Transports& transports = comm.local().transports;
  std::shared_ptr<Window> window(new Window(comm, base));
  std::vector<std::byte> mine;
  Error error(StatusCode::kOk, "");
  run_now(comm, SetUpCall{"CommWindowRegister", [&] {
                            error = error_of([&] { mine = encode_part(transports, base, bytes); });
                          }});
  const auto all = exchange(mine);
  agree_on_errors(exchange, error);

  run_now(comm, SetUpCall{"CommWindowRegister",
                          [&] { error = error_of([&] { window->import(transports, all); }); }});
  agree_on_errors(exchange, error);
  return window;
}

Window::Window(Communicator& comm, void* base)
    : comm_id_(comm.comm_id()),
      rank_(comm.rank()),
      exposures_(comm.exposures()),
      base_(static_cast<std::byte*>(base)),
      account_(comm.local().account) {
  if (!exposures_->add(base)) throw comm.health().error();
}

Window::~Window() { exposures_->remove(base_); }

void Window::import(const Transports& transports,
                    const std::vector<std::vector<std::byte>>& parts) {
  regions_.resize(parts.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    const int peer = static_cast<int>(i);
    ByteReader in(parts[i]);
    sizes_.push_back(in.value<uint64_t>());
    if (peer == rank_ || sizes_.back() == 0) continue;
    const auto token = token_of(in, transports.name(transports.index_of(peer)), peer);
    regions_[i] = transports.to(peer).import_region(transports.peer(peer), token,
                                                    Deadline::after_ns(kMapWindowNs));
    charges_.emplace_back(*account_, MemoryUse::kPeerWindows, regions_[i]->bytes(), "");
  }
}

void Window::put(int peer, size_t offset, const void* data, size_t bytes) {
  if (bytes == 0) return;
  if (peer == rank_) {
    std::memmove(base_ + offset, data, bytes);
    return;
  }
  const Status status = regions_[static_cast<size_t>(peer)]->put(offset, data, bytes);
  if (status.ok()) return;
  throw Error(status.code, "a put to rank " + std::to_string(peer) + " failed: " +
                               (status.reason != nullptr ? status.reason : "no reason given"));
}

}  // namespace tutti::comm
