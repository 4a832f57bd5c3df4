// SPDX-License-Identifier: Apache-2.0
// The FIFO of transport/fifo.h between two pinned threads: what a hand-off takes, and bytes per
// second, beside the machine's limits of the same run.
//
//   alone/KIND/BYTES     one thread is both ends: the instructions by themselves, no line moves
//   handoff/KIND/BYTES   a round trip of one message each way; half_ns: half of it, line_ns: half a
//                        round trip of a bare cache line, of_line: its share
//   flow/KIND/BYTES      one end sends as fast as it can, the other copies out; best_gb_s, and
//                        copy_gb_s: what one thread copies by itself between buffers as large as
//                        the slots, of_copy: the share reached
//   seal/BYTES           what a network pays for TUTTI_ENCRYPT=1, once at each end: seal_gb_s and
//                        open_gb_s of one core
//
// Counters are of the best of many batches: a preempted batch says nothing about the queue.
// KIND is inline (payload in the line, at most 56 bytes) or staged (in one of 8 slots of 64 KiB).
#include <pthread.h>
#include <sched.h>
#include <sodium.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "src/kernels/reduce_copy.h"
#include "transport/fifo.h"
#include "transport/tcp/seal.h"

namespace {

using tutti::kernels::copy_bytes;
using tutti::transport::FifoLayout;
using tutti::transport::MessageKind;
using tutti::transport::Peeked;
using tutti::transport::RecvView;
using tutti::transport::SendView;

constexpr FifoLayout kLayout{.n_lines = 64, .n_areas = 8, .area_bytes = 64 << 10};
constexpr uint32_t kSignature = tutti::transport::to_signature(0x12345678);
constexpr std::align_val_t kPage{4096};

void pin_to(unsigned core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(core % std::max(1U, std::thread::hardware_concurrency()), &cores);
  pthread_setaffinity_np(pthread_self(), sizeof cores, &cores);  // elsewhere it is only slower
}

// Spins; gives way now and then, in case both threads share a core. False when `stop` is set first.
template <class Ready>
bool spin_until(const std::atomic<bool>& stop, const Ready& ready) {
  constexpr int kSpins = 10'000;
  for (int spins = 1; !ready(); ++spins) {
    if (spins % kSpins != 0) continue;
    if (stop.load(std::memory_order_relaxed)) return false;  // nothing is read because of it
    std::this_thread::yield();
  }
  return true;
}
const std::atomic<bool> kNever{false};

struct FreePages {
  void operator()(std::byte* memory) const { ::operator delete[](memory, kPage); }
};

// Both ends and the memory of one connection; no bells, as between ranks that spin.
class Fifo {
 public:
  explicit Fifo(size_t message_bytes)
      : bytes_(message_bytes), staged_(bytes_ > tutti::transport::kInlineBytes) {
    std::memset(memory_.get(), 0, kLayout.total_bytes());
    send_.attach(memory_.get(), kLayout, nullptr);
    recv_.attach(memory_.get(), kLayout, nullptr);
  }

  bool room() { return staged_ ? send_.area_free() : send_.line_free(); }
  void send(const std::byte* from) {
    if (staged_) {
      copy_bytes(send_.area(bytes_), from, bytes_, false);
      send_.commit_staged(kSignature, bytes_);
    } else {
      copy_bytes(send_.line().inline_bytes, from, bytes_, false);
      send_.commit(kSignature, MessageKind::kInline);
    }
  }
  bool arrived() const {
    MessageKind kind;
    return recv_.peek(kSignature, &kind) == Peeked::kMessage;
  }
  void receive(std::byte* to) {
    const auto& line = recv_.line();
    const void* from = staged_ ? static_cast<const void*>(recv_.area(line.staged, bytes_))
                               : static_cast<const void*>(line.inline_bytes);
    copy_bytes(to, from, bytes_, false);
    recv_.release();
  }

