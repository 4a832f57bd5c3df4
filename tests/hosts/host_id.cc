// SPDX-License-Identifier: Apache-2.0
// Prints the identity that the library gives to the host that this runs on.
#include <cinttypes>
#include <cstdio>

#include "src/base/liveness.h"

int main() {
  std::printf("%016" PRIx64 "\n", tutti::this_process().host_id);
  return 0;
}
