// SPDX-License-Identifier: Apache-2.0
// Flags of moe_perf.
#include "perf/moe/options.h"

#include <algorithm>

#include "perf/cli/cli.h"

namespace tutti::moe_perf {
namespace {

// The place of a word in a list; the parser has let only those through.
template <typename Enum>
Enum chosen(const std::string& word, std::initializer_list<const char*> words) {
  const auto at = std::find(words.begin(), words.end(), word);
  return static_cast<Enum>(at - words.begin());
}

}  // namespace

bool parse(int argc, char** argv, Options* o, int* exit_status) {
  std::string quantization = "fp8", reduction = "per-rank", layout = "expert-major";
  cli::CommandLine line(
      "Dispatch and combine of MoE layers, beside a pipeline of count exchange, permutation and "
      "AllToAllv on the same ranks, in turns. Run it under `tutti run -n RANKS`, or with -t.");
  line.take_last();
  line.add_option("-t,--nthreads", o->threads, "threads per process, each a rank").range(1, 1024);
  line.add_option("--tokens", o->tokens, "tokens of each rank, a row of the table for each")
      .delimiter(',');
  line.add_option("--hidden", o->hidden, "elements of a row (default 7168)").range(1, 1 << 20);
  line.add_option("--topk", o->top_k, "experts of a token (default 8)").range(1, 128);
  line.add_option("--experts", o->experts, "experts of all ranks (default 256)").range(1, 65536);
  line.add_option("--skew", o->skews, "uniform, node-limited, zipf; several with commas")
      .delimiter(',');
  line.add_option("--nodes", o->nodes,
                  "groups of ranks for node-limited: a token's experts are on at most half of them "
                  "(default ranks / 2)")
      .range(0, 1 << 16);
  line.add_option("--quant", quantization, "none, fp8, ue8m0 or mxfp8 (default fp8)")
      .one_of({"none", "fp8", "ue8m0", "mxfp8"});
  line.add_option("--reduction", reduction, "per-rank, once or hier (default per-rank)")
      .one_of({"per-rank", "once", "hier"});
  line.add_option("--layout", layout, "rank-major or expert-major (default expert-major)")
      .one_of({"rank-major", "expert-major"});
  line.add_option("--routing", o->routing_file,
                  "a file of routings instead of --skew: a line for each token, its experts with "
                  "spaces or commas between them; # begins a comment");
  line.add_option("-n,--iters", o->iterations, "timed iterations; 0: about a second's (default 0)")
      .range(0, 1 << 30);
  line.add_option("-w,--warmup_iters", o->warmup, "untimed iterations first (default 2)")
      .range(0, 1 << 30);
  line.add_option("-c,--check", o->check, "0/1: check results (default 1)");
  line.add_option("--naive", o->naive, "0/1: measure the pipeline as well (default 1)");
  line.add_option(
      "--lean", o->lean,
      "0/1: the pipeline's rows travel with their scales and weights: three collectives "
      "instead of four (default 0)");
  line.add_option("-R,--local_register", o->registration,
                  "0 ordinary memory, 1 tuttiMemAlloc for tokens and experts' results: where rows "
                  "are not quantised, or rank-major, peers read them in place (default 0)")
      .range(0, 1);
  line.add_option("--seed", o->seed, "of routings and rows (default 1)");
  line.add_option("-J,--output_file", o->json_file, "also write the results as JSON");
  if (const auto status = line.parse(argc, argv); status.has_value()) {
    *exit_status = *status;
    return false;
  }
  o->quantization = chosen<tuttiMoeQuantization_t>(quantization, {"none", "fp8", "ue8m0", "mxfp8"});
  o->reduction = chosen<tuttiMoeReduction_t>(reduction, {"per-rank", "once", "hier"});
  o->layout = chosen<tuttiMoeLayoutKind_t>(layout, {"rank-major", "expert-major"});
  return true;
}

}  // namespace tutti::moe_perf
