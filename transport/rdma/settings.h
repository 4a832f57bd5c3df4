// SPDX-License-Identifier: Apache-2.0
// Decisions of the rdma transport that need no device: which devices are meant, which GID is used,
// how fast a port is, which ports of two ranks belong together.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tutti::transport::rdma {

using Gid = std::array<std::byte, 16>;

// The system's words for an errno, or its number when it is none.
std::string error_text(int error_number);

// "10.0.0.1" for ::ffff:10.0.0.1, else "fe80:0000:...".
std::string to_string(const Gid& gid);
bool is_ipv4_mapped(const Gid& gid) noexcept;

// TUTTI_RDMA_DEVICES: items separated by commas, each the beginning of a device's name, or the
// whole name behind =, with ":port" for one port; ^ in front of the list excludes what matches.
class DeviceFilter {
 public:
  explicit DeviceFilter(std::string_view text);  // throws InvalidArgument
  bool wants(std::string_view device, int port) const noexcept;

 private:
  struct Item {
    std::string name;  // or its beginning
    bool whole;
    int port;  // 0: any
  };
  bool exclude_ = false;
  std::vector<Item> items_;
};

enum class GidType : uint8_t { kInfiniBand, kRoceV1, kRoceV2 };

struct GidEntry {
  int index = 0;
  Gid gid{};
  GidType type = GidType::kInfiniBand;
};

// The entry to use on a port, null when none fits (*why says what was looked for and what there
// is). `wanted` < 0: on Ethernet RoCE v2 with an IPv4 address, else with a global IPv6 address,
// else with a link-local one; on InfiniBand the first.
const GidEntry* choose_gid(std::span<const GidEntry> table, bool ethernet, int wanted,
                           std::string* why);

// Of a port, from verbs' codes of width (1, 2, 4, 8, 12 lanes) and speed; 0 when not known.
double gbits_per_second(unsigned active_width, unsigned active_speed) noexcept;

// What kind of wire a port has: only ports of one kind can be connected.
enum class Fabric : uint8_t { kInfiniBand = 1, kRoce = 2, kIwarp = 3 };
std::string_view to_string(Fabric fabric) noexcept;

// A port as peers see it.
struct RailAddress {
  std::string device;  // "mlx5_0", at most kMaxDeviceName bytes
  uint8_t port = 1;
  Fabric fabric = Fabric::kRoce;
  Gid gid{};  // of iWARP: the address to connect to, as a mapped one
  uint16_t lid = 0;
  uint32_t megabits = 0;  // per second
  uint16_t cm_port = 0;   // where rdma_cm listens; 0: queue pairs are connected by hand
};
inline constexpr size_t kMaxDeviceName = 63;
inline constexpr size_t kMaxRails = 12;  // as many keys as fit into a MemoryKey

// Can queue pairs on these two reach each other, as far as the addresses tell?
bool same_fabric(const RailAddress& mine, const RailAddress& theirs) noexcept;

struct RailPair {
  int mine = 0, theirs = 0;
  bool operator==(const RailPair&) const = default;
};
// Which rails of two ranks are connected: each at most once, those with the longest common
// beginning of their GIDs first (one subnet), then those of the same name and port, then those at
// the same place in both lists. As many whichever end asks.
std::vector<RailPair> pair_rails(std::span<const RailAddress> mine,
                                 std::span<const RailAddress> theirs);

}  // namespace tutti::transport::rdma
