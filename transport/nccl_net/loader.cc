// SPDX-License-Identifier: Apache-2.0
// Libraries of plugins stay loaded: those of older interfaces have no way to be told to stop.
#include "transport/nccl_net/loader.h"

#include <map>
#include <mutex>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/log.h"

namespace tutti::transport::nccl_net {
namespace {

// Libraries by file. Plugins of interfaces before 11 are initialised once per process; NCCL does
// so, and some don't bear it twice.
struct Libraries {
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<SharedLibrary>> by_file;
  std::map<std::string, std::string> started;  // file -> what went wrong, "" for nothing

  static Libraries& of_process() {
    static auto* const libraries = new Libraries;  // plugins' threads may outlive static objects
    return *libraries;
  }
};

SharedLibrary& open_library(Libraries& libraries, const std::vector<std::string>& files) {
  std::string reasons;
  for (const std::string& file : files) {
    auto& library = libraries.by_file[file];
    if (!library) library = std::make_unique<SharedLibrary>(file, SharedLibrary::Unload::kNever);
    if (library->is_open()) return *library;
    reasons += (reasons.empty() ? "" : "; ") + library->reason();
    library.reset();  // it may be there next time
  }
  throw Error(StatusCode::kSystemError,
              "no net plugin: " + reasons +
                  "; name one by TUTTI_NET_PLUGIN (a file, or NAME for libnccl-net-NAME.so)");
}

void start(Libraries& libraries, LoadedPlugin* loaded, uint64_t comm_id) {
  if (loaded->plugin->version() >= 11) {
    if (!loaded->plugin->init(comm_id)) {
      throw Error(
          StatusCode::kSystemError,
          fmt::format("net plugin {} does not start: {}; TUTTI_LOG=warn shows its own words",
                      loaded->file, loaded->plugin->last_error()));
    }
    return;
  }
  const auto [before, fresh] = libraries.started.emplace(loaded->file, "");
  if (fresh && !loaded->plugin->init(comm_id)) before->second = loaded->plugin->last_error();
  if (!before->second.empty()) {
    throw Error(StatusCode::kSystemError,
                fmt::format("net plugin {} does not start: {}; TUTTI_LOG=warn shows its own words",
                            loaded->file, before->second));
  }
}

void find_devices(LoadedPlugin* loaded) {
  int n = 0;
  if (!loaded->plugin->devices(&n)) {
    throw Error(StatusCode::kSystemError,
                fmt::format("net plugin {}: {}", loaded->file, loaded->plugin->last_error()));
  }
  for (int i = 0; i < n; ++i) {
    Device device;
    if (!loaded->plugin->device(i, &device)) {
      loaded->left_out.push_back(fmt::format("device {}: {}", i, loaded->plugin->last_error()));
    } else if (!device.host_memory) {
      loaded->left_out.push_back(fmt::format("{}: no host memory", device.name));
    } else {
      loaded->devices.push_back(device);
      loaded->indices.push_back(i);
    }
  }
  if (!loaded->devices.empty()) return;
  std::string others;
  for (const std::string& one : loaded->left_out) others += "; " + one;
  throw Error(StatusCode::kSystemError,
              fmt::format("net plugin {} ({}) has no device here that carries host memory{}",
                          loaded->plugin->name(), loaded->file, others));
}

}  // namespace

LoadedPlugin load_plugin(const std::string& name, uint64_t comm_id) {
  Libraries& libraries = Libraries::of_process();
  const std::lock_guard lock(libraries.mutex);
  const std::string wanted = name.empty() ? foreign_variable("NCCL_NET_PLUGIN").value_or("") : name;
  SharedLibrary& library = open_library(libraries, plugin_files(wanted, "libnccl-net"));
  LoadedPlugin loaded;
  loaded.file = library.file();
  loaded.plugin = adapt(library);
  if (!loaded.plugin) {
    throw Error(StatusCode::kSystemError,
                fmt::format("{} exports none of ncclNetPlugin_v{} to ncclNetPlugin_v{}: it is no "
                            "net plugin, or of another version",
                            loaded.file, abi::kOldest, abi::kNewest));
  }
  start(libraries, &loaded, comm_id);
  try {
    find_devices(&loaded);
  } catch (...) {
    loaded.plugin->finalize();
    throw;
  }
  return loaded;
}

}  // namespace tutti::transport::nccl_net
