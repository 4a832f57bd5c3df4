// SPDX-License-Identifier: Apache-2.0
// Memory for programs, arguments and scratch chunks, reused by the numbers of launches.
#include "src/exec/cuda/block_pool.h"

#include <algorithm>
#include <bit>

#include <spdlog/fmt/fmt.h>

#include "src/device/cuda/driver.h"

namespace tutti::exec {
namespace {

constexpr size_t kDevicePiece = 2 << 20;  // what a GPU maps at once
constexpr size_t kPinnedPiece = 64 << 10;

constexpr size_t aligned(size_t at, size_t unit) noexcept { return (at + unit - 1) / unit * unit; }

}  // namespace

Block BlockPool::take(size_t bytes, uint64_t ended) {
  const size_t whole = std::bit_ceil(std::max(bytes, kLeast));
  std::deque<Used>& used = given_back_[static_cast<size_t>(std::countr_zero(whole))];
  if (!used.empty() && used.front().number <= ended) {
    const Block block = used.front().block;
    used.pop_front();
    return block;
  }
  size_t at = aligned(used_, std::min(whole, kMostAlignment));
  if (at + whole > piece_.bytes) {
    piece_ = more_(std::max(whole, piece_bytes_));
    at = 0;
  }
  used_ = at + whole;
  return {piece_.device + at, piece_.host == nullptr ? nullptr : piece_.host + at, whole};
}

void BlockPool::give_back(const Block& block, uint64_t number) {
  given_back_[static_cast<size_t>(std::countr_zero(block.bytes))].push_back({block, number});
}

DeviceBlocks::DeviceBlocks(const cuda::Gpu& gpu)
    : gpu_(gpu),
      pool_(kDevicePiece,
            [this](size_t bytes) -> Block {
              const cuda::RelaxedCapture relaxed;
              const cuda::Gpu* const users[] = {&gpu_};
              pieces_.emplace_back(cuda::Allocation::create(gpu_, bytes), users);
              return {pieces_.back().address(), nullptr, pieces_.back().bytes()};
            }),
      stream_(gpu) {}

void DeviceBlocks::write(cuda::DevicePtr to, const void* from, size_t bytes) {
  cuda::check(cuda::driver().cuMemcpyHtoDAsync_v2(to, from, bytes, stream_.get()),
              fmt::format("copying {} bytes to CUDA device {}", bytes, gpu_.ordinal()));
  writing_ = true;
}

void DeviceBlocks::finish_writes() {
  if (writing_) stream_.synchronize();
  writing_ = false;
}

PinnedBlocks::PinnedBlocks()
    : pool_(kPinnedPiece, [this](size_t bytes) -> Block {
        const cuda::RelaxedCapture relaxed;
        pieces_.push_back(std::make_unique<cuda::PinnedMemory>(bytes));
        return {pieces_.back()->device(), pieces_.back()->host(), bytes};
      }) {}

std::byte* DeviceScratch::reserve(size_t bytes, uint64_t number, uint64_t ended) {
  if (bytes > now_.range.bytes()) {
    std::erase_if(old_, [&](const Buffer& b) { return !b.in_graph && b.last_number <= ended; });
    const cuda::RelaxedCapture relaxed;
    const cuda::Gpu* const users[] = {&gpu_};
    // Twice what there was, so that a call that grows slowly does not leave many behind.
    const size_t wanted = std::max(bytes, 2 * now_.range.bytes());
    cuda::Range larger(cuda::Allocation::create(gpu_, wanted), users);
    if (now_.range.bytes() != 0) old_.push_back(std::move(now_));
    now_ = Buffer{.range = std::move(larger)};
  }
  now_.last_number = std::max(now_.last_number, number);
  now_.in_graph |= number == 0;
  return std::bit_cast<std::byte*>(now_.range.address());
}

}  // namespace tutti::exec
