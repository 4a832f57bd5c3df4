// SPDX-License-Identifier: Apache-2.0
// Set-up and the small collectives that the harness itself needs.
#include "perf/bench/team.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

namespace tutti::bench {
namespace {

constexpr size_t kAlignBytes = 4096;

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos)
      return line.substr(colon + 2);
  }
  return "CPU";
}

}  // namespace

void require(tuttiResult_t result, const char* what) {
  if (result == tuttiSuccess) return;
  std::fprintf(stderr, "%s failed: %s: %s\n", what, tuttiGetErrorString(result),
               tuttiGetLastError(nullptr));
  std::fflush(nullptr);
  _exit(1);  // other threads may be waiting inside the library
}

Team::Team(const Options& options, int n_ranks, int first, int count, const tuttiUniqueId& id)
    : options_(options), n_ranks_(n_ranks), first_(first), comms_(static_cast<size_t>(count)) {
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  if (options.timeout_seconds > 0) config.timeoutSeconds = options.timeout_seconds;
  require(tuttiGroupStart(), "tuttiGroupStart");
  for (size_t i = 0; i < comms_.size(); ++i) {
    require(tuttiCommInitRankConfig(&comms_[i], n_ranks, id, rank(i), &config),
            "tuttiCommInitRankConfig");
  }
  require(tuttiGroupEnd(), "tuttiCommInitRankConfig");
}

Team::~Team() {
  release_operations();
  if (!windows_.empty()) {
    require(tuttiGroupStart(), "tuttiGroupStart");
    for (size_t i = 0; i < windows_.size(); ++i)
      require(tuttiCommWindowDeregister(comms_[i / 2], windows_[i]), "tuttiCommWindowDeregister");
    require(tuttiGroupEnd(), "tuttiGroupEnd");
  }
  for (size_t i = 0; i < handles_.size(); ++i)
    require(tuttiCommDeregister(comms_[i / 2], handles_[i]), "tuttiCommDeregister");
  for (tuttiComm_t comm : comms_) require(tuttiCommFinalize(comm), "tuttiCommFinalize");
  for (tuttiComm_t comm : comms_) require(tuttiCommDestroy(comm), "tuttiCommDestroy");
  for (const RankBuffers& b : buffers_) {
    for (std::byte* memory : {b.send, b.recv}) {
      if (options_.registration != 0) {
        require(tuttiMemFree(memory), "tuttiMemFree");
      } else {
        std::free(memory);
      }
    }
  }
}

void Team::allocate(size_t bytes) {
  bytes = (bytes + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
  for (size_t i = 0; i < comms_.size(); ++i) {
    void* memory[2] = {};
    for (void*& m : memory) {
      if (options_.registration != 0) {
        require(tuttiMemAlloc(&m, bytes), "tuttiMemAlloc");
      } else {
        m = std::aligned_alloc(kAlignBytes, bytes);
        if (m == nullptr) {
          std::fprintf(stderr, "rank %d can't allocate a buffer of %zu bytes; lower -e\n", rank(i),
                       bytes);
          _exit(1);
        }
      }
      if (options_.registration == 1) {
        handles_.push_back(nullptr);
        require(tuttiCommRegister(comms_[i], m, bytes, &handles_.back()), "tuttiCommRegister");
      }
    }
    buffers_.push_back({static_cast<std::byte*>(memory[0]), static_cast<std::byte*>(memory[1])});
  }
  if (options_.registration != 2) return;
  windows_.resize(2 * comms_.size());
  for (int side = 0; side < 2; ++side) {
    require(tuttiGroupStart(), "tuttiGroupStart");
    for (size_t i = 0; i < comms_.size(); ++i) {
      std::byte* memory = side == 0 ? buffers_[i].send : buffers_[i].recv;
      require(tuttiCommWindowRegister(comms_[i], memory, bytes,
                                      &windows_[2 * i + static_cast<size_t>(side)],
                                      TUTTI_WIN_COLL_SYMMETRIC),
              "tuttiCommWindowRegister");
    }
    require(tuttiGroupEnd(), "tuttiCommWindowRegister");
  }
}

double Team::reduce(double value, tuttiRedOp_t op) {
  std::vector<double> results(comms_.size());
  require(tuttiGroupStart(), "tuttiGroupStart");
  for (size_t i = 0; i < comms_.size(); ++i) {
    require(tuttiAllReduce(&value, &results[i], 1, tuttiFloat64, op, comms_[i], nullptr),
            "tuttiAllReduce");
  }
  require(tuttiGroupEnd(), "tuttiAllReduce");
  return results[0];
}

std::vector<RankLine> Team::gather_lines() {
  std::vector<std::vector<RankLine>> all(comms_.size(),
                                         std::vector<RankLine>(static_cast<size_t>(n_ranks_)));
  std::vector<RankLine> own(comms_.size());
  const std::string model = cpu_model();
  require(tuttiGroupStart(), "tuttiGroupStart");
  for (size_t i = 0; i < comms_.size(); ++i) {
    own[i].rank = rank(i);
    own[i].pid = getpid();
    gethostname(own[i].host, sizeof own[i].host - 1);
    std::snprintf(own[i].device, sizeof own[i].device, "%s", model.c_str());
    require(tuttiAllGather(&own[i], all[i].data(), sizeof(RankLine), tuttiInt8, comms_[i], nullptr),
            "tuttiAllGather");
  }
  require(tuttiGroupEnd(), "tuttiAllGather");
  return all[0];
}

tuttiRedOp_t Team::operation(size_t i, int op, int type) {
  if (op != kPreMulSum) return static_cast<tuttiRedOp_t>(op);
  for (const OwnOp& own : own_ops_) {
    if (own.index == i && own.type == type) return own.op;
  }
  std::vector<std::byte> scalar = premul_scalar(type);
  tuttiRedOp_t made;
  require(tuttiRedOpCreatePreMulSum(&made, scalar.data(), static_cast<tuttiDataType_t>(type),
                                    tuttiScalarHostImmediate, comms_[i]),
          "tuttiRedOpCreatePreMulSum");
  own_ops_.push_back({made, i, type});
  return made;
}

void Team::release_operations() {
  for (const OwnOp& own : own_ops_)
    require(tuttiRedOpDestroy(own.op, comms_[own.index]), "tuttiRedOpDestroy");
  own_ops_.clear();
}

}  // namespace tutti::bench
