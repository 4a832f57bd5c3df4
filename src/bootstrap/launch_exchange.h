// SPDX-License-Identifier: Apache-2.0
// Unique ids of a launch on several hosts whose launcher has a key-value space: no help of the user
// is needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "src/bootstrap/bootstrap.h"

namespace tutti::bootstrap {

// Why the launcher offers no key-value space that is understood; nullopt when it does.
std::optional<std::string> why_no_exchange(const Launch& launch);

// The job's `sequence`-th id. The first call of a process is collective: it exchanges where rank
// 0's directory (directory.h) is, and its fresh random key. What has failed once fails again with
// the same words. Throws what the exchange throws (key_value.h), naming the rank and the
// launcher; InvalidUsage when why_no_exchange().
UniqueId exchanged_unique_id(const Launch& launch, uint64_t sequence);

}  // namespace tutti::bootstrap