 private:
  const std::unique_ptr<std::byte[], FreePages> memory_{new (kPage)
                                                            std::byte[kLayout.total_bytes()]};
  const size_t bytes_;
  const bool staged_;
  SendView send_;
  RecvView recv_;
};

// What the messages are copied from and to; as many bytes as the slots, so that both are as cold.
struct Buffer {
  const std::unique_ptr<std::byte[], FreePages> memory{new (kPage)
                                                           std::byte[kLayout.staging_bytes()]()};
  size_t at = 0;
  std::byte* next(size_t bytes) {
    at = at + 2 * bytes <= kLayout.staging_bytes() ? at + bytes : 0;
    return memory.get() + at;
  }
};

// The other end, on the second core; joined when it goes.
class Peer {
 public:
  explicit Peer(std::function<void(const std::atomic<bool>& stop)> body)
      : thread_([this, run = std::move(body)] {
          pin_to(1);
          run(stop_);
        }) {}
  ~Peer() {
    stop_.store(true, std::memory_order_relaxed);  // pairs with spin_until
    thread_.join();
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

double seconds_of(const std::function<void()>& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct alignas(tutti::kFalseSharingBytes) Line {
  std::atomic<uint64_t> value{0};  // release by its writer pairs with acquire in spin_until
};

// Half a round trip of one line each way, the least of several batches.
double line_ns() {
  constexpr uint64_t kTrips = 20'000;
  constexpr int kBatches = 5;
  Line there;
  Line back;
  const Peer peer([&](const std::atomic<bool>& stop) {
    for (uint64_t trip = 1;; ++trip) {
      const auto come = [&] { return there.value.load(std::memory_order_acquire) == trip; };
      if (!spin_until(stop, come)) return;
      back.value.store(trip, std::memory_order_release);
    }
  });
  double least = 1;
  uint64_t trip = 0;
  for (int batch = 0; batch < kBatches; ++batch) {
    least = std::min(
        least, seconds_of([&] {
          for (uint64_t i = 0; i < kTrips; ++i) {
            there.value.store(++trip, std::memory_order_release);
            spin_until(kNever, [&] { return back.value.load(std::memory_order_acquire) == trip; });
          }
        }));
  }
  return least / kTrips / 2 * 1e9;
}

// Bytes per second (each counted once) that one thread copies between buffers of the slots' size.
double copy_gb_per_s(size_t bytes) {
  Buffer to;
  Buffer from;
  constexpr int kCopies = 2'000;
  double least = 1;
  for (int batch = 0; batch < 5; ++batch) {
    least = std::min(least, seconds_of([&] {
                       for (int i = 0; i < kCopies; ++i) {
                         copy_bytes(to.next(bytes), from.next(bytes), bytes, false);
                         benchmark::ClobberMemory();
                       }
                     }));
  }
  return kCopies * static_cast<double>(bytes) / least / 1e9;
}

void alone(benchmark::State& state, size_t bytes) {
  pin_to(0);
  Fifo fifo(bytes);
  Buffer from;
  Buffer to;
  for (auto _ : state) {
    if (!fifo.room()) break;
    fifo.send(from.next(bytes));
    if (!fifo.arrived()) break;
    fifo.receive(to.next(bytes));
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

void handoff(benchmark::State& state, size_t bytes) {
  pin_to(0);
  const double bare_ns = line_ns();
  Fifo there(bytes);
  Fifo back(bytes);
  Buffer from;
  Buffer to;
  const Peer peer([&](const std::atomic<bool>& stop) {
    Buffer own;
    for (;;) {
      if (!spin_until(stop, [&] { return there.arrived(); })) return;
      std::byte* data = own.next(bytes);
      there.receive(data);
      if (!spin_until(stop, [&] { return back.room(); })) return;
      back.send(data);
    }
  });
  double least = 1;
  constexpr int kTrips = 100;
  while (state.KeepRunningBatch(kTrips)) {
    least = std::min(least, seconds_of([&] {
                       for (int i = 0; i < kTrips; ++i) {
                         spin_until(kNever, [&] { return there.room(); });
                         there.send(from.next(bytes));
                         spin_until(kNever, [&] { return back.arrived(); });
                         back.receive(to.next(bytes));
                       }
                     }));
  }
  const double half_ns = least / kTrips / 2 * 1e9;
  state.counters["half_ns"] = half_ns;
  state.counters["line_ns"] = bare_ns;
  state.counters["of_line"] = bare_ns / half_ns;
}

void flow(benchmark::State& state, size_t bytes) {
  pin_to(0);
  const double copied = copy_gb_per_s(bytes);
  Fifo fifo(bytes);
  Buffer to;
  const Peer peer([&](const std::atomic<bool>& stop) {
    Buffer own;
    while (spin_until(stop, [&] { return fifo.room(); })) fifo.send(own.next(bytes));
  });
  double least = 1;
  constexpr int kMessages = 200;
  while (state.KeepRunningBatch(kMessages)) {
    least = std::min(least, seconds_of([&] {
                       for (int i = 0; i < kMessages; ++i) {
                         spin_until(kNever, [&] { return fifo.arrived(); });
                         fifo.receive(to.next(bytes));
                       }
                     }));
  }
  const double sent = kMessages * static_cast<double>(bytes) / least / 1e9;
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
  state.counters["best_gb_s"] = sent;
  state.counters["copy_gb_s"] = copied;
  state.counters["of_copy"] = sent / copied;
}

void seal(benchmark::State& state, size_t bytes) {
  pin_to(0);
  const std::array<std::byte, 32> key{};
  tutti::transport::tcp::Seal closer(key), opener(key);
  std::vector<std::byte> plain(bytes), sealed(bytes + tutti::transport::tcp::kTagBytes);
  double least_close = 1, least_open = 1;
  for ([[maybe_unused]] auto round : state) {
    least_close = std::min(least_close,
                           seconds_of([&] { closer.close(plain.data(), bytes, sealed.data()); }));
    bool opened = false;
    least_open = std::min(
        least_open, seconds_of([&] { opened = opener.open(sealed.data(), bytes, plain.data()); }));
    if (!opened) return state.SkipWithError("a frame did not open with its own key");
  }
  state.counters["seal_gb_s"] = static_cast<double>(bytes) / least_close / 1e9;
  state.counters["open_gb_s"] = static_cast<double>(bytes) / least_open / 1e9;
}

void register_rows() {
  for (const size_t bytes : {8, 56, 1024, 4096, 16384, 65536}) {
    const std::string row =
        (bytes > tutti::transport::kInlineBytes ? "/staged/" : "/inline/") + std::to_string(bytes);
    benchmark::RegisterBenchmark(("alone" + row).c_str(), alone, bytes);
    benchmark::RegisterBenchmark(("handoff" + row).c_str(), handoff, bytes)->UseRealTime();
    benchmark::RegisterBenchmark(("flow" + row).c_str(), flow, bytes)->UseRealTime();
  }
  for (const size_t bytes : {64 << 10, 256 << 10})
    benchmark::RegisterBenchmark(("seal/" + std::to_string(bytes)).c_str(), seal, bytes);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  if (sodium_init() < 0) return 1;  // chooses what this processor can do
  register_rows();
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
