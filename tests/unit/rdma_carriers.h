// Two verbs carriers in one thread, and sinks that check and keep what arrives.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "src/base/clock.h"
#include "src/base/config.h"
#include "src/base/error.h"
#include "transport/network/carrier.h"
#include "transport/rdma/rdma.h"

namespace tutti::transport::rdma {

// What a path has brought; also places payloads.
struct Arrived {
  network::FrameHeader header;
  std::vector<std::byte> payload;
  bool placed_by_path = false;  // kPlaced: by the device, into exposed memory
};

class KeepingSink : public network::FrameSink {
 public:
  std::byte* place(const network::FrameHeader& header) noexcept override {
    placing_.assign(header.payload_bytes, std::byte{0xee});
    ++places;
    return throw_away ? nullptr : placing_.data();
  }
  void arrived(network::Path& path, const network::FrameHeader& header,
               const std::byte* payload) noexcept override {
    Arrived one{.header = header, .placed_by_path = (header.flags & network::kPlaced) != 0};
    if (payload != nullptr) one.payload.assign(payload, payload + header.payload_bytes);
    if (payload == nullptr && header.payload_bytes > 0 && !one.placed_by_path && !throw_away)
      one.payload = placing_;
    if (keep) frames.push_back(std::move(one));
    ++count;
    bytes += header.payload_bytes;
    if (on_arrival) on_arrival(path, header);
  }
  void sent(network::Path&, uint64_t token) noexcept override { ++sent_tokens[token]; }
  void broken(network::Path&, const std::string& text) noexcept override {
    ++breaks;
    why = text;
  }

  std::vector<Arrived> frames;
  std::map<uint64_t, int> sent_tokens;
  std::function<void(network::Path&, const network::FrameHeader&)> on_arrival;
  std::string why;
  int breaks = 0, places = 0;
  uint64_t count = 0, bytes = 0;
  bool keep = true, throw_away = false;

 private:
  std::vector<std::byte> placing_;
};

// One rank: a carrier, and the paths that peers have dialled.
struct End : network::PathAcceptor {
  End(int rank, const LocalConfig& config, uint8_t secret_seed = 1) {
    TransportOptions options{.comm_id = 5, .rank = rank, .n_ranks = 2, .config = &config};
    options.secret.fill(std::byte{secret_seed});
    carrier = make_carrier(options);
    carrier->listen(*this);
    peer = {.rank = rank, .address = carrier->address()};
  }
  ~End() override {
    paths.clear();
    carrier.reset();
  }
  network::FrameSink& stranger_sink() noexcept override { return sink; }
  void accepted(std::unique_ptr<network::Path> path) noexcept override {
    paths.push_back(std::move(path));
  }

  KeepingSink sink;
  std::unique_ptr<network::Carrier> carrier;
  std::vector<std::unique_ptr<network::Path>> paths;
  Peer peer;
};

// Skips, or fails in a guest of tests/vm, which has devices, when a carrier can't be made.
class CarrierTest : public testing::Test {
 protected:
  void SetUp() override {
    config = peer_config = config_from_environment().local;
    // In a guest of tests/vm each end is a host, with devices of its own.
    if (const auto devices = foreign_variable("TUTTI_VM_DEVICES_0")) {
      config.rdma.devices = comma_list(*devices);
      peer_config.rdma.devices = comma_list(foreign_variable("TUTTI_VM_DEVICES_1").value_or(""));
    }
    try {
      a = std::make_unique<End>(0, config);
      b = std::make_unique<End>(1, peer_config);
    } catch (const Error& e) {
      if (foreign_variable("TUTTI_VM_DEVICES_0")) FAIL() << e.what();
      GTEST_SKIP() << e.what();
    }
  }

  bool progress() {
    bool moved = false;
    for (End* const end : {a.get(), b.get()}) {
      if (end == nullptr) continue;
      EXPECT_TRUE(end->carrier->progress(&moved).ok());
    }
    return moved;
  }
  bool until(const std::function<bool()>& done, int64_t seconds = 20) {
    const Deadline deadline = Deadline::after_ns(seconds * kNsPerSecond);
    while (!done()) {
      if (deadline.expired()) return false;
      progress();
    }
    return true;
  }
  // Dials path `index` and sends a first frame, so that both ends are open.
  std::unique_ptr<network::Path> connect(int index = 0) {
    std::string why;
    auto path = a->carrier->dial(b->peer, index, a->sink, &why);
    EXPECT_NE(path, nullptr) << why;
    if (path == nullptr) return path;
    const uint64_t before = b->sink.count;
    send(*path, {.header = {.kind = network::FrameKind::kHello}});
    EXPECT_TRUE(until([&] { return b->sink.count > before; })) << a->sink.why << b->sink.why;
    return path;
  }
  void send(network::Path& path, const network::OutgoingFrame& frame) {
    EXPECT_TRUE(until([&] { return path.send(frame) || a->sink.breaks + b->sink.breaks > 0; }))
        << a->sink.why << b->sink.why;
  }

  static std::string comma_list(std::string words) {
    std::ranges::replace(words, ' ', ',');
    return words;
  }

  LocalConfig config, peer_config;
  std::unique_ptr<End> a, b;
};

inline std::vector<std::byte> pattern(size_t bytes, uint32_t seed) {
  std::vector<std::byte> data(bytes);
  uint32_t state = seed * 2654435761u + 1;
  for (std::byte& one : data) {
    state = state * 1664525u + 1013904223u;
    one = static_cast<std::byte>(state >> 24);
  }
  return data;
}

}  // namespace tutti::transport::rdma
