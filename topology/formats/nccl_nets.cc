// SPDX-License-Identifier: Apache-2.0
// Names, numbers and speeds of NIC ports.
#include "topology/formats/nccl_nets.h"

#include <string>
#include <string_view>

#include <spdlog/fmt/fmt.h>

namespace tutti::topology::nccl {
namespace {

// Above 10 Tbit/s it must be in kbit/s: files have been seen where a NIC's driver gave them so.
int64_t speed_of(Document& document, pugi::xml_node net) {
  constexpr int64_t kFastest = 10'000'000;
  const int64_t stated = document.integer_or(net, "speed", 0, INT32_MIN, INT64_MAX);
  if (stated > 0 && stated <= kFastest) return stated;
  if (stated <= 0) {
    document.note(net, fmt::format("{} states no speed: unknown (NCCL would take 10000 Mbit/s)",
                                   text_of(net, "name")));
    return kUnknown;
  }
  const bool kilobits = stated % 1000 == 0 && stated / 1000 <= kFastest;
  document.note(
      net, fmt::format("{} has a speed of {} Mbit/s, which no NIC has: {}", text_of(net, "name"),
                       stated, kilobits ? "taken as kbit/s" : "unknown"));
  return kilobits ? stated / 1000 : kUnknown;
}

}  // namespace

std::vector<pugi::xml_node> kept_nets(Document& document, pugi::xml_node nic) {
  std::vector<pugi::xml_node> kept;
  for (const pugi::xml_node net : nic.children()) {
    if (!is_named(net, "net"))
      document.note_left_out(net, "expected only net elements in a nic");
    else if (!net.attribute("dev"))
      document.note_left_out(net, fmt::format("{} has no dev", text_of(net, "name")));
    else if (std::string_view(net.attribute("net").value()) == "0")
      document.note_left_out(net,
                             fmt::format("{} is part of another device", text_of(net, "name")));
    else
      kept.push_back(net);
  }
  return kept;
}

// Verbs count ports from 1, network interfaces have port 0.
void read_net(Document& document, pugi::xml_node net, Attributes& attributes) {
  attributes.os_index = document.integer(net, "dev", 0, kMaxIndex);
  attributes.port = document.integer_or(net, "port", kUnknown, kUnknown, kMaxIndex);
  (attributes.port >= 1 ? attributes.verbs_device : attributes.device) = text_of(net, "name");
  const uint64_t guid = document.hex(net, "guid", UINT64_MAX).value_or(0);
  if (guid != 0) attributes.guid = fmt::format("0x{:016x}", guid);
  attributes.speed_mbit_s = speed_of(document, net);
  attributes.rail = document.integer_or(net, "rail", kUnknown, INT32_MIN, UINT32_MAX);
  if (attributes.rail < 0 || attributes.rail > kMaxIndex) attributes.rail = kUnknown;
}

}  // namespace tutti::topology::nccl
