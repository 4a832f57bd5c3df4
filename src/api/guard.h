// SPDX-License-Identifier: Apache-2.0
// The C boundary: nothing is thrown across it, and every failure leaves a message for
// tuttiGetLastError.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <type_traits>

#include "src/base/error.h"
#include "tutti/tutti.h"

namespace tutti::api {

// Stores "function: message" for the calling thread and returns the code.
tuttiResult_t report(const char* function, StatusCode code, const char* message) noexcept;
// As report(); a group that the call belongs to is refused as a whole.
tuttiResult_t report_in_group(const char* function, StatusCode code, const char* message) noexcept;
const char* last_error() noexcept;

// Runs the body of one C function, which returns nothing or a tuttiResult_t.
template <typename Body, typename Report>
tuttiResult_t guard_with(Report report, const char* function, Body&& body) noexcept {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Body>>) {
      body();
      return tuttiSuccess;
    } else {
      return body();
    }
  } catch (const Error& e) {
    return report(function, e.code(), e.what());
  } catch (const std::bad_alloc&) {
    return report(function, StatusCode::kSystemError, "the system has no memory left");
  } catch (const std::exception& e) {
    return report(function, StatusCode::kInternalError, e.what());
  } catch (...) {
    return report(function, StatusCode::kInternalError, "an unknown exception");
  }
}
template <typename Body>
tuttiResult_t guard(const char* function, Body&& body) noexcept {
  return guard_with(report, function, std::forward<Body>(body));
}
// For calls that a group collects.
template <typename Body>
tuttiResult_t guard_call(const char* function, Body&& body) noexcept {
  return guard_with(report_in_group, function, std::forward<Body>(body));
}

}  // namespace tutti::api
