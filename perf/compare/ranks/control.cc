// SPDX-License-Identifier: Apache-2.0
#include "perf/compare/ranks/control.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <sys/socket.h>
#include <sys/un.h>

namespace tutti::compare {

ControlSocket::ControlSocket() {
  const char* path = std::getenv("COMPARE_SOCKET");
  if (path == nullptr) {
    throw std::runtime_error("COMPARE_SOCKET is not set; perf/compare/compare starts this program");
  }
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (std::strlen(path) >= sizeof(address.sun_path)) {
    throw std::runtime_error(std::string("path of the control socket is too long: ") + path);
  }
  std::strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
  fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd_ < 0 || connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    throw std::runtime_error(std::string("cannot connect to ") + path + ": " +
                             std::strerror(errno));
  }
}

ControlSocket::~ControlSocket() { close(fd_); }

bool ControlSocket::read_line(std::string& line) {
  for (;;) {
    const size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return true;
    }
    char buffer[512];
    const ssize_t got = read(fd_, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return false;
    }
    pending_.append(buffer, static_cast<size_t>(got));
  }
}

void ControlSocket::write_line(const std::string& line) {
  const std::string text = line + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t sent = send(fd_, text.data() + done, text.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno != EINTR) {
      throw std::runtime_error(std::string("control socket: ") + std::strerror(errno));
    }
    done += sent > 0 ? static_cast<size_t>(sent) : 0;
  }
}

}  // namespace tutti::compare
