// SPDX-License-Identifier: Apache-2.0
// Flags of transfer_perf.
#include "perf/transfer/options.h"

#include <cstdio>
#include <sstream>
#include <stdexcept>

#include "perf/cli/cli.h"

namespace tutti::transfer_perf {
namespace {

std::string problem_with_size(const std::string& text) {
  try {
    return bytes_of(text) == 0 ? "a block has at least one byte" : "";
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
}

std::string problem_with_expectation(const std::string& text) {
  try {
    (void)expected_ratio(text, 1);
    return "";
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace

uint64_t bytes_of(const std::string& text) {
  size_t end = 0;
  uint64_t bytes = 0;
  try {
    bytes = std::stoull(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  const std::string unit = text.substr(end);
  const int shift = unit.empty() ? 0 : unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : -1;
  if (end == 0 || shift < 0 || bytes > (uint64_t{1} << 30))
    throw std::invalid_argument("'" + text + "' is no size; 4096, 64K and 1M are");
  return bytes << shift;
}

std::string text_of_bytes(uint64_t bytes) {
  if (bytes % (1 << 20) == 0) return std::to_string(bytes >> 20) + "M";
  if (bytes % (1 << 10) == 0) return std::to_string(bytes >> 10) + "K";
  return std::to_string(bytes);
}

double expected_ratio(const std::string& expect, uint64_t block) {
  std::istringstream pairs(expect);
  double ratio = 0;
  for (std::string pair; std::getline(pairs, pair, ',');) {
    const size_t colon = pair.find(':');
    if (colon == std::string::npos)
      throw std::invalid_argument("'" + pair + "' is no pair of a size and a ratio, as 64K:0.8");
    const double least = std::stod(pair.substr(colon + 1));
    if (bytes_of(pair.substr(0, colon)) == block) ratio = least;
  }
  return ratio;
}

bool parse(int argc, char** argv, Options* o, int* exit_status) {
  std::vector<std::string> blocks;
  cli::CommandLine line(
      "One-sided transfers (tuttiPutv, tuttiGetv) beside the best that their transport does in the "
      "same run: one thread's memcpy for mapped memory, process_vm_writev and process_vm_readv for "
      "plain memory, a raw stream over as many sockets for tcp. Alone it starts a target on this "
      "host; between hosts run it with --serve on one and --with on the other.");
  line.take_last();
  line.add_option("--ways", o->ways,
                  "mapped: memory of tuttiMemAlloc on one host; plain: other memory on one host; "
                  "tcp: sockets (default all)")
      .delimiter(',')
      .one_of({"mapped", "plain", "tcp"});
  line.add_option("-b,--blocks", blocks,
                  "bytes of a block, several with commas (default 4K,64K,1M)")
      .delimiter(',')
      .check(problem_with_size);
  line.add_option("--batches", o->batches,
                  "blocks of a transfer, several with commas (default: 8 MiB's, at most 256)")
      .delimiter(',')
      .range(1, 1 << 16);
  line.add_option("--depth", o->depth, "transfers in flight (default 2)").range(1, 64);
  line.add_option("-n,--iters", o->iterations, "timed iterations; 0: half a second's (default 0)")
      .range(0, 1 << 30);
  line.add_option("-w,--warmup_iters", o->warmup, "untimed iterations first (default 3)")
      .range(0, 1 << 30);
  line.add_option("-c,--check", o->check, "0/1: check that what was put is got back (default 1)");
  line.add_option("--best", o->best, "0/1: measure the best as well (default 1)");
  line.add_option("--serve", o->serve_file,
                  "be the target: write an invitation to this file, and serve until the other side "
                  "has measured");
  line.add_option("--with", o->with_file, "measure with the target that has written this file");
  line.add_option("--expect", o->expect,
                  "least ratios by block size, as 64K:0.8,1M:0.9: the exit status is 1 below them")
      .check(problem_with_expectation);
  line.add_option("-J,--output_file", o->json_file, "also write the results as JSON");
  line.footer(
      "Examples:\n"
      "  transfer_perf                          all ways on this host\n"
      "  transfer_perf --ways tcp -b 64K,1M     sockets over loopback\n"
      "  host1$ transfer_perf --serve /nfs/x    host2$ transfer_perf --with /nfs/x\n"
      "TUTTI_TCP_SOCKETS, TUTTI_SOCKET_IFNAME and TUTTI_ENCRYPT hold as everywhere.");
  if (const auto status = line.parse(argc, argv); status.has_value()) {
    *exit_status = *status;
    return false;
  }
  if (!blocks.empty()) o->blocks.clear();
  for (const std::string& block : blocks) o->blocks.push_back(bytes_of(block));
  return true;
}

}  // namespace tutti::transfer_perf
