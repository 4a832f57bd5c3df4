// SPDX-License-Identifier: Apache-2.0
// The rank's end of the driver's control socket. Between measurements a rank sleeps in read_line().
#pragma once

#include <string>

namespace tutti::compare {

class ControlSocket {
 public:
  // Connects to the path in COMPARE_SOCKET; throws std::runtime_error.
  ControlSocket();
  ~ControlSocket();
  ControlSocket(const ControlSocket&) = delete;
  ControlSocket& operator=(const ControlSocket&) = delete;

  bool read_line(std::string& line);  // false: the driver has gone
  void write_line(const std::string& line);

 private:
  int fd_ = -1;
  std::string pending_;
};

}  // namespace tutti::compare
