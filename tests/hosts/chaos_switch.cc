// SPDX-License-Identifier: Apache-2.0
// A layer-2 switch over TAP devices that delays, loses, repeats, reorders and slows down frames as
// it is told: chaos for the transports' tests where the kernel has no netem. One thread, one epoll
// loop.
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <queue>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>

#include "tests/hosts/chaos_policy.h"

namespace chaos {
namespace {

constexpr const char* kHelp =
    R"(Usage: chaos_switch --control PATH PORT...
Makes a TAP device for each PORT in this network namespace (move them where you like) and switches frames between them. Says
"ready" and ends with its standard input.

One line to the Unix socket PATH, one line back ("ok ..." or "error ..."):
  set PORT SETTING...   of both directions; PORT.in of what goes to the host only, PORT.out of what it sends; all, all.in, all.out
  show                  settings and counters
  clear                 every setting back to none
  seed N                fates are drawn anew; the same frames then have the same fates

Settings:
  delay=20ms jitter=5ms   each frame waits, plus or minus; in order
  loss=2% duplicate=1%    per frame
  reorder=1% hold=1ms     so many are held back so long, and overtaken
  rate=100mbit limit=256k a wire, and the queue before it
  hole=1                  everything vanishes
)";

constexpr size_t kMaxFrameBytes = 65536 + 18;
constexpr int kFramesPerWake = 64;  // of one port, before others get their turn
constexpr size_t kMaxLineBytes = 4096;
constexpr int64_t kNsPerSecond = 1'000'000'000;

using Frame = std::vector<uint8_t>;
using Mac = std::array<uint8_t, 6>;

int64_t now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * kNsPerSecond + time.tv_nsec;
}

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

Fd open_tap(const std::string& name) {
  Fd fd(open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (fd.get() < 0) fail("can't open /dev/net/tun");
  ifreq request{};
  if (name.size() >= sizeof request.ifr_name)
    throw std::runtime_error(name + " is too long for a device");
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) fail("can't make the TAP device " + name);
  return fd;
}

struct Port {
  std::string name;
  Fd tap;
  Direction out, in;     // what the host sends, what goes to it
  uint64_t refused = 0;  // frames that the device did not take: it is down, or its queue is full
};

// A frame on its way, to be looked at again at `at_ns`.
struct Pending {
  int64_t at_ns;
  uint64_t number;  // of two at one time the earlier goes first
  bool leaving;     // false: it enters the switch from `port`; true: it goes out to `port`
  size_t port;
  Frame frame;
};
struct Later {
  bool operator()(const Pending& a, const Pending& b) const {
    return a.at_ns != b.at_ns ? a.at_ns > b.at_ns : a.number > b.number;
  }
};

class Switch {
 public:
  explicit Switch(const std::vector<std::string>& names) {
    for (const std::string& name : names)
      ports_.push_back(
          {.name = name, .tap = open_tap(name), .out = Direction{}, .in = Direction{}});
    seed(1);
  }

  size_t n_ports() const { return ports_.size(); }
  int fd_of(size_t port) const { return ports_[port].tap.get(); }

  // False when the device is gone.
  bool read_port(size_t index) {
    for (int i = 0; i < kFramesPerWake; ++i) {
      const ssize_t got = read(fd_of(index), buffer_.data(), buffer_.size());
      if (got < 0) return errno != EBADFD;
      if (got < static_cast<ssize_t>(2 * sizeof(Mac))) return true;  // no frame
      send_on(ports_[index].out, false, index, Frame(buffer_.begin(), buffer_.begin() + got),
              now_ns());
    }
    return true;
  }

  // Moves what is due; returns when to come again, -1 for when something arrives.
  int64_t move_due() {
    while (!pending_.empty() && pending_.top().at_ns <= now_ns()) {
      Pending next = std::move(const_cast<Pending&>(pending_.top()));  // popped at once
      pending_.pop();
      if (next.leaving)
        deliver(ports_[next.port], next.frame);
      else
        forward(next);
    }
    return pending_.empty() ? -1 : pending_.top().at_ns;
  }

  void seed(uint64_t value) {
    for (Port& port : ports_) {
      port.out.seed(++value * 2);
      port.in.seed(value * 2 + 1);
    }
  }

