// SPDX-License-Identifier: Apache-2.0
// Where the ranks of one process find each other: their bells, and the connections that have been
// started but not accepted.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include "transport/bell_page.h"
#include "transport/endpoint_key.h"
#include "transport/fifo.h"
#include "transport/transport.h"

namespace tutti::transport::inproc {

// The memory of one connection. Shared by its two ends, which may go in any order.
class Pipe {
 public:
  Pipe(const FifoLayout& layout, BellHandle sender_bell);
  std::byte* base() const noexcept { return memory_.get(); }
  const FifoLayout& layout() const noexcept { return layout_; }
  const BellHandle& sender_bell() const noexcept { return sender_bell_; }

  BellHandle receiver_bell;  // set when the offer is taken; guarded by the board

 private:
  static constexpr std::align_val_t kAlignment{4096};
  struct Release {
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory, kAlignment); }
  };
  FifoLayout layout_;
  BellHandle sender_bell_;
  std::unique_ptr<std::byte, Release> memory_;
};

// Throws InvalidUsage when the rank is there already.
void add_endpoint(const EndpointKey& key, const BellHandle& bell);
// Drops the offers to this rank, and those of this rank to ranks that have never been there. What
// was offered to a rank that is there stays: it may hold messages that the receiver has not
// accepted yet.
void remove_endpoint(const EndpointKey& key) noexcept;
// The rank's bell; empty while it is not there.
BellHandle find_endpoint(const EndpointKey& key) noexcept;

// Throws InvalidUsage when the same id is on offer already.
void offer(const ConnectionId& id, std::shared_ptr<Pipe> pipe);
// Null while there is no such offer.
std::shared_ptr<Pipe> peek_offer(const ConnectionId& id) noexcept;
void take_offer(const ConnectionId& id, const BellHandle& receiver_bell) noexcept;
// The bell of the receiver of `pipe`: of the rank while it is there, else what it left when it took
// the offer. A rank may have gone before the sender looks: it waits for nothing that this
// connection will carry, or it would still be there.
BellHandle find_receiver(const EndpointKey& sink, const Pipe& pipe) noexcept;

}  // namespace tutti::transport::inproc
