// SPDX-License-Identifier: Apache-2.0
// Where a profile is looked for, what becomes of a wrong one, and what a communicator takes from
// it.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/comm/profile_file.h"
#include "src/comm/selection.h"

namespace tutti::comm {
namespace {

namespace fs = std::filesystem;

planner::Profile here() {
  planner::Profile profile{.machine = this_machine()};
  profile.tunings = {{.n_ranks = 4, .cores = 2, .slot_bytes = 16 << 10, .channels = 3}};
  for (const char* algorithm :
       {"one_shot", "two_shot", "ring", "tree", "halving_doubling", "recursive_doubling"}) {
    profile.curves.push_back({.collective = plan::Collective::kAllReduce,
                              .algorithm = algorithm,
                              .n_ranks = 4,
                              .cores = 2,
                              .points = {{8, algorithm == std::string("tree") ? 1.0 : 2.0}}});
  }
  return profile;
}

// A cache folder of its own, in the environment for as long as it lives.
class ProfileFile : public ::testing::Test {
 protected:
  ProfileFile() {
    folder_ = fs::path(::testing::TempDir()) / ("profile_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
    ::setenv("XDG_CACHE_HOME", folder_.c_str(), 1);
  }
  ~ProfileFile() override {
    ::unsetenv("XDG_CACHE_HOME");
    fs::remove_all(folder_);
  }
  std::string put(const std::string& text) const {
    const std::string path = own_profile_path();
    fs::create_directories(fs::path(path).parent_path());
    std::ofstream(path) << text;
    return path;
  }
  static std::string refusal(const std::string& setting) {
    try {
      find_profile(setting);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
      return error.what();
    }
    return "accepted";
  }
  fs::path folder_;
};

TEST_F(ProfileFile, Own_IsInTheCacheFolderByTheMachinesKey) {
  EXPECT_EQ(own_profile_path(),
            folder_.string() + "/tutti/profile-" + key_of(this_machine()) + ".json");
  ::setenv("XDG_CACHE_HOME", "relative", 1);
  ::setenv("HOME", "/home/somebody", 1);
  EXPECT_TRUE(own_profile_path().starts_with("/home/somebody/.cache/tutti/profile-"));
}

TEST_F(ProfileFile, Written_IsFoundAndNothingElseIsLeft) {
  EXPECT_FALSE(find_profile("auto").has_value());
  write_profile(here(), own_profile_path());
  write_profile(here(), own_profile_path());  // over the old one
  const auto found = find_profile("auto");
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->profile, here());
  EXPECT_EQ(found->file, own_profile_path());
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder_ / "tutti"))
    files += entry.is_regular_file() ? 1 : 0;
  EXPECT_EQ(files, 1u);
}

TEST_F(ProfileFile, TurnedOff_IsNotFound) {
  write_profile(here(), own_profile_path());
  EXPECT_FALSE(find_profile("none").has_value());
  EXPECT_FALSE(find_profile("").has_value());
  EXPECT_TRUE(read_profile("none", 4).text.empty());
}

TEST_F(ProfileFile, OwnButWrong_CostsAWarningOnly) {
  put("{");
  EXPECT_FALSE(find_profile("auto").has_value());
  EXPECT_TRUE(read_profile("auto", 4).text.empty());
  planner::Profile foreign = here();
  foreign.machine.cpu = "another";
  put(to_json(foreign));
  EXPECT_FALSE(find_profile("auto").has_value());
}

TEST_F(ProfileFile, NamedButWrong_IsRefusedWithReasonAndRemedy) {
  const std::string path = put("{");
  EXPECT_EQ(refusal(path), "the profile " + path +
                               " can't be used: profile: not JSON, at byte 2 of 1; make it anew by "
                               "`tutti tune`");
  planner::Profile foreign = here();
  foreign.machine.cpu = "another";
  put(to_json(foreign));
  EXPECT_EQ(refusal(path), "the profile " + path +
                               " can't be used: it was measured on another machine (cpu 'another', "
                               "here '" +
                               this_machine().cpu + "'); run `tutti tune` on this one");
  const std::string missing = folder_.string() + "/missing.json";
  EXPECT_EQ(refusal(missing), "the profile " + missing +
                                  " can't be used: No such file or directory; make it by `tutti "
                                  "tune --out`");
}

TEST_F(ProfileFile, HandedOut_IsWhatThatManyRanksNeed) {
  write_profile(here(), own_profile_path());
  EXPECT_EQ(planner::profile_from_json(read_profile("auto", 4).text), planner::only_for(here(), 4));
  EXPECT_TRUE(planner::profile_from_json(read_profile("auto", 2).text).curves.empty());
}

TEST(Resolve, Profile_FillsInWhatTheUserLeavesOpen) {
  const Measured measured{.text = to_json(here()), .n_ranks = 4, .cores = 2, .ranks_per_host = 4};
  EXPECT_EQ(resolve({}, {}, measured).layout.area_bytes, 16u << 10);
  EXPECT_EQ(resolve({}, {}, measured).channels, 3);
  AgreedConfig agreed;
  agreed.slot_bytes = 4096;
  agreed.channels = 1;
  EXPECT_EQ(resolve(agreed, {}, measured).layout.area_bytes, 4096u);
  EXPECT_EQ(resolve(agreed, {}, measured).channels, 1);
  const Measured elsewhere{.text = measured.text, .n_ranks = 4, .cores = 4, .ranks_per_host = 4};
  EXPECT_EQ(resolve({}, {}, elsewhere).layout.area_bytes, resolve({}).layout.area_bytes);
}

TEST(Resolve, Profile_OfOneHost_SaysNothingOfSlotsBetweenHosts) {
  const Measured hosts{.text = to_json(here()), .n_ranks = 4, .cores = 2, .ranks_per_host = 2};
  const Measured none{.n_ranks = 4, .cores = 2, .ranks_per_host = 2};
  EXPECT_EQ(resolve({}, {}, hosts).layout.area_bytes, resolve({}, {}, none).layout.area_bytes);
  EXPECT_EQ(resolve({}, {}, hosts).channels, 1);
}

TEST(Select, Profile_DecidesWhereItHasMeasured) {
  const Tuning tuning = resolve({}, {}, {.text = to_json(here()), .n_ranks = 4, .cores = 2});
  Selection call{.n_ranks = 4, .cores = 2, .block_bytes = 8};
  EXPECT_STREQ(select(call, tuning).row->name, "tree");
  EXPECT_STREQ(substitutes(call, tuning).front().row->name, "tree");
  call.cores = 4;
  EXPECT_STREQ(select(call, tuning).row->name, select(call, resolve({})).row->name);
}

TEST(PeerRecord, Profile_ArrivesAsItWasSent) {
  PeerRecord record;
  record.profile.text = to_json(here());
  EXPECT_EQ(decode(encode(record)).profile.text, record.profile.text);
}

}  // namespace
}  // namespace tutti::comm
