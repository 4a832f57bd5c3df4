// SPDX-License-Identifier: Apache-2.0
// Pattern search over the logarithms of the parameters: a dozen unknowns, thousands of times, and a
// model that is monotone in each of them.
#include "perf/tune/fit.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>

#include "src/planner/planner.h"

namespace tutti::command {
namespace {

using planner::CostParameters;
using planner::Curve;

constexpr double kFirstStep = 2;
constexpr double kLastStep = 1.01;
constexpr double kStay = 0.002;  // what a change by a factor of e must gain
constexpr double kLeast = 1e-4;  // of a parameter: 0 has no logarithm
constexpr double kMost = 1e9;

struct Sample {
  const planner::AlgorithmRow* row;
  planner::CostInput input;
  double log_ns;
};

std::vector<Sample> samples_of(const std::vector<Curve>& curves) {
  std::vector<Sample> samples;
  for (const Curve& curve : curves) {
    const auto* row = planner::find_algorithm(curve.collective, curve.algorithm);
    if (row == nullptr) continue;
    for (const planner::MeasuredPoint& point : curve.points) {
      samples.push_back({row,
                         {.n_ranks = curve.n_ranks, .cores = curve.cores, .bytes = point.bytes},
                         std::log(point.ns)});
    }
  }
  return samples;
}

std::vector<double*> unknowns(CostParameters& p) {
  std::vector<double*> all{&p.call_ns, &p.hop_ns, &p.message_ns, &p.switch_ns};
  for (double& rate : p.write_ns_per_byte) all.push_back(&rate);
  for (double& rate : p.read_ns_per_byte) all.push_back(&rate);
  return all;
}

template <typename Measure>
double mean_over(std::vector<Sample>& samples, const CostParameters& p, Measure measure) {
  double sum = 0;
  for (Sample& sample : samples) {
    sample.input.parameters = p;
    sum += measure(std::log(sample.row->cost_ns(sample.input)) - sample.log_ns);
  }
  return samples.empty() ? 0 : sum / static_cast<double>(samples.size());
}

// Where the times can't tell two parameters apart, they stay near what they were.
double loss(std::vector<Sample>& samples, const CostParameters& p, const CostParameters& start) {
  double drift = 0;
  CostParameters now = p;
  CostParameters then = start;
  const std::vector<double*> values = unknowns(now);
  const std::vector<double*> before = unknowns(then);
  for (size_t i = 0; i < values.size(); ++i) {
    const double change = std::log(*values[i] / *before[i]);
    drift += change * change;
  }
  return mean_over(samples, p, [](double error) { return error * error; }) + kStay * drift;
}

// Tries one parameter larger and smaller; true when that was better.
bool improve(const std::function<double()>& loss_now, double& value, double step, double& best) {
  const double before = value;
  for (const double factor : {step, 1 / step}) {
    value = std::clamp(before * factor, kLeast, kMost);
    const double tried = loss_now();
    if (tried < best) {
      best = tried;
      return true;
    }
  }
  value = before;
  return false;
}

}  // namespace

CostParameters fit(const std::vector<Curve>& curves, const CostParameters& start) {
  std::vector<Sample> samples = samples_of(curves);
  CostParameters p = start;
  if (samples.empty()) return p;
  const auto loss_now = [&] { return loss(samples, p, start); };
  double best = loss_now();
  for (double step = kFirstStep; step > kLastStep;) {
    bool better = false;
    for (double* value : unknowns(p)) better |= improve(loss_now, *value, step, best);
    if (!better) step = std::sqrt(step);
  }
  return p;
}

double mean_error(const std::vector<Curve>& curves, const CostParameters& parameters) {
  std::vector<Sample> samples = samples_of(curves);
  return std::exp(mean_over(samples, parameters, [](double error) { return std::abs(error); }));
}

}  // namespace tutti::command
