// SPDX-License-Identifier: Apache-2.0
// The directory of a launch: where rank 0's process tells the others the unique ids of the launch's
// communicators, so that a launcher's key-value space is used once, however many there are.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "src/bootstrap/bootstrap.h"
#include "src/bootstrap/handshake.h"

namespace tutti::bootstrap {

// Where a directory is: what rank 0 passes to all by way of the launcher.
struct DirectoryPlace {
  Key key{};
  std::vector<SocketAddress> addresses;  // of rank 0's host, one family, one port; any may reach it

  // "1;KEY;ADDRESS,ADDRESS...", the key in hexadecimal digits: printable, without blanks.
  std::string to_text() const;
  // Throws InvalidArgument, saying what is wrong with it.
  static DirectoryPlace parse(const std::string& text);
};

// Answers each look-up with the port and the key of a root. Whoever asks first for a communicator
// has its root started, so that no question waits for rank 0 to come to it. One short connection
// per rank and communicator.
//
// Lives as long as its process; state belongs to the control thread.
class Directory {
 public:
  // Listens on all addresses of this host's first family, the loopback ones apart where there are
  // others. `interface_prefix` as of local_addresses(). Throws SystemError.
  explicit Directory(const std::string& interface_prefix);
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  const DirectoryPlace& place() const noexcept { return place_; }
  UniqueId id(uint64_t sequence);  // throws what starting a root throws

 private:
  void on_visit(Gate::Visit& visit);
  const UniqueIdFields& entry(uint64_t sequence);

  const std::shared_ptr<ControlThread> control_;  // shared: see ControlThread::shared
  DirectoryPlace place_;
  SocketAddress anywhere_;  // all addresses of the family, port 0
  std::map<uint64_t, UniqueIdFields> entries_;
  std::unique_ptr<Gate> gate_;
};

// The `sequence`-th id, asked from the directory at `place`. The first of its addresses that
// answers and proves the key is kept in place.addresses.front(). Throws RemoteError naming all
// addresses when none does by the deadline.
UniqueId look_up(DirectoryPlace& place, uint64_t sequence, const Patience& patience);

}  // namespace tutti::bootstrap
