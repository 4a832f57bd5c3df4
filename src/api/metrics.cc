// SPDX-License-Identifier: Apache-2.0
// What has been counted, in the C API.
#include "src/trace/metrics.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/base/config.h"
#include "src/trace/kinds.h"

namespace tutti::api {
namespace {

comm::Communicator& comm_of(tuttiComm_t comm) {
  return Handles<tuttiComm>::find(comm, "comm").ready();
}

template <size_t N>
void put_text(char (&into)[N], std::string_view text) {
  const size_t size = std::min(N - 1, text.size());
  std::memcpy(into, text.data(), size);
  into[size] = '\0';
}

void add_peer(const trace::PeerCounters& peer, tuttiCommStats_t* into) {
  for (size_t i = 0; i < kProtocols; ++i) {
    into->messages[i] += peer.sent_messages[i];
    into->bytes[i] += peer.sent_bytes[i];
  }
  into->retries += peer.retries;
  into->fallbacks += peer.fallbacks;
  into->waits += peer.waits;
  into->waitedNanoseconds += peer.waited_ns;
}

tuttiCommStats_t stats_of(comm::Communicator& comm) {
  tuttiCommStats_t whole = TUTTI_COMM_STATS_INITIALIZER;
  const comm::Stats& from = comm.stats();
  const trace::Counters counted = comm.recorder().counters();
  whole.operations = from.operations();
  for (const trace::CallTotals& calls : counted.calls) whole.failures += calls.failed;
  for (const trace::PeerCounters& peer : counted.peers) add_peer(peer, &whole);
  whole.memoryBytes = counted.memory_bytes;
  whole.memoryPeakBytes = counted.memory_peak_bytes;
  put_text(whole.lastAlgorithm, from.algorithm());
  put_text(whole.lastProtocol, from.protocol());
  put_text(whole.transports, comm.path().links.transports_in_use());
  return whole;
}

tuttiPeerStats_t stats_of(const trace::PeerCounters& peer) {
  tuttiPeerStats_t whole = TUTTI_PEER_STATS_INITIALIZER;
  std::ranges::copy(peer.sent_messages, whole.sentMessages);
  std::ranges::copy(peer.sent_bytes, whole.sentBytes);
  std::ranges::copy(peer.received_messages, whole.receivedMessages);
  std::ranges::copy(peer.received_bytes, whole.receivedBytes);
  whole.retries = peer.retries;
  whole.fallbacks = peer.fallbacks;
  whole.waits = peer.waits;
  whole.waitedNanoseconds = peer.waited_ns;
  put_text(whole.transport, peer.transport);
  return whole;
}

uint8_t kind_of(const char* call) {
  const int kind = trace::kind_of_name(call);
  if (kind >= 0) return static_cast<uint8_t>(kind);
  std::vector<std::string_view> known;
  for (size_t i = 0; i < trace::kCallKinds; ++i) {
    const std::string_view name = trace::kind_name(static_cast<uint8_t>(i));
    if (name != "?") known.push_back(name);
  }
  refuse("call is '" + std::string(call) + "'; known are " + known_names(call, known));
}

void write_metrics(char* buffer, size_t capacity, size_t* needed) {
  const std::string text = trace::metrics_text();
  const size_t bytes = text.size() + 1;
  if (needed != nullptr) *needed = bytes;
  if (buffer == nullptr) return;
  if (capacity < bytes) {
    refuse("buffer has " + std::to_string(capacity) + " bytes, the text takes " +
           std::to_string(bytes));
  }
  std::memcpy(buffer, text.c_str(), bytes);
}

}  // namespace
}  // namespace tutti::api

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace

tuttiResult_t tuttiCommGetStats(tuttiComm_t comm, tuttiCommStats_t* stats) {
  return guard("tuttiCommGetStats", [&] {
    require_size(stats, "TUTTI_COMM_STATS_INITIALIZER");
    hand_out(stats_of(comm_of(comm)), stats);
  });
}

tuttiResult_t tuttiCommGetPeerStats(tuttiComm_t comm, int peer, tuttiPeerStats_t* stats) {
  return guard("tuttiCommGetPeerStats", [&] {
    require_size(stats, "TUTTI_PEER_STATS_INITIALIZER");
    tutti::comm::Communicator& c = comm_of(comm);
    require_rank(peer, c.n_ranks(), "peer");
    hand_out(stats_of(c.recorder().counters_of(peer)), stats);
  });
}

tuttiResult_t tuttiCommGetCallStats(tuttiComm_t comm, const char* call, tuttiCallStats_t* stats) {
  return guard("tuttiCommGetCallStats", [&] {
    require(call, "call");
    require_size(stats, "TUTTI_CALL_STATS_INITIALIZER");
    const tutti::trace::CallTotals totals = comm_of(comm).recorder().calls_of(kind_of(call));
    hand_out(tuttiCallStats_t{0, totals.begun, totals.bytes, totals.failed}, stats);
  });
}

tuttiResult_t tuttiMetricsText(char* buffer, size_t capacity, size_t* needed) {
  return guard("tuttiMetricsText", [&] { write_metrics(buffer, capacity, needed); });
}
