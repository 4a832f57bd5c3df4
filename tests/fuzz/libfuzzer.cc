// SPDX-License-Identifier: Apache-2.0
// A target under libFuzzer. `TARGET --write-seeds FOLDER` writes its seeds and ends.
#include <string>

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/seed_files.h"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  if (*argc == 3 && std::string_view((*argv)[1]) == "--write-seeds") {
    tutti::fuzz::write_seeds((*argv)[2]);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t bytes) {
  tutti::fuzz::run({reinterpret_cast<const char*>(data), bytes});
  return 0;
}
