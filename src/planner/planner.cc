// SPDX-License-Identifier: Apache-2.0
// The process's cache of verified plans.
#include "src/planner/planner.h"

#include <future>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

#include "src/base/error.h"
#include "src/planner/request.h"

namespace tutti::planner {
namespace {

using PlanPointer = std::shared_ptr<const VerifiedPlan>;

PlanPointer build_and_verify(const AlgorithmRow& row, const PlanRequest& request) {
  auto verified = std::make_shared<VerifiedPlan>();
  verified->plan = row.build(request);
  verified->verdict = verify::verify(verified->plan);
  if (!verified->verdict.accepted) {
    throw Error(StatusCode::kInternalError,
                "the verifier rejects the plan of algorithm " + std::string(row.name) + " for " +
                    plan::name(request.collective) + " on " + std::to_string(request.n_ranks) +
                    " ranks, root " + std::to_string(request.root) + ", channels " +
                    std::to_string(request.channels) + ": " + verified->verdict.reason +
                    "; choose another TUTTI_ALGO and report this");
  }
  verified->hash = plan::hash(verified->plan);
  return verified;
}

class PlanCache {
 public:
  // Whoever asks first builds, outside the lock; the others wait for that build. A build that fails
  // is remembered too: it is a pure function of its key and would fail again.
  PlanPointer get(const AlgorithmRow& row, const PlanRequest& request) {
    std::promise<PlanPointer> promise;
    std::shared_future<PlanPointer> result;
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      const auto [it, inserted] = plans_.try_emplace(key(row, request));
      if (inserted) it->second = promise.get_future().share();
      result = it->second;
      first = inserted;
    }
    if (first) {
      try {
        promise.set_value(build_and_verify(row, request));
      } catch (...) {
        promise.set_exception(std::current_exception());
      }
    }
    return result.get();
  }

 private:
  // A row is named by its build function, so that rows that are not in the table (tests) don't mix
  // with those that are.
  using Key = std::tuple<uintptr_t, plan::Collective, int32_t, int32_t, int32_t>;
  static Key key(const AlgorithmRow& row, const PlanRequest& request) {
    return {reinterpret_cast<uintptr_t>(row.build), request.collective, request.n_ranks,
            request.root, request.channels};
  }

  std::mutex mutex_;  // guards plans_
  std::map<Key, std::shared_future<PlanPointer>> plans_;
};

}  // namespace

std::shared_ptr<const VerifiedPlan> verified_plan(const AlgorithmRow& row,
                                                  const PlanRequest& request) {
  // Never destroyed: threads of the library may outlive static destruction.
  static auto* const cache = new PlanCache;
  check_request(request);
  check_supported(row, request);
  return cache->get(row, request);
}

}  // namespace tutti::planner
