// SPDX-License-Identifier: Apache-2.0
// The process's cache of verified plans.
#include "src/planner/planner.h"

#include <future>
#include <map>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>

#include "src/base/error.h"
#include "src/plan/msccl_xml.h"
#include "src/planner/network_load.h"
#include "src/planner/request.h"

namespace tutti::planner {
namespace {

using PlanPointer = std::shared_ptr<const VerifiedPlan>;
using LoadPointer = std::shared_ptr<const NetworkLoad>;

PlanPointer build_and_verify(const AlgorithmRow& row, const PlanRequest& request) {
  auto verified = std::make_shared<VerifiedPlan>();
  verified->plan = row.build(request);
  verified->verdict = verify::verify(verified->plan);
  if (!verified->verdict.accepted) {
    throw Error(StatusCode::kInternalError,
                "the verifier rejects the plan of algorithm " + std::string(row.name) + " for " +
                    plan::name(request.collective) + " on " + std::to_string(request.n_ranks) +
                    " ranks, root " + std::to_string(request.root) + ", channels " +
                    std::to_string(request.channels) +
                    (request.hosts.several() ? ", hosts " + request.hosts.text() : "") + ": " +
                    verified->verdict.reason + "; choose another TUTTI_ALGO and report this");
  }
  verified->hash = plan::hash(verified->plan);
  return verified;
}

PlanPointer read_and_verify(const std::string& text, const std::string& file) {
  auto verified = std::make_shared<VerifiedPlan>();
  verified->plan = plan::from_text(text, file);
  if (verified->plan.channels > kMaxGivenChannels) {
    throw Error(StatusCode::kInvalidArgument,
                file + ": expected at most " + std::to_string(kMaxGivenChannels) +
                    " channels, got " + std::to_string(verified->plan.channels));
  }
  verified->verdict = verify::verify(verified->plan);
  if (!verified->verdict.accepted) {
    throw Error(StatusCode::kInvalidArgument,
                file + ": the verifier rejects the plan: " + verified->verdict.reason);
  }
  verified->hash = plan::hash(verified->plan);
  return verified;
}

template <typename Key, typename Pointer = PlanPointer>
class PlanCache {
 public:
  // Whoever asks first builds, outside the lock; the others wait for that build. A build that fails
  // is remembered too: it is a pure function of its key and would fail again.
  template <typename Build>
  Pointer get(const Key& key, Build build) {
    std::promise<Pointer> promise;
    std::shared_future<Pointer> result;
    bool first = false;
    {
      const std::lock_guard lock(mutex_);
      const auto [it, inserted] = plans_.try_emplace(key);
      if (inserted) it->second = promise.get_future().share();
      result = it->second;
      first = inserted;
    }
    if (first) {
      try {
        promise.set_value(build());
      } catch (...) {
        promise.set_exception(std::current_exception());
      }
    }
    return result.get();
  }

 private:
  std::mutex mutex_;  // guards plans_
  std::map<Key, std::shared_future<Pointer>> plans_;
};

// What the row's plan depends on.
PlanRequest seen_by(const AlgorithmRow& row, PlanRequest request) {
  if (!row.layered && !row.by_host_order) request.hosts = Hosts();
  return request;
}

// A row is named by its build function, so that rows that are not in the table (tests) don't mix
// with those that are.
using RowKey = std::tuple<uintptr_t, plan::Collective, int32_t, int32_t, int32_t, uintptr_t>;
RowKey key_of(const AlgorithmRow& row, const PlanRequest& request) {
  return {reinterpret_cast<uintptr_t>(row.build),
          request.collective,
          request.n_ranks,
          request.root,
          request.channels,
          request.hosts.id()};
}

}  // namespace

// The caches are never destroyed: threads of the library may outlive static destruction.

std::shared_ptr<const VerifiedPlan> verified_plan(const AlgorithmRow& row,
                                                  const PlanRequest& request) {
  static auto* const cache = new PlanCache<RowKey>;
  check_request(request);
  check_supported(row, request);
  const PlanRequest seen = seen_by(row, request);
  return cache->get(key_of(row, seen), [&] { return build_and_verify(row, seen); });
}

const NetworkLoad& network_load(const AlgorithmRow& row, const PlanRequest& request,
                                const Hosts& hosts) {
  using Key = std::pair<RowKey, uintptr_t>;
  static auto* const cache = new PlanCache<Key, LoadPointer>;
  check_request(request);
  check_supported(row, request);
  const PlanRequest seen = seen_by(row, request);
  // What is cached stays.
  return *cache->get({key_of(row, seen), hosts.id()}, [&] {
    return std::make_shared<const NetworkLoad>(network_load(row.build(seen), hosts));
  });
}

std::shared_ptr<const VerifiedPlan> given_plan(const std::string& text, const std::string& file) {
  static auto* const cache = new PlanCache<std::pair<std::string, std::string>>;
  return cache->get({file, text}, [&] { return read_and_verify(text, file); });
}

}  // namespace tutti::planner
