// SPDX-License-Identifier: Apache-2.0
// The loop that every peer is measured with.
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/mman.h>

#include "perf/compare/ranks/backend.h"
#include "perf/compare/ranks/control.h"

namespace tutti::compare {
namespace {

constexpr unsigned kStartSeconds = 60;
constexpr float kPoison = -1.0F;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The memory of one buffer, at the asked offset from a page's start.
class UserBuffer {
 public:
  UserBuffer(Backend& backend, size_t bytes, const Point& point)
      : backend_(backend), bytes_(std::max<size_t>(bytes, 64) + point.offset_bytes) {
    memory_ = backend.allocate(bytes_, point);
    data_ = reinterpret_cast<float*>(static_cast<std::byte*>(memory_) + point.offset_bytes);
  }
  ~UserBuffer() { backend_.release(memory_, bytes_); }
  UserBuffer(const UserBuffer&) = delete;
  UserBuffer& operator=(const UserBuffer&) = delete;
  float* data() const { return data_; }

 private:
  Backend& backend_;
  size_t bytes_;
  void* memory_ = nullptr;
  float* data_ = nullptr;
};

// A word that all ranks of a job share, in a file of the job's folder: rank 0 says in it that time
// is up. Ranks read and write it on different sides of the library's barrier.
class StopWord {
 public:
  StopWord() {
    const char* folder = std::getenv("COMPARE_STORE");
    const std::string path = std::string(folder != nullptr ? folder : ".") + "/stop";
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && ftruncate(fd, sizeof(*word_)) == 0) {
      void* memory = mmap(nullptr, sizeof(*word_), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      word_ = memory != MAP_FAILED ? static_cast<std::atomic<int>*>(memory) : nullptr;
    }
    close(fd);
    if (word_ == nullptr) {
      throw std::runtime_error("cannot map " + path + ": " + std::strerror(errno));
    }
  }
  ~StopWord() { munmap(word_, sizeof(*word_)); }
  StopWord(const StopWord&) = delete;
  StopWord& operator=(const StopWord&) = delete;

  // Collective: whether rank 0 is past the deadline.
  bool agree(Backend& backend, int64_t deadline_ns) {
    if (backend.rank() == 0) {
      word_->store(now_ns() > deadline_ns ? 1 : 0);
    }
    backend.barrier();
    const bool stop = word_->load() != 0;
    backend.barrier();
    return stop;
  }

