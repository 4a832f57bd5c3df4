// SPDX-License-Identifier: Apache-2.0
// What an endpoint asks of whoever carries one-sided transfers over it (src/transfer): who its
// peers are, since they come and go and have no ranks, and where the bytes of their frames belong.
//
// A frame of kind kTransferData is placed where it belongs at once, in any order; a kTransferNote
// is an owned message. Everything is called under the endpoint's lock and must not block.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "transport/network/greeting.h"

namespace tutti::transport::network {

class Session;

// Note flag: it counts after all frames that were sent before it.
inline constexpr uint16_t kInOrder = 8;

// Where a payload goes. `tag` names what it is written to, for Session::is_placing(); not 0.
struct Placement {
  std::byte* at = nullptr;  // null: thrown away
  uint64_t tag = 0;
};

class Transfers {
 public:
  virtual ~Transfers() = default;

  // Numbers of peers are this end's own: one for each agent that is dialled, one for each that has
  // dialled. Who dials says so by Hello::from, to and comm_id.
  virtual void fill_hello(int peer, Hello* hello) noexcept = 0;
  // The number of who says this, -1 when it is nobody whom this end serves.
  virtual int admit(const Hello& hello) noexcept = 0;
  virtual const Key& secret_of(int peer) const noexcept = 0;
  virtual std::string name_of(int peer) const = 0;
  // The session has ended, by goodbye or failure, and is not needed here any more.
  virtual bool may_forget(int peer) noexcept = 0;

  // The next kTransferData frame to the peer, of at most `most` bytes; false: there is none now.
  // Its payload stays until Session::withdraw() has said that nobody reads it.
  virtual bool next(int peer, size_t most, OutgoingFrame* frame) noexcept = 0;
  // The frame of next() is under way.
  virtual void handed(int peer) noexcept = 0;

  virtual Placement place(int peer, const FrameHeader& header) noexcept = 0;
  // A whole kTransferData frame is there. `payload`: its bytes when they have not been placed yet.
  virtual void arrived(Session& from, const FrameHeader& header,
                       const std::byte* payload) noexcept = 0;
  virtual void noted(Session& from, const FrameHeader& header,
                     const std::byte* payload) noexcept = 0;
};

}  // namespace tutti::transport::network
