// SPDX-License-Identifier: Apache-2.0
// `tutti plan certify`: checks a certificate from a file.
#include <memory>
#include <string>

#include <spdlog/fmt/fmt.h>

#include "perf/cli/cli.h"
#include "perf/cmd_plan.h"
#include "perf/topology_source.h"
#include "src/verify/certificate.h"
#include "src/verify/hierarchy.h"

namespace tutti::command {
namespace {

std::string per_gigabyte(const Rational& time) {
  return Rational::of(time.numerator * topology::kMbitPerGigabyte, time.denominator).to_string();
}

std::string describe(const verify::Certificate& certificate, const verify::CertifiedLink& busy) {
  const topology::Link& link = certificate.graph.links[busy.link];
  const int32_t from = busy.reverse ? link.to : link.from;
  const int32_t to = busy.reverse ? link.from : link.to;
  return fmt::format("{} to {}", certificate.graph.nodes[from].id, certificate.graph.nodes[to].id);
}

// The end of both kinds' reports.
int report(const auto& verdict) {
  fmt::print("{}\n", verdict.accepted ? "accepted" : "REFUSED: " + verdict.reason);
  if (!verdict.accepted) return 1;
  fmt::print("no plan is faster than {} s per GB of a rank's data\n", per_gigabyte(verdict.bound));
  fmt::print("this one takes         {} s\n", per_gigabyte(verdict.plan));
  fmt::print("plan / bound           {:.6f}\n", verdict.plan_over_bound);
  return 0;
}

int certify_hierarchy(const std::string& text, const std::string& source) {
  const verify::HierarchyCertificate certificate = verify::hierarchy_from_json(text, source);
  fmt::print("{}: {} in {} levels, {} ranks: ", source, plan::name(certificate.collective),
             certificate.hierarchy.levels.size(), certificate.hierarchy.node_of_rank.size());
  return report(verify::check_hierarchy(certificate));
}

int certify(const std::string& file) {
  const std::string text = read_text(file);
  const std::string source = file == "-" ? "standard input" : file;
  if (verify::is_hierarchy_json(text)) return certify_hierarchy(text, source);
  const verify::Certificate certificate = verify::certificate_from_json(text, source);
  const verify::CertificateVerdict verdict = verify::check_certificate(certificate);
  const plan::Shape& shape = certificate.plan.shape;
  fmt::print("{}: {} {}, {} ranks: ", source, plan::name(shape.collective),
             certificate.plan.algorithm, shape.n_ranks);
  const int status = report(verdict);
  if (status == 0)
    fmt::print("busiest                {} links, such as {}\n", verdict.busiest.size(),
               describe(certificate, verdict.busiest.front()));
  return status;
}

}  // namespace

void add_plan_certify(cli::Command plan, int* exit_status) {
  auto file = std::make_shared<std::string>();  // shared with the callback, which the parser keeps
  cli::Command command = plan.add_subcommand(
      "certify",
      "Check a certificate: that its plan is right, that nothing beats its bound, and how near it "
      "comes");
  command.add_option("file", *file, "What `tutti plan explain --certificate` has written, or -")
      .required()
      .type_name("FILE");
  command.footer(
      "A certificate holds the topology, the plan, the links that its connections cross, and the "
      "nodes that the bound is\n"
      "counted on. The check shares no code with the planner and believes none of its figures. "
      "Exit status 1: refused.\n\n"
      "Examples:\n"
      "  tutti plan explain --topo \"dgx-a100 x2\" --coll all_gather --bytes 64M --certificate "
      "proof.json\n"
      "  tutti plan certify proof.json");
  command.callback([file, exit_status] { *exit_status = certify(*file); });
}

}  // namespace tutti::command
