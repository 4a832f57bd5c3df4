// SPDX-License-Identifier: Apache-2.0
// A library that is opened at run time, so that machines without it are served too.
#pragma once

#include <string>
#include <vector>

namespace tutti {

// Stays open until the object is destroyed.
class SharedLibrary {
 public:
  enum class Unload {
    kAtEnd,
    kNever,  // for libraries that leave threads, handlers or hooks behind
  };
  explicit SharedLibrary(const std::string& file, Unload unload = Unload::kAtEnd);
  ~SharedLibrary();
  SharedLibrary(const SharedLibrary&) = delete;
  SharedLibrary& operator=(const SharedLibrary&) = delete;

  bool is_open() const { return handle_ != nullptr; }
  const std::string& file() const { return file_; }
  // "" when it is open and had all that was asked of it; else the loader's words.
  const std::string& reason() const { return reason_; }

  // Finds a function of this library or of one that it depends on. False, with a reason, when there
  // is none.
  template <typename Function>
  bool find(const char* name, Function*& function) {
    function = reinterpret_cast<Function*>(symbol(name));
    return function != nullptr;
  }

 private:
  void* symbol(const char* name);

  std::string file_;
  std::string reason_;
  void* handle_ = nullptr;
};

// The files that plugins are installed as, in the order in which they are tried: `name` may be a
// file, or stand for STEM-name.so; empty: STEM.so.
std::vector<std::string> plugin_files(const std::string& name, const std::string& stem);

}  // namespace tutti
