// SPDX-License-Identifier: Apache-2.0
// What makes two machines alike in speed: what measurements of one of them may be used on.
#pragma once

#include <string>

namespace tutti {

struct Machine {
  std::string cpu;     // "AMD EPYC", as the kernel names it
  std::string cores;   // those online, "0-1"
  std::string caches;  // of the first core, "L1 data 32K, L2 unified 512K"
  std::string pages;   // "page 4096, huge private madvise, huge shared never"
  bool operator==(const Machine&) const = default;
};
// This machine, looked at once; what can't be read is "unknown".
const Machine& this_machine();
// 16 hexadecimal digits.
std::string key_of(const Machine& machine);

}  // namespace tutti
