// SPDX-License-Identifier: Apache-2.0
// Finds a module among those that the build has embedded.
#include "src/kernels/cuda/images.h"

#include <cstring>

namespace tutti::gpu {

const Image* find_image(const char* name) noexcept {
  for (const Image& image : images()) {
    if (strcmp(image.name, name) == 0) return &image;
  }
  return nullptr;
}

}  // namespace tutti::gpu
