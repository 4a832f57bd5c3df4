// SPDX-License-Identifier: Apache-2.0
// One end goes before the other.
#include "tests/conformance/transport_cases.h"

namespace tutti::transport::testing {
namespace {

TEST_P(TransportConformance, SenderGone_MessagesNotAccepted_StillReadable) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1);
      self.wait_ready(*connection);
      for (uint64_t i = 0; i < 3; ++i) send_word(*connection, i);
      self.transport.reset();
      connection.reset();
      self.exchange.barrier();
    } else {
      self.exchange.barrier();
      auto connection = self.accept(0);
      for (uint64_t i = 0; i < 3; ++i) EXPECT_EQ(receive_word(self, *connection), i);
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, ReceiverAcceptsAndGoes_SenderLooksLater_Ready) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1, kSmall);
      self.exchange.barrier();
      self.wait_ready(*connection);  // a rank that needs nothing of what follows may have left
      send_word(*connection, 1);
      self.exchange.barrier();
    } else {
      auto connection = self.accept(0);
      connection.reset();
      self.transport.reset();
      self.exchange.barrier();
      self.exchange.barrier();
    }
  });
}

TEST_P(TransportConformance, ReceiverGone_SenderGoesOn_UntilCreditsEnd) {
  run(2, [](Rank& self) {
    self.join();
    if (self.rank == 0) {
      auto connection = self.connect(1, kSmall);
      self.wait_ready(*connection);
      self.exchange.barrier();
      self.exchange.barrier();
      uint32_t sent = 0;
      for (; connection->view.line_free(); ++sent) send_word(*connection, sent);
      EXPECT_EQ(sent, kSmall.n_lines);
      self.transport.reset();
    } else {
      auto connection = self.accept(0);
      self.exchange.barrier();
      self.transport.reset();
      connection.reset();
      self.exchange.barrier();
    }
    self.exchange.barrier();
  });
}

TEST_P(TransportConformance, Destruction_AnyOrderInTheMiddle_NoCrashNoCharge) {
  run(3, [](Rank& self) {
    for (uint64_t round = 0; round < 12; ++round) {
      self.join(100 + round);
      auto send = self.connect((self.rank + 1) % 3, kSmall);
      self.exchange.barrier();  // a rank that is gone can't be connected to
      std::unique_ptr<RecvConnection> receive;
      if ((round + static_cast<uint64_t>(self.rank)) % 3 != 0)
        receive = self.accept((self.rank + 2) % 3);
      bool ready = false;
      if (send->ready(&ready).ok() && ready) send_word(*send, round);
      switch ((round + static_cast<uint64_t>(self.rank)) % 4) {
        case 0:
          self.transport.reset();
          break;
        case 1:
          send.reset();
          break;
        case 2:
          receive.reset();
          break;
        default:
          break;
      }
      send.reset();
      receive.reset();
      self.transport.reset();
      EXPECT_EQ(self.budget.used_bytes(), 0U);
      self.exchange.barrier();
    }
  });
}

}  // namespace
}  // namespace tutti::transport::testing
