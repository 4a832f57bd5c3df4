// SPDX-License-Identifier: Apache-2.0
// Owning handles for file descriptors and memory mappings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

namespace tutti {

// A file name out of a pattern: %r becomes the rank ("process" for -1), %p the process id.
std::string expand_path(std::string pattern, int rank);

// Owns one file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() noexcept = default;
  explicit FileDescriptor(int fd) noexcept : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { reset(); }
  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset() noexcept;
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A memfd of `bytes` zero bytes, sealed against shrinking and growing (design: nothing is left
// behind when a process is killed). Throws SystemError.
FileDescriptor create_sealed_memfd(const std::string& name, size_t bytes);

// A new file of `bytes` zero bytes, mode 0600, with its disk space reserved so that writing through
// a mapping can't fail later. Throws SystemError, also when the file exists.
FileDescriptor create_reserved_file(const std::string& path, size_t bytes);

// Bytes of the file behind fd; throws SystemError. Used to check a received memfd before it is
// mapped.
size_t file_bytes(int fd);
// Most descriptors that this process may have open.
uint64_t open_file_limit() noexcept;
// True when fd is a memfd sealed against shrinking, so that a mapping of it can't fault later.
bool is_sealed_against_shrinking(int fd) noexcept;

// A shared mapping of a file descriptor's first `bytes` bytes, unmapped on destruction. Read-only
// ones must not be written to.
class Mapping {
 public:
  enum class Access { kReadWrite, kReadOnly };
  Mapping() noexcept = default;
  Mapping(int fd, size_t bytes, Access access = Access::kReadWrite);  // throws SystemError
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping() { reset(); }
  std::byte* data() const noexcept { return data_; }
  size_t bytes() const noexcept { return bytes_; }
  void reset() noexcept;

 private:
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace tutti