 private:
  std::atomic<int>* word_ = nullptr;
};

// How one measurement is done; times of ranks that others keep from running add up, so there is a
// limit, looked at kLooks times.
struct Plan {
  size_t warmup = 0;
  size_t samples = 1;
  size_t batch = 1;
  int64_t limit_ns = 0;
};
constexpr size_t kLooks = 8;
constexpr size_t kLeastSamples = 5;

// One point on one rank: buffers, values, measurement.
class Session {
 public:
  Session(Backend& backend, const Point& point);
  ~Session() { backend_.finish(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  std::string measure(const Plan& plan);

 private:
  void fill_input();
  void poison_output();
  std::vector<double> time_calls(const Plan& plan);
  size_t wrong_after(int root) const;
  size_t check_in_place();

  Backend& backend_;
  Call call_;
  StopWord stop_;
  std::unique_ptr<UserBuffer> input_;
  std::unique_ptr<UserBuffer> output_;
  std::vector<Table> tables_;  // by rank
  Table reduced_;
};

Session::Session(Backend& backend, const Point& point) : backend_(backend) {
  call_.point = point;
  call_.shape = shape_of(point, backend.size());
  input_ = std::make_unique<UserBuffer>(backend, call_.shape.input_elems * sizeof(float), point);
  call_.input = call_.output = input_->data();
  if (call_.shape.output_elems > 0) {
    output_ =
        std::make_unique<UserBuffer>(backend, call_.shape.output_elems * sizeof(float), point);
    call_.output = output_->data();
  }
  for (int rank = 0; rank < backend.size(); ++rank) {
    tables_.push_back(input_table(point.seed, rank));
  }
  reduced_ = reduced_table(point.seed, backend.size());
  fill_input();
  backend.prepare(call_);
}

void Session::fill_input() {
  fill(call_.input, tables_[static_cast<size_t>(backend_.rank())], 0, call_.shape.input_elems);
}

void Session::poison_output() { std::fill_n(call_.output, call_.shape.output_elems, kPoison); }

// Wrong elements of the result of the last call.
size_t Session::wrong_after(int root) const {
  const auto me = static_cast<size_t>(backend_.rank());
  const size_t block = call_.shape.block_elems;
  size_t wrong = 0;
  switch (call_.point.op) {
    case Op::all_gather:
    case Op::all_to_all:
      for (size_t from = 0; from < tables_.size(); ++from) {
        const size_t first = call_.point.op == Op::all_to_all ? me * block : 0;
        wrong += count_wrong(call_.output + from * block, tables_[from], first, block);
      }
      return wrong;
    case Op::reduce_scatter:
      return count_wrong(call_.output, reduced_, me * block, block);
    case Op::broadcast:
      return count_wrong(call_.output, tables_[static_cast<size_t>(root)], 0, block);
    case Op::ping_pong:
    case Op::send_recv:
      return count_wrong(call_.output, tables_[static_cast<size_t>(partner_of(backend_.rank()))], 0,
                         block);
    case Op::all_reduce:
    case Op::other:
      break;
  }
  return count_wrong(call_.output, reduced_, 0, block);
}

// For calls that change their own input: fresh values, one call (per root), and what is wrong with
// the result.
size_t Session::check_in_place() {
  const int roots = call_.point.op == Op::broadcast ? backend_.size() : 1;
  size_t wrong = 0;
  for (int root = 0; root < roots; ++root) {
    backend_.barrier();
    fill_input();
    backend_.barrier();
    backend_.run(root);
    wrong += wrong_after(root);
  }
  return wrong;
}

// Times of batches of calls, in ns of one call, in order.
std::vector<double> Session::time_calls(const Plan& plan) {
  const int n_ranks = backend_.size();
  int root = 0;
  const auto run = [&](size_t times) {
    for (size_t i = 0; i < times; ++i) {
      backend_.run(root);
      root = root + 1 == n_ranks ? 0 : root + 1;
    }
  };
  const int64_t deadline_ns = now_ns() + plan.limit_ns;
  const size_t look_every = std::max(kLeastSamples, plan.samples / kLooks);
  std::vector<double> ns;
  ns.reserve(plan.samples);
  backend_.barrier();
  run(plan.warmup);
  backend_.barrier();
  while (ns.size() < plan.samples) {
    const int64_t begin = now_ns();
    run(plan.batch);
    ns.push_back(static_cast<double>(now_ns() - begin) / static_cast<double>(plan.batch));
    if (ns.size() % look_every == 0 && ns.size() < plan.samples &&
        stop_.agree(backend_, deadline_ns)) {
      break;
    }
  }
  return ns;
}

std::string Session::measure(const Plan& plan) {
  poison_output();
  std::vector<double> ns = time_calls(plan);
  size_t wrong = 0;
  if (call_.point.checked()) {
    // Out of place, every measured call computes the same, and what they have left is looked at.
    wrong = output_ != nullptr ? wrong_after(0) : check_in_place();
  }
  std::sort(ns.begin(), ns.end());
  const double mean = std::accumulate(ns.begin(), ns.end(), 0.0) / static_cast<double>(ns.size());
  const double ways = call_.point.one_way() ? 2 : 1;
  std::ostringstream reply;
  reply << "result median_ns=" << ns[ns.size() / 2] / ways << " min_ns=" << ns[0] / ways
        << " mean_ns=" << mean / ways << " samples=" << ns.size() << " wrong=" << wrong;
  return reply.str();
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

// Answers one message; the session lives from prepare to release.
std::string answer(Backend& backend, std::unique_ptr<Session>& session, const Message& message) {
  if (message.verb == "prepare") {
    session.reset();
    session = std::make_unique<Session>(backend, parse_point(message));
    return "ok";
  }
  if (message.verb == "measure" && session != nullptr) {
    return session->measure(
        {.warmup = message.number("warmup"),
         .samples = message.number("samples"),
         .batch = message.number("batch"),
         .limit_ns = static_cast<int64_t>(message.number("limit_ms")) * 1000000});
  }
  if (message.verb == "release") {
    session.reset();
    return "ok";
  }
  throw std::runtime_error("unexpected message '" + message.verb + "'");
}

void serve_until_quit(Backend& backend, ControlSocket& control) {
  std::unique_ptr<Session> session;
  std::string line;
  while (control.read_line(line)) {
    const Message message = parse_message(line);
    if (message.verb == "quit") {
      return;
    }
    // SIGALRM ends a rank that is stuck in its library, also when the driver is no more.
    alarm(static_cast<unsigned>(message.number("seconds")));
    std::string reply;
    try {
      reply = answer(backend, session, message);
    } catch (const Unsupported& reason) {
      reply = std::string("unsupported ") + reason.what();
    } catch (const std::exception& error) {
      reply = std::string("error ") + error.what();
    }
    alarm(0);
    control.write_line(one_line(reply));
  }
}

}  // namespace

int launch_rank() {
  for (const char* name : {"TUTTI_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK", "COMPARE_RANK"}) {
    const char* value = std::getenv(name);
    if (value != nullptr) {
      return std::atoi(value);
    }
  }
  return 0;
}

void begin_rank(int rank) {
  alarm(kStartSeconds);
  const char* placement = std::getenv("COMPARE_PLACEMENT");
  if (placement == nullptr || std::string(placement) != "pinned") {
    return;
  }
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return;
  }
  int skip = rank % CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed) && skip-- == 0) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof(one), &one);
      return;
    }
  }
}

int serve(Backend& backend) try {
  const char* job = std::getenv("COMPARE_JOB");
  ControlSocket control;
  std::ostringstream hello;
  hello << "hello job=" << (job != nullptr ? job : "") << " rank=" << backend.rank()
        << " size=" << backend.size() << " pid=" << getpid() << " version=" << backend.version();
  alarm(0);
  control.write_line(hello.str());
  serve_until_quit(backend, control);
  alarm(kStartSeconds);  // for the library's way out
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}

}  // namespace tutti::compare
