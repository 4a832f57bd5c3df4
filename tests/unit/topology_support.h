// SPDX-License-Identifier: Apache-2.0
// What the topology tests share: fixture files and error messages.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "src/base/error.h"
#include "tests/support/refusal.h"

namespace tutti::topology {

inline std::string fixture_path(const std::string& name) {
  return std::string(TOPOLOGY_DATA) + '/' + name;
}

inline std::string fixture(const std::string& name) {
  std::ifstream file(fixture_path(name), std::ios::binary);
  EXPECT_TRUE(file) << fixture_path(name);
  return {std::istreambuf_iterator<char>(file), {}};
}

using tutti::testing::refusal;

}  // namespace tutti::topology
