// SPDX-License-Identifier: Apache-2.0
// Every value made here is one that our variable accepts; what can't be said becomes a problem.
#include "src/api/nccl/translate.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <string_view>

#include "src/base/config.h"
#include "src/base/liveness.h"
#include "src/base/shared_library.h"
#include "transport/transport.h"

namespace tutti::nccl {
namespace {

Said nothing() { return {}; }

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

Said said(std::string value) { return {.value = std::move(value), .problem = ""}; }
Said unsayable(std::string problem) {
  return {.value = std::nullopt, .problem = std::move(problem)};
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

Said no_number(int64_t least, int64_t most) {
  return unsayable("it is no whole number from " + std::to_string(least) + " to " +
                   std::to_string(most) + ", and has no effect");
}

// Of a variable that is set: its number, when NCCL would take it. Outside of what ours takes it is
// brought into [least, most].
struct Limits {
  int64_t theirs_least, theirs_most;
  int64_t least, most;
};
Said number(const char* name, const Limits& limits) {
  const std::string text = variable(name);
  if (text.empty()) return nothing();
  const auto value = whole_number(text);
  if (!value.has_value() || *value < limits.theirs_least || *value > limits.theirs_most)
    return no_number(limits.theirs_least, limits.theirs_most);
  const int64_t fitting = std::clamp(*value, limits.least, limits.most);
  Said result = said(std::to_string(fitting));
  if (fitting != *value)
    result.problem = "brought to " + std::to_string(fitting) + ", the nearest that is allowed";
  return result;
}

// 0 where none of them says a positive number.
int64_t first_positive(std::initializer_list<const char*> names) {
  for (const char* const name : names) {
    if (const auto value = whole_number(variable(name)); value.has_value() && *value > 0)
      return *value;
  }
  return 0;
}

bool is_on(const char* name) {
  const auto value = whole_number(variable(name));
  return value.has_value() && *value != 0;
}

// Names of our transports with commas between them.
bool are_transports(std::string_view list) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const auto same = [&](const transport::TransportRow& row) {
      return row.name == list.substr(0, comma);
    };
    if (std::ranges::none_of(transport::transport_table(), same)) return false;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return true;
}

std::string without(std::string list, const std::string& name) {
  const size_t at = ("," + list + ",").find("," + name + ",");
  if (at == std::string::npos) return list;
  list.erase(at == 0 ? 0 : at - 1, name.size() + 1);
  return list;
}

// A list of beginnings of names. With NCCL a = in front makes all of them whole names, with ours
// each has its own.
Said names(const char* name) {
  std::string list = variable(name);
  if (list.empty()) return nothing();
  const size_t first = list.front() == '^' ? 1 : 0;
  if (list.size() > first && list[first] == '=') {
    for (size_t comma = list.find(','); comma != std::string::npos;
         comma = list.find(',', comma + 1))
      list.insert(comma + 1, "=");
  }
  return said(std::move(list));
}

Said plugin(const char* name) {
  const std::string value = variable(name);
  if (value.empty() || lower(value) == "none") return nothing();
  if (value.find(',') != std::string::npos)
    return unsayable("a list can't be tried; name one plugin. None is loaded");
  return said(value);
}

}  // namespace

std::string variable(const char* name) {
  const std::string value = foreign_variable(name).value_or("");
  const size_t first = value.find_first_not_of(" \t");
  if (first == std::string::npos) return "";
  return value.substr(first, value.find_last_not_of(" \t") - first + 1);
}

Said log_level() {
  const std::string level = lower(variable("NCCL_DEBUG"));
  if (level.empty() || level == "version") return nothing();
  if (level == "none") return said("off");
  if (level == "warn" || level == "attn") return said("warn");
  if (level == "info" || level == "abort") return said("info");
  if (level == "trace") return said("trace");
  return unsayable("allowed are NONE, VERSION, WARN, INFO, ABORT and TRACE; it has no effect");
}

Said log_file() {
  std::string file = variable("NCCL_DEBUG_FILE");
  if (file.empty() || lower(file) == "stderr") return nothing();
  if (lower(file) == "stdout") return said("/dev/stdout");
  const std::string host = host_name();
  for (size_t at = file.find("%h"); at != std::string::npos; at = file.find("%h", at + host.size()))
    file.replace(at, 2, host);
  return said(file);
}

Said interfaces() { return names("NCCL_SOCKET_IFNAME"); }

Said tcp_sockets() {
  const int64_t threads = first_positive({"NCCL_SOCKET_NTHREADS"});
  const int64_t each = first_positive({"NCCL_NSOCKS_PERTHREAD"});
  if (threads == 0 && each == 0) return nothing();
  constexpr int64_t kMost = 16;
  return said(std::to_string(std::min(
      std::clamp<int64_t>(threads, 1, kMost) * std::clamp<int64_t>(each, 1, kMost), kMost)));
}

Said rdma_devices() { return names("NCCL_IB_HCA"); }

Said gid_index() {
  if (variable("NCCL_IB_GID_INDEX") == "-1") return nothing();
  return number("NCCL_IB_GID_INDEX", {0, 255, 0, 255});
}

Said service_level() { return number("NCCL_IB_SL", {0, 15, 0, 15}); }
Said traffic_class() { return number("NCCL_IB_TC", {0, 255, 0, 255}); }
Said ib_timeout() { return number("NCCL_IB_TIMEOUT", {0, 31, 8, 20}); }
Said retry_count() { return number("NCCL_IB_RETRY_CNT", {0, 7, 0, 6}); }
Said queue_pairs() { return number("NCCL_IB_QPS_PER_CONNECTION", {1, 128, 1, 16}); }

Said algorithm() {
  const std::string name = lower(variable("NCCL_ALGO"));
  if (name.empty()) return nothing();
  if (name == "ring" || name == "tree" || name == "pat") return said(name);
  return unsayable(
      "only Ring, Tree or PAT alone have a counterpart (TUTTI_ALGO); the library chooses");
}

Said protocol() {
  const std::string name = lower(variable("NCCL_PROTO"));
  return name == "ll" || name == "ll128" ? said("inline") : nothing();
}

Said channels() {
  constexpr int64_t kMost = 64;
  const int64_t least = first_positive({"NCCL_MIN_CTAS", "NCCL_MIN_NCHANNELS"});
  const int64_t limit = first_positive({"NCCL_MAX_CTAS", "NCCL_MAX_NCHANNELS"});
  const int64_t most = limit == 0 ? kMost : std::min(limit, kMost);
  if (least == 0 && most != 1) return nothing();  // the library chooses
  return said(std::to_string(std::clamp<int64_t>(least, 1, most)));
}

std::string transports_of(const std::string& net) {
  const std::string name = lower(net);
  if (name == "socket") return "cuda_p2p,inproc,shm,tcp";
  if (name == "ib") return "cuda_p2p,inproc,shm,rdma";
  return are_transports(net) ? net : "cuda_p2p,inproc,shm,nccl_net";
}

Said transport() {
  const std::string net = variable("NCCL_NET");
  const bool no_shm = is_on("NCCL_SHM_DISABLE");
  const bool no_rdma = is_on("NCCL_IB_DISABLE");
  const bool no_p2p = is_on("NCCL_P2P_DISABLE");
  if (net.empty() && !no_shm && !no_rdma && !no_p2p) return nothing();
  const bool plugin_named = !foreign_variable("TUTTI_NET_PLUGIN").value_or("").empty();
  std::string list = !net.empty()   ? transports_of(net)
                     : plugin_named ? "cuda_p2p,inproc,shm,nccl_net,rdma,tcp"
                                    : "cuda_p2p,inproc,shm,rdma,tcp";
  if (no_p2p) list = without(list, "cuda_p2p");
  if (no_shm) list = without(list, "shm");
  if (no_rdma) list = without(list, "rdma");
  return said(list);
}

Said net_plugin() { return plugin("NCCL_NET_PLUGIN"); }
// NCCL goes on without one that is not there; with ours that is an error.
Said tuner_plugin() {
  Said named = plugin("NCCL_TUNER_PLUGIN");
  if (!named.value.has_value()) return named;
  std::string reason;
  for (const std::string& file : plugin_files(*named.value, "libnccl-tuner")) {
    const SharedLibrary library(file, SharedLibrary::Unload::kNever);
    if (library.is_open()) return named;
    reason = library.reason();
  }
  return unsayable("no tuner plugin is used: " + reason);
}

Said slot_bytes() {
  const int64_t bytes = first_positive({"NCCL_BUFFSIZE"});
  if (bytes == 0) return nothing();
  constexpr uint64_t kSlots = 8;
  constexpr uint64_t kLeast = 64;
  constexpr uint64_t kMost = uint64_t{64} << 20;
  const uint64_t slot = std::clamp(static_cast<uint64_t>(bytes) / kSlots, kLeast, kMost);
  return said(std::to_string(std::bit_floor(slot)));
}

}  // namespace tutti::nccl
