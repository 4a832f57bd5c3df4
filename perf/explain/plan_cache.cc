// SPDX-License-Identifier: Apache-2.0
// Keeps plans as a list of certificates without their bounds.
#include "perf/explain/plan_cache.h"

#include <filesystem>
#include <fstream>
#include <iterator>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/cache_files.h"
#include "src/base/error.h"
#include "src/verify/certificate.h"
#include "src/verify/verifier.h"

namespace tutti::command {
namespace {

constexpr const char* kFormat = "tutti-plans-1";
// More are planned faster than read.
constexpr size_t kMostBytes = size_t{64} << 20;

std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

planner::Candidate candidate_of(verify::Certificate certificate, const PlanKey& key,
                                const topology::Graph& graph, const planner::FlowNetwork& network) {
  const plan::Shape& shape = certificate.plan.shape;
  if (topology::hash(certificate.graph) != key.topology || shape.collective != key.collective ||
      shape.n_ranks != network.n_terminals)
    throw Error(StatusCode::kInvalidArgument, "of another topology or collective");
  const verify::Verdict verdict = verify::verify(certificate.plan);
  if (!verdict.accepted) throw Error(StatusCode::kInvalidArgument, verdict.reason);
  planner::Candidate candidate{
      .algorithm = certificate.plan.algorithm,
      .placed = {std::move(certificate.plan), std::move(certificate.placement)},
      .time = {}};
  candidate.time = planner::busiest_link_time(candidate.placed, graph, network);
  return candidate;
}

}  // namespace

std::string plan_file_path(const PlanKey& key) {
  const std::string folder = cache_folder();
  if (folder.empty()) return "";
  return fmt::format("{}/plans-{}-{:016x}-{}-{}-{}.json", folder, kPlannerVersion, key.topology,
                     plan::name(key.collective), key.budget.channels, key.budget.lanes);
}

std::optional<std::vector<planner::Candidate>> find_plans(const PlanKey& key,
                                                          const topology::Graph& graph,
                                                          const planner::FlowNetwork& network) {
  const std::string path = plan_file_path(key);
  std::error_code none;
  if (path.empty() || !std::filesystem::exists(path, none)) return std::nullopt;
  try {
    const auto document = nlohmann::json::parse(text_of(path));
    if (document.at("format") != kFormat) return std::nullopt;
    std::vector<planner::Candidate> candidates;
    for (const auto& one : document.at("plans"))
      candidates.push_back(
          candidate_of(verify::certificate_from_json(one.dump(), path), key, graph, network));
    return candidates;
  } catch (const Error&) {
  } catch (const nlohmann::json::exception&) {
  }
  return std::nullopt;
}

void keep_plans(const PlanKey& key, const std::vector<planner::Candidate>& candidates,
                const topology::Graph& graph) {
  const std::string path = plan_file_path(key);
  if (path.empty()) return;
  std::string plans;
  for (const planner::Candidate& candidate : candidates) {
    if (plans.size() > kMostBytes) return;
    plans += (plans.empty() ? "" : ",\n") +
             verify::to_json(verify::Certificate{.graph = graph,
                                                 .plan = candidate.placed.plan,
                                                 .placement = candidate.placed.placement});
  }
  try {
    replace_file(path, fmt::format("{{\"format\": \"{}\", \"plans\": [\n{}]}}\n", kFormat, plans),
                 "plans");
  } catch (const Error&) {
  }
}

}  // namespace tutti::command
