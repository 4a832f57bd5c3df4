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

namespace tutti::topology {
namespace {

namespace fs = std::filesystem;

fs::path at(const SystemFiles& files, const std::string& path) {
  return fs::path(files.root) / path;
}

// The first line; nullopt when the file can't be opened or read (drivers refuse reads while a link
// is down).
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

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error))
    names.push_back(entry->path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

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
  return {std::llround(*gigabits * 1000), ""};
}

std::vector<int> infiniband_ports(const SystemFiles& files, const std::string& device) {
  std::vector<int> ports;
  if (files.root.empty()) return ports;
  for (const std::string& name : names_in(at(files, "sys/class/infiniband/" + device + "/ports")))
    if (const auto port = leading_number<int>(name)) ports.push_back(*port);
  std::sort(ports.begin(), ports.end());
  return ports;
}

std::vector<std::string> virtual_interfaces(const SystemFiles& files) {
  std::vector<std::string> result;
  if (files.root.empty()) return result;
  for (const std::string& name : names_in(at(files, "sys/class/net"))) {
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
