// SPDX-License-Identifier: Apache-2.0
// How a command that a launcher has started on many ranks brings their texts together.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/bootstrap/bootstrap.h"

namespace tutti::command {

// The job of more than one rank that a launcher has started; throws InvalidArgument when its
// variables are broken.
std::optional<bootstrap::Launch> job_of_many();
// Of all ranks of the job, within TUTTI_INIT_TIMEOUT. Throws RemoteError naming who did not come.
std::unique_ptr<bootstrap::Bootstrap> meet(const bootstrap::Launch& launch);
// Everybody's text, by rank.
std::vector<std::string> all_texts(bootstrap::Bootstrap& meeting, const std::string& mine);

}  // namespace tutti::command
