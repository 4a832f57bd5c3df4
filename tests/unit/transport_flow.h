// SPDX-License-Identifier: Apache-2.0
// The messages of one connection between two ranks of a FakeNet, sent and checked step by step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/transport_fake.h"

namespace tutti::transport::testing {

// Every kind and size, drawn from a seed. The receiver keeps messages for a while and looks at
// their bytes when it gets them and before it releases them, so what arrives late into a slot that
// is used again is seen; the memory of a reference is freed as soon as it has been released.
class Flow {
 public:
  struct Options {
    uint64_t messages = 10;
    FifoLayout layout{.n_lines = 8, .n_areas = 2, .area_bytes = 256};
    uint32_t seed = 1;
    int channel = 0;
    bool only_staged = false;
  };
  Flow(FakeRank& from, FakeRank& to, const Options& options);

  // Each does one thing, if it can be done now; true when it did.
  bool send_one();
  bool take_one();     // sees the next message that it has not seen
  bool release_one();  // of those that it has seen
  // Everything has been sent, taken, released, and the sender knows.
  bool done();
  uint64_t sent() const { return sent_; }
  uint64_t taken() const { return taken_; }
  uint64_t released() const { return receive_view_.consumed; }
  // What was wrong; "" when nothing.
  const std::string& wrong() const { return wrong_; }
  std::string where() const;

  SendView& send_view() { return send_view_; }
  RecvView& receive_view() { return receive_view_; }
  bool accepted() { return try_accept(); }
  network::SendStream& sender() { return *sender_; }

 private:
  struct Message {
    MessageKind kind;
    size_t bytes;
  };
  bool try_accept();
  const std::byte* bytes_of(uint64_t k);
  void check(uint64_t k, const char* when);
  void free_released();
  uint64_t key(uint64_t k) const { return options_.seed * uint64_t{1'000'003} + k; }

  FakeRank& from_;
  FakeRank& to_;
  const Options options_;
  std::vector<Message> messages_;
  std::shared_ptr<network::SendStream> sender_;    // shared with its session
  std::shared_ptr<network::RecvStream> receiver_;  // as above
  SendView send_view_;
  RecvView receive_view_;
  std::vector<std::vector<std::byte>> referenced_;  // by message
  uint64_t sent_ = 0;
  uint64_t taken_ = 0;
  uint64_t freed_ = 0;
  std::string wrong_;
};

}  // namespace tutti::transport::testing
