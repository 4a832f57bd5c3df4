// SPDX-License-Identifier: Apache-2.0
// Max-min fair rates: textbook networks, and the definition itself on random ones.
#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/verify/fair_share.h"

namespace tutti::verify {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pointwise;
using ::testing::UnorderedElementsAre;

constexpr double kNoCap = std::numeric_limits<double>::infinity();
using Path = std::vector<uint32_t>;

struct Textbook {
  const char* name;
  std::vector<double> capacities;
  std::vector<Path> paths;
  std::vector<double> caps;  // by path; kNoCap where shorter
  std::vector<double> rates;
};

TEST(FairShare_Textbook, HasTheRatesOfTheBook) {
  const Textbook books[] = {
      {"one flow", {10}, {{0}}, {}, {10}},
      {"two share one link", {10}, {{0}, {0}}, {}, {5, 5}},
      {"the narrowest link counts", {10, 4, 7}, {{0, 1, 2}}, {}, {4}},
      {"three flows over two links", {10, 10}, {{0, 1}, {0}, {1}}, {}, {5, 5, 5}},
      {"the long one is held back by one link", {10, 4}, {{0, 1}, {0}, {1}}, {}, {2, 8, 2}},
      {"parking lot", {9, 9, 9}, {{0, 1, 2}, {0}, {1}, {1}, {2}}, {}, {3, 6, 3, 3, 6}},
      {"three levels",
       {1, 1, 1, 1},
       {{0, 1, 2}, {1}, {1}, {2}, {3}},
       {},
       {1. / 3, 1. / 3, 1. / 3, 2. / 3, 1}},
      {"a capped flow leaves its share", {10}, {{0}, {0}, {0}}, {1, kNoCap, kNoCap}, {1, 4.5, 4.5}},
      {"a cap that does not bind", {10}, {{0}, {0}}, {7, 8}, {5, 5}},
      {"caps alone", {10}, {{0}, {0}}, {2, 3}, {2, 3}},
      {"a cap frees another link", {10, 10}, {{0, 1}, {0}, {1}}, {2, kNoCap, 5}, {2, 8, 5}},
      {"a path that returns pays twice", {10}, {{0, 0}, {0}}, {}, {10. / 3, 10. / 3}},
      {"alone and twice", {10}, {{0, 0}}, {}, {5}},
      {"no link", {10}, {{}}, {3}, {3}},
      {"components apart", {6, 8}, {{0}, {0}, {1}}, {}, {3, 3, 8}},
  };
  for (const Textbook& book : books) {
    FairShare shares(book.capacities);
    std::vector<double> rates;
    for (size_t i = 0; i < book.paths.size(); ++i)
      EXPECT_EQ(shares.add(book.paths[i], i < book.caps.size() ? book.caps[i] : kNoCap), i);
    shares.update();
    for (uint32_t i = 0; i < book.paths.size(); ++i) rates.push_back(shares.rate(i));
    EXPECT_THAT(rates, Pointwise(DoubleNear(1e-12), book.rates)) << book.name;
  }
}

TEST(FairShare_Update, NamesTheFlowsWhoseRateChangedAndNoOthers) {
  const Path left{0}, both{0, 1}, right{1}, apart{2};
  FairShare shares({10, 4, 10});
  const auto a = shares.add(left, kNoCap);
  const auto b = shares.add(both, kNoCap);
  const auto d = shares.add(apart, kNoCap);
  EXPECT_THAT(shares.update(), UnorderedElementsAre(a, b, d));
  EXPECT_THAT(shares.update(), IsEmpty());

  const auto c = shares.add(right, kNoCap);  // b falls from 4 to 2, a rises from 6 to 8
  EXPECT_THAT(shares.update(), UnorderedElementsAre(a, b, c));
  EXPECT_DOUBLE_EQ(shares.rate(a), 8);

  shares.remove(d);
  EXPECT_THAT(shares.update(), IsEmpty());

  // One goes and another comes in its place: nobody else notices.
  shares.remove(c);
  const auto e = shares.add(right, kNoCap);
  EXPECT_THAT(shares.update(), ElementsAre(e));
  EXPECT_DOUBLE_EQ(shares.rate(e), 2);
}

// Rates are max-min fair if and only if they fit and every flow that is below its cap crosses a
// full link on which no flow is faster (Bertsekas and Gallager, section 6.5.2).
struct Network {
  std::vector<double> capacities;
  std::deque<Path> paths;  // of all flows ever; they stay where they are
  std::map<uint32_t, std::pair<const Path*, double>> flows;

  void expect_fair(const FairShare& shares) const {
    std::vector<double> used(capacities.size(), 0), fastest(capacities.size(), 0);
    for (const auto& [flow, what] : flows) {
      for (const uint32_t link : *what.first) {
        used[link] += shares.rate(flow);
        fastest[link] = std::max(fastest[link], shares.rate(flow));
      }
    }
    for (size_t link = 0; link < used.size(); ++link)
      ASSERT_LE(used[link], capacities[link] * (1 + 1e-9)) << "link " << link;
    for (const auto& [flow, what] : flows) {
      const double rate = shares.rate(flow);
      ASSERT_LE(rate, what.second);
      const bool held =
          rate >= what.second * (1 - 1e-9) || std::ranges::any_of(*what.first, [&](uint32_t link) {
            return used[link] >= capacities[link] * (1 - 1e-9) &&
                   rate >= fastest[link] * (1 - 1e-9);
          });
      ASSERT_TRUE(held) << "flow " << flow << " could be faster than " << rate;
    }
  }
};

TEST(FairShare_RandomNetworks_AreFair, AfterEveryChange) {
  std::mt19937 random(7);
  const auto below = [&](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  for (int trial = 0; trial < 60; ++trial) {
    Network network;
    for (uint32_t links = 1 + below(12); network.capacities.size() < links;)
      network.capacities.push_back(1 + below(20));
    FairShare shares(network.capacities);
    for (int change = 0; change < 60; ++change) {
      for (uint32_t many = 1 + below(4); many > 0; --many) {
        if (!network.flows.empty() && below(5) < 2) {
          const auto at = std::next(network.flows.begin(), below(network.flows.size()));
          shares.remove(at->first);
          network.flows.erase(at);
          continue;
        }
        std::set<uint32_t> links;
        for (uint32_t hops = 1 + below(4); hops > 0; --hops)
          links.insert(below(network.capacities.size()));
        const double cap = below(3) == 0 ? 1 + below(6) : kNoCap;
        const Path& path = network.paths.emplace_back(links.begin(), links.end());
        network.flows[shares.add(path, cap)] = {&path, cap};
      }
      shares.update();
      ASSERT_NO_FATAL_FAILURE(network.expect_fair(shares)) << "trial " << trial;
    }
  }
}

}  // namespace
}  // namespace tutti::verify
