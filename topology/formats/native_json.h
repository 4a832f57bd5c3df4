// SPDX-License-Identifier: Apache-2.0
// The project's own file format: every field of a topology report, read back exactly as it was
// written.
#pragma once

#include <string>
#include <string_view>

#include "topology/report.h"

namespace tutti::topology {

// docs/howto/describe-a-topology.md describes the format. Throws InvalidArgument "NAME: PLACE:
// REASON", where `name` is the file's name and the place is a line and column or, for a wrong
// value, its JSON pointer (/nodes/3/kind). What it returns has passed validate().
Report read_native_json(std::string_view text, const std::string& name);

// One node or link a line. Text that is not UTF-8 is written with replacement characters.
std::string write_native_json(const Report& report);

}  // namespace tutti::topology
