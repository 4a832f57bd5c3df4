// SPDX-License-Identifier: Apache-2.0
// One rank with its GPU, its buffers there and its stream; or one of the host, in the same job. Its
// calls have known inputs, and say what their results must be.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/stream.h"
#include "tests/devices/job.h"

namespace tutti::devices {

enum class Kind : int { kAllReduce, kAllToAllv, kBroadcast, kSendRecv };
inline constexpr Kind kKinds[] = {Kind::kAllReduce, Kind::kAllToAllv, Kind::kBroadcast,
                                  Kind::kSendRecv};
const char* name_of(Kind kind);

class Rank {
 public:
  // Joins. Its GPU is config.device; TUTTI_DEVICE_HOST: none. `most`: the largest count of calls.
  Rank(Board& board, int rank, int n_ranks, size_t most, tuttiConfig_t config);
  ~Rank();  // aborts the communicator unless it has been closed
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  tuttiComm_t comm() const { return comm_; }
  tuttiStream_t stream() const;
  int number() const { return me_; }
  int size() const { return static_cast<int>(members_.size()); }
  int32_t* in() const { return in_; }
  int32_t* out() const { return out_; }

  tuttiResult_t issue(Kind kind, size_t count);
  // Waits until the stream has ended, and returns what has become of the communicator.
  tuttiResult_t finish() const;
  void wait_for_stream() const;
  // The last message about the communicator.
  std::string message() const;
  // Throws Trouble where the result of the call is not right.
  void check(Kind kind, size_t count);
  // All in one; throws Trouble when it fails, too.
  void call(Kind kind, size_t count);
  // Failed calls leave it alone.
  void check_input();

  // Goes on in a communicator without that member.
  void shrink_without(int victim);
  void abort();
  void destroy();

 private:
  int32_t sent_by(int member, size_t i) const;
  int32_t expected(Kind kind, size_t i) const;
  void poison(size_t count);
  std::vector<int32_t> read(const int32_t* from, size_t count) const;

  std::unique_ptr<cuda::Gpu> gpu_;  // null: of the host
  std::unique_ptr<cuda::DeviceMemory> memory_;
  std::unique_ptr<cuda::OwnedStream> stream_;
  std::vector<int32_t> host_;
  size_t most_;
  int32_t* in_ = nullptr;
  int32_t* out_ = nullptr;
  tuttiComm_t comm_ = nullptr;
  int me_;                    // in the communicator as it is now
  std::vector<int> members_;  // what they were at first
  std::vector<size_t> counts_, displs_;
};

}  // namespace tutti::devices
