// SPDX-License-Identifier: Apache-2.0
// Writes beside the file and renames.
#include "src/base/cache_files.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>

#include "src/base/config.h"
#include "src/base/error.h"

namespace tutti {

namespace fs = std::filesystem;

std::string cache_folder() {
  const std::string xdg = foreign_variable("XDG_CACHE_HOME").value_or("");
  if (xdg.starts_with('/'))
    return xdg + "/tutti";  // a relative one counts as not set, as its rules say
  const std::string home = foreign_variable("HOME").value_or("");
  return home.starts_with('/') ? home + "/.cache/tutti" : "";
}

void replace_file(const std::string& path, std::string_view text, const std::string& what) {
  const std::string fresh = path + "." + std::to_string(::getpid());
  std::error_code error;
  if (const fs::path folder = fs::path(path).parent_path(); !folder.empty())
    fs::create_directories(folder, error);
  std::ofstream file(fresh, std::ios::binary);
  file << text;
  file.close();
  if (!file) {
    const int why = errno;
    fs::remove(fresh, error);
    throw system_error("can't write " + what + " " + fresh, why);
  }
  fs::rename(fresh, path, error);
  if (error) {
    const int why = error.value();
    fs::remove(fresh, error);
    throw system_error("can't write " + what + " " + path, why);
  }
}

}  // namespace tutti
