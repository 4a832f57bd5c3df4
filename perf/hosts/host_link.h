// SPDX-License-Identifier: Apache-2.0
// The launcher's end of one host: the remote shell's process and what goes through it.
#pragma once

#include <poll.h>
#include <signal.h>

#include <optional>
#include <string>
#include <vector>

#include "perf/hosts/host_list.h"
#include "perf/hosts/wire.h"
#include "perf/line_relay.h"
#include "src/base/clock.h"
#include "src/base/file.h"

namespace tutti::command {

class HostLink {
 public:
  enum class State {
    kConnecting,  // the agent has not said hello
    kSetUp,       // it has its orders
    kReady,       // it can run them
    kRunning,
    kClosing,  // it has been let go
    kGone,     // the remote shell's process has been reaped
  };

  // Starts `command` (argv), which is to run an agent on the host. Throws as spawn does.
  HostLink(HostShare share, const std::vector<std::string>& command, LineSink& messages,
           const sigset_t& signal_mask);
  ~HostLink();  // kills and reaps what is left
  HostLink(const HostLink&) = delete;
  HostLink& operator=(const HostLink&) = delete;

  const HostShare& share() const { return share_; }
  State state() const { return state_; }
  // Not once it has been let go.
  void enter(State state) {
    if (up()) state_ = state;
  }
  bool up() const { return state_ != State::kClosing && state_ != State::kGone; }

  void say(FrameKind kind, int32_t rank = 0, std::string_view payload = {});
  // Lets the agent go, which ends whatever it still runs; kill_at tells when to lose patience.
  void close(int64_t patience_ns);
  void kill_shell();

  static constexpr size_t kPollEntries = 3;
  void add_to(std::vector<pollfd>& polled, bool want_output) const;  // kPollEntries of them
  void on_ready(const pollfd* polled);
  // What has come whole. Throws RemoteError when it makes no sense.
  std::optional<Frame> next_frame();
  // Once, when the remote shell has ended: the state before. What it wrote has been read then.
  std::optional<State> reap();

  // How the remote shell ended and the last that it said: "exited with status 255: no route".
  std::string end_text() const;
  int64_t heard_at_ns() const { return heard_at_ns_; }
  void forgive(int64_t ns) { heard_at_ns_ += ns; }  // we were stopped for so long
  Deadline kill_at() const { return kill_at_; }

 private:
  bool read_output();  // false when nothing was there
  bool read_messages();
  HostShare share_;
  std::string shell_;  // its name, for messages
  pid_t pid_ = 0;
  State state_ = State::kConnecting;
  FileDescriptor to_, from_, err_;
  LineSink to_agent_{-1};
  FrameReader frames_;
  bool greeted_ = false;
  LineSource messages_;  // the remote shell's own, once the agent runs
  std::string said_;     // the same before that, and the last lines of it
  int64_t heard_at_ns_ = 0;
  Deadline kill_at_ = Deadline::never();
  int wait_status_ = 0;
};

}  // namespace tutti::command
