// SPDX-License-Identifier: Apache-2.0
// The message with which a call is refused.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "src/base/error.h"

namespace tutti::testing {

// Runs `call`, which must throw InvalidArgument, and returns its message.
template <typename Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace tutti::testing
