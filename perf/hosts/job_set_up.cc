// SPDX-License-Identifier: Apache-2.0
// Environment, quoting and the choice of the address to meet at.
#include "perf/hosts/job_set_up.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <sstream>
#include <string_view>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "perf/hosts/secret.h"
#include "perf/launcher.h"
#include "src/base/config.h"
#include "src/base/error.h"

namespace tutti::command {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Every job and every process has its own.
constexpr std::array kNotForwarded = {"TUTTI_RANK",       "TUTTI_SIZE",    "TUTTI_LOCAL_RANK",
                                      "TUTTI_LOCAL_SIZE", "TUTTI_THREADS", "TUTTI_JOB",
                                      "TUTTI_PORT",       "TUTTI_KEY",     "TUTTI_RSH"};

// A word as the shell on the other side must get it.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:@,%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

bool is_this_host(const std::string& name) {
  std::array<char, 256> own{};
  if (gethostname(own.data(), own.size() - 1) != 0) return name == "localhost";
  const std::string full = own.data();
  return name == "localhost" || name == full || name == full.substr(0, full.find('.'));
}

std::string own_path() { return fs::read_symlink("/proc/self/exe").string(); }

std::string variable_to_forward(const std::string& wanted) {
  if (wanted.find('=') != std::string::npos) return wanted;
  const std::optional<std::string> value = foreign_variable(wanted.c_str());
  if (!value) {
    throw Error(
        StatusCode::kInvalidArgument,
        fmt::format("-x {}: no such variable here; write -x {}=VALUE to set one", wanted, wanted));
  }
  return wanted + "=" + *value;
}

// Later ones replace earlier ones of the same name.
void set(std::vector<std::string>& variables, const std::string& variable) {
  const std::string name = variable.substr(0, variable.find('=') + 1);
  std::erase_if(variables, [&](const std::string& other) { return other.starts_with(name); });
  variables.push_back(variable);
}

std::vector<std::string> variables_for_all(const RunOptions& options) {
  std::vector<std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('='));
    if (name.starts_with("TUTTI_") && std::ranges::find(kNotForwarded, name) == kNotForwarded.end())
      variables.emplace_back(text);
  }
  const HostOptions& how = options.on_hosts;
  if (!how.interface_prefix.empty()) set(variables, "TUTTI_SOCKET_IFNAME=" + how.interface_prefix);
  for (const std::string& wanted : how.to_forward) set(variables, variable_to_forward(wanted));
  set(variables, "TUTTI_JOB=" + random_secret().substr(0, 16));
  if (options.hosts.size() > 1) set(variables, "TUTTI_KEY=" + random_secret());
  return variables;
}

}  // namespace

int size_of(const std::vector<HostShare>& hosts) {
  return hosts.back().first_rank + hosts.back().ranks;
}

std::vector<std::string> agent_command(const RunOptions& options, const std::string& host) {
  const std::string tutti = options.on_hosts.tutti.empty() ? own_path() : options.on_hosts.tutti;
  if (is_this_host(host)) return {own_path(), "agent"};
  std::istringstream text(options.on_hosts.rsh);
  std::vector<std::string> command;
  for (std::string word; text >> word;) command.push_back(word);
  if (command.empty())
    throw Error(StatusCode::kInvalidArgument, "--rsh: no command; leave it out for ssh");
  // ssh must not ask for passwords, nor wait for a host that is gone.
  if (command.size() == 1 && fs::path(command[0]).filename() == "ssh") {
    for (const char* word : {"-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"})
      command.emplace_back(word);
  }
  command.insert(command.end(), {host, quoted(tutti), "agent"});
  return command;
}

AgentOrders common_orders(const RunOptions& options) {
  const HostOptions& how = options.on_hosts;
  return {.first_rank = 0,
          .ranks = 0,
          .size = size_of(options.hosts),
          .meets = options.hosts.size() > 1,
          .folder = how.folder.empty() ? fs::current_path().string() : how.folder,
          .pinning = options.pinning,
          .interface_prefix = how.interface_prefix,
          .port = how.port,
          .command = options.command,
          .variables = variables_for_all(options)};
}

void MeetingSearch::offer(const std::string& json_text, int n_visitors) {
  const json value = json::parse(json_text);
  addresses_ = value.at("addresses").get<std::vector<std::string>>();
  port_ = value.at("port").get<uint16_t>();
  token_ = value.at("token").get<std::string>();
  n_visitors_ = n_visitors;
}

std::optional<std::string> MeetingSearch::next() {
  if (next_ >= addresses_.size()) return std::nullopt;
  n_answers_ = 0;
  reached_ = true;
  return json{{"address", addresses_[next_++]}, {"port", port_}, {"token", token_}}.dump();
}

bool MeetingSearch::add_answer(const std::string& host, const std::string& why_not) {
  if (!why_not.empty()) {
    reached_ = false;
    failures_ += fmt::format("\n  {} from {}: {}", addresses_[next_ - 1], host, why_not);
  }
  return ++n_answers_ == n_visitors_;
}

std::string MeetingSearch::variables() const {
  if (addresses_.empty()) return "[]";
  return json{"MASTER_ADDR=" + addresses_[next_ - 1], fmt::format("TUTTI_PORT={}", port_)}.dump();
}

}  // namespace tutti::command
