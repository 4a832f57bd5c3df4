// SPDX-License-Identifier: Apache-2.0
// A profile's text, and what the planner makes of it.
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/error.h"
#include "src/planner/planner.h"
#include "src/planner/profile.h"

namespace tutti::planner {
namespace {

using plan::Collective;

Profile sample() {
  Profile profile;
  profile.machine = {.cpu = "CPU \"X\"", .cores = "0-1", .caches = "L1 Data 32K", .pages = "4096"};
  profile.parameters.hop_ns = 123.5;
  profile.parameters.read_ns_per_byte = {0.01, 0.02, 0.03};
  profile.tunings = {{.n_ranks = 4, .cores = 2, .slot_bytes = 128 << 10, .channels = 2}};
  profile.curves = {{.collective = Collective::kAllReduce,
                     .algorithm = "ring",
                     .n_ranks = 2,
                     .cores = 2,
                     .points = {{8, 100}, {128, 200.5}, {1 << 20, 1e6}}},
                    {.collective = Collective::kBroadcast,
                     .algorithm = "binomial",
                     .n_ranks = 4,
                     .cores = 2,
                     .points = {{8, 5000}}}};
  return profile;
}

std::string refusal(const std::string& text) {
  try {
    profile_from_json(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return at == std::string::npos ? text : text.replace(at, what.size(), by);
}

TEST(Profile, Text_ReadsBackEqual) {
  Profile networked = sample();
  networked.parameters.network = {2000, 150, 0.08, 0.02};
  for (const Profile& profile : {Profile{}, sample(), networked}) {
    const std::string text = to_json(profile);
    EXPECT_EQ(profile_from_json(text), profile) << text;
    EXPECT_EQ(to_json(profile_from_json(text)), text);
  }
}

TEST(Profile, WrongTexts_AreRefusedWithPlaceAndReason) {
  const std::string good = to_json(sample());
  const std::pair<std::string, const char*> cases[] = {
      {"", "profile: not JSON"},
      {good.substr(0, good.size() / 2), "profile: not JSON, at byte"},
      {"[]", "expected an object"},
      {replaced(good, "tutti-profile-1", "tutti-profile-0"),
       "/format: expected \"tutti-profile-1\""},
      {replaced(good, "\"hop_ns\":123.5", "\"hop_ns\":-1"),
       "/parameters/hop_ns: expected a number"},
      {replaced(good, "\"hop_ns\":123.5", "\"hop\":1"), "/parameters: unknown member \"hop\""},
      {replaced(good, "\"hop_ns\":123.5", "\"hop_ns\":123.5,\"network\":{\"hop_ns\":0}"),
       "/parameters/network/hop_ns: expected a number"},
      {replaced(good, "0.01,", ""), "/parameters/read_ns_per_byte: expected three numbers"},
      {replaced(good, "131072", "131073"), "/tunings/0/slot_bytes: expected 0 or a power of two"},
      {replaced(good, "\"channels\":2", "\"channels\":65"), "/tunings/0/channels: expected"},
      {replaced(good, "\"all_reduce\"", "\"all_reduction\""), "/curves/0/collective"},
      {replaced(good, "[8,128,1048576]", "[8,128]"), "/curves/0/ns: expected as many"},
      {replaced(good, "[8,128,1048576]", "[8,8,1048576]"), "/curves/0/bytes/1: expected a larger"},
      {replaced(good, "[100.0,", "[0,"), "/curves/0/ns/0: expected a number"},
      {replaced(good, "\"ranks\":2", "\"ranks\":0"), "/curves/0/ranks: expected at least 1"},
      {replaced(good, "[8]", "[]"), "/curves/1/bytes: expected 1 to 256 sizes"},
  };
  for (const auto& [text, reason] : cases)
    EXPECT_NE(refusal(text).find(reason), std::string::npos) << refusal(text) << "\n" << reason;
}

TEST(Profile, OnlyFor_KeepsWhatThatManyRanksNeed) {
  const Profile some = only_for(sample(), 4);
  EXPECT_EQ(some.parameters, sample().parameters);
  ASSERT_EQ(some.curves.size(), 1u);
  EXPECT_EQ(some.curves[0].algorithm, "binomial");
  EXPECT_EQ(some.tunings.size(), 1u);
  EXPECT_TRUE(only_for(sample(), 3).curves.empty());
}

TEST(Profile, MoreCoresThanRanks_AreAllTheSame) {
  const Profile profile = sample();
  EXPECT_NE(find_curve(profile, Collective::kAllReduce, "ring", 2, 64), nullptr);
  EXPECT_EQ(find_curve(profile, Collective::kAllReduce, "ring", 2, 1), nullptr);
  EXPECT_NE(find_tuning(profile, 4, 2), nullptr);
  EXPECT_EQ(find_tuning(profile, 4, 4), nullptr);
}

TEST(Profile, SharedTexts_AreParsedOnce) {
  const std::string text = to_json(sample());
  const auto first = shared_profile(text);
  EXPECT_EQ(shared_profile(text), first);
  EXPECT_THROW(shared_profile("nonsense"), Error);
  EXPECT_THROW(shared_profile("nonsense"), Error);
}

const AlgorithmRow& ring() { return *find_algorithm(Collective::kAllReduce, "ring"); }

double predicted(const Profile& profile, uint64_t bytes, int n_ranks = 2) {
  return predicted_ns(ring(), {.n_ranks = n_ranks,
                               .cores = 2,
                               .bytes = bytes,
                               .parameters = profile.parameters,
                               .profile = &profile});
}
double model(const Profile& profile, uint64_t bytes, int n_ranks = 2) {
  return ring().cost_ns(
      {.n_ranks = n_ranks, .cores = 2, .bytes = bytes, .parameters = profile.parameters});
}

TEST(Predicted, WhereItWasMeasured_IsTheMeasuredTime) {
  const Profile profile = sample();
  EXPECT_NEAR(predicted(profile, 8), 100, 1e-6);
  EXPECT_NEAR(predicted(profile, 128), 200.5, 1e-6);
  EXPECT_NEAR(predicted(profile, 1 << 20), 1e6, 1e-3);
}

TEST(Predicted, Between_TheCorrectionGoesFromOneToTheOther) {
  const Profile profile = sample();
  const auto correction = [&](uint64_t bytes) {
    return predicted(profile, bytes) / model(profile, bytes);
  };
  const double middle = correction(8 + (128 - 8) / 4);
  EXPECT_GT(middle, std::min(correction(8), correction(128)));
  EXPECT_LT(middle, std::max(correction(8), correction(128)));
  // Half way by the logarithm of the size, the mean of both by their logarithm.
  EXPECT_NEAR(correction(11584), std::sqrt(correction(128) * correction(1 << 20)),
              correction(11584) * 1e-2);
}

TEST(Predicted, Outside_TheNearestCorrectionHolds) {
  const Profile profile = sample();
  EXPECT_NEAR(predicted(profile, 1 << 30) / model(profile, 1 << 30), 1e6 / model(profile, 1 << 20),
              1e-6);
  EXPECT_NEAR(predicted(profile, 1) / model(profile, 1), 100 / model(profile, 8), 1e-6);
}

TEST(Predicted, NotMeasured_IsTheModel) {
  const Profile profile = sample();
  EXPECT_DOUBLE_EQ(predicted(profile, 64, 3), model(profile, 64, 3));
}

TEST(Predicted, Measurements_DecideTheChoice) {
  Profile profile;
  const auto measured = [&](const char* algorithm, double ns) {
    profile.curves.push_back({.collective = Collective::kAllReduce,
                              .algorithm = algorithm,
                              .n_ranks = 4,
                              .cores = 4,
                              .points = {{8, ns}, {1 << 20, 1000 * ns}}});
  };
  for (const AlgorithmRow& row : algorithm_table())
    if (row.collective == Collective::kAllReduce)
      measured(row.name, std::string(row.name) == "tree" ? 10 : 20);
  for (const uint64_t bytes : {1, 8, 1000, 1 << 20, 1 << 28}) {
    const CostInput input{.n_ranks = 4, .cores = 4, .bytes = bytes, .profile = &profile};
    EXPECT_STREQ(choose({Collective::kAllReduce, 4}, input, {}).name, "tree") << bytes;
    EXPECT_STREQ(choose({Collective::kAllReduce, 4}, input, {.forced = "ring"}).name, "ring");
    EXPECT_STREQ(eligible({Collective::kAllReduce, 4}, input, {}).front()->name, "tree");
  }
}

}  // namespace
}  // namespace tutti::planner
