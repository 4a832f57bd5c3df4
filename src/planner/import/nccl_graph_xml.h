// SPDX-License-Identifier: Apache-2.0
// NCCL's graph XML as its file says it. Only src/planner/import uses it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::planner::nccl {

inline constexpr int32_t kNoRank = -1;

// A `gpu` or `net` element.
struct Device {
  uint64_t system = 0;  // the host's number, where several share an NVLink domain
  uint64_t dev = 0;     // of that host
  int32_t rank = kNoRank;
  size_t line = 0;
};

// GPUs in their order, and the NICs before and after them; the first NIC belongs to the first GPU.
struct Channel {
  std::vector<Device> gpus;
  std::vector<Device> nets;
  size_t line = 0;
};

inline constexpr int32_t kRingId = 0;
inline constexpr int32_t kTreeId = 1;

struct ChannelGraph {
  int32_t id = 0;
  int32_t pattern = 0;
  int32_t crossnic = 0;
  std::vector<Channel> channels;
  size_t line = 0;
};

// Throws InvalidArgument "FILE:LINE: <element> attribute: expected ..., got ...". Graphs of other
// ids than kRingId and kTreeId come without their channels.
std::vector<ChannelGraph> read_graphs(std::string_view text, std::string_view file);

[[noreturn]] void fail(std::string_view file, size_t line, const std::string& what);

}  // namespace tutti::planner::nccl
