// SPDX-License-Identifier: Apache-2.0
// The process-wide table behind board.h.
#include "transport/inproc/board.h"

#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "src/base/process_local.h"

namespace tutti::transport::inproc {
namespace {

struct Board {
  std::map<EndpointKey, BellHandle> endpoints;
  std::map<ConnectionId, std::shared_ptr<Pipe>> offers;
};

}  // namespace

Pipe::Pipe(const FifoLayout& layout, BellHandle sender_bell)
    : layout_(layout),
      sender_bell_(std::move(sender_bell)),
      memory_(static_cast<std::byte*>(::operator new(layout.total_bytes(), kAlignment))) {
  // Lines and the release word start as zero; staging slots are written before they are read.
  std::memset(memory_.get(), 0, layout.areas_offset());
}

void add_endpoint(const EndpointKey& key, const BellHandle& bell) {
  const bool added = ProcessLocal<Board>::with(
      [&](Board& board) { return board.endpoints.emplace(key, bell).second; });
  if (added) return;
  throw Error(StatusCode::kInvalidUsage,
              "rank " + std::to_string(key.rank) +
                  " of this communicator has an inproc transport in this "
                  "process already; expected one per rank");
}

void remove_endpoint(const EndpointKey& key) noexcept {
  ProcessLocal<Board>::with([&](Board& board) {
    board.endpoints.erase(key);
    std::erase_if(board.offers, [&](const auto& entry) {
      const EndpointKey sink = sink_of(entry.first);
      return sink == key || (source_of(entry.first) == key && !board.endpoints.contains(sink));
    });
  });
}

BellHandle find_endpoint(const EndpointKey& key) noexcept {
  return ProcessLocal<Board>::with([&](Board& board) {
    const auto found = board.endpoints.find(key);
    return found == board.endpoints.end() ? BellHandle{} : found->second;
  });
}

void offer(const ConnectionId& id, std::shared_ptr<Pipe> pipe) {
  const bool added = ProcessLocal<Board>::with(
      [&](Board& board) { return board.offers.emplace(id, std::move(pipe)).second; });
  if (added) return;
  throw Error(StatusCode::kInvalidUsage, "connection " + std::to_string(id.source_rank) + " -> " +
                                             std::to_string(id.sink_rank) + " (channel " +
                                             std::to_string(id.channel) +
                                             ") has been started before");
}

std::shared_ptr<Pipe> peek_offer(const ConnectionId& id) noexcept {
  return ProcessLocal<Board>::with([&](Board& board) {
    const auto found = board.offers.find(id);
    return found == board.offers.end() ? nullptr : found->second;
  });
}

void take_offer(const ConnectionId& id, const BellHandle& receiver_bell) noexcept {
  ProcessLocal<Board>::with([&](Board& board) {
    const auto found = board.offers.find(id);
    if (found == board.offers.end()) return;
    found->second->receiver_bell = receiver_bell;
    board.offers.erase(found);
  });
}

BellHandle find_receiver(const EndpointKey& sink, const Pipe& pipe) noexcept {
  return ProcessLocal<Board>::with([&](Board& board) {
    const auto found = board.endpoints.find(sink);
    return found == board.endpoints.end() ? pipe.receiver_bell : found->second;
  });
}

}  // namespace tutti::transport::inproc
