// SPDX-License-Identifier: Apache-2.0
// What every transport must do (transport_conformance_*.cc): the transports, each with ranks as
// threads and, unless it is confined to one process, with ranks as processes; and what the tests
// share. A new row of transport_table() gets all of it.
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "src/base/config.h"
#include "tests/unit/transport_world.h"

namespace tutti::transport::testing {

struct Case {
  const TransportRow* row;
  Mode mode;
};

class TransportConformance : public ::testing::TestWithParam<Case> {
 protected:
  void run(int n_ranks, const std::function<void(Rank&)>& body) {
    run_ranks(*GetParam().row, GetParam().mode, n_ranks, body);
  }
};

inline constexpr uint32_t kSignature = 0xabcdef10;
inline constexpr uint32_t kOtherSignature = kSignature + 4;
inline constexpr FifoLayout kSmall{.n_lines = 8, .n_areas = 2, .area_bytes = 1024};

// Its view, after it has been moved on.
inline SendView& moved(SendConnection& connection) {
  const Status status = connection.needs_progress ? connection.progress() : kOkStatus;
  EXPECT_TRUE(status.ok());
  return connection.view;
}

inline void send_word(SendConnection& connection, uint64_t word, uint32_t signature = kSignature) {
  std::memcpy(connection.view.line().inline_bytes, &word, sizeof word);
  connection.view.commit(signature, MessageKind::kInline);
  connection.nudge();
}

inline uint64_t receive_word(Rank& self, RecvConnection& connection) {
  EXPECT_EQ(self.wait_message(connection, kSignature), MessageKind::kInline);
  uint64_t word = 0;
  std::memcpy(&word, connection.view.line().inline_bytes, sizeof word);
  connection.view.release();
  connection.nudge();
  return word;
}

// A guest of tests/vm is slow: there, and only there, may a test ask for a share of the rounds.
inline uint64_t rounds(uint64_t usual) {
  const auto divisor = foreign_variable("TUTTI_TEST_ROUNDS_DIVISOR");
  return divisor && foreign_variable("TUTTI_VM")
             ? std::max<uint64_t>(usual / std::stoull(*divisor), 1)
             : usual;
}

}  // namespace tutti::transport::testing
