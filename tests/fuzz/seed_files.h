// SPDX-License-Identifier: Apache-2.0
// Inputs as files: a target's seeds written, a folder's files read.
#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {

inline void write_seeds(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  size_t number = 0;
  for (const std::string& seed : seeds()) {
    std::ofstream file(folder / ("seed-" + std::to_string(number++)), std::ios::binary);
    file.write(seed.data(), static_cast<std::streamsize>(seed.size()));
    require(file.good(), "a seed can be written");
  }
}

struct NamedInput {
  std::string name;
  std::string bytes;
};

inline NamedInput read_input(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  require(file.is_open(), "the file " + path.string() + " can be read");
  return {path.string(), {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()}};
}

// The files of a folder by name, or the one file.
inline std::vector<NamedInput> read_inputs(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) return {read_input(path)};
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<NamedInput> inputs;
  inputs.reserve(files.size());
  for (const auto& file : files) inputs.push_back(read_input(file));
  return inputs;
}

}  // namespace tutti::fuzz
