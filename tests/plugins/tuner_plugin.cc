// A tuner plugin of our own making, to test that one is asked and obeyed. Built once for each
// version of the interface, by TEST_VERSION. It wants AllReduce by the tree up to 9,999 bytes, and
// by the ring from there on; AllGather by the ring for any size; something that only in-network
// reduction can do for ReduceScatter; and has no opinion on the rest.
#include "src/comm/tuner_abi.h"

namespace {

namespace abi = tutti::comm::tuner_abi;

int context_object;

abi::Algorithm wanted(int function, size_t bytes) {
  if (function == abi::kAllReduce) return bytes < 10000 ? abi::kTree : abi::kRing;
  if (function == abi::kAllGather) return abi::kRing;
  if (function == abi::kReduceScatter) return abi::kCollNetDirect;
  return abi::kUndefined;
}

#if TEST_VERSION >= 5
int start(void** context, uint64_t, size_t ranks, size_t nodes, abi::Logger logger,
          abi::NvlinkDomains* domains, abi::Constants* constants) {
  if (domains == nullptr || constants == nullptr) return 4;
#else
int start(size_t ranks, size_t nodes, abi::Logger logger, void** context) {
#endif
  logger(3, ~0ul, __FILE__, __LINE__, "test tuner for %zu ranks on %zu hosts", ranks, nodes);
#if defined(TEST_FAILS_TO_START)
  return 3;
#endif
  *context = &context_object;
  return ranks < 1 || nodes < 1 ? 4 : 0;
}

#if TEST_VERSION == 2
int ask(void* context, int function, size_t bytes, int, int, int, int* algorithm, int* protocol,
        int* channels) {
  if (context != &context_object) return 4;
  if (wanted(function, bytes) == abi::kUndefined) return 0;
  *algorithm = wanted(function, bytes);
  *protocol = 2;
  *channels = 1;
  return 0;
}
#else
int prefer(void* context, int function, size_t bytes, float** costs, int algorithms,
           int protocols) {
  if (context != &context_object || algorithms < 1 || protocols != abi::kProtocols) return 4;
  auto* const table = reinterpret_cast<float(*)[abi::kProtocols]>(costs);
  const int algorithm = wanted(function, bytes);
  if (algorithm == abi::kUndefined || table[algorithm][2] == abi::kIgnored) return 0;
  table[algorithm][2] = 0;
  return 0;
}
#if TEST_VERSION == 3
int ask(void* context, int function, size_t bytes, int, float** costs, int algorithms,
        int protocols, int*) {
  return prefer(context, function, bytes, costs, algorithms, protocols);
}
#else
int ask(void* context, int function, size_t bytes, int, float** costs, int algorithms,
        int protocols, int, int*) {
  return prefer(context, function, bytes, costs, algorithms, protocols);
}
#endif
#endif

int finish(void* context) { return context == &context_object ? 0 : 4; }

#define TUTTI_JOIN_(a, b) a##b
#define TUTTI_JOIN(a, b) TUTTI_JOIN_(a, b)
using Tuner = abi::TUTTI_JOIN(TunerV, TEST_VERSION);

}  // namespace

extern "C" {
__attribute__((visibility("default"))) extern const Tuner TUTTI_JOIN(ncclTunerPlugin_v,
                                                                     TEST_VERSION);
const Tuner TUTTI_JOIN(ncclTunerPlugin_v, TEST_VERSION) {
  .name = "TestTuner", .init = start, .ask = ask, .destroy = finish,
#if TEST_VERSION >= 6
  .chunk_bytes = nullptr,
#endif
};
}
