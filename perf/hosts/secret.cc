// SPDX-License-Identifier: Apache-2.0
// Secrets are the system's random bytes.
#include "perf/hosts/secret.h"

#include <array>
#include <cerrno>

#include <spdlog/fmt/fmt.h>
#include <sys/random.h>

#include "src/base/error.h"

namespace tutti::command {

std::string random_secret() {
  std::array<unsigned char, 32> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    throw system_error("can't draw a secret", errno);
  std::string text;
  for (const unsigned char byte : bytes) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace tutti::command
