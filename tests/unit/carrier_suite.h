// What every carrier of transport/network must do, run over a technology by instantiating
// CarrierSuite with the ways to make one.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "transport/network/carrier.h"
#include "transport/transport.h"

namespace tutti::transport {

struct CarrierMaker {
  std::string name;
  // Makes the carrier of `options.rank`.
  std::function<std::unique_ptr<network::Carrier>(const TransportOptions& options)> make;
  std::function<std::string()> skip = [] { return std::string(); };  // why it can't run here; ""
  bool breaks_both_ends = true;  // a broken path is noticed by the peer within seconds
};
inline void PrintTo(const CarrierMaker& maker, std::ostream* out) { *out << maker.name; }

class CarrierSuite : public testing::TestWithParam<CarrierMaker> {
 protected:
  void SetUp() override;
};

}  // namespace tutti::transport
