// SPDX-License-Identifier: Apache-2.0
// Plans as MSCCL's XML schedules: https://github.com/microsoft/msccl, `algo` > `gpu` > `tb` >
// `step`.
//
// A thread block is a lane, a step with cnt > 1 becomes one step per chunk, a nop's dependency goes
// to the step after it. MSCCL knows no scaling and lets a schedule write its input, so the import
// runs the schedule once on symbolic values: what reads an input chunk that nothing has written yet
// is a raw contribution (`pre` in a reduction), what completes a sum gets `post`, and what is
// written where the plan may not write goes to scratch. The import does not judge; the verifier
// does.
#pragma once

#include <string>
#include <string_view>

#include "src/plan/plan.h"

namespace tutti::plan {

// Throws InvalidArgument as "FILE:LINE: <element> attribute: expected ..., got ...". `file` is what
// messages call it. A collective with a root takes it from an attribute `root` (0 without one).
Plan from_msccl_xml(std::string_view text, std::string_view file = "plan");

// from_msccl_xml() of the result does what `plan` does, in steps that MSCCL has: wide reductions
// and multicasts are taken apart. Throws InvalidArgument where MSCCL has no such collective
// (barrier, gather, scatter), for signals, or for switch channels.
std::string to_msccl_xml(const Plan& plan);

// Any text form: MSCCL's XML when the first character that is no space is '<', else JSON, MSCCL++'s
// (src/plan/mscclpp_json.h) or the native one.
Plan from_text(std::string_view text, std::string_view file = "plan");

}  // namespace tutti::plan
