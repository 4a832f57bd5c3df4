// SPDX-License-Identifier: Apache-2.0
// The part of the PMIx client interface (PMIx Standard 4.1, chapters 3 to 6) that is called through
// libpmix.so.2 when it is there: nothing of it is needed to build.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tutti::bootstrap::pmix {

inline constexpr const char* kLibrary = "libpmix.so.2";

inline constexpr size_t kNamespaceBytes = 256;  // PMIX_MAX_NSLEN + 1
inline constexpr size_t kKeyBytes = 512;        // PMIX_MAX_KEYLEN + 1
inline constexpr uint32_t kRankWildcard = UINT32_MAX - 1;
inline constexpr int kSuccess = 0;
inline constexpr int kErrUnreachable = -25;
inline constexpr uint8_t kScopeGlobal = 3;

enum Type : uint16_t { kBool = 1, kString = 3, kInt = 6, kUint16 = 13, kUint32 = 14 };

// Keys that the standard names.
inline constexpr const char* kKeyCollect = "pmix.collect";
inline constexpr const char* kKeyTimeout = "pmix.timeout";  // int, seconds
inline constexpr const char* kKeyJobSize = "pmix.job.size";
inline constexpr const char* kKeyLocalSize = "pmix.local.size";
inline constexpr const char* kKeyLocalRank = "pmix.lrank";

// A test holds sizes and offsets against pmix_common.h where that is installed.
struct Process {
  char name_space[kNamespaceBytes];
  uint32_t rank;
};
static_assert(sizeof(Process) == 260);

struct Value {
  uint16_t type;
  union Data {
    bool flag;
    char* string;
    int integer;
    uint16_t uint16;
    uint32_t uint32;
    uint64_t widest[3];
  } data;
};
static_assert(sizeof(Value) == 32 && offsetof(Value, data) == 8);

struct Info {
  char key[kKeyBytes];
  uint32_t directives;
  Value value;
};
static_assert(sizeof(Info) == 552 && offsetof(Info, value) == 520);

struct Functions {
  int (*init)(Process* self, Info* info, size_t n_info);
  int (*finalize)(const Info* info, size_t n_info);
  int (*put)(uint8_t scope, const char* key, Value* value);
  int (*commit)();
  int (*fence)(const Process* processes, size_t n_processes, const Info* info, size_t n_info);
  int (*get)(const Process* of, const char* key, const Info* info, size_t n_info, Value** value);
  const char* (*error_string)(int status);
};

}  // namespace tutti::bootstrap::pmix
