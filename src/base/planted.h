// SPDX-License-Identifier: Apache-2.0
// Bugs that a simulation must find: each is a slip that somebody could make, kept where it would be
// made. Only a build with TUTTI_PLANTED_BUGS, which is never the library, can switch one on; else
// every check is the constant false (docs/design/simulation.md).
#pragma once

#include <cstdint>

namespace tutti {

// name, what is wrong
#define TUTTI_PLANTED_BUGS_ROWS(X)                                                        \
  X(kReleaseWithoutRing, "a release does not ring the sender's bell")                     \
  X(kSleepWithoutPoll, "a sleeper does not poll once more after it has announced itself") \
  X(kLineReusedEarly, "a line is written before its last message was released")           \
  X(kAreaReusedEarly, "a staging slot is written before its last message was released")   \
  X(kCommitBeforeData, "a message is committed before its bytes are written")             \
  X(kReleaseBeforeRead, "a message is released before its bytes are read")                \
  X(kSequenceIgnored, "a message is recognised by its signature, whatever its sequence")  \
  X(kSignatureIgnored, "a message is taken whatever its signature")                       \
  X(kReferencesForgotten, "an operation ends before its references were consumed")        \
  X(kGivenUpIgnored, "what was read while its sender gave up counts")                     \
  X(kNoticeOnlyToNeighbours, "ranks without a connection are not told of a failure")      \
  X(kNoticePositionOff, "a notice names the collective after the one that failed")        \
  X(kSilenceNeverReset, "the deadline counts from the start, not from the last progress") \
  X(kWaitIgnored, "a lane does not wait for the steps of other lanes")                    \
  X(kScratchWindowOff, "a tile starts while the scratch chunks that it needs are in use")

enum class PlantedBug : uint8_t {
  kNone,
#define X(id, what) id,
  TUTTI_PLANTED_BUGS_ROWS(X)
#undef X
};

#ifdef TUTTI_PLANTED_BUGS
inline PlantedBug planted_bug = PlantedBug::kNone;  // chosen before anything runs
inline bool planted(PlantedBug bug) noexcept { return planted_bug == bug; }
#else
constexpr bool planted(PlantedBug) noexcept { return false; }
#endif

}  // namespace tutti
