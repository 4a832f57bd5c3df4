// SPDX-License-Identifier: Apache-2.0
// Guarded memory of the host, its copies on GPUs, and graphs by the driver's own functions.
#include "tests/moe/memory.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include <sys/mman.h>

#include "src/device/cuda/driver.h"

namespace tutti::moe_test {
namespace {

// The library needs none of these, so its table of the driver does not have them.
template <typename... Arguments>
void call_driver(const char* name, Arguments... arguments) {
  static void* const library = ::dlopen("libcuda.so.1", RTLD_NOW);
  auto* const function = reinterpret_cast<int (*)(Arguments...)>(::dlsym(library, name));
  const int result = function == nullptr ? -1 : function(arguments...);
  if (result != 0) throw std::runtime_error(std::string(name) + ": " + std::to_string(result));
}

}  // namespace

Memory::Memory(size_t bytes, const cuda::Gpu* gpu, bool shared) : bytes_(bytes), gpu_(gpu) {
  if (shared && gpu == nullptr) {
    if (tuttiMemAlloc(&shared_, bytes) != tuttiSuccess) throw std::runtime_error("tuttiMemAlloc");
    data_ = static_cast<uint8_t*>(shared_);
    return;
  }
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  whole_ = (bytes + page - 1) / page * page + page;
  base_ = ::mmap(nullptr, whole_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base_ == MAP_FAILED) throw std::runtime_error("mmap");
  auto* const end = static_cast<uint8_t*>(base_) + whole_ - page;
  if (::mprotect(end, page, PROT_NONE) != 0) throw std::runtime_error("mprotect");
  data_ = end - bytes;
  if (gpu != nullptr && bytes != 0) device_ = cuda::DeviceMemory(*gpu, bytes);
  fill();
}

Memory::~Memory() {
  if (base_ != nullptr) ::munmap(base_, whole_);
  (void)tuttiMemFree(shared_);
}

void* Memory::given() const { return gpu_ == nullptr ? data_ : device_.as<void>(); }

bool Memory::untouched(size_t from, size_t bytes) const {
  return std::all_of(data_ + from, data_ + from + bytes, [](uint8_t b) { return b == kGuard; });
}

void Memory::fill() {
  if (bytes_ != 0) std::memset(data_, kGuard, bytes_);
  push();
}

void Memory::push() const {
  if (device_.bytes() == 0) return;
  const cuda::Current current(*gpu_);
  cuda::check(cuda::driver().cuMemcpyHtoD_v2(device_.address(), data_, bytes_), "copying");
}

void Memory::pull() const {
  if (device_.bytes() == 0) return;
  const cuda::Current current(*gpu_);
  cuda::check(cuda::driver().cuMemcpyDtoH_v2(data_, device_.address(), bytes_), "copying");
}

Graph::~Graph() {
  if (graph_ != nullptr) call_driver("cuGraphExecDestroy", graph_);
}

void Graph::capture(const cuda::OwnedStream& stream, const std::function<void()>& calls) {
  void* graph = nullptr;
  call_driver("cuStreamBeginCapture_v2", stream.get(),
              static_cast<int>(cuda::CaptureMode::kThreadLocal));
  calls();
  call_driver("cuStreamEndCapture", stream.get(), &graph);
  call_driver("cuGraphInstantiateWithFlags", &graph_, graph, 0ULL);
  call_driver("cuGraphDestroy", graph);
}

void Graph::replay(const cuda::OwnedStream& stream) const {
  call_driver("cuGraphLaunch", graph_, stream.get());
}

}  // namespace tutti::moe_test
