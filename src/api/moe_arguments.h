// SPDX-License-Identifier: Apache-2.0
// Checks of the arguments of MoE calls, and the handles behind them.
#pragma once

#include <memory>
#include <vector>

#include "src/api/handles.h"
#include "src/moe/config.h"
#include "src/moe/handle.h"
#include "tutti/moe.h"

namespace tutti::api {

struct MoeGroupRef {
  std::shared_ptr<moe::Group> group;  // shared with its handles
};
struct MoeHandleRef {
  std::shared_ptr<moe::Handle> handle;  // shared with queued calls
};

// As the user's version of the struct has it. Throws InvalidArgument naming what is NULL or out of
// range. With n_ranks 0 nothing is looked at that depends on it.
moe::Config config_of(const tuttiMoeConfig_t* config, int n_ranks);
// This rank's number in the group.
int place_of(const tuttiMoeConfig_t* config, int rank, int n_ranks);
moe::Phases phases_of(int phases);
moe::Output output_of(const tuttiMoeOutput_t* output, const moe::Facts& facts);
std::vector<bool> mask_of(const uint8_t* active, const moe::Group& group);

}  // namespace tutti::api

struct tuttiMoeGroup final : tutti::api::HandleSlot<tutti::api::MoeGroupRef> {
  static constexpr tutti::api::HandleKind kKind{"MoE group", "tuttiMoeGroupCreate"};
};
struct tuttiMoeHandle final : tutti::api::HandleSlot<tutti::api::MoeHandleRef> {
  static constexpr tutti::api::HandleKind kKind{"MoE handle", "tuttiMoeHandleCreate"};
};
