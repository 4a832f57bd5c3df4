// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/backing.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include <spdlog/fmt/fmt.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "tests/cudasim/src/failure.h"
#include "tests/cudasim/src/machine.h"

namespace cudasim {
namespace {

constexpr uint64_t kSharedBytes = round_up(sizeof(Shared), kPage);

// Every allocation keeps its memfd open.
void raise_file_limit() {
  static const bool kRaised = [] {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
  }();
  static_cast<void>(kRaised);
}

std::string failed(const char* call) { return fmt::format("{}: {}", call, std::strerror(errno)); }

std::atomic<uint64_t> next_id{1};

}  // namespace

std::shared_ptr<Backing> Backing::create(BackingKind kind, int owner, uint64_t bytes,
                                         uint32_t handle_types) {
  raise_file_limit();
  const uint64_t data = round_up(std::max<uint64_t>(bytes, 1), kPage);
  const int fd = memfd_create("cudasim", MFD_CLOEXEC);
  if (fd < 0) throw Failure(Result::kOutOfMemory, failed("memfd_create"));
  std::shared_ptr<Backing> backing(new Backing(fd));
  if (ftruncate(fd, static_cast<off_t>(data + kSharedBytes)) != 0)
    throw Failure(Result::kOutOfMemory, failed("ftruncate"));
  backing->map_shared(data + kSharedBytes);
  Shared& shared = backing->shared();
  shared.kind = kind;
  shared.machine = machine().number();
  shared.owner = owner;
  shared.data_bytes = data;
  shared.requested_bytes = bytes;
  shared.id = next_id.fetch_add(1, std::memory_order_relaxed);  // only has to be unique
  shared.handle_types = handle_types;
  shared.magic = Shared::kMagic;
  return backing;
}

std::shared_ptr<Backing> Backing::adopt(int fd) {
  const int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) throw Failure(Result::kInvalidValue, failed("fcntl of the descriptor to import"));
  std::shared_ptr<Backing> backing(new Backing(own));
  struct stat status {};
  if (fstat(own, &status) != 0 || static_cast<uint64_t>(status.st_size) < kSharedBytes + kPage)
    throw Failure(Result::kInvalidValue, "the descriptor is no exported memory");
  backing->map_shared(static_cast<uint64_t>(status.st_size));
  const Shared& shared = backing->shared();
  if (shared.magic != Shared::kMagic ||
      shared.data_bytes != static_cast<uint64_t>(status.st_size) - kSharedBytes)
    throw Failure(Result::kInvalidValue, "the descriptor is no exported memory");
  if (shared.machine != machine().number())
    throw Failure(Result::kInvalidValue,
                  fmt::format("the memory is of machine {}, this is machine {}", shared.machine,
                              machine().number()));
  return backing;
}

std::shared_ptr<Backing> Backing::open(const FileName& name) {
  const std::string path = fmt::format("/proc/{}/fd/{}", name.pid, name.fd);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0)
    throw Failure(Result::kMapFailed,
                  fmt::format("the process {} that shares memory is gone or has freed it ({})",
                              name.pid, std::strerror(errno)));
  struct stat status {};
  if (fstat(fd, &status) != 0 || status.st_ino != name.inode) {
    ::close(fd);
    throw Failure(Result::kMapFailed, fmt::format("process {} has freed the memory", name.pid));
  }
  std::shared_ptr<Backing> backing = adopt(fd);
  ::close(fd);
  return backing;
}

void Backing::map_shared(uint64_t file_bytes) {
  void* const at = mmap(nullptr, kSharedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_,
                        static_cast<off_t>(file_bytes - kSharedBytes));
  if (at == MAP_FAILED) throw Failure(Result::kOutOfMemory, failed("mmap"));
  shared_ = static_cast<Shared*>(at);
}

Backing::~Backing() {
  if (shared_ != nullptr) munmap(shared_, kSharedBytes);
  ::close(fd_);
}

FileName Backing::name() const {
  struct stat status {};
  fstat(fd_, &status);
  return {getpid(), fd_, status.st_ino};
}

void Backing::map(uint64_t to, uint64_t bytes, uint64_t offset) const {
  void* const at = mmap(reinterpret_cast<void*>(to), bytes, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_FIXED, fd_, static_cast<off_t>(offset));
  if (at == MAP_FAILED) throw Failure(Result::kOutOfMemory, failed("mmap"));
}

PidLock::PidLock(std::atomic<uint32_t>& word) : word_(word) {
  const auto self = static_cast<uint32_t>(getpid());
  for (int tries = 1;; ++tries) {
    uint32_t holder = 0;
    // acquire: pairs with the release of ~PidLock.
    if (word_.compare_exchange_weak(holder, self, std::memory_order_acquire)) return;
    if (holder == 0) continue;
    sched_yield();
    const bool look = tries % 1000 == 0;
    if (look && kill(static_cast<pid_t>(holder), 0) != 0 && errno == ESRCH)
      word_.compare_exchange_strong(holder, 0, std::memory_order_relaxed);  // its process is gone
  }
}
PidLock::~PidLock() { word_.store(0, std::memory_order_release); }

}  // namespace cudasim
