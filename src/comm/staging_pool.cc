// SPDX-License-Identifier: Apache-2.0
// Who holds staging slots in this process, and who has been idle.
#include "src/comm/staging_pool.h"

#include <algorithm>
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "src/base/clock.h"
#include "src/base/log.h"
#include "src/base/process_local.h"
#include "src/comm/communicator.h"

namespace tutti::comm {
namespace {

// Without an operation; less than the pause between two that belong together.
constexpr int64_t kIdleNs = 2 * kNsPerMs;

using CommPtr = std::shared_ptr<Communicator>;

struct Member {
  std::weak_ptr<Communicator> comm;
  size_t bytes = 0;
  uint64_t operations = 0;  // when it was last seen at work
  int64_t since_ns = 0;     // then
};

struct Pool {
  std::list<Member> members;  // looked at in this order; those looked at go to the end

  size_t bytes() const noexcept {
    size_t sum = 0;
    for (const Member& member : members) sum += member.bytes;
    return sum;
  }
  void note(const CommPtr& comm, size_t bytes) {
    const auto same = [&](const Member& m) {
      return !m.comm.owner_before(comm) && !comm.owner_before(m.comm);
    };
    std::erase_if(members, [](const Member& m) { return m.comm.expired(); });
    const auto at = std::ranges::find_if(members, same);
    if (at == members.end()) {
      members.push_back({comm, bytes, comm->stats().operations(), now_ns()});
    } else {
      at->bytes = bytes;
    }
  }
  // Idle communicators that hold the excess. `seen` keeps what was looked at from ending in here,
  // where the lock is held.
  std::vector<CommPtr> choose(const Communicator& except, size_t limit,
                              std::vector<CommPtr>& seen) {
    std::vector<CommPtr> chosen;
    size_t held = bytes();
    for (size_t left = members.size(); left > 0 && held > limit; --left) {
      members.splice(members.end(), members, members.begin());
      Member& member = members.back();
      seen.push_back(member.comm.lock());
      const CommPtr& comm = seen.back();
      if (comm == nullptr || comm.get() == &except) continue;
      if (is_idle(member, *comm) && member.bytes != 0) {
        held -= member.bytes;
        chosen.push_back(comm);
      }
    }
    return chosen;
  }

 private:
  static bool is_idle(Member& member, Communicator& comm) {
    const uint64_t operations = comm.stats().operations();
    const int64_t now = now_ns();
    if (operations == member.operations) return now - member.since_ns >= kIdleNs;
    member.operations = operations;
    member.since_ns = now;
    return false;
  }
};

size_t connection_bytes(Communicator& comm) {
  return comm.local().budget.used_bytes(MemoryUse::kConnections);
}

}  // namespace

void note_staging(Communicator& comm) {
  const size_t bytes = connection_bytes(comm);
  if (bytes == comm.noted_staging_bytes()) [[likely]]
    return;
  comm.note_staging_bytes(bytes);
  const size_t limit = comm.options().config.local.staging_pool_bytes;
  std::vector<CommPtr> seen;
  const CommPtr self = comm.shared_from_this();
  const std::vector<CommPtr> idle = ProcessLocal<Pool>::with([&](Pool& pool) {
    pool.note(self, bytes);
    return pool.choose(comm, limit, seen);
  });
  for (const CommPtr& other : idle) {
    const size_t freed = other->rest();
    if (freed == 0) continue;
    log(LogLevel::kDebug, "comm", other->rank(),
        "communicator {:x} is idle and gives {} bytes of staging slots back", other->comm_id(),
        freed);
    const size_t left = connection_bytes(*other);
    ProcessLocal<Pool>::with([&](Pool& pool) { pool.note(other, left); });
  }
}

size_t staging_pool_bytes() {
  return ProcessLocal<Pool>::with([](const Pool& pool) { return pool.bytes(); });
}

}  // namespace tutti::comm
