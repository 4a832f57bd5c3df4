// SPDX-License-Identifier: Apache-2.0
// Turns errno into an Error.
#include "src/base/error.h"

#include <cstring>

namespace tutti {

Error system_error(const std::string& what, int error_number) {
  const char* text = strerrordesc_np(error_number);
  const char* name = strerrorname_np(error_number);
  std::string message = what + ": ";
  if (text == nullptr || name == nullptr) {
    message += "unknown error " + std::to_string(error_number);
  } else {
    message += std::string(text) + " (" + name + ")";
  }
  return {StatusCode::kSystemError, std::move(message)};
}

}  // namespace tutti
