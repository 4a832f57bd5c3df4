// SPDX-License-Identifier: Apache-2.0
// Finds recordings: the files of a folder, and what running processes hold open.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include <spdlog/fmt/fmt.h>
#include <sys/stat.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/trace/reader.h"

namespace tutti::trace {
namespace {

struct CloseFolder {
  void operator()(DIR* folder) const noexcept { ::closedir(folder); }
};
using Folder = std::unique_ptr<DIR, CloseFolder>;

std::vector<std::string> entries_of(const std::string& path, int* error = nullptr) {
  std::vector<std::string> names;
  const Folder folder{::opendir(path.c_str())};
  if (error != nullptr) *error = folder == nullptr ? errno : 0;
  if (folder == nullptr) return names;
  while (const dirent* entry = ::readdir(folder.get())) names.emplace_back(entry->d_name);
  std::ranges::sort(names);
  return names;
}

bool is_file_name(const std::string& name) {
  return name.starts_with(kFilePrefix) && name.ends_with(kFileSuffix);
}

// What a descriptor of another process leads to, when that is a recording.
enum class Target { kNone, kMemory, kFile };
Target target_of(const std::string& link) {
  std::array<char, 4096> text{};
  const ssize_t size = ::readlink(link.c_str(), text.data(), text.size() - 1);
  if (size <= 0) return Target::kNone;
  const std::string target(text.data(), static_cast<size_t>(size));
  if (target.starts_with(std::string("/memfd:") + kMemfdName)) return Target::kMemory;
  return is_file_name(target.substr(target.rfind('/') + 1)) ? Target::kFile : Target::kNone;
}

std::optional<int32_t> pid_of(const std::string& name) {
  int32_t pid = 0;
  const auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (parsed.ec != std::errc{} || parsed.ptr != name.data() + name.size()) return std::nullopt;
  return pid;
}

bool may_look_at(const std::string& process) {
  struct stat status {};
  if (::stat(process.c_str(), &status) != 0) return false;
  return ::geteuid() == 0 || status.st_uid == ::geteuid();
}

Recording read_memory(const std::string& link, const std::string& source) {
  const FileDescriptor fd{::open(link.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) throw system_error(source + ": can't open its recording", errno);
  if (!is_sealed_against_shrinking(fd.get()))
    throw Error(StatusCode::kInvalidArgument, source + ": its recording is not sealed");
  const size_t bytes = file_bytes(fd.get());
  const Mapping mapping(fd.get(), bytes, Mapping::Access::kReadOnly);
  const Image image = copy_mapped(mapping.data(), bytes);
  const int64_t read_ns = now_ns();
  Recording recording = parse(image, source);
  recording.read_ns = read_ns;
  return recording;
}

// Returns what kept its descriptors from being listed, as errno; 0: nothing.
int look_into(int32_t pid, std::vector<Recording>* into, std::vector<std::string>* warnings) {
  const std::string fds = fmt::format("/proc/{}/fd", pid);
  int error = 0;
  for (const std::string& name : entries_of(fds, &error)) {
    const std::string link = fmt::format("{}/{}", fds, name);
    const Target target = target_of(link);
    if (target == Target::kNone) continue;
    try {
      const std::string source = "process " + std::to_string(pid);
      into->push_back(target == Target::kMemory ? read_memory(link, source)
                                                : trace::read_file(link));
      into->back().holder_pid = pid;
    } catch (const Error& e) {
      warnings->emplace_back(e.what());
    }
  }
  return error;
}

// A forked child inherits its parent's descriptors: the writer's own come first.
void keep_each_once(std::vector<Recording>& all) {
  std::ranges::stable_sort(all, {}, [](const Recording& r) { return r.pid != r.holder_pid; });
  std::set<std::pair<uint64_t, uint64_t>> seen;
  std::erase_if(all, [&](const Recording& r) {
    return !seen.insert({r.process_uid, r.serial}).second;
  });
  std::ranges::stable_sort(all, {}, [](const Recording& r) {
    return std::pair{r.comm_id, r.rank};
  });
}

}  // namespace

std::vector<Recording> read_folder(const std::string& folder, std::vector<std::string>* warnings) {
  int error = 0;
  std::vector<Recording> found;
  const std::vector<std::string> names = entries_of(folder, &error);
  if (error != 0) {
    const Error e = system_error("can't read folder " + folder, error);
    throw Error(StatusCode::kInvalidArgument, e.what());
  }
  for (const std::string& name : names) {
    if (name == "." || name == "..") continue;
    if (!is_file_name(name)) {
      warnings->push_back(fmt::format("{}/{}: skipped, its name is not that of a recording ({}*{})",
                                      folder, name, kFilePrefix, kFileSuffix));
      continue;
    }
    try {
      found.push_back(read_file(fmt::format("{}/{}", folder, name)));
    } catch (const Error& e) {
      warnings->push_back(std::string("skipped ") + e.what());
    }
  }
  return found;
}

std::vector<Recording> read_processes(std::vector<std::string>* warnings, int* hidden) {
  std::vector<Recording> all;
  int others = 0;
  for (const std::string& name : entries_of("/proc")) {
    const auto pid = pid_of(name);
    if (!pid.has_value()) continue;
    if (!may_look_at("/proc/" + name) || look_into(*pid, &all, warnings) == EACCES) ++others;
  }
  if (hidden != nullptr) *hidden = others;
  keep_each_once(all);
  return all;
}

std::vector<Recording> read_process(int32_t pid, std::vector<std::string>* warnings) {
  std::vector<Recording> all;
  const int error = look_into(pid, &all, warnings);
  if (error == ENOENT)
    throw Error(StatusCode::kInvalidArgument, fmt::format("there is no process {} here", pid));
  if (error != 0) {
    struct stat status {};
    ::stat(fmt::format("/proc/{}", pid).c_str(), &status);
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("process {} can't be looked into: it belongs to user {}, this is user "
                            "{}; ask as that user or as root",
                            pid, status.st_uid, ::geteuid()));
  }
  keep_each_once(all);
  return all;
}

}  // namespace tutti::trace
