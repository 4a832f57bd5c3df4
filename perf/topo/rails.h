// SPDX-License-Identifier: Apache-2.0
// What of this machine networks would use as rails, and what not and why.
#pragma once

#include <string>
#include <vector>

namespace tutti::command {

struct Rail {
  std::string transport;  // "tcp"
  std::string text;       // "eth0 10.0.0.1/24, 25 Gb/s"; when unused: "docker0: why"
  bool used = true;
};

// By transport, in the order in which peers are reached.
std::vector<Rail> rails_here();
// A table with a heading.
std::string rails_text(const std::string& host, const std::vector<Rail>& rails);

}  // namespace tutti::command
