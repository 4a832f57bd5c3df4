// SPDX-License-Identifier: Apache-2.0
// Plans from MSCCL++ execution plans in JSON: https://github.com/microsoft/mscclpp, `gpus` >
// `threadblocks` > `ops`.
//
// MSCCL++ writes into the memory of a peer and then signals it; a plan sends messages. A put
// becomes a message on the channel on which its threadblock next signals that GPU, received where
// the peer waits for that signal; a read of a peer's memory (`get`, `rre`, `rres`) becomes a
// message that the peer sends where it signalled that it was ready. A signal that nothing was put
// for stays a signal. Barriers and semaphores of threadblocks become waits between lanes, a
// threadblock is a lane. A `nop` orders what the threads of a block do, which a lane's steps are
// anyway.
//
// A put's bytes are so taken to be there no sooner than the wait, and a read's to be those at the
// signal. A program that depends on more than that has a race, or is refused: whatever comes out
// does what it does by the plan's own rules, and the verifier judges that.
#pragma once

#include <string_view>

#include "src/plan/plan.h"

namespace tutti::plan {

// Throws InvalidArgument "FILE: gpu G threadblock T op N (NAME): reason" for what messages can't
// express: packets (their flags travel with the data), switches, pipelines and threadblock groups
// (they divide chunks), puts that their threadblock never announces. Or with the JSON path of what
// is not of the format.
Plan from_mscclpp_json(std::string_view text, std::string_view file = "plan");

// Is it JSON with a list of GPUs, and not the native form?
bool is_mscclpp_json(std::string_view text);

}  // namespace tutti::plan
