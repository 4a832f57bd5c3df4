// SPDX-License-Identifier: Apache-2.0
// Fates of frames, and policies as text.
#include "tests/hosts/chaos_policy.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iterator>

namespace chaos {
namespace {

constexpr double kNsPerSecond = 1e9;

struct Unit {
  std::string_view suffix;
  double factor;
};
constexpr Unit kTimes[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};
constexpr Unit kRates[] = {{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1}};
constexpr Unit kSizes[] = {{"k", 1 << 10}, {"m", 1 << 20}, {"", 1}};
constexpr Unit kShares[] = {{"%", 0.01}, {"", 1}};
constexpr Unit kSwitches[] = {{"", 1}};

// A number with one of the units; "" is well.
template <size_t N>
std::string parse(std::string_view text, const Unit (&units)[N], double most, double* value) {
  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view suffix = text.substr(static_cast<size_t>(parsed.ptr - text.data()));
  const auto* unit = std::find_if(std::begin(units), std::end(units),
                                  [&](const Unit& u) { return u.suffix == suffix; });
  if (parsed.ec != std::errc{} || unit == std::end(units))
    return "'" + std::string(text) + "' is no number with a unit that fits";
  *value = number * unit->factor;
  return *value >= 0 && *value <= most ? "" : "'" + std::string(text) + "' is out of range";
}

}  // namespace

std::string apply_setting(Policy& policy, std::string_view setting) {
  const size_t equals = setting.find('=');
  if (equals == std::string_view::npos)
    return "expected NAME=VALUE, got '" + std::string(setting) + "'";
  const std::string_view name = setting.substr(0, equals);
  const std::string_view text = setting.substr(equals + 1);
  double value = 0;
  std::string wrong;
  const auto time = [&](int64_t* into) {
    wrong = parse(text, kTimes, 60 * kNsPerSecond, &value);
    if (wrong.empty()) *into = static_cast<int64_t>(value);
  };
  const auto share = [&](double* into) {
    wrong = parse(text, kShares, 1, &value);
    if (wrong.empty()) *into = value;
  };
  const auto number = [&](const auto& units, double most, uint64_t* into) {
    wrong = parse(text, units, most, &value);
    if (wrong.empty()) *into = static_cast<uint64_t>(value);
  };
  uint64_t on = policy.hole ? 1 : 0;
  if (name == "delay")
    time(&policy.delay_ns);
  else if (name == "jitter")
    time(&policy.jitter_ns);
  else if (name == "hold")
    time(&policy.reorder_ns);
  else if (name == "loss")
    share(&policy.loss);
  else if (name == "duplicate")
    share(&policy.duplicate);
  else if (name == "reorder")
    share(&policy.reorder);
  else if (name == "rate")
    number(kRates, 1e12, &policy.rate_bits);
  else if (name == "limit")
    number(kSizes, 1e9, &policy.limit_bytes);
  else if (name == "hole")
    number(kSwitches, 1, &on);
  else
    wrong = "there is no setting '" + std::string(name) +
            "'; expected delay, jitter, loss, duplicate, reorder, hold, rate, limit or hole";
  policy.hole = on != 0;
  return wrong;
}

std::string to_text(const Policy& policy) {
  char text[256];
  std::snprintf(text, sizeof text,
                "delay=%lldns jitter=%lldns loss=%g duplicate=%g reorder=%g hold=%lldns "
                "rate=%llubit limit=%llu hole=%d",
                static_cast<long long>(policy.delay_ns), static_cast<long long>(policy.jitter_ns),
                policy.loss, policy.duplicate, policy.reorder,
                static_cast<long long>(policy.reorder_ns),
                static_cast<unsigned long long>(policy.rate_bits),
                static_cast<unsigned long long>(policy.limit_bytes), policy.hole ? 1 : 0);
  return text;
}

uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

bool Random::chance(double probability) {
  return static_cast<double>(next() >> 11) * 0x1.0p-53 < probability;
}

int64_t Random::around_zero(int64_t width) {
  const uint64_t drawn = next();  // also for nothing: what is drawn later does not depend on it
  return static_cast<int64_t>(drawn % (2 * static_cast<uint64_t>(width) + 1)) - width;
}

Direction::Fate Direction::decide(int64_t now_ns, size_t bytes) {
  // Drawn for every frame, so that a frame's fate does not depend on which settings are in use.
  const bool lost = random_.chance(policy.loss);
  const int64_t jitter = random_.around_zero(policy.jitter_ns);
  const bool held_back = random_.chance(policy.reorder);
  const bool duplicated = random_.chance(policy.duplicate);
  ++counters_.frames;
  counters_.bytes += bytes;
  if (policy.hole) {
    ++counters_.swallowed;
    return {};
  }
  if (lost) {
    ++counters_.lost;
    return {};
  }
  int64_t at = now_ns;
  if (policy.rate_bits != 0) {
    const double bits_per_ns = static_cast<double>(policy.rate_bits) / kNsPerSecond;
    const int64_t start = std::max(now_ns, wire_free_ns_);
    const double waiting_bytes = static_cast<double>(start - now_ns) * bits_per_ns / 8;
    if (waiting_bytes > static_cast<double>(policy.limit_bytes)) {
      ++counters_.overflowed;
      return {};
    }
    wire_free_ns_ = start + static_cast<int64_t>(8 * static_cast<double>(bytes) / bits_per_ns);
    at = wire_free_ns_;
  }
  at += std::max<int64_t>(0, policy.delay_ns + jitter);
  if (held_back) {
    ++counters_.held_back;
    at += policy.reorder_ns;
  } else {
    at = std::max(at, last_ns_);
    last_ns_ = at;
  }
  counters_.duplicated += duplicated ? 1 : 0;
  return {.copies = duplicated ? 2 : 1, .at_ns = {at, at}};
}

}  // namespace chaos
