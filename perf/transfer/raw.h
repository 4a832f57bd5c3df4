// SPDX-License-Identifier: Apache-2.0
// What a transport does at best: streams over plain sockets, and memory read out of a process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace tutti::transfer_perf {

// Sockets that carry as many bytes each, moved by one thread per side in pieces of 256 KiB.
class Streams {
 public:
  Streams() = default;
  ~Streams();
  Streams(const Streams&) = delete;
  Streams& operator=(const Streams&) = delete;

  // Both throw std::runtime_error.
  void connect(const std::string& address, int port, int sockets);
  void adopt(int fd) { fds_.push_back(fd); }

  // All `bytes` to or from the other side, which must do the opposite.
  void send(const std::byte* data, size_t bytes);
  void receive(std::byte* data, size_t bytes);
  // A message in front, by the first socket. False: the other side has closed.
  bool receive_order(char* way, uint64_t* bytes);
  void send_order(char way, uint64_t bytes);

 private:
  void move(std::byte* data, size_t bytes, bool sending);
  std::vector<int> fds_;
};

// The target's end: a thread that does what orders say.
class StreamServer {
 public:
  explicit StreamServer(int sockets);
  ~StreamServer();
  StreamServer(const StreamServer&) = delete;
  StreamServer& operator=(const StreamServer&) = delete;
  int port() const { return port_; }

 private:
  void serve();
  const int sockets_;
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
};

// A block here, and one in another process or at a place here.
struct Pair {
  std::byte* here = nullptr;
  uint64_t there = 0;
  size_t bytes = 0;
};
// Copies all blocks by process_vm_writev or process_vm_readv. False: the kernel does not permit it.
bool copy_by_kernel(int pid, const std::vector<Pair>& pairs, bool writing);

}  // namespace tutti::transfer_perf
