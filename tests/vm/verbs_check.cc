// SPDX-License-Identifier: Apache-2.0
// Proves the RDMA test bed without any of the library: two processes, one per host of the guest,
// connect a queue pair on every rail, write and read each other's memory and exchange messages. Run
// in a guest, it takes devices and addresses from its environment:
//   verbs_check data   RC queue pairs set up by hand (rxe) or by rdma_cm (siw) carry the right
//   bytes,
//                      over the rail's wire
//   verbs_check down   as data; then the link goes down, a write must fail, and the link comes up
//   again verbs_check loss   the same with a rail that loses every packet

#include <signal.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "tests/vm/verbs_connection.h"
#include "tests/vm/verbs_end.h"

namespace tutti::vm {
namespace {

std::uint8_t pattern(std::size_t i) { return static_cast<std::uint8_t>((i * 2654435761U) >> 13); }

void check_pattern(const std::uint8_t* data, const std::string& where) {
  for (std::size_t i = 0; i < kBlockBytes; ++i) {
    if (data[i] == pattern(i)) continue;
    fail(where + ": byte " + std::to_string(i) + " is " + std::to_string(data[i]) + ", expected " +
         std::to_string(pattern(i)));
  }
}

// Host 0 writes a block into host 1's memory and says so in a message; host 1 looks, and answers;
// host 0 reads the block back.
template <typename Connection>
void carry_data(Connection& connection, int host) {
  End& end = connection.end();
  if (host == 1) {
    end.expect(IBV_WC_RECV);
    check_pattern(end.inbox(), "what the peer has written");
    end.post_send();
    end.expect(IBV_WC_SEND);
    return;
  }
  for (std::size_t i = 0; i < kBlockBytes; ++i) end.outbox()[i] = pattern(i);
  end.post_rdma(IBV_WR_RDMA_WRITE, connection.peer());
  end.expect(IBV_WC_RDMA_WRITE);
  end.post_send();
  end.expect(IBV_WC_SEND);
  end.expect(IBV_WC_RECV);
  std::memset(end.outbox(), 0, kBlockBytes);
  end.post_rdma(IBV_WR_RDMA_READ, connection.peer());
  end.expect(IBV_WC_RDMA_READ);
  check_pattern(end.outbox(), "what we have read back");
}

void network_fault(const std::string& arguments) {
  const std::string command = "vm-net " + arguments;
  if (std::system(command.c_str()) != 0) fail(command + " failed");
}

struct Task {
  int host;
  int rail;
  std::string fault;  // empty: none
};

// Under a fault that lets nothing through, a write must come back with an error (which one is the
// device's choice).
template <typename Connection>
void lose_network(Connection& connection, const Task& task) {
  const bool down = task.fault == "down";
  const std::string end = " 0 " + std::to_string(task.rail);
  network_fault(down ? "down" + end : "loss" + end + " 100");
  connection.end().post_rdma(IBV_WR_RDMA_WRITE, connection.peer());
  const ibv_wc done = connection.end().completion();
  network_fault((down ? "up" : "clear") + end);
  if (done.status == IBV_WC_SUCCESS) fail("a write succeeded although nothing could pass");
  std::printf("rail %d, %s: %s\n", task.rail, task.fault.c_str(), ibv_wc_status_str(done.status));
}

template <typename Connection>
void exercise(const Talk& talk, Connection connection, const Rail& mine, const Task& task) {
  const std::uint64_t before = sent_bytes(mine);
  carry_data(connection, task.host);
  talk.meet();
  const std::uint64_t sent = sent_bytes(mine) - before;
  if (sent < kBlockBytes)
    fail("only " + std::to_string(sent) + " bytes left by " + mine.netdev +
         ", so the block took another way");
  if (task.host == 0)
    std::printf("rail %d: %s wrote %zu bytes and read them back\n", task.rail, mine.device.c_str(),
                kBlockBytes);
  if (!task.fault.empty() && task.host == 0) lose_network(connection, task);
  talk.meet();
}

void run_host(const Talk& talk, int host, const std::string& fault) {
  ::alarm(kProcessSeconds);
  const bool by_hand = environment("TUTTI_VM_DRIVER") == "rxe";
  const auto mine = rails_of(host);
  const auto theirs = rails_of(1 - host);
  for (std::size_t i = 0; i < mine.size(); ++i) {
    // The last rail has the fault: another one must not feel it.
    const Task task{host, static_cast<int>(i), i + 1 == mine.size() ? fault : ""};
    if (by_hand) {
      exercise<ByHand>(talk, ByHand(talk, mine[i]), mine[i], task);
    } else {
      exercise<ByManager>(talk, ByManager(talk, mine[i], theirs[i], host), mine[i], task);
    }
  }
}

int guarded(int fd, int host, const std::string& fault) {
  try {
    run_host(Talk(fd), host, fault);
    std::fflush(stdout);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "verbs_check, host %d: %s\n", host, error.what());
    return 1;
  }
}

// Host 0 is this process, host 1 a child.
bool both_hosts(const std::string& fault) {
  std::array<int, 2> ends{};
  must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0, "socketpair");
  const pid_t child = ::fork();
  must(child >= 0, "fork");
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::close(ends[0]);
    ::_exit(guarded(ends[1], 1, fault));
  }
  ::close(ends[1]);
  const int own = guarded(ends[0], 0, fault);
  int status = 0;
  must(::waitpid(child, &status, 0) == child, "waitpid");
  return own == 0 && status == 0;
}

}  // namespace
}  // namespace tutti::vm

int main(int argc, char** argv) {
  const std::vector<std::string> modes(argv + 1, argv + argc);
  for (const std::string& mode : modes) {
    if (mode == "data" || mode == "down" || mode == "loss") continue;
    std::fprintf(stderr, "verbs_check: no mode %s: data, down or loss\n", mode.c_str());
    return 2;
  }
  for (const std::string& mode : modes) {
    if (!tutti::vm::both_hosts(mode == "data" ? "" : mode)) return 1;
  }
  return modes.empty() ? 2 : 0;
}
