// SPDX-License-Identifier: Apache-2.0
// The process's table of shared allocations, and the parts whose peers have not let go.
#include "transport/cuda_p2p/memory.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/process_local.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/stream.h"

namespace tutti::transport::cuda_p2p {
namespace {

using cuda::DevicePtr;

constexpr size_t kAlignment = 512;
constexpr size_t kWordBytes = 128;  // behind each part: its peer has closed it
constexpr uint32_t kClosed = 1;

constexpr size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

// Where the ranks of this process find each other's blocks, by id.
struct Table {
  uint64_t next_id = 1;
  std::map<uint64_t, std::weak_ptr<const Block>> blocks;
};

// A part whose owner has gone.
struct Waiting {
  std::shared_ptr<const Block> block;  // shared: with its other parts
  DevicePtr word = 0;
  ProcessWatch peer;
};
struct WaitingParts {
  std::vector<Waiting> parts;
};

// By a stream of its own, so that it waits for nothing of the program's.
bool copy_word(const cuda::Gpu& gpu, DevicePtr word, uint32_t* value, bool writes) noexcept {
  try {
    const cuda::RelaxedCapture relaxed;
    const cuda::Current current(gpu);
    const cuda::OwnedStream stream(gpu);
    cuda::check(writes
                    ? cuda::driver().cuMemcpyHtoDAsync_v2(word, value, sizeof *value, stream.get())
                    : cuda::driver().cuMemcpyDtoHAsync_v2(value, word, sizeof *value, stream.get()),
                "the word behind a part of GPU memory");
    stream.synchronize();
    return true;
  } catch (const Error& error) {
    log(LogLevel::kInfo, "transport", -1, "{}", error.what());
    return false;
  }
}

bool is_closed(const Waiting& part) noexcept {
  uint32_t word = 0;
  return part.peer.exited() ||
         (copy_word(part.block->memory.gpu(), part.word, &word, false) && word == kClosed);
}

// Of nobody where the process can't be watched: its parts then wait for the word alone. Throws
// RemoteError when it has ended.
ProcessWatch watch(const ProcessIdentity& peer) {
  try {
    return ProcessWatch(peer);
  } catch (const Error& error) {
    if (error.code() == StatusCode::kRemoteError) throw;
    return {};
  }
}

void keep(std::shared_ptr<const Block> block, DevicePtr word,
          const ProcessIdentity& peer) noexcept {
  try {
    Waiting part{std::move(block), word, watch(peer)};
    if (is_closed(part)) return;
    ProcessLocal<WaitingParts>::with(
        [&](WaitingParts& waiting) { waiting.parts.push_back(std::move(part)); });
  } catch (const Error&) {  // it has ended, so it writes nothing any more
    return;
  }
}

std::shared_ptr<const Block> make_block(const std::shared_ptr<const cuda::Gpu>& gpu, size_t bytes) {
  const uint64_t id = ProcessLocal<Table>::with([](Table& table) { return table.next_id++; });
  std::shared_ptr<const Block> block(new Block{id, cuda::ShareableMemory(gpu, bytes)});
  ProcessLocal<Table>::with([&](Table& table) {
    std::erase_if(table.blocks, [](const auto& entry) { return entry.second.expired(); });
    table.blocks[id] = block;
  });
  return block;
}

}  // namespace

Part::~Part() {
  if (block_ == nullptr || shown_to_.process_uid == 0) return;
  const DevicePtr word = address() + bytes_;
  keep(std::move(block_), word, shown_to_);
}

Place Part::show_to(const ProcessIdentity& peer) {
  Place place{.block = block_->id, .offset = offset_, .bytes = bytes_, .handle = {}};
  if (peer.process_uid == this_process().process_uid) return place;
  place.handle = block_->memory.handle();
  shown_to_ = peer;
  return place;
}

PeerPart::PeerPart(const std::shared_ptr<const cuda::Gpu>& gpu, const Place& place,
                   bool same_process, int rank)
    : gpu_(gpu), bytes_(place.bytes) {
  if (!same_process) {
    opened_ = cuda::OpenedMemory::open(gpu, place.handle);
    address_ = opened_->address() + place.offset;
    return;
  }
  block_ = ProcessLocal<Table>::with([&](Table& table) {
    const auto found = table.blocks.find(place.block);
    return found == table.blocks.end() ? nullptr : found->second.lock();
  });
  if (block_ == nullptr) {
    throw Error(
        StatusCode::kRemoteError,
        fmt::format("rank {} has ended its communicator while a connection was being made", rank));
  }
  gpu->open_peer(block_->memory.gpu());
  address_ = block_->memory.address() + place.offset;
}

PeerPart::~PeerPart() {
  if (opened_ == nullptr) return;
  uint32_t closed = kClosed;
  (void)copy_word(*gpu_, address_ + bytes_, &closed, true);
}

Part Pool::cut(size_t bytes) {
  bytes = rounded(bytes, kWordBytes);
  const size_t whole = rounded(bytes + kWordBytes, kAlignment);
  if (block_ == nullptr || block_->memory.bytes() - used_ < whole) {
    block_ = make_block(gpu_, whole);
    used_ = 0;
  }
  return Part(block_, std::exchange(used_, used_ + whole), bytes);
}

size_t sweep() noexcept {
  std::vector<Waiting> parts;
  ProcessLocal<WaitingParts>::with([&](WaitingParts& waiting) { parts.swap(waiting.parts); });
  std::erase_if(parts, is_closed);  // frees outside of the lock
  return ProcessLocal<WaitingParts>::with([&](WaitingParts& waiting) {
    std::ranges::move(parts, std::back_inserter(waiting.parts));
    return waiting.parts.size();
  });
}

}  // namespace tutti::transport::cuda_p2p
