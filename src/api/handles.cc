// SPDX-License-Identifier: Apache-2.0
// What callers are told about handles that are none.
#include "src/api/handles.h"

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::api {

void refuse_null(const char* name, const HandleKind& kind) {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("{} is NULL; it must be a {} from {}", name, kind.what, kind.source));
}

void refuse_dead(const char* name, const void* handle, const HandleKind& kind) {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("{} {} is not a live {}: it was destroyed, or never came from {}", name,
                          handle, kind.what, kind.source));
}

void refuse_inherited(const char* name, const void* handle, const HandleKind& kind, int32_t owner) {
  throw Error(StatusCode::kInvalidUsage,
              fmt::format("{} {}: the {} belongs to process {}, this is its forked child {}; make "
                          "one after fork, or exec",
                          name, handle, kind.what, owner, own_pid()));
}

void refuse_more(const HandleKind& kind, size_t most) {
  throw Error(StatusCode::kSystemError,
              fmt::format("no room for another {}: {} of them are live; destroy those that are no "
                          "longer used",
                          kind.what, most));
}

}  // namespace tutti::api
