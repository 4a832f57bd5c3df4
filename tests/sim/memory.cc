// SPDX-License-Identifier: Apache-2.0
// Memfds and their mappings (src/base/file.h) as plain memory of this process, without system
// calls. Two mappings of one memfd are the same bytes, which stay as long as either does.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "src/base/error.h"
#include "src/base/file.h"

namespace tutti {
namespace {

constexpr int kFirstMemfd = 1 << 20;  // above every real descriptor
constexpr size_t kAlignment = 4096;

struct Block {
  std::byte* data = nullptr;
  size_t bytes = 0;
  int users = 0;  // an open descriptor and mappings
};

// Never destroyed: statics of the library let go of their memory later.
struct Blocks {
  std::vector<Block> by_fd;  // at fd - kFirstMemfd
  std::vector<int> free_fds;
  std::map<const std::byte*, int> by_data;
  std::multimap<size_t, std::byte*> spare;  // by size
};
Blocks& blocks() {
  static auto* const all = new Blocks;
  return *all;
}

Block& block_of(int fd) { return blocks().by_fd[static_cast<size_t>(fd - kFirstMemfd)]; }

std::byte* take_memory(size_t bytes) {
  auto& spare = blocks().spare;
  std::byte* data = nullptr;
  if (const auto at = spare.find(bytes); at != spare.end()) {
    data = at->second;
    spare.erase(at);
  } else {
    const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    data = static_cast<std::byte*>(std::aligned_alloc(kAlignment, rounded));
    if (data == nullptr) std::abort();
  }
  std::memset(data, 0, bytes);
  return data;
}

void drop(int fd) noexcept {
  Block& block = block_of(fd);
  if (--block.users > 0) return;
  blocks().by_data.erase(block.data);
  blocks().spare.emplace(block.bytes, block.data);
  block = {};
  blocks().free_fds.push_back(fd);
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

void FileDescriptor::reset() noexcept {
  if (fd_ >= kFirstMemfd) {
    drop(fd_);
  } else if (fd_ >= 0) {
    ::close(fd_);
  }
  fd_ = -1;
}

FileDescriptor create_sealed_memfd(const std::string&, size_t bytes) {
  Blocks& all = blocks();
  int fd = kFirstMemfd + static_cast<int>(all.by_fd.size());
  if (all.free_fds.empty()) {
    all.by_fd.emplace_back();
  } else {
    fd = all.free_fds.back();
    all.free_fds.pop_back();
  }
  Block& block = block_of(fd);
  block = {take_memory(bytes), bytes, 1};
  all.by_data.emplace(block.data, fd);
  return FileDescriptor(fd);
}

FileDescriptor create_reserved_file(const std::string& path, size_t) {
  throw Error(StatusCode::kSystemError, "a simulated process has no file " + path);
}

size_t file_bytes(int fd) { return block_of(fd).bytes; }

bool is_sealed_against_shrinking(int fd) noexcept { return fd >= kFirstMemfd; }

uint64_t open_file_limit() noexcept { return 1024; }

Mapping::Mapping(int fd, size_t bytes, Access) : data_(block_of(fd).data), bytes_(bytes) {
  ++block_of(fd).users;
}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  if (this != &other) {
    reset();
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
  }
  return *this;
}

void Mapping::reset() noexcept {
  if (data_ != nullptr) drop(blocks().by_data.at(data_));
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace tutti
