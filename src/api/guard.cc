// SPDX-License-Identifier: Apache-2.0
// The calling thread's last error, and the proof that public and internal enumerations agree.
#include "src/api/guard.h"

#include "src/base/log.h"
#include "src/comm/group.h"
#include "src/comm/notice_board.h"
#include "src/comm/setup.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"

namespace tutti::api {
namespace {

constexpr bool same(StatusCode code, tuttiResult_t result) {
  return static_cast<int>(code) == static_cast<int>(result);
}
static_assert(same(StatusCode::kOk, tuttiSuccess));
static_assert(same(StatusCode::kUnhandledCudaError, tuttiUnhandledCudaError));
static_assert(same(StatusCode::kSystemError, tuttiSystemError));
static_assert(same(StatusCode::kInternalError, tuttiInternalError));
static_assert(same(StatusCode::kInvalidArgument, tuttiInvalidArgument));
static_assert(same(StatusCode::kInvalidUsage, tuttiInvalidUsage));
static_assert(same(StatusCode::kRemoteError, tuttiRemoteError));
static_assert(same(StatusCode::kInProgress, tuttiInProgress));

constexpr bool same(DType dtype, tuttiDataType_t type) {
  return static_cast<int>(dtype) == static_cast<int>(type);
}
static_assert(same(DType::kInt8, tuttiInt8) && same(DType::kUint8, tuttiUint8) &&
              same(DType::kInt32, tuttiInt32));
static_assert(same(DType::kUint32, tuttiUint32) && same(DType::kInt64, tuttiInt64) &&
              same(DType::kUint64, tuttiUint64));
static_assert(same(DType::kFloat16, tuttiFloat16) && same(DType::kFloat32, tuttiFloat32));
static_assert(same(DType::kFloat64, tuttiFloat64) && same(DType::kBfloat16, tuttiBfloat16));
static_assert(same(DType::kFloat8e4m3, tuttiFloat8e4m3) &&
              same(DType::kFloat8e5m2, tuttiFloat8e5m2));
static_assert(kDTypeCount == tuttiNumTypes);

constexpr bool same(Op op, tuttiRedOp_t public_op) {
  return static_cast<int>(op) == static_cast<int>(public_op);
}
static_assert(same(Op::kSum, tuttiSum) && same(Op::kProd, tuttiProd) && same(Op::kMax, tuttiMax));
static_assert(same(Op::kMin, tuttiMin) && same(Op::kAvg, tuttiAvg) &&
              same(Op::kPreMulSum, tuttiNumOps));

static_assert(comm::kSignalsPerPeer == TUTTI_SIGNALS_PER_PEER &&
              comm::kNoColor == TUTTI_SPLIT_NOCOLOR);

std::string& message_slot() noexcept {
  static thread_local std::string message;
  return message;
}

}  // namespace

tuttiResult_t report(const char* function, StatusCode code, const char* message) noexcept {
  log(LogLevel::kWarn, "api", -1, "{}: {}", function, message);
  try {
    message_slot() = std::string(function) + ": " + message;
  } catch (...) {
    message_slot().clear();
  }
  return static_cast<tuttiResult_t>(code);
}

tuttiResult_t report_in_group(const char* function, StatusCode code, const char* message) noexcept {
  try {
    comm::Group::current().refuse(Error(code, std::string(function) + ": " + message));
  } catch (...) {
    return report(function, code, message);
  }
  return report(function, code, message);
}

const char* last_error() noexcept { return message_slot().c_str(); }

}  // namespace tutti::api
