// SPDX-License-Identifier: Apache-2.0
// The recordings of this process as numbers: for the API, and for the file of TUTTI_METRICS_FILE.
#pragma once

#include <string>

namespace tutti::trace {

class Recorder;

// Any thread. A recorder is listed from its making until its end.
void list_recorder(const Recorder& recorder);
void unlist_recorder(const Recorder& recorder) noexcept;

// Prometheus text of all that are listed. Any thread.
std::string metrics_text();
// Writes the file of `recorder`, which is about to end, anew and in one piece: the numbers of this
// rank when the name holds %r, else of all ranks in the process; those of earlier communicators
// stay in it. What fails is logged.
void write_metrics_file(const Recorder& recorder) noexcept;

}  // namespace tutti::trace