  void clear() {
    for (Port& port : ports_) port.out.policy = port.in.policy = Policy{};
  }

  // "" is well.
  std::string set(const std::string& where, const std::vector<std::string>& settings) {
    const size_t dot = where.rfind('.');
    const std::string name = where.substr(0, dot);
    const std::string side = dot == std::string::npos ? "" : where.substr(dot + 1);
    if (!side.empty() && side != "in" && side != "out") return "'" + side + "': expected in or out";
    bool found = false;
    for (Port& port : ports_) {
      if (name != "all" && name != port.name) continue;
      found = true;
      for (const std::string& setting : settings) {
        for (Direction* direction : {&port.out, &port.in}) {
          if (!side.empty() && (side == "out") != (direction == &port.out)) continue;
          if (std::string wrong = apply_setting(direction->policy, setting); !wrong.empty())
            return wrong;
        }
      }
    }
    return found ? "" : "there is no port '" + name + "'";
  }

  std::string show() const {
    std::string text;
    for (const Port& port : ports_) {
      for (const auto* direction : {&port.out, &port.in}) {
        const Direction::Counters& c = direction->counters();
        char line[256];
        std::snprintf(line, sizeof line,
                      " frames=%" PRIu64 " bytes=%" PRIu64 " lost=%" PRIu64 " overflowed=%" PRIu64
                      " swallowed=%" PRIu64 " duplicated=%" PRIu64 " held_back=%" PRIu64
                      " refused=%" PRIu64 "; ",
                      c.frames, c.bytes, c.lost, c.overflowed, c.swallowed, c.duplicated,
                      c.held_back, direction == &port.in ? port.refused : 0);
        text += port.name + (direction == &port.out ? ".out " : ".in ") +
                to_text(direction->policy) + line;
      }
    }
    return text;
  }

 private:
  void send_on(Direction& direction, bool leaving, size_t port, Frame frame, int64_t at_ns) {
    const Direction::Fate fate = direction.decide(at_ns, frame.size());
    if (fate.copies == 0) return;
    if (fate.copies == 2) pending_.push({fate.at_ns[1], ++number_, leaving, port, frame});
    pending_.push({fate.at_ns[0], ++number_, leaving, port, std::move(frame)});
  }

  // Learns where the sender is; a frame for an unknown or a group address goes everywhere.
  void forward(const Pending& from) {
    Mac to{}, sender{};
    std::memcpy(to.data(), from.frame.data(), to.size());
    std::memcpy(sender.data(), from.frame.data() + to.size(), sender.size());
    where_[sender] = from.port;
    const auto known = where_.find(to);
    const bool to_all = (to[0] & 1) != 0 || known == where_.end();
    for (size_t p = 0; p < ports_.size(); ++p) {
      if (p != from.port && (to_all || p == known->second))
        send_on(ports_[p].in, true, p, from.frame, from.at_ns);
    }
  }

  static void deliver(Port& port, const Frame& frame) {
    if (write(port.tap.get(), frame.data(), frame.size()) < 0) ++port.refused;
  }

  std::vector<Port> ports_;
  std::map<Mac, size_t> where_;
  std::priority_queue<Pending, std::vector<Pending>, Later> pending_;
  uint64_t number_ = 0;
  std::array<uint8_t, kMaxFrameBytes> buffer_{};
};

// "ok ..." or "error ...", without the newline.
std::string answer(Switch& fabric, const std::string& line) {
  std::istringstream words(line);
  std::string command, where, word;
  words >> command;
  if (command == "show") return "ok " + fabric.show();
  if (command == "clear") {
    fabric.clear();
    return "ok";
  }
  if (command == "seed") {
    uint64_t value = 0;
    if (!(words >> value)) return "error seed: expected a number";
    fabric.seed(value);
    return "ok";
  }
  if (command != "set") return "error '" + command + "': expected set, show, clear or seed";
  std::vector<std::string> settings;
  words >> where;
  while (words >> word) settings.push_back(word);
  if (settings.empty()) return "error set: expected a port and settings";
  const std::string wrong = fabric.set(where, settings);
  return wrong.empty() ? "ok" : "error " + wrong;
}

