// SPDX-License-Identifier: Apache-2.0
// A profile's text: JSON, one measured curve per line.
//
// {"format": "tutti-profile-1",
//  "machine": {"cpu": "...", "cores": "0-1", "caches": "...", "pages": "..."},
//  "parameters": {"call_ns": 40, ..., "write_ns_per_byte": [L2, L3, memory], ...,
//                 "network": {"hop_ns": 15000, ...}},   (left out: by the transport)
//  "tunings": [{"ranks": 8, "cores": 2, "slot_bytes": 131072, "channels": 0}, ...],
//  "curves": [{"collective": "all_reduce", "algorithm": "ring", "ranks": 2, "cores": 2,
//              "bytes": [8, 32, ...], "ns": [95.5, 97.1, ...]}, ...]}
#include <bit>
#include <map>
#include <mutex>

#include "src/base/error.h"
#include "src/plan/json_node.h"
#include "src/planner/planner.h"
#include "src/planner/profile.h"

namespace tutti::planner {
namespace {

using nlohmann::json;
using plan::JsonNode;

constexpr const char* kFormat = "tutti-profile-1";
constexpr const char* kSubject = "profile";
constexpr int32_t kMaxRanks = 1 << 20;
constexpr uint64_t kMaxBytes = uint64_t{1} << 50;
constexpr double kMinNs = 1e-3;
constexpr double kMaxNs = 1e15;
constexpr double kMinNsPerByte = 1e-6;
constexpr double kMaxNsPerByte = 1e6;
constexpr size_t kMaxCurves = 1 << 16;
constexpr size_t kMaxPoints = 256;
constexpr uint32_t kMinSlotBytes = 64;
constexpr uint32_t kMaxSlotBytes = 64 << 20;

// ---- writing ----

std::string dumped(const json& value) {
  return value.dump(-1, ' ', true, json::error_handler_t::replace);
}

json machine_json(const Machine& machine) {
  return {{"cpu", machine.cpu},
          {"cores", machine.cores},
          {"caches", machine.caches},
          {"pages", machine.pages}};
}

json network_json(const NetworkParameters& network) {
  return {{"hop_ns", network.hop_ns},
          {"message_ns", network.message_ns},
          {"host_ns_per_byte", network.host_ns_per_byte},
          {"rank_ns_per_byte", network.rank_ns_per_byte}};
}

json parameters_json(const CostParameters& p) {
  json all = {{"l2_bytes", p.l2_bytes},
              {"l3_bytes", p.l3_bytes},
              {"call_ns", p.call_ns},
              {"hop_ns", p.hop_ns},
              {"message_ns", p.message_ns},
              {"switch_ns", p.switch_ns},
              {"write_ns_per_byte", p.write_ns_per_byte},
              {"read_ns_per_byte", p.read_ns_per_byte}};
  if (p.network.has_value()) all["network"] = network_json(*p.network);
  return all;
}

json tuning_json(const RankTuning& tuning) {
  return {{"ranks", tuning.n_ranks},
          {"cores", tuning.cores},
          {"slot_bytes", tuning.slot_bytes},
          {"channels", tuning.channels}};
}

json curve_json(const Curve& curve) {
  json bytes = json::array();
  json ns = json::array();
  for (const MeasuredPoint& point : curve.points) {
    bytes.push_back(point.bytes);
    ns.push_back(point.ns);
  }
  return {{"collective", plan::name(curve.collective)},
          {"algorithm", curve.algorithm},
          {"ranks", curve.n_ranks},
          {"cores", curve.cores},
          {"bytes", std::move(bytes)},
          {"ns", std::move(ns)}};
}

template <typename T>
std::string list_text(const std::vector<T>& items, json (*to_json)(const T&)) {
  std::string text = "[";
  for (size_t i = 0; i < items.size(); ++i)
    text += (i == 0 ? "\n  " : ",\n  ") + dumped(to_json(items[i]));
  return text + "]";
}

// ---- reading ----

int32_t count_from_1(const JsonNode& node, int32_t max) {
  const auto value = static_cast<int32_t>(node.integer(static_cast<uint64_t>(max)));
  if (value == 0) node.expected("at least 1");
  return value;
}

Machine read_machine(const JsonNode& node) {
  node.only({"cpu", "cores", "caches", "pages"});
  return {.cpu = node.member("cpu").text(),
          .cores = node.member("cores").text(),
          .caches = node.member("caches").text(),
          .pages = node.member("pages").text()};
}

ByWorkingSet read_rates(const JsonNode& node) {
  const std::vector<JsonNode> items = node.items();
  if (items.size() != kWorkingSets) node.expected("three numbers: in L2, in L3, in memory");
  ByWorkingSet rates{};
  for (size_t i = 0; i < kWorkingSets; ++i)
    rates[i] = items[i].number(kMinNsPerByte, kMaxNsPerByte);
  return rates;
}

std::optional<NetworkParameters> read_network(const JsonNode& parameters) {
  if (!parameters.has("network")) return std::nullopt;
  const JsonNode node = parameters.member("network");
  node.only({"hop_ns", "message_ns", "host_ns_per_byte", "rank_ns_per_byte"});
  const auto per_byte = [&](const char* key) {
    return node.member(key).number(kMinNsPerByte, kMaxNsPerByte);
  };
  return NetworkParameters{.hop_ns = node.member("hop_ns").number(kMinNs, kMaxNs),
                           .message_ns = node.member("message_ns").number(kMinNs, kMaxNs),
                           .host_ns_per_byte = per_byte("host_ns_per_byte"),
                           .rank_ns_per_byte = per_byte("rank_ns_per_byte")};
}

CostParameters read_parameters(const JsonNode& node) {
  node.only({"l2_bytes", "l3_bytes", "call_ns", "hop_ns", "message_ns", "switch_ns",
             "write_ns_per_byte", "read_ns_per_byte", "network"});
  const auto ns = [&](const char* key) { return node.member(key).number(kMinNs, kMaxNs); };
  const auto bytes = [&](const char* key) {
    return node.member(key).number(1, static_cast<double>(kMaxBytes));
  };
  return {.l2_bytes = bytes("l2_bytes"),
          .l3_bytes = bytes("l3_bytes"),
          .call_ns = ns("call_ns"),
          .hop_ns = ns("hop_ns"),
          .message_ns = ns("message_ns"),
          .switch_ns = ns("switch_ns"),
          .write_ns_per_byte = read_rates(node.member("write_ns_per_byte")),
          .read_ns_per_byte = read_rates(node.member("read_ns_per_byte")),
          .network = read_network(node)};
}

RankTuning read_tuning(const JsonNode& node) {
  node.only({"ranks", "cores", "slot_bytes", "channels"});
  RankTuning tuning{.n_ranks = count_from_1(node.member("ranks"), kMaxRanks),
                    .cores = count_from_1(node.member("cores"), kMaxRanks),
                    .slot_bytes = node.member("slot_bytes").index(),
                    .channels = static_cast<uint32_t>(
                        node.member("channels").integer(static_cast<uint64_t>(kMaxChannels)))};
  const uint32_t slot = tuning.slot_bytes;
  if (slot != 0 && (!std::has_single_bit(slot) || slot < kMinSlotBytes || slot > kMaxSlotBytes))
    node.member("slot_bytes").expected("0 or a power of two from 64 to 64 MiB");
  return tuning;
}

plan::Collective read_collective(const JsonNode& node) {
  try {
    return plan::collective_from_name(node.text());
  } catch (const Error& error) {
    node.fail(error.what());
  }
}

std::vector<MeasuredPoint> read_points(const JsonNode& node) {
  const std::vector<JsonNode> bytes = node.member("bytes").items();
  const std::vector<JsonNode> ns = node.member("ns").items();
  if (bytes.empty() || bytes.size() > kMaxPoints) node.member("bytes").expected("1 to 256 sizes");
  if (ns.size() != bytes.size()) node.member("ns").expected("as many times as there are sizes");
  std::vector<MeasuredPoint> points;
  for (size_t i = 0; i < bytes.size(); ++i) {
    points.push_back({bytes[i].integer(kMaxBytes), ns[i].number(kMinNs, kMaxNs)});
    if (i > 0 && points[i].bytes <= points[i - 1].bytes) bytes[i].expected("a larger size");
  }
  return points;
}

// Algorithms that this library doesn't know stay: another version has measured them.
Curve read_curve(const JsonNode& node) {
  node.only({"collective", "algorithm", "ranks", "cores", "bytes", "ns"});
  return {.collective = read_collective(node.member("collective")),
          .algorithm = node.member("algorithm").text(),
          .n_ranks = count_from_1(node.member("ranks"), kMaxRanks),
          .cores = count_from_1(node.member("cores"), kMaxRanks),
          .points = read_points(node)};
}

}  // namespace

std::string to_json(const Profile& profile) {
  return std::string("{\"format\": \"") + kFormat +
         "\",\n \"machine\": " + dumped(machine_json(profile.machine)) +
         ",\n \"parameters\": " + dumped(parameters_json(profile.parameters)) +
         ",\n \"tunings\": " + list_text(profile.tunings, tuning_json) +
         ",\n \"curves\": " + list_text(profile.curves, curve_json) + "}\n";
}

Profile profile_from_json(std::string_view text) {
  const json document = plan::parse_json(kSubject, text);
  const JsonNode root(kSubject, document);
  if (root.member("format").text() != kFormat)
    root.member("format").expected(std::string("\"") + kFormat + "\"");
  root.only({"format", "machine", "parameters", "tunings", "curves"});
  Profile profile{.machine = read_machine(root.member("machine")),
                  .parameters = read_parameters(root.member("parameters"))};
  for (const JsonNode& node : root.member("tunings").items())
    profile.tunings.push_back(read_tuning(node));
  const std::vector<JsonNode> curves = root.member("curves").items();
  if (curves.size() > kMaxCurves) root.member("curves").expected("at most 65536 curves");
  for (const JsonNode& node : curves) profile.curves.push_back(read_curve(node));
  return profile;
}

// The cache is never destroyed: threads of the library may outlive static destruction. It keeps
// what is in use, so that a program that rewrites its profile doesn't collect them all.
std::shared_ptr<const Profile> shared_profile(const std::string& text) {
  static auto* const mutex = new std::mutex;  // guards cache
  static auto* const cache = new std::map<std::string, std::weak_ptr<const Profile>>;
  const std::lock_guard lock(*mutex);
  std::erase_if(*cache, [](const auto& entry) { return entry.second.expired(); });
  auto& known = (*cache)[text];
  auto profile = known.lock();
  if (profile == nullptr) {
    profile = std::make_shared<const Profile>(profile_from_json(text));
    known = profile;
  }
  return profile;
}

}  // namespace tutti::planner
