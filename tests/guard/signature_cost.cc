// SPDX-License-Identifier: Apache-2.0
// What noticing mismatches costs on the inline path, by itself: 8-byte messages between two ranks
// through the FIFO of transport/fifo.h, with the signature of the library and without any. To be
// run under valgrind (signature_cost_test.py).
//
//   signature_cost signed|unsigned CALLS    prints where the FIFO lies: BASE BYTES
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>
#include <type_traits>

#include "src/comm/selection.h"
#include "src/exec/message.h"
#include "transport/fifo.h"

namespace {

using tutti::transport::MessageKind;
using tutti::transport::Peeked;
using tutti::transport::RecvView;
using tutti::transport::SendView;

volatile size_t message_bytes = 8;  // not known to the compiler, as in the executor
constexpr tutti::transport::FifoLayout kLayout{.n_lines = 64, .n_areas = 1, .area_bytes = 64};

// What a communicator keeps of its calls, and of this call (comm::Collectives).
struct Calls {
  uint32_t history = 0;
  uint32_t digest = tutti::transport::to_signature(0x12345678);  // of the call's facts, remembered
};

// As the library does it: the call enters the history, whose digest every message carries, mixed
// with its length.
struct Signed {
  static uint32_t of_call(Calls& calls) {
    return calls.history = tutti::comm::extended(calls.history, calls.digest);
  }
  static uint32_t of_message(uint32_t call, size_t bytes) {
    return tutti::exec::message_signature(call, bytes);
  }
};
// The header is the sequence and the kind.
struct Unsigned {
  static uint32_t of_message(uint32_t, size_t) { return 0; }
};

// Apart, as the executor's functions are, so that the signature has to be handed over. Like those
// they need the number of bytes for themselves: to count them, and to check messages that say it.
template <class Policy>
[[gnu::noinline]] void send(SendView& view, uint32_t call, size_t bytes, uint64_t* counter) {
  std::memcpy(view.line().inline_bytes, counter, sizeof *counter);
  *counter += bytes;
  view.commit(Policy::of_message(call, bytes), MessageKind::kInline);
}

template <class Policy>
[[gnu::noinline]] bool receive(RecvView& view, uint32_t call, size_t bytes, uint64_t* payload) {
  MessageKind kind;
  if (view.peek(Policy::of_message(call, bytes), &kind) != Peeked::kMessage) return false;
  if (kind != MessageKind::kInline && view.line().staged.bytes != bytes) return false;
  std::memcpy(payload, view.line().inline_bytes, sizeof *payload);
  view.release();
  return true;
}

struct Rank {
  SendView to_peer;
  RecvView from_peer;
  Calls calls;
  uint32_t signature = 0;  // as in exec::Launch
  size_t bytes = 0;
  uint64_t sent = 0;  // bytes
};

template <class Policy>
[[gnu::noinline]] void begin(Rank& rank) {
  rank.bytes = message_bytes;
  if constexpr (std::is_same_v<Policy, Signed>) rank.signature = Policy::of_call(rank.calls);
}

// Both ranks by one thread: each sends, then each receives.
template <class Policy>
uint64_t exchange(Rank (&ranks)[2], int calls) {
  uint64_t sum = 0;
  for (int call = 0; call < calls; ++call) {
    for (Rank& rank : ranks) {
      begin<Policy>(rank);
      send<Policy>(rank.to_peer, rank.signature, rank.bytes, &rank.sent);
    }
    for (Rank& rank : ranks) {
      uint64_t payload = 0;
      if (!receive<Policy>(rank.from_peer, rank.signature, rank.bytes, &payload)) std::abort();
      sum += payload;
    }
  }
  return sum;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const size_t bytes = kLayout.total_bytes();
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(4096, 2 * bytes));
  std::memset(memory, 0, 2 * bytes);
  Rank ranks[2];
  for (const int rank : {0, 1}) {
    ranks[rank].to_peer.attach(memory + static_cast<size_t>(rank) * bytes, kLayout, nullptr);
    ranks[1 - rank].from_peer.attach(memory + static_cast<size_t>(rank) * bytes, kLayout, nullptr);
  }
  std::printf("%llx %zx\n", static_cast<unsigned long long>(reinterpret_cast<uintptr_t>(memory)),
              2 * bytes);
  std::fflush(stdout);
  const int calls = std::atoi(argv[2]);
  const bool is_signed = std::string_view(argv[1]) == "signed";
  const uint64_t sum =
      is_signed ? exchange<Signed>(ranks, calls) : exchange<Unsigned>(ranks, calls);
  std::free(memory);
  // Every message carries what its sender had sent before, from both ranks.
  const auto n = static_cast<uint64_t>(calls);
  return sum == n * (n - 1) * message_bytes ? 0 : 1;
}
