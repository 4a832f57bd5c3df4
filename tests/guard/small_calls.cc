// SPDX-License-Identifier: Apache-2.0
// Small kernel calls by the thousand. To be run under valgrind (small_calls_test.py).
//
//   small_calls none|reduce|copy DTYPE COUNT SOURCES CALLS
//
// "none" calls a function that does nothing with the same arguments; DTYPE is the value of the
// enumerator; "copy" is copy_bytes of COUNT bytes.
#include <cstdlib>
#include <string_view>

#include "src/kernels/reduce_copy.h"

namespace {

using tutti::kernels::ReduceCopy;

void nothing(const ReduceCopy& call) noexcept { asm volatile("" : : "r"(&call) : "memory"); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const std::string_view kind = argv[1];
  const auto dtype = static_cast<tutti::DType>(std::atoi(argv[2]));
  const auto count = static_cast<size_t>(std::atoi(argv[3]));
  const auto n_sources = static_cast<size_t>(std::atoi(argv[4]));
  const int calls = std::atoi(argv[5]);
  alignas(64) static unsigned char buffers[3][512];
  const tutti::kernels::Source sources[2] = {{buffers[0], false}, {buffers[1], false}};
  const tutti::kernels::Sink sink{buffers[2], false};
  if (kind == "copy") {
    for (int i = 0; i < calls; ++i) {
      tutti::kernels::copy_bytes(buffers[2], buffers[0], count, false);
      asm volatile("" : : : "memory");
    }
    return 0;
  }
  const auto kernel =
      kind == "none" ? &nothing : tutti::kernels::reduce_copy_for(dtype, tutti::Op::kSum);
  for (int i = 0; i < calls; ++i) {
    kernel(
        {.sources = sources, .n_sources = n_sources, .sinks = &sink, .n_sinks = 1, .count = count});
  }
  return 0;
}
