// SPDX-License-Identifier: Apache-2.0
// The loader's functions behind SharedLibrary.
#include "src/base/shared_library.h"

#include <dlfcn.h>

namespace tutti {
namespace {

std::string last_error(const std::string& otherwise) {
  const char* const text = dlerror();
  return text == nullptr ? otherwise : text;
}

}  // namespace

SharedLibrary::SharedLibrary(const std::string& file, Unload unload)
    : file_(file),
      handle_(dlopen(file.c_str(),
                     RTLD_NOW | RTLD_LOCAL | (unload == Unload::kNever ? RTLD_NODELETE : 0))) {
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

std::vector<std::string> plugin_files(const std::string& name, const std::string& stem) {
  if (name.empty()) return {stem + ".so"};
  std::vector<std::string> files{name};
  const bool is_file =
      name.find('/') != std::string::npos || (name.starts_with("lib") && name.ends_with(".so"));
  if (!is_file) files.push_back(stem + "-" + name + ".so");
  return files;
}

}  // namespace tutti
