// SPDX-License-Identifier: Apache-2.0
// Memory that processes can share: a memfd of data, and behind the data a page or more that says
// what it is. Nothing of it has a name, so nothing is left behind when a process is killed.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace cudasim {

inline constexpr uint32_t kMaxBindings = 256;

// Where a memfd is to be found by other processes, as long as its process keeps it open.
struct FileName {
  int32_t pid;
  int32_t fd;
  uint64_t inode;
};

enum class BackingKind : uint32_t { kMemory, kMulticast, kEvent };

// What processes know together about a backing. Zero bytes are a valid start of everything.
struct Shared {
  static constexpr uint32_t kMagic = 0xc0da5130;
  uint32_t magic;
  BackingKind kind;
  int32_t machine;
  int32_t owner;  // GPU; -1: the host's memory
  uint64_t data_bytes;
  uint64_t requested_bytes;
  uint64_t id;
  uint32_t handle_types;
  std::atomic<uint32_t> line_lock;  // held while a line of 128 bytes is moved: the holder's pid

  // Of events. A wait is for the count that was recorded when it was asked for.
  std::atomic<uint64_t> recorded;
  std::atomic<uint64_t> completed;
  std::atomic<int64_t> time_ns;

  // Of multicast objects. Bindings are added under `lock` (the holder's pid) and never move.
  struct Binding {
    std::atomic<uint32_t> state;  // 0: free, 1: in use; released by who wrote the rest
    int32_t device;
    FileName memory;
    uint64_t memory_offset;
    uint64_t offset;
    uint64_t bytes;
  };
  std::atomic<uint32_t> lock;
  uint32_t device_count;
  std::atomic<uint32_t> added;
  std::array<std::atomic<int32_t>, 64> devices;  // in the order of their addition, plus one
  std::atomic<uint32_t> binding_end;             // beyond it none was ever used
  std::array<Binding, kMaxBindings> bindings;

  // Who synchronised by which word last (scopes.cc): direct mapped by the word's offset.
  static constexpr uint32_t kWords = 1024;
  std::array<std::atomic<uint64_t>, kWords> words;
};

class Backing {
 public:
  // Throw Failure. `owner` -1: the host.
  static std::shared_ptr<Backing> create(BackingKind kind, int owner, uint64_t bytes,
                                         uint32_t handle_types);
  static std::shared_ptr<Backing> adopt(int fd);  // duplicates it
  static std::shared_ptr<Backing> open(const FileName& name);

  ~Backing();
  Backing(const Backing&) = delete;
  Backing& operator=(const Backing&) = delete;

  Shared& shared() const { return *shared_; }
  int fd() const { return fd_; }
  uint64_t data_bytes() const { return shared_->data_bytes; }  // a multiple of the page
  FileName name() const;
  // Over what is reserved at `to`.
  void map(uint64_t to, uint64_t bytes, uint64_t offset) const;

 private:
  explicit Backing(int fd) : fd_(fd) {}
  void map_shared(uint64_t file_bytes);

  int fd_;
  Shared* shared_ = nullptr;
};

inline constexpr uint64_t kPage = 4096;
constexpr uint64_t round_up(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Held for a few instructions by threads of several processes. A holder that was killed is noticed
// and its lock taken over.
class PidLock {
 public:
  explicit PidLock(std::atomic<uint32_t>& word);
  ~PidLock();
  PidLock(const PidLock&) = delete;
  PidLock& operator=(const PidLock&) = delete;

 private:
  std::atomic<uint32_t>& word_;
};

}  // namespace cudasim
