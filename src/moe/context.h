// SPDX-License-Identifier: Apache-2.0
// What the two halves of a call share: the group's facts, and what one handle holds from its
// routing to the end of its combine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "src/moe/config.h"
#include "src/moe/counters.h"
#include "src/moe/mesh.h"
#include "src/moe/placement.h"
#include "src/moe/received.h"
#include "src/moe/routing.h"

namespace tutti::moe {

// Of a group; constant while a call runs.
struct Facts {
  Facts(const Config& made, int own_rank)
      : config(made),
        placement(config),
        form(row_form(config.hidden, config.quantization)),
        rank(own_rank),
        capacity(receive_capacity(config, placement, rank)),
        overflows(!never_overflows(config, placement)) {}
  const Config config;
  const Placement placement;
  const RowForm form;
  const int rank;            // of the group
  const size_t capacity;     // rows of this rank's receive buffer
  const bool overflows;      // some routing would be too much for some rank
  std::vector<int> host_of;  // by rank
  Reach reach(int peer) const noexcept {
    if (peer == rank) return Reach::kSelf;
    const auto host = [&](int r) { return host_of[static_cast<size_t>(r)]; };
    return host(peer) == host(rank) ? Reach::kIntra : Reach::kInter;
  }
};

// Where the user wants received rows. Each pointer but `rows` (and `scales`, when quantised) may be
// null.
struct Output {
  std::byte* rows = nullptr;
  std::byte* scales = nullptr;
  int64_t* experts = nullptr;  // [capacity][max_top_k]: rank-major, slots on this rank, -1: none
  float* weights = nullptr;    // the same shape
  int32_t* source_ranks = nullptr;   // [capacity]
  int32_t* source_tokens = nullptr;  // [capacity]
};

// A place of a received row in the receive buffer; dropped ones are not kept.
struct Placed {
  uint32_t position = 0;
  float weight = 0;
};
struct ReceivedRow {
  uint32_t first = 0;  // of its places
  uint32_t count = 0;
};
// From one source, in the order of its tokens.
struct ReceivedFrom {
  std::vector<ReceivedRow> rows;
  std::vector<Placed> places;
};

struct Exchange {
  Exchange(const Facts& group, Mesh& connections, Counters& count)
      : facts(group), mesh(connections), counters(count) {}
  const Facts& facts;
  Mesh& mesh;
  Counters& counters;
  Routing routing;
  ReceiveLayout layout;                // of the last dispatch
  std::vector<ReceivedFrom> received;  // by source rank
  uint64_t dropped_of_mine = 0;        // pairs of a token of this rank and an expert
  uint64_t dropped_everywhere = 0;     // by all ranks; only where something can be
};

}  // namespace tutti::moe
