// SPDX-License-Identifier: Apache-2.0
// Finds, reads and writes the profile of this machine.
#pragma once

#include <optional>
#include <string>

#include "src/comm/peers.h"
#include "src/planner/profile.h"

namespace tutti::comm {

inline constexpr const char* kOwnProfile = "auto";
inline constexpr const char* kNoProfile = "none";

// Where this machine's profile is kept: $XDG_CACHE_HOME/tutti/profile-KEY.json, else in ~/.cache.
// Empty when there is no such folder to be named (no HOME).
std::string own_profile_path();

// What rank 0 hands out: what the profile says of communicators of so many ranks. `setting` is
// TUTTI_PROFILE. A file that the user names must be there and right: throws InvalidArgument. With
// this machine's own, what is wrong is warned of, once per process, and defaults are used.
GivenProfile read_profile(const std::string& setting, int n_ranks);

// A profile and where it came from; nothing when the setting turns it off or there is none. As
// read_profile() in everything else.
struct FoundProfile {
  std::string file;
  planner::Profile profile;
};
std::optional<FoundProfile> find_profile(const std::string& setting);

// Replaces the file at once, so that no reader sees half of it, and makes its folder. Throws
// SystemError.
void write_profile(const planner::Profile& profile, const std::string& path);

}  // namespace tutti::comm
