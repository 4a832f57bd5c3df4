// SPDX-License-Identifier: Apache-2.0
// Small readers of sysfs files under a configurable root.
#include "topology/detectors/system_files.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include <spdlog/fmt/fmt.h>

#include "topology/graph.h"
#include "topology/link_rates.h"

namespace tutti::topology {
namespace {

namespace fs = std::filesystem;

fs::path at(const SystemFiles& files, const std::string& path) {
  return fs::path(files.root) / path;
}

std::optional<std::string> first_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

template <typename Number>
std::optional<Number> leading_number(const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

std::vector<std::string> entries_of(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    names.push_back(entry->path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

// "200 Gb/sec (4X HDR)" of an InfiniBand port at its data rate; the number in front is the
// signalling rate up to FDR. kUnknown where the text has no such name.
int64_t named_rate(const std::string& line) {
  const size_t open = line.find('(');
  if (open == std::string::npos) return kUnknown;
  const std::string name = line.substr(open + 1, line.find(')') - open - 1);
  const size_t x = name.find("X ");
  const auto lanes = leading_number<int64_t>(name);
  if (x == std::string::npos || !lanes) return kUnknown;
  return infiniband_mbit_s(*lanes, name.substr(x + 2));
}

}  // namespace

std::optional<std::string> first_line(const SystemFiles& files, const std::string& path) {
  return files.root.empty() ? std::nullopt : first_line(at(files, path));
}

std::vector<std::string> names_in(const SystemFiles& files, const std::string& folder) {
  if (files.root.empty()) return {};
  return entries_of(at(files, folder));
}

std::string link_target(const SystemFiles& files, const std::string& path) {
  std::error_code error;
  if (files.root.empty()) return "";
  const fs::path target = fs::canonical(at(files, path), error);
  return error ? "" : target.string();
}

Rate ethernet_rate(const SystemFiles& files, const std::string& device) {
  if (files.root.empty()) return {kUnknown, "a recorded machine has no sysfs to read it from"};
  const fs::path path = at(files, "sys/class/net/" + device + "/speed");
  const auto line = first_line(path);
  if (!line)
    return {kUnknown,
            fmt::format("{} can't be read (link down, or a driver without speed)", path.string())};
  const auto speed = leading_number<int64_t>(*line);
  if (!speed || *speed <= 0) return {kUnknown, fmt::format("{} says \"{}\"", path.string(), *line)};
  return {*speed, ""};
}

Rate infiniband_rate(const SystemFiles& files, const std::string& device, int port) {
  if (files.root.empty()) return {kUnknown, "a recorded machine has no sysfs to read it from"};
  const fs::path path =
      at(files, fmt::format("sys/class/infiniband/{}/ports/{}/rate", device, port));
  const auto line = first_line(path);
  if (!line) return {kUnknown, fmt::format("{} can't be read", path.string())};
  const auto gigabits = leading_number<double>(*line);  // 2.5 exists
  const bool unit = line->find("Gb/sec") != std::string::npos;
  if (!gigabits || !unit || !(*gigabits > 0 && *gigabits < 1e6))
    return {kUnknown, fmt::format("{} says \"{}\"; expected for example \"200 Gb/sec (4X HDR)\"",
                                  path.string(), *line)};
  const auto link_layer = first_line(path.parent_path() / "link_layer");
  const int64_t named = link_layer == "InfiniBand" ? named_rate(*line) : kUnknown;
  return {named != kUnknown ? named : std::llround(*gigabits * 1000), ""};
}

std::vector<int> infiniband_ports(const SystemFiles& files, const std::string& device) {
  std::vector<int> ports;
  if (files.root.empty()) return ports;
  for (const std::string& name : entries_of(at(files, "sys/class/infiniband/" + device + "/ports")))
    if (const auto port = leading_number<int>(name)) ports.push_back(*port);
  std::sort(ports.begin(), ports.end());
  return ports;
}

std::vector<std::string> virtual_interfaces(const SystemFiles& files) {
  std::vector<std::string> result;
  if (files.root.empty()) return result;
  for (const std::string& name : entries_of(at(files, "sys/class/net"))) {
    std::error_code error;
    const fs::path folder = at(files, "sys/class/net/" + name);
    if (fs::is_directory(folder, error) && !fs::exists(folder / "device", error))
      result.push_back(name);
  }
  return result;
}

std::string cpu_quota(const SystemFiles& files) {
  if (files.root.empty()) return "";
  const auto line =
      first_line(at(files, "sys/fs/cgroup/cpu.max"));  // "150000 100000", or "max 100000"
  if (!line) return "";
  const auto quota = leading_number<double>(*line);
  const size_t space = line->find(' ');
  const auto period =
      space == std::string::npos ? std::nullopt : leading_number<double>(line->substr(space + 1));
  if (!quota || !period || *period <= 0) return "";
  return fmt::format("{:.2f}", *quota / *period);
}

}  // namespace tutti::topology
