// SPDX-License-Identifier: Apache-2.0
// Modules, libraries, kernels: an image is only looked at for being there. Kernels are found by
// name in the companion objects of CUDASIM_KERNELS.
#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/functions.h"
#include "tests/cudasim/src/driver/state.h"

namespace cudasim {
namespace {

struct Loaded {
  std::mutex mutex;
  bool opened = false;
  std::vector<void*> companions;
  std::map<std::string, std::unique_ptr<abi::FunctionObject>> functions;
};
Loaded& loaded() {
  static Loaded* const kLoaded = new Loaded();
  return *kLoaded;
}

void open_companions() {
  if (loaded().opened) return;
  loaded().opened = true;
  for (const std::string& file : config().kernels) {
    void* const handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr)
      throw Failure(
          Result::kInvalidImage,
          fmt::format("CUDASIM_KERNELS: {}", dlerror()));  // NOLINT(concurrency-mt-unsafe)
    loaded().companions.push_back(handle);
  }
}

abi::FunctionObject& function_named(const std::string& name) {
  const std::lock_guard lock(loaded().mutex);
  open_companions();
  auto& function = loaded().functions[name];
  if (function) return *function;
  for (void* const companion : loaded().companions) {
    const auto* const kernel =
        static_cast<const KernelDescriptor*>(dlsym(companion, ("cudasim_kernel_" + name).c_str()));
    if (kernel == nullptr) continue;
    if (kernel->abi != kKernelAbi)
      throw Failure(Result::kInvalidImage,
                    fmt::format("kernel {} was compiled for interface {} of the simulator, this is "
                                "{}: rebuild its companion object",
                                name, kernel->abi, kKernelAbi));
    function = std::make_unique<abi::FunctionObject>();
    function->name = name;
    function->kernel = kernel;
    return *function;
  }
  loaded().functions.erase(name);
  throw Failure(Result::kNotFound, fmt::format("no kernel {} in the {} objects of CUDASIM_KERNELS",
                                               name, loaded().companions.size()));
}

int attribute_of(const abi::FunctionObject& function, abi::FunctionAttribute attribute) {
  switch (attribute) {
    case abi::FunctionAttribute::kMaxThreadsPerBlock:
      return static_cast<int>(function.max_threads());
    case abi::FunctionAttribute::kNumRegs:
      return 64;
    case abi::FunctionAttribute::kPtxVersion:
    case abi::FunctionAttribute::kBinaryVersion:
      return machine().gpus()[0].capability;
    case abi::FunctionAttribute::kMaxDynamicSharedSizeBytes:
      return static_cast<int>(function.most_shared);
    default:
      return 0;
  }
}

Result set_attribute(abi::FunctionObject& function, abi::FunctionAttribute attribute, int value) {
  if (attribute == abi::FunctionAttribute::kPreferredSharedMemoryCarveout) return Result::kSuccess;
  require(attribute == abi::FunctionAttribute::kMaxDynamicSharedSizeBytes, Result::kInvalidValue,
          "the attribute can't be set");
  require(value >= 0 && static_cast<uint32_t>(value) <= kSharedPerBlockOptin, Result::kInvalidValue,
          "more shared memory than a block can have");
  function.most_shared = static_cast<uint32_t>(value);
  return Result::kSuccess;
}

void check_image(const void* image) {
  require(image != nullptr, Result::kInvalidValue, "no image");
  const std::lock_guard lock(loaded().mutex);
  open_companions();
}

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

struct ModuleObject {
  const void* image;
};
struct LibraryObject {
  ModuleObject module;
};
struct KernelObject : FunctionObject {};

Result cuModuleLoadData(Module* module, const void* image) {
  return call("cuModuleLoadData", [&] {
    usable_context();
    check_image(image);
    *module = new ModuleObject{image};
    return Result::kSuccess;
  });
}

Result cuModuleLoadDataEx(Module* module, const void* image, unsigned, int*, void**) {
  return cuModuleLoadData(module, image);
}

Result cuModuleUnload(Module module) {
  return call("cuModuleUnload", [&] {
    require(module != nullptr, Result::kInvalidHandle, "no module");
    delete module;
    return Result::kSuccess;
  });
}

Result cuModuleGetFunction(Function* function, Module module, const char* name) {
  return call("cuModuleGetFunction", [&] {
    require(module != nullptr && name != nullptr, Result::kInvalidValue, "no module or no name");
    *function = &function_named(name);
    return Result::kSuccess;
  });
}

Result cuLibraryLoadData(Library* library, const void* code, int*, void**, unsigned, int*, void**,
                         unsigned) {
  return call("cuLibraryLoadData", [&] {
    check_image(code);
    *library = new LibraryObject{{code}};
    return Result::kSuccess;
  });
}

Result cuLibraryUnload(Library library) {
  return call("cuLibraryUnload", [&] {
    require(library != nullptr, Result::kInvalidHandle, "no library");
    delete library;
    return Result::kSuccess;
  });
}

Result cuLibraryGetKernel(Kernel* kernel, Library library, const char* name) {
  return call("cuLibraryGetKernel", [&] {
    require(library != nullptr && name != nullptr, Result::kInvalidValue, "no library or no name");
    *kernel = reinterpret_cast<Kernel>(&function_named(name));
    return Result::kSuccess;
  });
}

Result cuLibraryGetModule(Module* module, Library library) {
  return call("cuLibraryGetModule", [&] {
    require(library != nullptr, Result::kInvalidHandle, "no library");
    *module = &library->module;
    return Result::kSuccess;
  });
}

// A kernel's handle may be used as a function's.
Result cuKernelGetFunction(Function* function, Kernel kernel) {
  return call("cuKernelGetFunction", [&] {
    require(kernel != nullptr, Result::kInvalidHandle, "no kernel");
    *function = reinterpret_cast<Function>(kernel);
    return Result::kSuccess;
  });
}

Result cuFuncGetAttribute(int* value, FunctionAttribute attribute, Function function) {
  return call("cuFuncGetAttribute", [&] {
    require(function != nullptr, Result::kInvalidHandle, "no function");
    *value = attribute_of(*function, attribute);
    return Result::kSuccess;
  });
}

Result cuFuncSetAttribute(Function function, FunctionAttribute attribute, int value) {
  return call("cuFuncSetAttribute", [&] {
    require(function != nullptr, Result::kInvalidHandle, "no function");
    return set_attribute(*function, attribute, value);
  });
}

Result cuKernelGetAttribute(int* value, FunctionAttribute attribute, Kernel kernel, Device) {
  return cuFuncGetAttribute(value, attribute, reinterpret_cast<Function>(kernel));
}

Result cuKernelSetAttribute(FunctionAttribute attribute, int value, Kernel kernel, Device) {
  return cuFuncSetAttribute(reinterpret_cast<Function>(kernel), attribute, value);
}

Result cuFuncGetName(const char** name, Function function) {
  return call("cuFuncGetName", [&] {
    require(function != nullptr, Result::kInvalidHandle, "no function");
    *name = function->name.c_str();
    return Result::kSuccess;
  });
}

}  // namespace tutti::cuda
