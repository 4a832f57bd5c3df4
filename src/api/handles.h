// SPDX-License-Identifier: Apache-2.0
// The public handle types, as what they are inside.
#pragma once

#include <memory>

#include "src/comm/handle.h"
#include "src/comm/stream.h"
#include "src/comm/window.h"
#include "tutti/tutti.h"

struct tuttiComm final : tutti::comm::Handle {};
struct tuttiStream final : tutti::comm::Stream {};
struct tuttiWindow final {
  std::shared_ptr<tutti::comm::Window> window;  // shared: queued puts keep it
};
