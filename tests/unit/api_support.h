// SPDX-License-Identifier: Apache-2.0
// Ranks for tests of the C API: threads over tuttiCommInitAll, or forked processes.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tutti/tutti.h"

namespace tutti::testing {

inline void expect_ok(tuttiResult_t result, const char* what) {
  EXPECT_EQ(result, tuttiSuccess) << what << ": " << tuttiGetLastError(nullptr);
}
#define EXPECT_TUTTI(call) ::tutti::testing::expect_ok((call), #call)

inline void expect_error(tuttiResult_t result, tuttiResult_t expected,
                         const std::vector<std::string>& fragments) {
  EXPECT_EQ(result, expected) << tuttiGetLastError(nullptr);
  const std::string message = tuttiGetLastError(nullptr);
  for (const std::string& fragment : fragments) {
    EXPECT_NE(message.find(fragment), std::string::npos)
        << "no '" << fragment << "' in: " << message;
  }
}

// A communicator whose ranks are all in this process.
class World {
 public:
  explicit World(int n) : comms_(static_cast<size_t>(n)) {
    EXPECT_TUTTI(tuttiCommInitAll(comms_.data(), n, nullptr));
  }
  ~World() {
    for (tuttiComm_t comm : comms_) {
      if (comm != nullptr) EXPECT_TUTTI(tuttiCommDestroy(comm));
    }
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int size() const { return static_cast<int>(comms_.size()); }
  tuttiComm_t& operator[](int rank) { return comms_[static_cast<size_t>(rank)]; }

  // One thread per rank.
  void each(const std::function<void(int rank, tuttiComm_t comm)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size(); ++rank)
      threads.emplace_back([&, rank] { body(rank, (*this)[rank]); });
    for (std::thread& thread : threads) thread.join();
  }
  // All ranks from this thread, in one group.
  void grouped(const std::function<void(int rank, tuttiComm_t comm)>& body) {
    EXPECT_TUTTI(tuttiGroupStart());
    for (int rank = 0; rank < size(); ++rank) body(rank, (*this)[rank]);
    EXPECT_TUTTI(tuttiGroupEnd());
  }

 private:
  std::vector<tuttiComm_t> comms_;
};

class StreamHandle {
 public:
  StreamHandle() { EXPECT_TUTTI(tuttiStreamCreate(&stream_)); }
  ~StreamHandle() { EXPECT_TUTTI(tuttiStreamDestroy(stream_)); }
  StreamHandle(const StreamHandle&) = delete;
  StreamHandle& operator=(const StreamHandle&) = delete;
  operator tuttiStream_t() const { return stream_; }  // NOLINT(google-explicit-constructor)

 private:
  tuttiStream_t stream_ = nullptr;
};

// A small value that depends on all of its arguments.
inline int value(int rank, size_t index, int salt = 0) {
  return static_cast<int>(
      (static_cast<size_t>(rank) * 31 + index * 7 + static_cast<size_t>(salt) * 13) % 101);
}

}  // namespace tutti::testing
