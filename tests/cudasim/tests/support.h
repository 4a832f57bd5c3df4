// SPDX-License-Identifier: Apache-2.0
// Running pieces of a test in processes of their own, each with its own simulated driver.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "src/device/cuda/abi.h"

namespace tutti::cuda {
#define CUDASIM_DECLARE(symbol, base, version, ...) extern "C" Result symbol(__VA_ARGS__);
TUTTI_CUDA_FUNCTIONS(CUDASIM_DECLARE)
#undef CUDASIM_DECLARE
}  // namespace tutti::cuda
extern "C" const char* cudasim_reports();

namespace cudasim::test {

namespace abi = tutti::cuda;
using abi::Result;
using Env = std::map<std::string, std::string>;

struct Outcome {
  bool ended_well = false;  // exit status 0 in time
  int signal = 0;
  std::string said;  // on standard error
};

// Forks, sets the environment (topology and kernels have defaults), runs the body and exits with 0.
// A process that takes longer than a minute is killed.
Outcome run(const Env& env, const std::function<void()>& body);
// Several at once; each is told its number. A message on a channel is 8 bytes and perhaps a
// descriptor: those of number i are read by number i.
class Channels {
 public:
  explicit Channels(int count);
  ~Channels();
  Channels(const Channels&) = delete;
  Channels& operator=(const Channels&) = delete;
  void send(int to, uint64_t value, int fd = -1) const;
  void send_bytes(int to, const void* bytes, size_t count) const;
  uint64_t receive(int self, int* fd = nullptr) const;
  void receive_bytes(int self, void* bytes, size_t count) const;

 private:
  std::vector<std::pair<int, int>> ends_;  // to read, to write
};
std::vector<Outcome> run_all(int count, const Env& env,
                             const std::function<void(int, const Channels&)>& body);

// In such a process: says what was expected, and ends it.
void expect(bool condition, const char* what, const char* file, int line);
void expect_result(Result got, Result wanted, const char* what, const char* file, int line);
#define WANT(condition) ::cudasim::test::expect((condition), #condition, __FILE__, __LINE__)
#define OK(call) \
  ::cudasim::test::expect_result((call), ::tutti::cuda::Result::kSuccess, #call, __FILE__, __LINE__)
#define FAILS(call, code) \
  ::cudasim::test::expect_result((call), ::tutti::cuda::Result::code, #call, __FILE__, __LINE__)

// Starts the driver, makes the device's context current.
abi::Context use_device(int device);
abi::Function function(const char* name);
uint32_t* alloc_words(size_t count);  // of the current device, zero
std::vector<uint32_t> read_words(const uint32_t* from, size_t count);
void write_words(uint32_t* to, const std::vector<uint32_t>& values);
inline abi::DevicePtr address(const void* pointer) {
  return reinterpret_cast<abi::DevicePtr>(pointer);
}

template <class Args>
Result launch(const char* name, unsigned blocks, unsigned threads, Args args,
              abi::Stream stream = nullptr, unsigned shared_bytes = 0) {
  void* parameters[] = {&args};
  return abi::cuLaunchKernel(function(name), blocks, 1, 1, threads, 1, 1, shared_bytes, stream,
                             parameters, nullptr);
}
abi::Stream new_stream(unsigned flags = abi::kStreamNonBlocking);

}  // namespace cudasim::test
