// SPDX-License-Identifier: Apache-2.0
// NCCL's environment variables: which of them stand in for which of ours, and which mean nothing
// here.
#pragma once

#include <optional>
#include <span>
#include <string>

namespace tutti::nccl {

// What NCCL's variables say for one of ours.
struct Said {
  std::optional<std::string> value;  // as the user would write ours; nullopt: nothing
  std::string problem;               // what can't be said by ours, and what happens instead
};

// NCCL's variables that are translated. An explicit TUTTI_ variable always wins.
struct Translation {
  const char* ours;                     // "TUTTI_CHANNELS"
  std::span<const char* const> theirs;  // those it is made of
  const char* doc;                      // what becomes of the values
  Said (*translate)();
};
std::span<const Translation> translations();

// Those that act in this library alone, or not at all.
struct OtherVariable {
  const char* name;
  const char* doc;
  bool ignored;
};
std::span<const OtherVariable> other_variables();

// What stands in for our variable `name`; installed by set_stand_in() (src/base/config.h) when the
// library is loaded.
std::optional<std::string> stand_in(const char* name);

// NCCL_COMM_BLOCKING, which in NCCL goes before the configuration: 0 or 1; nullopt: not set.
std::optional<int> blocking_from_environment();
// NCCL_COMM_ID is set: every process makes the id for itself.
bool id_comes_from_environment();
// What NCCL calls a network (NCCL_NET, config.netName) as a list of our transports: Socket, IB, or
// a plugin's name. A list of ours is kept.
std::string transports_of(const std::string& net);

// Says once per process, in the log, that this is not NCCL, and what is not honoured.
void report_environment() noexcept;

// The tables of docs/howto/use-as-nccl.md; a test compares.
std::string environment_markdown();

}  // namespace tutti::nccl
