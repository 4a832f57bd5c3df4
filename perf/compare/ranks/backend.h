// SPDX-License-Identifier: Apache-2.0
// What a library has to offer to be measured: one back end per API. Failures throw.
#pragma once

#include <string>

#include "perf/compare/ranks/buffers.h"
#include "perf/compare/ranks/point.h"

namespace tutti::compare {

// One prepared operation. Owned by the harness; valid until Backend::finish.
struct Call {
  Point point;
  Shape shape;
  float* input = nullptr;
  float* output = nullptr;  // == input for Broadcast and for in-place calls
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string version() const = 0;

  // Memory of user buffers, touched.
  virtual void* allocate(size_t bytes, const Point& point) {
    return map_private(bytes, point.pages);
  }
  virtual void release(void* memory, size_t bytes) { unmap_private(memory, bytes); }

  // Sets up `call`, which is then run many times; throws Unsupported.
  virtual void prepare(const Call& call) = 0;
  // One blocking operation; root matters to Broadcast only.
  virtual void run(int root) = 0;
  virtual void finish() = 0;  // the end of prepare()

  virtual void barrier() = 0;
};

// Connects to the driver and serves it until it says quit or goes. Returns the exit code of main.
int serve(Backend& backend);
// To be called first in main: the placement that the driver asks for (COMPARE_PLACEMENT=pinned: CPU
// rank modulo CPUs), before the library starts threads; and a deadline for starting.
void begin_rank(int rank);
// The rank that the launcher has given to this process, from the environment; 0 without one.
int launch_rank();

// The partner of ping-pong.
inline int partner_of(int rank) { return rank ^ 1; }

}  // namespace tutti::compare
