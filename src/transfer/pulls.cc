// SPDX-License-Identifier: Apache-2.0
// Puts whose bytes this agent reads out of the process of a neighbour that offers them.
#include <algorithm>
#include <array>
#include <cstring>

#include <spdlog/fmt/fmt.h>

#include "src/transfer/agent.h"

namespace tutti::transfer {

using network::FrameHeader;
using network::Session;

// A neighbour's bytes, read out of its process into a region of this agent.
class PullWork final : public LocalWork {
 public:
  PullWork(Agent& agent, int caller, uint64_t number, const PullHead& head,
           std::vector<PullRange> ranges, std::shared_ptr<transport::shm::PeerProcess> process)
      : agent_(agent),
        caller_(caller),
        number_(number),
        head_(head),
        ranges_(std::move(ranges)),
        process_(std::move(process)) {
    for (const PullRange& range : ranges_) span_bytes_.push_back(range.to.bytes);
  }

 private:
  Status move(std::span<const Part> parts) noexcept override {
    std::array<transport::shm::MemoryPiece, 32> pieces{};
    size_t held = 0;
    {
      const Agent::Lock lock(agent_.endpoint_->mutex());
      for (; held < parts.size(); ++held) {
        const PullRange& range = ranges_[parts[held].span];
        Region* const region = agent_.regions_.find(range.to.region);
        if (region == nullptr) break;
        ++region->pulling;
        pieces[held] = {.address = range.address + parts[held].offset,
                        .into = region->base + range.to.offset + parts[held].offset,
                        .bytes = parts[held].bytes};
      }
    }
    const Status read = transport::shm::read_memory(*process_, {head_.word_address, head_.word},
                                                    std::span(pieces).first(held));
    const Agent::Lock lock(agent_.endpoint_->mutex());
    for (size_t i = 0; i < held; ++i) agent_.regions_.end_pulling(ranges_[parts[i].span].to.region);
    if (held == parts.size()) return read;
    return {StatusCode::kInvalidUsage, -1, "the region has been deregistered"};
  }
  void finished(const Status& status) noexcept override {
    {
      const Agent::Lock lock(agent_.endpoint_->mutex());
      Session* const session = agent_.endpoint_->find_session(caller_);
      const auto caller = agent_.callers_.find(caller_);
      // The caller has gone: then nobody asks, and no counter is raised.
      if (session == nullptr || caller == agent_.callers_.end() ||
          caller->second.pulls.erase(number_) == 0) {
        return;
      }
      if (status.ok()) agent_.raise(head_.signal);
      agent_.answer(*session, number_, status.code, status.ok() ? "" : status.reason);
      agent_.endpoint_->begin(*session);
    }
    ring(agent_.bell_.bell());
  }

  Agent& agent_;
  const int caller_;
  const uint64_t number_;
  const PullHead head_;
  const std::vector<PullRange> ranges_;
  const std::shared_ptr<transport::shm::PeerProcess> process_;  // shared with the hub
};

void Agent::on_pull(Session& from, Caller& caller, const FrameHeader& header,
                    const std::byte* payload) {
  const size_t list_bytes =
      header.payload_bytes - std::min<size_t>(header.payload_bytes, sizeof(PullHead));
  if (header.payload_bytes < sizeof(PullHead) || list_bytes % sizeof(PullRange) != 0)
    return from.fail(name_of(from.peer()) + " offered something that is no list of ranges");
  PullHead head;
  std::memcpy(&head, payload, sizeof head);
  std::vector<PullRange> ranges(list_bytes / sizeof(PullRange));
  if (list_bytes != 0) std::memcpy(ranges.data(), payload + sizeof head, list_bytes);
  const auto refuse = [&](const std::string& why, bool send_bytes) {
    answer(from, header.place, StatusCode::kInvalidUsage, why, send_bytes);
  };
  if (head.token != pull_token_)
    return refuse("it has not shown that it is a process of this host and user", true);
  if (head.signal.value != 0 && head.signal.counter >= kCounters)
    return refuse(fmt::format("{} has no counter {}", who_, head.signal.counter), false);
  for (const PullRange& range : ranges) {
    if (const std::string problem = problem_of(range.to); !problem.empty())
      return refuse(problem, false);
  }
  std::shared_ptr<transport::shm::PeerProcess> process;
  const transport::shm::Cookie cookie{head.word_address, head.word};
  int error_number = 0;
  try {
    process = hub_->watch({.host_id = head.host_id,
                           .process_uid = head.process_uid,
                           .pid = head.pid,
                           .uid = head.uid,
                           .start_ticks = head.start_ticks});
    error_number = transport::shm::probe_memory(*process, cookie);
  } catch (const Error& e) {
    return refuse(e.what(), true);
  }
  if (error_number != 0) return refuse(std::strerror(error_number), true);
  const auto work = std::make_shared<PullWork>(*this, from.peer(), header.place, head,
                                               std::move(ranges), std::move(process));
  caller.pulls[header.place] = work;
  mover_.start(work);
}

}  // namespace tutti::transfer
