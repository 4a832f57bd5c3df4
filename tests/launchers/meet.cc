// SPDX-License-Identifier: Apache-2.0
// What a launcher starts in these tests: finds the other ranks by nothing but its environment,
// meets them several times, and checks what everybody said. Prints one line per rank.
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/bootstrap/bootstrap.h"

namespace tutti {
namespace {

constexpr int64_t kPatienceNs = 30 * kNsPerSecond;

void require(bool holds, const char* what) {
  if (!holds) throw Error(StatusCode::kInternalError, what);
}

// Returns the number of hosts.
size_t meet(const bootstrap::Launch& launch, uint64_t sequence) {
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  const auto id = bootstrap::launch_unique_id(launch, sequence);
  const auto meeting = bootstrap::Bootstrap::join(id, launch.size, launch.rank, deadline, nullptr);
  const std::string mine =
      std::to_string(launch.rank * 7 + static_cast<int>(sequence)) + " " + host_name();
  const auto all = meeting->all_gather(std::as_bytes(std::span(mine)), deadline);
  require(all.size() == static_cast<size_t>(launch.size), "an entry for each rank");
  std::set<std::string> hosts;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    const std::string text(reinterpret_cast<const char*>(all[rank].data()), all[rank].size());
    const size_t blank = text.find(' ');
    require(blank != std::string::npos, "a number and a host");
    require(text.substr(0, blank) ==
                std::to_string(static_cast<int>(rank) * 7 + static_cast<int>(sequence)),
            "every rank's number of this meeting");
    hosts.insert(text.substr(blank + 1));
  }
  return hosts.size();
}

int run(int meetings) {
  const auto launch = bootstrap::detect_launch();
  if (!launch.has_value()) {
    std::printf("no launcher\n");
    return 3;
  }
  size_t hosts = 0;
  for (int i = 0; i < meetings; ++i) hosts = meet(*launch, static_cast<uint64_t>(i));
  std::printf("met: %s rank %d of %d, local %d of %d, hosts %zu\n", launch->launcher.c_str(),
              launch->rank, launch->size, launch->local_rank, launch->local_size, hosts);
  return 0;
}

}  // namespace
}  // namespace tutti

int main(int argc, char** argv) {
  try {
    return tutti::run(argc > 1 ? std::atoi(argv[1]) : 3);
  } catch (const tutti::Error& error) {
    std::printf("failed: %s\n", error.what());
    return 1;
  }
}
