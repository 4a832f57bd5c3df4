// SPDX-License-Identifier: Apache-2.0
#include "tests/devices/rank.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "src/device/cuda/driver.h"

namespace tutti::devices {
namespace {

constexpr int32_t kPoison = 0x5a5a5a5a;
constexpr size_t kRoom = 64;  // of uneven blocks, beyond the count

int32_t value(int rank, size_t i) { return rank * 7919 + static_cast<int32_t>(i % 1009); }

// Uneven, and the same in both directions.
size_t block(size_t count, int a, int b, int n) {
  return count / static_cast<size_t>(n) + static_cast<size_t>((a + b) % n);
}
size_t block_start(size_t count, int rank, int other, int n) {
  size_t at = 0;
  for (int r = 0; r < other; ++r) at += block(count, rank, r, n);
  return at;
}

void require(tuttiResult_t result, const char* what) {
  if (result != tuttiSuccess) throw Trouble(std::string(what) + ": " + tuttiGetLastError(nullptr));
}

}  // namespace

const char* name_of(Kind kind) {
  constexpr const char* kNames[] = {"AllReduce", "AllToAllv", "Broadcast", "SendRecv"};
  return kNames[static_cast<int>(kind)];
}

Rank::Rank(Board& board, int rank, int n_ranks, size_t most, tuttiConfig_t config)
    : host_(most + kRoom), most_(most), me_(rank), members_(static_cast<size_t>(n_ranks)) {
  std::iota(members_.begin(), members_.end(), 0);
  for (size_t i = 0; i < host_.size(); ++i) host_[i] = value(rank, i);
  if (config.device >= 0) {
    gpu_ = std::make_unique<cuda::Gpu>(config.device);
    memory_ = std::make_unique<cuda::DeviceMemory>(*gpu_, 2 * host_.size() * sizeof(int32_t));
    stream_ = std::make_unique<cuda::OwnedStream>(*gpu_);
    in_ = memory_->as<int32_t>();
    const cuda::Current current(*gpu_);
    cuda::check(cuda::driver().cuMemcpyHtoD_v2(memory_->address(), host_.data(),
                                               host_.size() * sizeof(int32_t)),
                "copying inputs");
    out_ = in_ + host_.size();
  } else {
    host_.resize(2 * host_.size());
    in_ = host_.data();
    out_ = in_ + host_.size() / 2;
  }
  if (rank == 0) {
    require(tuttiGetUniqueId(&board.id), "making an id");
    board.id_ready.store(1, std::memory_order_release);
  }
  await([&] { return board.id_ready.load(std::memory_order_acquire) != 0; }, "the id");
  require(tuttiCommInitRankConfig(&comm_, n_ranks, board.id, rank, &config), "joining");
}

Rank::~Rank() {
  if (comm_ != nullptr) (void)tuttiCommAbort(comm_);
}

tuttiStream_t Rank::stream() const {
  return stream_ == nullptr ? nullptr : reinterpret_cast<tuttiStream_t>(stream_->get());
}

tuttiResult_t Rank::issue(Kind kind, size_t count) {
  const int n = size();
  switch (kind) {
    case Kind::kAllReduce:
      return tuttiAllReduce(in_, out_, count, tuttiInt32, tuttiSum, comm_, stream());
    case Kind::kBroadcast:
      return tuttiBroadcast(in_, out_, count, tuttiInt32, 0, comm_, stream());
    case Kind::kAllToAllv:
      counts_.clear();
      displs_.clear();
      for (int other = 0; other < n; ++other) {
        counts_.push_back(block(count, me_, other, n));
        displs_.push_back(block_start(count, me_, other, n));
      }
      return tuttiAllToAllv(in_, counts_.data(), displs_.data(), out_, counts_.data(),
                            displs_.data(), tuttiInt32, comm_, stream());
    case Kind::kSendRecv:
      break;
  }
  (void)tuttiGroupStart();
  (void)tuttiSend(in_, count, tuttiInt32, (me_ + 1) % n, comm_, stream());
  (void)tuttiRecv(out_, count, tuttiInt32, (me_ + n - 1) % n, comm_, stream());
  return tuttiGroupEnd();
}

void Rank::wait_for_stream() const {
  if (stream_ != nullptr) stream_->synchronize();
}

tuttiResult_t Rank::finish() const {
  wait_for_stream();
  tuttiResult_t failure = tuttiSuccess;
  require(tuttiCommGetAsyncError(comm_, &failure), "asking for errors");
  return failure;
}

std::string Rank::message() const { return tuttiGetLastError(comm_); }

int32_t Rank::sent_by(int member, size_t i) const {
  return value(members_[static_cast<size_t>(member)], i);
}

int32_t Rank::expected(Kind kind, size_t i) const {
  if (kind == Kind::kBroadcast) return sent_by(0, i);
  if (kind == Kind::kSendRecv) return sent_by((me_ + size() - 1) % size(), i);
  int32_t sum = 0;
  for (int member = 0; member < size(); ++member) sum += sent_by(member, i);
  return sum;
}

std::vector<int32_t> Rank::read(const int32_t* from, size_t count) const {
  std::vector<int32_t> values(count);
  if (gpu_ == nullptr) return {from, from + count};
  const cuda::Current current(*gpu_);
  cuda::check(cuda::driver().cuMemcpyDtoH_v2(values.data(), reinterpret_cast<uintptr_t>(from),
                                             count * sizeof(int32_t)),
              "copying a result");
  return values;
}

void Rank::poison(size_t count) {
  if (gpu_ == nullptr) {
    std::fill_n(out_, count, kPoison);
    return;
  }
  const cuda::Current current(*gpu_);
  cuda::check(cuda::driver().cuMemsetD32_v2(reinterpret_cast<uintptr_t>(out_),
                                            static_cast<unsigned>(kPoison), count),
              "poisoning the output");
}

void Rank::check(Kind kind, size_t count) {
  std::vector<int32_t> wanted;
  if (kind == Kind::kAllToAllv) {
    for (int s = 0; s < size(); ++s) {
      for (size_t i = 0; i < block(count, s, me_, size()); ++i)
        wanted.push_back(sent_by(s, block_start(count, s, me_, size()) + i));
    }
  } else {
    for (size_t i = 0; i < count; ++i) wanted.push_back(expected(kind, i));
  }
  const std::vector<int32_t> got = read(out_, wanted.size());
  const auto [want, have] = std::mismatch(wanted.begin(), wanted.end(), got.begin());
  if (want == wanted.end()) return;
  throw Trouble(std::string(name_of(kind)) + " of " + std::to_string(count) + ": element " +
                std::to_string(want - wanted.begin()) + " is " + std::to_string(*have) +
                " instead of " + std::to_string(*want));
}

void Rank::call(Kind kind, size_t count) {
  poison(count);
  tuttiResult_t result = issue(kind, count);
  if (result == tuttiSuccess) result = finish();
  if (result != tuttiSuccess) throw Trouble(std::string(name_of(kind)) + ": " + message());
  check(kind, count);
}

void Rank::check_input() {
  const std::vector<int32_t> now = read(in_, most_);
  const int rank = members_[static_cast<size_t>(me_)];
  for (size_t i = 0; i < most_; ++i) {
    if (now[i] != value(rank, i)) throw Trouble("a failed call has changed its input");
  }
}

void Rank::shrink_without(int victim) {
  tuttiComm_t smaller = nullptr;
  require(tuttiCommShrink(comm_, &victim, 1, &smaller, nullptr, TUTTI_SHRINK_DEFAULT), "shrinking");
  abort();
  comm_ = smaller;
  members_.erase(members_.begin() + victim);
  if (me_ > victim) --me_;
  int ranks = 0;
  require(tuttiCommCount(comm_, &ranks), "counting");
  if (ranks != size()) throw Trouble("the smaller communicator has " + std::to_string(ranks));
}

void Rank::abort() { require(tuttiCommAbort(std::exchange(comm_, nullptr)), "aborting"); }

void Rank::destroy() { require(tuttiCommDestroy(std::exchange(comm_, nullptr)), "destroying"); }

}  // namespace tutti::devices
