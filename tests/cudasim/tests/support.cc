// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/tests/support.h"

#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <sys/socket.h>
#include <sys/wait.h>

namespace cudasim::test {
namespace {

constexpr int kPatienceMs = 60'000;

struct Child {
  pid_t pid;
  int output;
};

[[noreturn]] void be_child(const Env& env, const std::function<void()>& body, int output) {
  setenv("CUDASIM_TOPOLOGY", "dgx-h100", 0);           // NOLINT(concurrency-mt-unsafe): one thread
  setenv("CUDASIM_KERNELS", CUDASIM_TEST_KERNELS, 0);  // NOLINT(concurrency-mt-unsafe)
  setenv("CUDASIM_LOG", "1", 0);                       // NOLINT(concurrency-mt-unsafe)
  for (const auto& [name, value] : env)
    setenv(name.c_str(), value.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  dup2(output, STDERR_FILENO);
  body();
  std::fflush(nullptr);
  _exit(0);
}

Child start(const Env& env, const std::function<void()>& body) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) be_child(env, body, ends[1]);
  close(ends[1]);
  return {pid, ends[0]};
}

Outcome finish(const Child& child) {
  Outcome outcome;
  char buffer[4096];
  pollfd ready{child.output, POLLIN, 0};
  while (true) {
    if (poll(&ready, 1, kPatienceMs) <= 0) {
      kill(child.pid, SIGKILL);
      outcome.said += "[killed: it took too long]";
      break;
    }
    const ssize_t bytes = read(child.output, buffer, sizeof(buffer));
    if (bytes <= 0) break;
    outcome.said.append(buffer, static_cast<size_t>(bytes));
  }
  close(child.output);
  int status = 0;
  waitpid(child.pid, &status, 0);
  outcome.ended_well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}

abi::Module module() {
  static const abi::Module kModule = [] {
    abi::Module loaded = nullptr;
    OK(abi::cuModuleLoadData(&loaded, "any image"));
    return loaded;
  }();
  return kModule;
}

}  // namespace

Outcome run(const Env& env, const std::function<void()>& body) { return finish(start(env, body)); }

std::vector<Outcome> run_all(int count, const Env& env,
                             const std::function<void(int, const Channels&)>& body) {
  const Channels channels(count);
  std::vector<Child> children;
  children.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) children.push_back(start(env, [&, i] { body(i, channels); }));
  std::vector<Outcome> outcomes;
  outcomes.reserve(static_cast<size_t>(count));
  for (const Child& child : children) outcomes.push_back(finish(child));
  return outcomes;
}

Channels::Channels(int count) {
  for (int i = 0; i < count; ++i) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) != 0) std::abort();
    ends_.emplace_back(ends[0], ends[1]);
  }
}
Channels::~Channels() {
  for (const auto& [in, out] : ends_) {
    close(in);
    close(out);
  }
}

void Channels::send(int to, uint64_t value, int fd) const {
  iovec part{&value, sizeof(value)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  }
  WANT(sendmsg(ends_[to].second, &message, 0) == sizeof(value));
}

uint64_t Channels::receive(int self, int* fd) const {
  uint64_t value = 0;
  iovec part{&value, sizeof(value)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  WANT(recvmsg(ends_[self].first, &message, 0) == sizeof(value));
  if (fd == nullptr) return value;
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  WANT(header != nullptr);
  std::memcpy(fd, CMSG_DATA(header), sizeof(*fd));
  return value;
}

void Channels::send_bytes(int to, const void* bytes, size_t count) const {
  WANT(::send(ends_[to].second, bytes, count, 0) == static_cast<ssize_t>(count));
}
void Channels::receive_bytes(int self, void* bytes, size_t count) const {
  WANT(::recv(ends_[self].first, bytes, count, 0) == static_cast<ssize_t>(count));
}

void expect(bool condition, const char* what, const char* file, int line) {
  if (condition) return;
  std::fprintf(stderr, "%s:%d: expected: %s\n", file, line, what);
  std::fflush(nullptr);
  _exit(1);
}

void expect_result(Result got, Result wanted, const char* what, const char* file, int line) {
  if (got == wanted) return;
  std::fprintf(stderr, "%s:%d: %s returned %d, expected was %d\n", file, line, what,
               static_cast<int>(got), static_cast<int>(wanted));
  std::fflush(nullptr);
  _exit(1);
}

abi::Context use_device(int device) {
  OK(abi::cuInit(0));
  abi::Context context = nullptr;
  OK(abi::cuDevicePrimaryCtxRetain(&context, device));
  OK(abi::cuCtxSetCurrent(context));
  return context;
}

abi::Function function(const char* name) {
  abi::Function found = nullptr;
  OK(abi::cuModuleGetFunction(&found, module(), name));
  return found;
}

uint32_t* alloc_words(size_t count) {
  abi::DevicePtr pointer = 0;
  OK(abi::cuMemAlloc_v2(&pointer, count * 4));
  OK(abi::cuMemsetD32_v2(pointer, 0, count));
  return reinterpret_cast<uint32_t*>(pointer);
}

std::vector<uint32_t> read_words(const uint32_t* from, size_t count) {
  std::vector<uint32_t> values(count);
  OK(abi::cuMemcpyDtoH_v2(values.data(), address(from), count * 4));
  return values;
}

void write_words(uint32_t* to, const std::vector<uint32_t>& values) {
  OK(abi::cuMemcpyHtoD_v2(address(to), values.data(), values.size() * 4));
}

abi::Stream new_stream(unsigned flags) {
  abi::Stream stream = nullptr;
  OK(abi::cuStreamCreate(&stream, flags));
  return stream;
}

}  // namespace cudasim::test
