// SPDX-License-Identifier: Apache-2.0
// Finding a tuner plugin, and one adapter for what differs between the versions of its interface.
#include "src/comm/tuner_plugin.h"

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/shared_library.h"

namespace tutti::comm {
namespace {

namespace abi = tuner_abi;

constexpr int kPluginWarns = 2;
constexpr int kPluginInforms = 3;

void take_log(int level, unsigned long, const char* file, int line, const char* format, ...) {
  const LogLevel ours = level == kPluginWarns     ? LogLevel::kWarn
                        : level == kPluginInforms ? LogLevel::kDebug
                                                  : LogLevel::kTrace;
  if (!log_enabled(ours, "plan")) return;
  std::array<char, 512> text{};
  va_list values;
  va_start(values, format);
  std::vsnprintf(text.data(), text.size(), format, values);
  va_end(values);
  log(ours, "plan", -1, "tuner plugin, {}:{}: {}", file == nullptr ? "" : file, line, text.data());
}

// The cheapest of a table that the plugin has been at; kUndefined when it has left it as it was.
abi::Algorithm cheapest(const abi::CostTable& before, const abi::CostTable& after) {
  const auto same = [](const auto& row, const auto& other) {
    return std::ranges::equal(row, other);
  };
  if (std::ranges::equal(before, after, same)) return abi::kUndefined;
  int best = abi::kUndefined;
  float least = 0;
  for (int a = 0; a < abi::kAlgorithms; ++a) {
    for (int p = 0; p < abi::kProtocols; ++p) {
      const float cost = after[a][p];
      if (before[a][p] == abi::kIgnored || !(cost >= 0)) continue;
      if (best != abi::kUndefined && cost >= least) continue;
      best = a;
      least = cost;
    }
  }
  return static_cast<abi::Algorithm>(best);
}

template <typename Table, int kVersion>
class Adapter : public TunerPlugin {
 public:
  explicit Adapter(const Table& table) : table_(table) {}
  ~Adapter() override {
    if (started_ && table_.destroy != nullptr) (void)table_.destroy(context_);
  }

  abi::Result start(const TunerSetting& setting) {
    const auto ranks = static_cast<size_t>(setting.n_ranks);
    const auto hosts = static_cast<size_t>(setting.n_hosts);
    abi::Result result = 0;
    if constexpr (kVersion >= 5) {
      const int per_host = (setting.n_ranks + setting.n_hosts - 1) / setting.n_hosts;
      abi::NvlinkDomains domains{setting.n_hosts, setting.n_ranks / setting.n_hosts, per_host};
      result =
          table_.init(&context_, setting.comm_id, ranks, hosts, take_log, &domains, &constants_);
    } else {
      result = table_.init(ranks, hosts, take_log, &context_);
    }
    started_ = result == 0;
    return result;
  }

  int version() const noexcept override { return kVersion; }
  std::string name() const override { return table_.name == nullptr ? "" : table_.name; }

  abi::Algorithm ask(abi::Function function, size_t bytes, const abi::CostTable& costs) override {
    int channels = 0;
    if constexpr (kVersion == 2) {
      int algorithm = abi::kUndefined;
      int protocol = abi::kUndefined;
      const abi::Result result =
          table_.ask(context_, function, bytes, 0, 0, 1, &algorithm, &protocol, &channels);
      const bool known = algorithm >= 0 && algorithm < abi::kAlgorithms;
      return result == 0 && known ? static_cast<abi::Algorithm>(algorithm) : abi::kUndefined;
    } else {
      abi::CostTable changed;
      std::memcpy(changed, costs, sizeof changed);
      auto** const as_declared = reinterpret_cast<float**>(&changed[0][0]);
      abi::Result result = 0;
      if constexpr (kVersion == 3) {
        result = table_.ask(context_, function, bytes, 1, as_declared, abi::kAlgorithms,
                            abi::kProtocols, &channels);
      } else {
        result = table_.ask(context_, function, bytes, 1, as_declared, abi::kAlgorithms,
                            abi::kProtocols, 0, &channels);
      }
      return result == 0 ? cheapest(costs, changed) : abi::kUndefined;
    }
  }

 private:
  const Table& table_;
  void* context_ = nullptr;
  bool started_ = false;
  abi::Constants constants_{};  // the plugin may keep the pointer
};

[[noreturn]] void refuse(const std::string& what) {
  throw Error(StatusCode::kInvalidArgument,
              what + "; TUTTI_TUNER_PLUGIN is a file, or NAME for libnccl-tuner-NAME.so");
}

// Libraries by file, for the life of the process: plugins may leave threads behind.
SharedLibrary& open_library(const std::string& plugin) {
  static auto* const mutex = new std::mutex;
  static auto* const opened = new std::map<std::string, std::unique_ptr<SharedLibrary>>;
  const std::lock_guard lock(*mutex);
  std::string reasons;
  for (const std::string& file : plugin_files(plugin, "libnccl-tuner")) {
    auto& library = (*opened)[file];
    if (!library) library = std::make_unique<SharedLibrary>(file, SharedLibrary::Unload::kNever);
    if (library->is_open()) return *library;
    reasons += (reasons.empty() ? "" : "; ") + library->reason();
    library.reset();
  }
  refuse("no tuner plugin: " + reasons);
}

template <typename Table, int kVersion>
std::unique_ptr<TunerPlugin> adapter(SharedLibrary& library, const TunerSetting& setting) {
  const std::string symbol = "ncclTunerPlugin_v" + std::to_string(kVersion);
  const Table* table = nullptr;
  if (!library.find(symbol.c_str(), table)) return nullptr;
  auto made = std::make_unique<Adapter<Table, kVersion>>(*table);
  const abi::Result result = made->start(setting);
  if (result != 0) {
    refuse("tuner plugin " + library.file() + " does not start: init gives error " +
           std::to_string(result));
  }
  return made;
}

}  // namespace

std::unique_ptr<TunerPlugin> open_tuner(const TunerSetting& setting) {
  static constexpr std::array kNewestFirst{adapter<abi::TunerV6, 6>, adapter<abi::TunerV5, 5>,
                                           adapter<abi::TunerV4, 4>, adapter<abi::TunerV3, 3>,
                                           adapter<abi::TunerV2, 2>};
  SharedLibrary& library = open_library(setting.plugin);
  for (const auto make : kNewestFirst) {
    if (auto plugin = make(library, setting)) return plugin;
  }
  refuse(fmt::format("{} exports none of ncclTunerPlugin_v{} to ncclTunerPlugin_v{}",
                     library.file(), abi::kOldest, abi::kNewest));
}

}  // namespace tutti::comm
