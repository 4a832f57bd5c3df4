// SPDX-License-Identifier: Apache-2.0
// Passes a terminal's input on to rank 0 of a job.
#pragma once

#include <poll.h>

#include <string>
#include <vector>

#include "src/base/file.h"

namespace tutti::command {

// A process of another process group would be stopped when it reads the terminal: it is read here
// and goes through a pipe.
class TerminalInput {
 public:
  FileDescriptor open();  // the end for rank 0; without this call nothing is ever read
  void add_to(std::vector<pollfd>& polled) const;
  void on_ready(int fd);  // for each descriptor that poll reports, ours or not

 private:
  FileDescriptor to_rank_;
  std::string pending_;  // read, not yet passed on
};

// A pipe whose ends are closed on exec.
struct Pipe {
  FileDescriptor read_end, write_end;
};
Pipe make_pipe();  // throws SystemError
void set_nonblocking(int fd);

}  // namespace tutti::command
