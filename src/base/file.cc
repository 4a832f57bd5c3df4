// SPDX-License-Identifier: Apache-2.0
// File descriptors, sealed memfds and shared mappings.
#include "src/base/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "src/base/error.h"

namespace tutti {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

// Linux frees the descriptor even when close() reports EINTR, so it is never repeated.
void FileDescriptor::reset() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

FileDescriptor create_sealed_memfd(const std::string& name, size_t bytes) {
  const std::string what = "memfd '" + name + "' of " + std::to_string(bytes) + " bytes";
  FileDescriptor fd{::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!fd) throw system_error("can't create " + what, errno);
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) {
    throw system_error("can't size " + what, errno);
  }
  // F_SEAL_SEAL too: a peer that got the descriptor can't add a seal against writing.
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    throw system_error("can't seal " + what, errno);
  }
  return fd;
}

FileDescriptor create_reserved_file(const std::string& path, size_t bytes) {
  FileDescriptor fd{::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!fd) throw system_error("can't create file " + path, errno);
  if (const int error = ::posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes)); error != 0) {
    ::unlink(path.c_str());
    throw system_error("can't reserve " + std::to_string(bytes) + " bytes for file " + path, error);
  }
  return fd;
}

size_t file_bytes(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    throw system_error("can't read the size of file descriptor " + std::to_string(fd), errno);
  }
  return static_cast<size_t>(status.st_size);
}

bool is_sealed_against_shrinking(int fd) noexcept {
  const int seals = ::fcntl(fd, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}

Mapping::Mapping(int fd, size_t bytes, Access access) {
  const int protection = access == Access::kReadOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  void* data = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) {
    throw system_error(
        "can't map " + std::to_string(bytes) + " bytes of file descriptor " + std::to_string(fd),
        errno);
  }
  data_ = static_cast<std::byte*>(data);
  bytes_ = bytes;
}

uint64_t open_file_limit() noexcept {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : UINT64_MAX;
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
  if (data_ != nullptr) ::munmap(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace tutti
