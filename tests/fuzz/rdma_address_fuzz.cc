// SPDX-License-Identifier: Apache-2.0
// What peers of the rdma transport say before queue pairs are connected: addresses, and the facts
// of a queue pair.
#include <cstring>

#include "tests/fuzz/fuzz.h"
#include "transport/rdma/address.h"

namespace tutti::fuzz {
namespace {

using namespace transport::rdma;  // NOLINT(google-build-using-namespace): its test

CarrierAddress some_address() {
  CarrierAddress address{.queue_pairs = 2};
  address.listeners = {SocketAddress::parse("10.0.0.1:1234"), SocketAddress::parse("[2001::1]:77")};
  address.rails.push_back({.device = "mlx5_0", .port = 1, .fabric = Fabric::kRoce, .lid = 3});
  address.rails.push_back({.device = "siw0", .port = 1, .fabric = Fabric::kIwarp, .cm_port = 9});
  return address;
}

}  // namespace

void run(std::string_view input) {
  CarrierAddress address;
  std::string why;
  if (decode(as_bytes(input), &address, &why)) {
    const auto again = encode(address);
    require(again.size() == input.size(), "what is accepted is as long as what would be written");
    CarrierAddress same;
    require(decode(again, &same, &why), "what is written is accepted");
    require(encode(same) == again, "encode and decode are inverse");
    const auto pairs = pair_rails(address.rails, same.rails);
    require(pairs.size() == address.rails.size(), "every rail is paired with itself or its like");
    require(by_nearness(address.listeners, same.listeners).size() == address.listeners.size(),
            "no listener is lost");
  } else {
    require(!why.empty(), "a refusal says why");
  }
  QueuePairFacts facts;
  std::memcpy(&facts, input.data(), std::min(input.size(), sizeof facts));
  why.clear();
  if (plausible(facts, &why)) {
    require(facts.peer_rail < kMaxRails && facts.receive_bytes > 64, "facts are within bounds");
  }
}

std::vector<std::string> seeds() {
  QueuePairFacts facts;
  facts.mtu = 5;
  facts.receives = 64;
  facts.receive_bytes = 4096;
  return {std::string(as_text(encode(some_address()))),
          std::string(as_text(std::as_bytes(std::span(&facts, 1))))};
}

}  // namespace tutti::fuzz
