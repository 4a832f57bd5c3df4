// SPDX-License-Identifier: Apache-2.0
// Writes the Trace Event Format.
#include "src/trace/chrome.h"

#include <algorithm>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>

#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"

namespace tutti::trace {
namespace {

using nlohmann::json;

// Processes and threads of the trace; pids of several hosts may be equal, so they get new numbers.
class Numbers {
 public:
  int process(const Recording& r) {
    const auto at = processes_.find({r.host_id, r.process_uid});
    if (at != processes_.end()) return at->second;
    const bool taken = std::ranges::count(used_, r.pid) != 0;
    const int number = taken ? kFirstFree + static_cast<int>(used_.size()) : r.pid;
    used_.push_back(number);
    return processes_[{r.host_id, r.process_uid}] = number;
  }

 private:
  static constexpr int kFirstFree = 1 << 23;  // above every pid of Linux
  std::map<std::pair<uint64_t, uint64_t>, int> processes_;
  std::vector<int> used_;
};

json arguments_of(const Recording& r, const Operation& o) {
  json arguments = {{"sequence", o.sequence},
                    {"state", name(o.state)},
                    {"count", o.count},
                    {"dtype", name(static_cast<DType>(o.dtype))},
                    {"bytes", payload_bytes(o, r.n_ranks)},
                    {"rank", r.rank}};
  if (o.collective()) {
    arguments["number"] = o.number;
    arguments["algorithm"] = o.algorithm;
    if (plan::reduces(static_cast<plan::Collective>(o.kind)))
      arguments["op"] = name(static_cast<Op>(o.op));
  }
  if (o.root >= 0) arguments[o.collective() ? "root" : "peer"] = o.root;
  if (o.waiting_for >= 0) arguments["waiting_for"] = o.waiting_for;
  if (o.state == State::kDone) arguments["protocol"] = protocol_name(o.protocol);
  if (o.issued_ns != o.begun_ns) arguments["queued_us"] = (o.begun_ns - o.issued_ns) / 1e3;
  return arguments;
}

json name_event(const char* what, int pid, int tid, const std::string& text) {
  return {{"ph", "M"}, {"name", what}, {"pid", pid}, {"tid", tid}, {"args", {{"name", text}}}};
}

}  // namespace

std::string chrome_trace(const Timeline& timeline) {
  int64_t start_ns = INT64_MAX;
  for (const Recording& r : timeline.recordings()) {
    for (const Operation& o : r.ring)
      start_ns = std::min(start_ns, timeline.common_ns(r, o.begun_ns));
  }
  Numbers numbers;
  json events = json::array();
  int tid = 0;
  for (const Recording& r : timeline.recordings()) {
    const int pid = numbers.process(r);
    ++tid;
    events.push_back(name_event("process_name", pid, tid,
                                r.program + " " + std::to_string(r.pid) + " on " + r.host));
    events.push_back(name_event("thread_name", pid, tid,
                                timeline.comm_of(r).name + " rank " + std::to_string(r.rank)));
    for (const Operation& o : r.ring) {
      const int64_t end_ns = o.ended() ? o.ended_ns : std::max(r.last_seen_ns, o.begun_ns);
      events.push_back({{"ph", "X"},
                        {"name", o.ended() ? o.name : o.name + " (" + name(o.state) + ")"},
                        {"cat", o.collective() ? "collective" : "other"},
                        {"pid", pid},
                        {"tid", tid},
                        {"ts", (timeline.common_ns(r, o.begun_ns) - start_ns) / 1e3},
                        {"dur", (end_ns - o.begun_ns) / 1e3},
                        {"args", arguments_of(r, o)}});
    }
  }
  const json trace = {{"traceEvents", std::move(events)},
                      {"displayTimeUnit", "ns"},
                      {"otherData", {{"start_unix_ns", start_ns == INT64_MAX ? 0 : start_ns}}}};
  return trace.dump(-1, ' ', false, json::error_handler_t::replace);
}

}  // namespace tutti::trace
