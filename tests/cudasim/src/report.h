// SPDX-License-Identifier: Apache-2.0
// What the simulator has found wrong, told on standard error and kept for tests.
#pragma once

#include <string>

namespace cudasim {

// Also adds it to the file of CUDASIM_REPORT.
void report(const std::string& text);

// A program point as "file.cu:33 (kernel_name)", where there is debug information, else as
// "object+0x1234". Inlined primitives are left out. Slow the first time.
std::string place_name(const void* return_address);

}  // namespace cudasim

// For tests in the same process: all reports so far, and forgetting them.
extern "C" {
__attribute__((visibility("default"))) const char* cudasim_reports();
__attribute__((visibility("default"))) void cudasim_forget_reports();
}
