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

void require(tuttiResult_t result, const char* what, tuttiComm_t comm) {
  if (result == tuttiSuccess) return;
  std::fprintf(stderr, "%s failed: %s: %s\n", what, tuttiGetErrorString(result),
               tuttiGetLastError(comm));
  std::fflush(nullptr);
  _exit(1);  // other threads may be waiting inside the library
}

Team::Team(const Options& options, const Seats& seats, const tuttiUniqueId& id)
    : options_(options),
      n_ranks_(seats.n_ranks),
      first_(seats.first),
      gpus_(static_cast<size_t>(seats.count)),
      comms_(gpus_.size()) {
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  if (options.timeout_seconds > 0) config.timeoutSeconds = options.timeout_seconds;
  require(tuttiGroupStart(), "tuttiGroupStart");
  for (size_t i = 0; i < comms_.size(); ++i) {
    config.device = TUTTI_DEVICE_HOST;
    if (seats.first_gpu != kNoGpu) {
      gpus_[i] = std::make_unique<RankGpu>(seats.first_gpu + static_cast<int>(i));
      config.device = gpus_[i]->device();
    }
    require(tuttiCommInitRankConfig(&comms_[i], n_ranks_, id, rank(i), &config),
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
  for (size_t i = 0; i < buffers_.size(); ++i) {
    if (gpus_[i] != nullptr) continue;  // whose they are
    for (std::byte* memory : {buffers_[i].send, buffers_[i].recv}) {
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
  if (gpus_[0] == nullptr) return allocate_on_host(bytes);
  for (const auto& gpu : gpus_) {
    const auto [send, recv] = gpu->allocate(bytes);
    buffers_.push_back({send, recv});
  }
}

void Team::allocate_on_host(size_t bytes) {
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
  if (options_.registration == 2) register_windows(bytes);
}

void Team::register_windows(size_t bytes) {
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

void Team::wait() const {
  for (size_t i = 0; i < gpus_.size() && gpus_[i] != nullptr; ++i) {
    gpus_[i]->wait();
    tuttiResult_t failure = tuttiSuccess;
    require(tuttiCommGetAsyncError(comms_[i], &failure), "tuttiCommGetAsyncError");
    require(failure, "a call", comms_[i]);
  }
}

// Results lie in the memory of GPUs until all have ended: calls of several ranks of one thread must
// not wait for each other.
double Team::reduce(double value, tuttiRedOp_t op) {
  std::vector<double> results(comms_.size());
  std::vector<std::byte*> on_gpu(comms_.size());
  for (size_t i = 0; i < comms_.size() && gpus_[i] != nullptr; ++i) {
    on_gpu[i] = gpus_[i]->scratch(2 * sizeof value);
    gpus_[i]->write(on_gpu[i], &value, sizeof value);
  }
  require(tuttiGroupStart(), "tuttiGroupStart");
  for (size_t i = 0; i < comms_.size(); ++i) {
    const bool host = gpus_[i] == nullptr;
    require(tuttiAllReduce(host ? static_cast<void*>(&value) : on_gpu[i],
                           host ? static_cast<void*>(&results[i]) : on_gpu[i] + sizeof value, 1,
                           tuttiFloat64, op, comms_[i], stream(i)),
            "tuttiAllReduce");
  }
  require(tuttiGroupEnd(), "tuttiAllReduce");
  wait();
  if (gpus_[0] != nullptr) gpus_[0]->read(results.data(), on_gpu[0] + sizeof value, sizeof value);
  return results[0];
}

RankLine Team::line(size_t i) const {
  RankLine line;
  line.rank = rank(i);
  line.pid = getpid();
  gethostname(line.host, sizeof line.host - 1);
  line.number = gpus_[i] == nullptr ? rank(i) : gpus_[i]->device();
  std::string bus = "host", device;
  if (gpus_[i] == nullptr) {
    device = cpu_model();
  } else {
    const cuda::GpuFacts& facts = gpus_[i]->facts();
    bus = facts.pci_address.substr(0, facts.pci_address.find('.'));
    device = facts.name;
  }
  std::snprintf(line.bus, sizeof line.bus, "%s", bus.c_str());
  std::snprintf(line.device, sizeof line.device, "%s", device.c_str());
  return line;
}

std::vector<RankLine> Team::gather_lines() {
  std::vector<RankLine> own(comms_.size());
  std::vector<std::vector<RankLine>> all(comms_.size(),
                                         std::vector<RankLine>(static_cast<size_t>(n_ranks_)));
  std::vector<std::byte*> on_gpu(comms_.size());
  const size_t all_bytes = all[0].size() * sizeof(RankLine);
  for (size_t i = 0; i < comms_.size(); ++i) {
    own[i] = line(i);
    if (gpus_[i] == nullptr) continue;
    on_gpu[i] = gpus_[i]->scratch(sizeof(RankLine) + all_bytes);
    gpus_[i]->write(on_gpu[i] + all_bytes, &own[i], sizeof(RankLine));
  }
  require(tuttiGroupStart(), "tuttiGroupStart");
  for (size_t i = 0; i < comms_.size(); ++i) {
    const bool host = gpus_[i] == nullptr;
    require(tuttiAllGather(host ? static_cast<void*>(&own[i]) : on_gpu[i] + all_bytes,
                           host ? static_cast<void*>(all[i].data()) : on_gpu[i], sizeof(RankLine),
                           tuttiInt8, comms_[i], stream(i)),
            "tuttiAllGather");
  }
  require(tuttiGroupEnd(), "tuttiAllGather");
  wait();
  if (gpus_[0] != nullptr) gpus_[0]->read(all[0].data(), on_gpu[0], all_bytes);
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
