// SPDX-License-Identifier: Apache-2.0
// A library that is opened at run time, so that machines without it are served too.
#pragma once

#include <string>

namespace tutti::topology {

// Stays open until the object is destroyed.
class SharedLibrary {
 public:
  explicit SharedLibrary(const std::string& file);
  ~SharedLibrary();
  SharedLibrary(const SharedLibrary&) = delete;
  SharedLibrary& operator=(const SharedLibrary&) = delete;

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

}  // namespace tutti::topology
