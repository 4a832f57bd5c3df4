// SPDX-License-Identifier: Apache-2.0
// Starts ranks that measure, and collects what they answer.
#pragma once

#include <vector>

#include "perf/tune/points.h"
#include "perf/tune/progress.h"

namespace tutti::command {

// Runs the request on so many ranks of this host, started and placed as by `tutti run`; one step of
// `progress` per point. Times by point. Throws Error when the ranks can't be started or fail; what
// they say goes to standard error.
std::vector<Times> measure(int n_ranks, const Request& request, Progress& progress);
// The same by several jobs, one after the other, and the rounds of all of them: the pages that a
// job gets make a difference that stays for as long as it lives.
std::vector<Times> measure_by_jobs(int n_jobs, int n_ranks, const Request& request,
                                   Progress& progress);

}  // namespace tutti::command
