// SPDX-License-Identifier: Apache-2.0
// NCCL's parameters: here the environment variables that this library knows, set or not.
#include <charconv>
#include <concepts>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/api/nccl/environment.h"
#include "src/api/nccl/forward.h"
#include "src/api/nccl/translate.h"
#include "src/base/log.h"

namespace tutti::nccl {
namespace {

using api::guard;

// The names in their order; a handle is the address of one. They stay until the process ends.
const std::vector<const char*>& keys() {
  static const std::vector<const char*>* const all = [] {
    auto* const names = new std::vector<const char*>;  // never freed: callers keep its addresses
    for (const Translation& one : translations())
      names->insert(names->end(), one.theirs.begin(), one.theirs.end());
    for (const OtherVariable& other : other_variables()) names->push_back(other.name);
    return names;
  }();
  return *all;
}

[[noreturn]] void refuse(const std::string& message) {
  throw Error(StatusCode::kInvalidArgument, message);
}

const char* const* find(const char* key) {
  if (key == nullptr) refuse("key is NULL");
  for (const char* const& name : keys()) {
    if (std::strcmp(name, key) == 0) return &name;
  }
  refuse(fmt::format(
      "'{}' is no parameter of this library; ncclParamGetAllParameterKeys lists them", key));
}

const char* name_of(ncclParamHandle_t handle) {
  for (const char* const& name : keys()) {
    if (static_cast<const void*>(&name) == static_cast<const void*>(handle)) return name;
  }
  refuse("h is no handle of ncclParamBind");
}

// Kept for the calling thread until it asks for the same parameter again.
const std::string& kept(const char* name) {
  static thread_local std::map<const void*, std::string> texts;
  return texts[name] = variable(name);
}

template <std::integral Number>
ncclResult_t get_number(const char* function, ncclParamHandle_t handle, Number* out) noexcept {
  return theirs(guard(function, [&] {
    const char* const name = name_of(handle);
    if (out == nullptr) refuse("out is NULL");
    const std::string text = variable(name);
    Number number{};
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end) {
      refuse(fmt::format("{}='{}' is no whole number from {} to {}", name, text,
                         std::numeric_limits<Number>::min(), std::numeric_limits<Number>::max()));
    }
    *out = number;
  }));
}

}  // namespace
}  // namespace tutti::nccl

using namespace tutti::nccl;  // NOLINT(google-build-using-namespace): the C functions below are
                              // outside of any namespace

TUTTI_NCCL_API ncclResult_t ncclParamBind(ncclParamHandle_t* out, const char* key) {
  return theirs(guard("ncclParamBind", [&] {
    if (out == nullptr) refuse("out is NULL");
    *out = reinterpret_cast<ncclParamHandle_t>(const_cast<const char**>(find(key)));
  }));
}
TUTTI_NCCL_TWIN(ncclParamBind);

// NOLINTBEGIN(bugprone-macro-parentheses): a type
#define TUTTI_NCCL_GETTER(suffix, type)                                              \
  TUTTI_NCCL_API ncclResult_t ncclParamGet##suffix(ncclParamHandle_t h, type* out) { \
    return get_number("ncclParamGet" #suffix, h, out);                               \
  }                                                                                  \
  TUTTI_NCCL_TWIN(ncclParamGet##suffix)
// NOLINTEND(bugprone-macro-parentheses)
TUTTI_NCCL_GETTER(I8, int8_t);
TUTTI_NCCL_GETTER(I16, int16_t);
TUTTI_NCCL_GETTER(I32, int32_t);
TUTTI_NCCL_GETTER(I64, int64_t);
TUTTI_NCCL_GETTER(U8, uint8_t);
TUTTI_NCCL_GETTER(U16, uint16_t);
TUTTI_NCCL_GETTER(U32, uint32_t);
TUTTI_NCCL_GETTER(U64, uint64_t);
#undef TUTTI_NCCL_GETTER

TUTTI_NCCL_API ncclResult_t ncclParamGetStr(ncclParamHandle_t h, const char** out) {
  return theirs(guard("ncclParamGetStr", [&] {
    const char* const name = name_of(h);
    if (out == nullptr) refuse("out is NULL");
    *out = kept(name).c_str();
  }));
}
TUTTI_NCCL_TWIN(ncclParamGetStr);

// All parameters are texts here: the bytes of the text, without a 0 behind it.
TUTTI_NCCL_API ncclResult_t ncclParamGet(ncclParamHandle_t h, void* out, int maxLen, int* len) {
  return theirs(guard("ncclParamGet", [&] {
    const std::string& text = kept(name_of(h));
    if (out == nullptr || len == nullptr) refuse(out == nullptr ? "out is NULL" : "len is NULL");
    if (maxLen < 0 || static_cast<size_t>(maxLen) < text.size())
      refuse(fmt::format("maxLen is {}; the value has {} bytes", maxLen, text.size()));
    std::memcpy(out, text.data(), text.size());
    *len = static_cast<int>(text.size());
  }));
}
TUTTI_NCCL_TWIN(ncclParamGet);

TUTTI_NCCL_API ncclResult_t ncclParamGetParameter(const char* key, const char** value,
                                                  int* valueLen) {
  return theirs(guard("ncclParamGetParameter", [&] {
    if (value == nullptr || valueLen == nullptr)
      refuse(value == nullptr ? "value is NULL" : "valueLen is NULL");
    const std::string& text = kept(*find(key));
    *value = text.c_str();
    *valueLen = static_cast<int>(text.size());
  }));
}
TUTTI_NCCL_TWIN(ncclParamGetParameter);

TUTTI_NCCL_API ncclResult_t ncclParamGetAllParameterKeys(const char*** table, int* tableLen) {
  return theirs(guard("ncclParamGetAllParameterKeys", [&] {
    if (table == nullptr || tableLen == nullptr)
      refuse(table == nullptr ? "table is NULL" : "tableLen is NULL");
    *table = const_cast<const char**>(keys().data());  // to be read only
    *tableLen = static_cast<int>(keys().size());
  }));
}
TUTTI_NCCL_TWIN(ncclParamGetAllParameterKeys);

TUTTI_NCCL_API void ncclParamDumpAll() {
  (void)guard("ncclParamDumpAll", [] {
    for (const char* const name : keys())
      tutti::log(tutti::LogLevel::kInfo, "config", -1, "{}='{}'", name, variable(name));
  });
}
TUTTI_NCCL_TWIN(ncclParamDumpAll);
