// SPDX-License-Identifier: Apache-2.0
// The loop that every peer is measured with.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

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

// One point on one rank: buffers, values, measurement.
class Session {
 public:
  Session(Backend& backend, const Point& point);
  ~Session() { backend_.finish(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  std::string measure(size_t warmup, size_t samples, size_t batch);

 private:
  void refill();
  size_t wrong_after(int root) const;
  size_t check_once();

  Backend& backend_;
  Call call_;
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
  refill();
  backend.prepare(call_);
}

void Session::refill() {
  fill(call_.input, tables_[static_cast<size_t>(backend_.rank())], 0, call_.shape.input_elems);
  if (output_ != nullptr) {
    std::fill_n(call_.output, call_.shape.output_elems, kPoison);
  }
}

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
      return count_wrong(call_.output, tables_[static_cast<size_t>(partner_of(backend_.rank()))], 0,
                         block);
    case Op::all_reduce:
    case Op::other:
      break;
  }
  return count_wrong(call_.output, reduced_, 0, block);
}

// Fresh values, one call (per root), and what is wrong with the result.
size_t Session::check_once() {
  const int roots = call_.point.op == Op::broadcast ? backend_.size() : 1;
  size_t wrong = 0;
  for (int root = 0; root < roots; ++root) {
    backend_.barrier();
    refill();
    backend_.barrier();
    backend_.run(root);
    wrong += wrong_after(root);
  }
  return wrong;
}

std::string Session::measure(size_t warmup, size_t samples, size_t batch) {
  const int n_ranks = backend_.size();
  int root = 0;
  const auto run = [&](size_t times) {
    for (size_t i = 0; i < times; ++i) {
      backend_.run(root);
      root = root + 1 == n_ranks ? 0 : root + 1;
    }
  };
  refill();
  std::vector<double> ns(samples);
  backend_.barrier();
  run(warmup);
  backend_.barrier();
  for (double& sample : ns) {
    const int64_t begin = now_ns();
    run(batch);
    sample = static_cast<double>(now_ns() - begin) / static_cast<double>(batch);
  }
  size_t wrong = 0;
  if (call_.point.checked()) {
    // What the measured calls have left, where each of them computes the same; then a fresh call.
    if (output_ != nullptr) {
      wrong += wrong_after(0);
    }
    wrong += check_once();
  }
  std::sort(ns.begin(), ns.end());
  const double ways = call_.point.one_way() ? 2 : 1;
  std::ostringstream reply;
  reply << "result median_ns=" << ns[samples / 2] / ways << " min_ns=" << ns[0] / ways
        << " wrong=" << wrong;
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
    return session->measure(message.number("warmup"), message.number("samples"),
                            message.number("batch"));
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
