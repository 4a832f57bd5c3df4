// SPDX-License-Identifier: Apache-2.0
// What a rank passes to a collective, and what it must find in its receive buffer afterwards.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/conformance/case.h"
#include "tutti/tutti.h"

namespace tutti::conformance {

// A piece of the receive buffer that must hold the reduction, or one rank's input, from some
// element on.
struct Piece {
  static constexpr int kReduction = -1;
  size_t at = 0;            // element of the receive buffer
  size_t count = 0;         // elements
  int source = kReduction;  // the rank whose input it is
  size_t first = 0;         // element of the source's send buffer
};

struct Call {
  size_t send_elems = 0;  // 0 where the buffer is not significant
  size_t recv_elems = 0;
  size_t in_place_at = 0;  // in place: element of the larger buffer at which the smaller one starts
  bool send_is_inner =
      true;  // in place: the send buffer lies in the receive buffer; else the other way round
  std::vector<size_t> counts, displs;            // v-variants; AllToAllv: what is sent
  std::vector<size_t> recv_counts, recv_displs;  // AllToAllv: what is received
  std::vector<Piece> pieces;
  std::byte* send = nullptr;  // set by the runner
  std::byte* recv = nullptr;
  tuttiStream_t stream = nullptr;  // of a communicator of a GPU
};

Call describe(const Case& c, int rank);
// Makes the call, outside a group.
tuttiResult_t issue(const Case& c, const Call& call, int rank, tuttiRedOp_t op, tuttiComm_t comm);

}  // namespace tutti::conformance
