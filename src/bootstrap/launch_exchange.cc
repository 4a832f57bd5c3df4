// SPDX-License-Identifier: Apache-2.0
// Chooses the launcher's key-value space, exchanges the directory's place over it once, and asks
// the directory.
#include "src/bootstrap/launch_exchange.h"

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/process_local.h"
#include "src/bootstrap/directory.h"
#include "src/bootstrap/key_value.h"

namespace tutti::bootstrap {
namespace {

struct Space {
  const char* name;
  std::optional<std::string> (*why_not)(int rank);
  std::string (*share)(const Sharing& sharing);
};
constexpr Space kPmix{"PMIx", why_no_pmix, share_by_pmix};
constexpr Space kPmi{"PMI", why_no_pmi, share_by_pmi};

// The same one in all ranks of a job: they have one launcher. Its own kind comes first, since the
// variables of an outer job may be there too. Null: none; then `why_not` says why.
const Space* choose_space(const Launch& launch, std::string& why_not) {
  const bool pmi_first = launch.launcher == "pmi";
  for (const Space* space : {pmi_first ? &kPmi : &kPmix, pmi_first ? &kPmix : &kPmi}) {
    const std::optional<std::string> reason = space->why_not(launch.rank);
    if (!reason.has_value()) return space;
    why_not += (why_not.empty() ? "" : "; ") + *reason;
  }
  return nullptr;
}

Deadline init_deadline() {
  const int64_t limit_ns = config_from_environment().local.init_timeout_ns;
  return limit_ns > 0 ? Deadline::after_ns(limit_ns) : Deadline::never();
}

// Of this process, for its launch.
class Exchanged {
 public:
  UniqueId id(const Launch& launch, uint64_t sequence) {
    const std::lock_guard lock(mutex_);  // one thread exchanges, the others wait for it
    if (failure_.has_value()) throw Error(*failure_);
    const Deadline deadline = init_deadline();
    if (!place_.has_value()) exchange(launch, deadline);
    if (directory_ != nullptr) return directory_->id(sequence);
    return look_up(*place_, sequence, {.deadline = deadline, .aborted = nullptr});
  }

 private:
  void exchange(const Launch& launch, Deadline deadline) {
    std::string why_not;
    const Space* space = choose_space(launch, why_not);
    if (space == nullptr) throw Error(StatusCode::kInvalidUsage, why_not);
    const int64_t start_ns = now_ns();
    try {
      if (launch.rank == 0) {
        directory_ = std::make_unique<Directory>(config_from_environment().local.interface_prefix);
      }
      Sharing sharing{.rank = launch.rank, .size = launch.size, .mine = {}, .deadline = deadline};
      if (directory_ != nullptr) sharing.mine = directory_->place().to_text();
      place_ = DirectoryPlace::parse(space->share(sharing));
    } catch (const Error& error) {
      const bool garbled = error.code() == StatusCode::kInvalidArgument;
      failure_.emplace(garbled ? StatusCode::kRemoteError : error.code(),
                       fmt::format("rank {} of {} ({}): {}", launch.rank, launch.size,
                                   launch.launcher, error.what()));
      throw Error(*failure_);
    }
    log(LogLevel::kInfo, "bootstrap", launch.rank,
        "{}: rank 0's directory came over {} in {:.3f} s", launch.launcher, space->name,
        static_cast<double>(now_ns() - start_ns) / kNsPerSecond);
  }

  std::mutex mutex_;
  std::unique_ptr<Directory> directory_;  // rank 0's
  std::optional<DirectoryPlace> place_;
  std::optional<Error> failure_;
};

// Lives as long as its process: its directory answers whoever comes late. Shared: it is used
// outside of ProcessLocal's lock, under which nothing may wait.
struct ExchangedHere {
  std::shared_ptr<Exchanged> exchanged = std::make_shared<Exchanged>();
};

}  // namespace

std::optional<std::string> why_no_exchange(const Launch& launch) {
  std::string why_not;
  return choose_space(launch, why_not) == nullptr ? std::optional(why_not) : std::nullopt;
}

UniqueId exchanged_unique_id(const Launch& launch, uint64_t sequence) {
  const auto exchanged =
      ProcessLocal<ExchangedHere>::with([](ExchangedHere& here) { return here.exchanged; });
  return exchanged->id(launch, sequence);
}

}  // namespace tutti::bootstrap
