// SPDX-License-Identifier: Apache-2.0
// How one operand is written, in JSON and for people alike: "input[1]", "pre(input[1])", "peer 3",
// "peer 3 channel 1".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "src/plan/plan.h"

namespace tutti::plan {

std::string to_text(const Operand& operand);
// Inverse of to_text; nothing when the text is none of the forms above, to the letter.
std::optional<Operand> operand_from_text(std::string_view text);

}  // namespace tutti::plan
