// SPDX-License-Identifier: Apache-2.0
// Ranks as threads for the bootstrap's tests, and what each of them got.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "src/base/error.h"
#include "src/bootstrap/bootstrap.h"

namespace tutti::bootstrap {

inline Deadline soon() { return Deadline::after_ns(60 * kNsPerSecond); }

// What a rank's body threw; code kOk and an empty text when it returned.
struct Outcome {
  StatusCode code = StatusCode::kOk;
  std::string text;
};

inline Outcome outcome_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
  return {};
}

// Runs body(i) for i < count on a thread each.
inline std::vector<Outcome> run_threads(int count, const std::function<void(int)>& body) {
  std::vector<Outcome> outcomes(static_cast<size_t>(count));
  std::vector<std::thread> threads;
  threads.reserve(outcomes.size());
  for (int i = 0; i < count; ++i) {
    threads.emplace_back(
        [&, i] { outcomes[static_cast<size_t>(i)] = outcome_of([&] { body(i); }); });
  }
  for (std::thread& thread : threads) thread.join();
  return outcomes;
}

// A rank's bytes in a test's all-gather: any length, recognisable.
inline std::vector<std::byte> pattern(int rank, size_t bytes) {
  std::vector<std::byte> data(bytes);
  for (size_t i = 0; i < bytes; ++i)
    data[i] = static_cast<std::byte>(i * 7 + static_cast<size_t>(rank) * 13);
  return data;
}

}  // namespace tutti::bootstrap
