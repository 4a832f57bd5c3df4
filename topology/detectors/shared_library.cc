// SPDX-License-Identifier: Apache-2.0
// The loader's functions behind SharedLibrary.
#include "topology/detectors/shared_library.h"

#include <dlfcn.h>

namespace tutti::topology {
namespace {

std::string last_error(const std::string& otherwise) {
  const char* const text = dlerror();
  return text == nullptr ? otherwise : text;
}

}  // namespace

SharedLibrary::SharedLibrary(const std::string& file)
    : file_(file), handle_(dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ == nullptr) reason_ = last_error(file + " can't be opened");
}

SharedLibrary::~SharedLibrary() {
  if (handle_ != nullptr) dlclose(handle_);
}

void* SharedLibrary::symbol(const char* name) {
  if (handle_ == nullptr) return nullptr;
  void* const found = dlsym(handle_, name);
  if (found == nullptr && reason_.empty()) reason_ = last_error(file_ + " has no " + name);
  return found;
}

}  // namespace tutti::topology
