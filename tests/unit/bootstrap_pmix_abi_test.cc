// SPDX-License-Identifier: Apache-2.0
// Our declarations of PMIx's client interface against the installed header.
#include <pmix.h>

#include <cstddef>
#include <type_traits>

#include <gtest/gtest.h>

#include "src/bootstrap/pmix_abi.h"

namespace tutti::bootstrap {
namespace {

static_assert(sizeof(pmix::Process) == sizeof(pmix_proc_t));
static_assert(offsetof(pmix::Process, rank) == offsetof(pmix_proc_t, rank));
static_assert(sizeof(pmix::Value) == sizeof(pmix_value_t));
static_assert(alignof(pmix::Value) == alignof(pmix_value_t));
static_assert(offsetof(pmix::Value, data) == offsetof(pmix_value_t, data));
static_assert(sizeof(pmix::Value::type) == sizeof(pmix_value_t::type));
static_assert(sizeof(pmix::Info) == sizeof(pmix_info_t));
static_assert(offsetof(pmix::Info, directives) == offsetof(pmix_info_t, flags));
static_assert(offsetof(pmix::Info, value) == offsetof(pmix_info_t, value));
static_assert(pmix::kRankWildcard == PMIX_RANK_WILDCARD);
static_assert(pmix::kSuccess == PMIX_SUCCESS && pmix::kErrUnreachable == PMIX_ERR_UNREACH);
static_assert(pmix::kScopeGlobal == PMIX_GLOBAL);
static_assert(pmix::kBool == PMIX_BOOL && pmix::kString == PMIX_STRING && pmix::kInt == PMIX_INT &&
              pmix::kUint16 == PMIX_UINT16 && pmix::kUint32 == PMIX_UINT32);

// Return types, and the number and sizes of arguments.
template <typename Ours, typename Theirs>
struct Alike : std::false_type {};
template <typename R1, typename... A1, typename R2, typename... A2>
struct Alike<R1 (*)(A1...), R2(A2...)>
    : std::bool_constant<sizeof(R1) == sizeof(R2) && ((sizeof(A1) == sizeof(A2)) && ...)> {};
static_assert(Alike<decltype(pmix::Functions::init), decltype(PMIx_Init)>::value);
static_assert(Alike<decltype(pmix::Functions::finalize), decltype(PMIx_Finalize)>::value);
static_assert(Alike<decltype(pmix::Functions::put), decltype(PMIx_Put)>::value);
static_assert(Alike<decltype(pmix::Functions::fence), decltype(PMIx_Fence)>::value);
static_assert(Alike<decltype(pmix::Functions::get), decltype(PMIx_Get)>::value);
static_assert(Alike<decltype(pmix::Functions::error_string), decltype(PMIx_Error_string)>::value);

TEST(PmixAbi_NamesOfKeys, AreTheHeaders) {
  EXPECT_STREQ(pmix::kKeyCollect, PMIX_COLLECT_DATA);
  EXPECT_STREQ(pmix::kKeyTimeout, PMIX_TIMEOUT);
  EXPECT_STREQ(pmix::kKeyJobSize, PMIX_JOB_SIZE);
  EXPECT_STREQ(pmix::kKeyLocalSize, PMIX_LOCAL_SIZE);
  EXPECT_STREQ(pmix::kKeyLocalRank, PMIX_LOCAL_RANK);
  EXPECT_EQ(sizeof(pmix_nspace_t), pmix::kNamespaceBytes);
  EXPECT_EQ(sizeof(pmix_key_t), pmix::kKeyBytes);
}

}  // namespace
}  // namespace tutti::bootstrap
