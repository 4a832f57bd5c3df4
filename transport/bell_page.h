// SPDX-License-Identifier: Apache-2.0
// Pages of doorbells mapped once per process, so that a bell can be rung for as long as somebody
// holds it here.
#pragma once

#include <cstdint>
#include <memory>

#include "src/base/file.h"
#include "src/base/shared_bell.h"
#include "src/base/wait.h"

namespace tutti::transport {

// Where a bell lies: the process that made the page, its number there, and the place on it.
struct BellPlace {
  uint64_t process_uid = 0;
  uint64_t page_id = 0;
  uint32_t offset = 0;
  uint32_t page_bytes = 0;
};
BellPlace place_of(const SharedBell& bell);

// A bell that may be rung while the handle lives, whatever its owner has done meanwhile.
struct BellHandle {
  std::shared_ptr<const Mapping> page;  // shared by all bells of the page
  Doorbell* bell = nullptr;
  explicit operator bool() const noexcept { return bell != nullptr; }
};

// Maps the page behind `fd`, or finds the mapping that this process already has of it. Throws
// SystemError, and InvalidArgument when the place is not on the page or the page is not a sealed
// memfd (peers send both).
BellHandle map_bell(const BellPlace& place, int fd);

}  // namespace tutti::transport
