// SPDX-License-Identifier: Apache-2.0
// Says what went wrong: an exception for set-up code, a small value for progress code
// (docs/adr/0001).
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace tutti {

// Same values as tuttiResult_t (checked in src/api).
enum class StatusCode : int32_t {
  kOk = 0,
  kUnhandledCudaError = 1,
  kSystemError = 2,
  kInternalError = 3,
  kInvalidArgument = 4,
  kInvalidUsage = 5,
  kRemoteError = 6,
  kInProgress = 7,
};

// What progress code returns. Trivially copyable; `reason` points to a string literal, so that
// building one never allocates. The communicator turns it into a full message once, when the
// operation has ended.
struct [[nodiscard]] Status {
  StatusCode code = StatusCode::kOk;
  int32_t rank = -1;             // the rank the failure is about, -1 when it is about none
  const char* reason = nullptr;  // a literal; what was expected and what came

  constexpr bool ok() const noexcept { return code == StatusCode::kOk; }
  constexpr bool in_progress() const noexcept { return code == StatusCode::kInProgress; }
};

inline constexpr Status kOkStatus{};
inline constexpr Status kInProgressStatus{StatusCode::kInProgress};

// What set-up code throws. The message says what was expected, what came, which rank, and what to
// do.
class Error : public std::exception {
 public:
  Error(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}
  StatusCode code() const noexcept { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  StatusCode code_;
  std::string message_;
};

// An Error for a failed system call: appends the errno text and its name to `what`.
Error system_error(const std::string& what, int error_number);

}  // namespace tutti
