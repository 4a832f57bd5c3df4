// SPDX-License-Identifier: Apache-2.0
// The key-value spaces of launchers, reduced to what a job needs of them: one text of rank 0 for
// all.
#pragma once

#include <optional>
#include <string>

#include "src/base/clock.h"

namespace tutti::bootstrap {

// Of all launchers' limits the smallest (PMI-1's usual one).
inline constexpr size_t kMaxSharedBytes = 1024;

struct Sharing {
  int rank = 0;
  int size = 1;
  std::string mine;  // rank 0's text: printable, no blanks, no quotes, at most kMaxSharedBytes
  Deadline deadline = Deadline::never();
};

// Why the launcher offers this space to no process like ours; nullopt when it does.
std::optional<std::string> why_no_pmix(int rank);
std::optional<std::string> why_no_pmi(int rank);

// Rank 0's text, in every rank. Collective: all ranks of the job call it, once. Throw Error naming
// the launcher's interface, what went wrong, and what to do.
std::string share_by_pmix(const Sharing& sharing);
std::string share_by_pmi(const Sharing& sharing);

// What PMIx says about this process, for launchers that say nothing else. Throws as above, or gives
// nullopt when no server answers (a process that was started by hand from within a job).
struct PmixPlace {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
};
std::optional<PmixPlace> ask_pmix_for_place(Deadline deadline);

}  // namespace tutti::bootstrap
