// SPDX-License-Identifier: Apache-2.0
// One function per kind of label set; a metric is written for all communicators in one go, as the
// format demands.
#include "src/trace/prometheus.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "src/trace/kinds.h"

namespace tutti::trace {
namespace {

constexpr std::string_view kProtocolNames[kProtocols] = {"inline", "staged", "mapped", "pulled"};
constexpr double kNsPerSecondWide = 1e9;

// A label's value. Names come from users: what is not plain text becomes '?'.
std::string quoted(std::string_view value) {
  std::string text = "\"";
  for (const char c : value) {
    const bool plain = c >= 0x20 && c < 0x7f;
    if (c == '"' || c == '\\') text += '\\';
    text += plain ? c : '?';
  }
  return text + "\"";
}

class Text {
 public:
  explicit Text(std::span<const Counters> all) : all_(all) {}
  std::string take() { return std::move(text_); }

  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    fmt::format_to(std::back_inserter(text_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name,
                   type);
  }
  // `labels`: further ones, each with a comma before it.
  template <typename Value>
  void sample(const Counters& of, std::string_view labels, Value value) {
    fmt::format_to(std::back_inserter(text_), "{}{{comm=\"{:x}\",rank=\"{}\"{}}} {}\n", name_,
                   of.comm_id, of.rank, labels, value);
  }

  void info();
  template <typename Read>
  void per_comm(Read read) {
    for (const Counters& c : all_) sample(c, "", read(c));
  }
  void per_call(uint64_t CallTotals::*value);
  template <typename Read>
  void per_peer(Read read) {
    for (const Counters& c : all_) {
      for (const PeerCounters& p : c.peers) {
        sample(c, fmt::format(",peer=\"{}\"", p.peer), read(p));
      }
    }
  }
  using ByProtocol = std::array<uint64_t, kProtocols>;
  void per_protocol(ByProtocol PeerCounters::*sent, ByProtocol PeerCounters::*received);

 private:
  std::span<const Counters> all_;
  std::string text_;
  std::string_view name_;
};

void Text::info() {
  for (const Counters& c : all_) {
    sample(
        c,
        fmt::format(",ranks=\"{}\",name={},job={},host={},program={},pid=\"{}\"", c.n_ranks,
                    quoted(c.comm_name), quoted(c.job), quoted(c.host), quoted(c.program), c.pid),
        1);
  }
}

void Text::per_call(uint64_t CallTotals::*value) {
  for (const Counters& c : all_) {
    for (size_t kind = 0; kind < kCallKinds; ++kind) {
      if (c.calls[kind].begun == 0) continue;
      sample(c, fmt::format(",collective=\"{}\"", kind_name(static_cast<uint8_t>(kind))),
             c.calls[kind].*value);
    }
  }
}

void Text::per_protocol(ByProtocol PeerCounters::*sent, ByProtocol PeerCounters::*received) {
  for (const Counters& c : all_) {
    for (const PeerCounters& p : c.peers) {
      for (size_t i = 0; i < kProtocols; ++i) {
        const auto labels = [&](const char* direction) {
          return fmt::format(",peer=\"{}\",transport={},protocol=\"{}\",direction=\"{}\"", p.peer,
                             quoted(p.transport), kProtocolNames[i], direction);
        };
        if ((p.*sent)[i] != 0) sample(c, labels("sent"), (p.*sent)[i]);
        if ((p.*received)[i] != 0) sample(c, labels("received"), (p.*received)[i]);
      }
    }
  }
}

void write_calls(Text& text) {
  text.family("tutti_operations_total", "counter", "Calls that this rank has begun.");
  text.per_call(&CallTotals::begun);
  text.family("tutti_operation_bytes_total", "counter",
              "Bytes of those calls, as bandwidth tests count them.");
  text.per_call(&CallTotals::bytes);
  text.family("tutti_operation_failures_total", "counter", "Calls that have failed.");
  text.per_call(&CallTotals::failed);
}

void write_peers(Text& text) {
  text.family("tutti_messages_total", "counter", "Messages exchanged with a peer.");
  text.per_protocol(&PeerCounters::sent_messages, &PeerCounters::received_messages);
  text.family("tutti_message_bytes_total", "counter", "Payload bytes of those messages.");
  text.per_protocol(&PeerCounters::sent_bytes, &PeerCounters::received_bytes);
  text.family("tutti_send_retries_total", "counter",
              "Messages to a peer that found no free line or slot at first.");
  text.per_peer([](const PeerCounters& p) { return p.retries; });
  text.family(
      "tutti_direct_fallbacks_total", "counter",
      "Large messages to a peer that were copied, since no reference to them was possible.");
  text.per_peer([](const PeerCounters& p) { return p.fallbacks; });
  text.family("tutti_waits_total", "counter",
              "Times that this rank has waited a millisecond or more for a peer.");
  text.per_peer([](const PeerCounters& p) { return p.waits; });
  text.family("tutti_wait_seconds_total", "counter", "Duration of those waits.");
  text.per_peer(
      [](const PeerCounters& p) { return static_cast<double>(p.waited_ns) / kNsPerSecondWide; });
}

}  // namespace

std::string prometheus_text(std::span<const Counters> all) {
  Text text(all);
  text.family("tutti_communicator_info", "gauge", "What the labels comm and rank stand for.");
  text.info();
  text.family("tutti_communicator_failed", "gauge", "1 when the communicator has failed.");
  text.per_comm([](const Counters& c) { return c.state == CommState::kFailed ? 1 : 0; });
  text.family("tutti_memory_bytes", "gauge", "Memory that the communicator holds.");
  text.per_comm([](const Counters& c) { return c.memory_bytes; });
  text.family("tutti_memory_peak_bytes", "gauge", "The most that it has held.");
  text.per_comm([](const Counters& c) { return c.memory_peak_bytes; });
  write_calls(text);
  write_peers(text);
  return text.take();
}

}  // namespace tutti::trace
