// SPDX-License-Identifier: Apache-2.0
// What src/base and src/bootstrap/signal.cc get from the system, from the simulated world instead.
// The linker takes these and leaves the library's own in their archives; ::close is wrapped by an
// option of the linker.
#include <unistd.h>

#include <utility>

#include "src/base/control_thread.h"
#include "src/base/error.h"
#include "src/base/wait.h"
#include "src/bootstrap/channel.h"
#include "tests/scale/world.h"

using tutti::scale::World;

extern "C" {
int __real_close(int fd);
int __wrap_close(int fd) {
  if (fd < World::kFirstFd) return __real_close(fd);
  World::current().close(fd);
  return 0;
}
}

namespace tutti {

int64_t now_ns() noexcept { return World::current().now(); }
int64_t wall_ns() noexcept { return now_ns(); }
void sleep_ns(int64_t duration_ns) noexcept { World::current().sleep(duration_ns); }

// ---- socket.h

Socket Socket::connect(const SocketAddress& to, SocketKind /*kind*/, Deadline deadline) {
  return Socket(FileDescriptor(World::current().connect(to, deadline)));
}
void Socket::send_all(std::span<const std::byte> bytes, Deadline /*deadline*/) {
  World::current().send(fd(), bytes);
}
bool Socket::try_send_packet(std::span<const std::byte> bytes, std::span<const int> /*fds*/) {
  World::current().send(fd(), bytes);
  return true;
}
std::optional<Received> Socket::try_receive_packet(std::span<std::byte> into) {
  const std::optional<size_t> count = World::current().receive(fd(), into);
  if (!count.has_value()) return std::nullopt;
  Received received;
  received.bytes = *count;
  return received;
}
Socket::Credentials Socket::peer_credentials() const {
  throw Error(StatusCode::kInternalError, "no Unix sockets here");
}
SocketAddress Socket::local_address() const { return World::current().local_address(fd()); }

Listener Listener::bind(const SocketAddress& at, SocketKind /*kind*/) {
  Listener listener;
  listener.fd_ = FileDescriptor(World::current().listen(at, listener.address_));
  return listener;
}
std::optional<Socket> Listener::try_accept() {
  const std::optional<int> fd = World::current().accept(this->fd());
  if (!fd.has_value()) return std::nullopt;
  return Socket(FileDescriptor(*fd));
}

// ---- control_thread.h

struct ControlThread::Impl {};
ControlThread::ControlThread() = default;
ControlThread::~ControlThread() = default;
// One for all ranks: the world knows whose code runs.
std::shared_ptr<ControlThread> ControlThread::shared() {
  static const std::shared_ptr<ControlThread> all(new ControlThread);
  return all;
}
ControlThread::Id ControlThread::watch(int fd, std::function<void()> on_readable) {
  return World::current().watch(fd, std::move(on_readable));
}
ControlThread::Id ControlThread::at(Deadline when, std::function<void()> on_time) {
  return World::current().at(when.time_ns(), std::move(on_time));
}
void ControlThread::remove(Id id) { World::current().remove(id); }
bool ControlThread::is_current() const noexcept { return true; }

namespace bootstrap {

// ---- signal.cc: a task of the control thread is never interrupted here, whoever runs it.

void run_on(ControlThread& /*control*/, std::function<void()> task) { task(); }
void run_on_at_end(ControlThread& /*control*/, std::function<void()> task) noexcept { task(); }

void Signal::notify() {
  notified_ = true;
  World::current().wake(this);
}

Woken Signal::wait(const Patience& patience) {
  while (!notified_) {
    if (patience.deadline.expired()) return Woken::kExpired;
    World::current().block(this, patience.deadline);
  }
  notified_ = false;
  return Woken::kNotified;
}

}  // namespace bootstrap
}  // namespace tutti
