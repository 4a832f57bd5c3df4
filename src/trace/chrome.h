// SPDX-License-Identifier: Apache-2.0
// Recordings as a trace that chrome://tracing and Perfetto show.
#pragma once

#include <string>

#include "src/trace/timeline.h"

namespace tutti::trace {

// Trace Event Format, JSON: complete events, one process per rank's process, one thread per rank of
// a communicator in it.
std::string chrome_trace(const Timeline& timeline);

}  // namespace tutti::trace
