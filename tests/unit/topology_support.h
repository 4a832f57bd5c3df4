// SPDX-License-Identifier: Apache-2.0
// What the topology tests share: fixture files and a check of error messages.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"

namespace tutti::topology {

inline std::string fixture_path(const std::string& name) {
  return std::string(TOPOLOGY_DATA) + '/' + name;
}

inline std::string fixture(const std::string& name) {
  std::ifstream file(fixture_path(name), std::ios::binary);
  EXPECT_TRUE(file) << fixture_path(name);
  return {std::istreambuf_iterator<char>(file), {}};
}

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

}  // namespace tutti::topology
