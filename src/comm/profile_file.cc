// SPDX-License-Identifier: Apache-2.0
// Profiles as files.
#include "src/comm/profile_file.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>

#include <spdlog/fmt/fmt.h>

#include "src/base/cache_files.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/log.h"

namespace tutti::comm {
namespace {

namespace fs = std::filesystem;

constexpr std::uintmax_t kMaxFileBytes = 16 << 20;

[[noreturn]] void refuse(const std::string& file, const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, "the profile " + file + " can't be used: " + what);
}

std::string difference(const Machine& there, const Machine& here) {
  std::string text;
  const auto compare = [&](const char* what, const std::string& a, const std::string& b) {
    if (a == b) return;
    text += fmt::format("{}{} '{}', here '{}'", text.empty() ? "" : "; ", what, a, b);
  };
  compare("cpu", there.cpu, here.cpu);
  compare("cores", there.cores, here.cores);
  compare("caches", there.caches, here.caches);
  compare("pages", there.pages, here.pages);
  return text;
}

std::string text_of(const std::string& file) {
  std::error_code error;
  const auto bytes = fs::file_size(file, error);
  if (error) refuse(file, error.message() + "; make it by `tutti tune --out`");
  if (bytes > kMaxFileBytes) refuse(file, fmt::format("it has {} bytes; make it anew", bytes));
  std::ifstream stream(file, std::ios::binary);
  std::ostringstream text;
  if (stream) text << stream.rdbuf();
  if (!stream) refuse(file, "it can't be read; check its permissions");
  return std::move(text).str();
}

// The last one is kept: a program's communicators ask for the same.
planner::Profile parsed(const std::string& text) {
  static std::mutex mutex;  // guards the two below
  static std::string last_text;
  static planner::Profile last;
  const std::lock_guard lock(mutex);
  if (text != last_text) {
    last = planner::profile_from_json(text);
    last_text = text;
  }
  return last;
}

planner::Profile load(const std::string& file) {
  try {
    return parsed(text_of(file));
  } catch (const Error& error) {
    const std::string what = error.what();
    if (what.starts_with("the profile ")) throw;
    refuse(file, what + "; make it anew by `tutti tune`");
  }
}

planner::Profile load_for_this_machine(const std::string& file) {
  planner::Profile profile = load(file);
  const Machine& here = this_machine();
  if (profile.machine != here) {
    refuse(file, "it was measured on another machine (" + difference(profile.machine, here) +
                     "); run `tutti tune` on this one");
  }
  return profile;
}

void warn_once(const Error& error) {
  static std::atomic<bool> warned{false};  // relaxed: whoever changes it first warns
  if (warned.exchange(true, std::memory_order_relaxed)) return;
  warn_user("config", "{}; defaults are used (TUTTI_PROFILE=none silences this)", error.what());
}

}  // namespace

std::string own_profile_path() {
  const std::string folder = cache_folder();
  if (folder.empty()) return "";
  return folder + "/profile-" + key_of(this_machine()) + ".json";
}

std::optional<FoundProfile> find_profile(const std::string& setting) {
  if (setting.empty() || setting == kNoProfile) return std::nullopt;
  if (setting != kOwnProfile) return FoundProfile{setting, load_for_this_machine(setting)};
  const std::string file = own_profile_path();
  std::error_code error;
  if (file.empty() || !fs::exists(file, error)) return std::nullopt;
  try {
    return FoundProfile{file, load_for_this_machine(file)};
  } catch (const Error& problem) {
    warn_once(problem);
    return std::nullopt;
  }
}

GivenProfile read_profile(const std::string& setting, int n_ranks) {
  const auto found = find_profile(setting);
  if (!found.has_value()) return {};
  return {to_json(planner::only_for(found->profile, n_ranks))};
}

void write_profile(const planner::Profile& profile, const std::string& path) {
  replace_file(path, planner::to_json(profile), "the profile");
}

}  // namespace tutti::comm
