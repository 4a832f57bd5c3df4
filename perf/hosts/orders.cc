// SPDX-License-Identifier: Apache-2.0
// AgentOrders as CBOR, which has byte strings.
#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "include/tutti/tutti.h"
#include "perf/hosts/agent.h"

namespace tutti::command {

using nlohmann::json;

namespace {

// Arguments, variables and names of folders are bytes, not text.
json to_json(const std::vector<std::string>& strings) {
  json list = json::array();
  for (const std::string& string : strings)
    list.push_back(json::binary_t({string.begin(), string.end()}));
  return list;
}

std::vector<std::string> to_strings(const json& list) {
  std::vector<std::string> strings;
  for (const json& entry : list) {
    const auto& bytes = entry.get_binary();
    strings.emplace_back(bytes.begin(), bytes.end());
  }
  return strings;
}

}  // namespace

std::string encode(const AgentOrders& orders) {
  const json value = {{"first_rank", orders.first_rank},
                      {"ranks", orders.ranks},
                      {"size", orders.size},
                      {"meets", orders.meets},
                      {"pinning", static_cast<int>(orders.pinning)},
                      {"port", orders.port},
                      {"strings", to_json({orders.folder, orders.interface_prefix})},
                      {"command", to_json(orders.command)},
                      {"variables", to_json(orders.variables)}};
  std::string bytes;
  json::to_cbor(value, bytes);
  return bytes;
}

AgentOrders decode_orders(const std::string& text) {
  const json value = json::from_cbor(text);
  const std::vector<std::string> strings = to_strings(value.at("strings"));
  return {.first_rank = value.at("first_rank"),
          .ranks = value.at("ranks"),
          .size = value.at("size"),
          .meets = value.at("meets"),
          .folder = strings.at(0),
          .pinning = static_cast<Pinning>(value.at("pinning").get<int>()),
          .interface_prefix = strings.at(1),
          .port = value.at("port"),
          .command = to_strings(value.at("command")),
          .variables = to_strings(value.at("variables"))};
}

std::string agent_version() {
  return fmt::format("{}.{}.{}", TUTTI_MAJOR, TUTTI_MINOR, TUTTI_PATCH);
}

}  // namespace tutti::command