class Loop {
 public:
  Loop(Switch& fabric, const std::string& control_path)
      : fabric_(fabric), control_(listen_at(control_path)) {
    epoll_ = Fd(epoll_create1(EPOLL_CLOEXEC));
    timer_ = Fd(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
    if (epoll_.get() < 0 || timer_.get() < 0) fail("can't make an epoll or a timer");
    for (size_t port = 0; port < fabric.n_ports(); ++port) watch(fabric.fd_of(port), port);
    watch(control_.get(), kControl);
    watch(timer_.get(), kTimer);
    watch(STDIN_FILENO, kInput);
  }

  // Until standard input ends.
  void run() {
    while (true) {
      arm(fabric_.move_due());
      std::array<epoll_event, 64> events;
      const int n = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
      if (n < 0 && errno != EINTR) fail("epoll_wait");
      for (int i = 0; i < n; ++i) {
        const uint64_t what = events[static_cast<size_t>(i)].data.u64;
        if (what == kInput && !more_input()) return;
        if (what == kTimer) drain_timer();
        if (what == kControl) accept_client();
        if (what >= kClient) serve_client(static_cast<int>(what - kClient));
        if (what < fabric_.n_ports() && !fabric_.read_port(what))
          epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fabric_.fd_of(what), nullptr);
      }
    }
  }

 private:
  // What an event is about; ports are their indices, clients kClient + descriptor.
  static constexpr uint64_t kControl = 1 << 20, kTimer = kControl + 1, kInput = kControl + 2,
                            kClient = 1 << 21;

  static Fd listen_at(const std::string& path) {
    Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
      throw std::runtime_error(path + " is too long for a socket");
    std::memcpy(address.sun_path, path.data(), path.size());
    unlink(path.c_str());
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(fd.get(), 16) != 0)
      fail("can't listen at " + path);
    return fd;
  }

  void watch(int fd, uint64_t what) const {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = what;
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
  }

  void arm(int64_t at_ns) const {
    itimerspec when{};
    if (at_ns >= 0) {
      when.it_value.tv_sec = at_ns / kNsPerSecond;
      when.it_value.tv_nsec = at_ns % kNsPerSecond;
    }
    timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
  }

  void drain_timer() const {
    uint64_t expirations = 0;
    if (read(timer_.get(), &expirations, sizeof expirations) < 0 && errno != EAGAIN) fail("timer");
  }

  static bool more_input() {
    std::array<char, 256> ignored;
    return read(STDIN_FILENO, ignored.data(), ignored.size()) > 0;
  }

  void accept_client() {
    const int fd = accept4(control_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    clients_[fd] = {Fd(fd), ""};
    watch(fd, kClient + static_cast<uint64_t>(fd));
  }

  void serve_client(int fd) {
    Client& client = clients_[fd];
    std::array<char, 1024> buffer;
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got > 0) client.line.append(buffer.data(), static_cast<size_t>(got));
    size_t end = client.line.find('\n');
    bool well = got > 0 && (end != std::string::npos || client.line.size() < kMaxLineBytes);
    while (well && end != std::string::npos) {
      const std::string text = answer(fabric_, client.line.substr(0, end)) + "\n";
      client.line.erase(0, end + 1);
      // A client that does not read its answers is let go.
      well = send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
      end = client.line.find('\n');
    }
    if (!well) clients_.erase(fd);
  }

  struct Client {
    Fd fd;
    std::string line;
  };
  Switch& fabric_;
  Fd control_, epoll_, timer_;
  std::map<int, Client> clients_;
};

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 3 || arguments[0] != "--control") {
    const bool asked = !arguments.empty() && arguments[0] == "--help";
    std::fputs(kHelp, asked ? stdout : stderr);
    return asked ? 0 : 2;
  }
  const auto fabric =
      std::make_unique<Switch>(std::vector<std::string>(arguments.begin() + 2, arguments.end()));
  Loop loop(*fabric, arguments[1]);
  std::puts("ready");
  std::fflush(stdout);
  loop.run();
  return 0;
}

}  // namespace
}  // namespace chaos

int main(int argc, char** argv) {
  try {
    return chaos::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "chaos_switch: %s\n", error.what());
    return 1;
  }
}
