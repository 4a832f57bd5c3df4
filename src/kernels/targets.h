// SPDX-License-Identifier: Apache-2.0
// Which instruction sets the host kernels are compiled for. Included before any header of Highway.
#pragma once

// x86-64: the build's baseline (plain C++ when that is below AVX2), AVX2 and AVX-512. AArch64:
// NEON. Between the baseline and AVX2 lie only machines from before 2013, which the baseline
// serves; SVE vectors have no fixed size.
#ifdef TUTTI_FEW_TARGETS  // sanitized builds: see CMakeLists.txt
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#else
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif
