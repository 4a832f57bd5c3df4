// SPDX-License-Identifier: Apache-2.0
// sinks[] <- reduce(sources[]): the one kernel that every plan step maps to, in a single pass over
// memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "src/kernels/copy_small.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"

namespace tutti::kernels {

struct Source {
  const void* data = nullptr;
  bool pre = false;  // multiply by Scaling::pre first (ignored unless op is PreMulSum)
};
struct Sink {
  void* data = nullptr;
  // Hint: non-temporal stores, the data will not be read soon by this core. The call ends with the
  // store fence they need, so a release store after it publishes the data as usual. Ignored where
  // element alignment or size does not allow it.
  bool streaming = false;
};

// What PreMulSum and Avg need. `pre` holds one element of the operation's dtype in its first bytes.
struct Scaling {
  alignas(8) unsigned char pre[8] = {};
  int32_t post_divisor = 1;  // at least 1
};

// Any alignment of data (elements need not be aligned). A sink may be the same address as a source;
// no other overlap. At least one source and one sink; count 0 is allowed. n_sources == 1 without
// pre and post copies bytes unchanged.
//
// Numerics (tested bit for bit against a scalar reference, and alike on every instruction set):
// integers wrap modulo 2^bits; float16, bfloat16 and 8-bit floats are converted to float32 exactly,
// folded left to right in float32, then rounded once, to nearest even; 8-bit floats saturate to the
// largest finite value when a finite float32 result is too large (e4m3: 448, e5m2: 57344);
// infinities stay infinite in e5m2, become NaN in e4m3. Avg divides the folded value by the
// divisor, converted to the accumulator type, before rounding (integers truncate toward zero).
// PreMulSum multiplies in the accumulator type and rounds the product to the dtype before folding,
// as if it had been stored: a contribution is the same whether it travels or is folded where it
// arises. Float32 and float64 fold in their own type; no multiplication and addition are fused.
// Subnormals are kept. Every NaN result, of any float type, is the type's canonical quiet NaN: sign
// 0, only the top mantissa bit set (e4m3: 0x7f). Min and Max are IEEE 754-2019 minimum and maximum:
// NaN if any operand is NaN, and -0 is less than +0, so they do not depend on the order of the
// operands.
struct ReduceCopy {
  const Source* sources = nullptr;
  size_t n_sources = 0;
  const Sink* sinks = nullptr;
  size_t n_sinks = 0;
  size_t count = 0;                  // elements
  bool post = false;                 // divide by Scaling::post_divisor (ignored unless op is Avg)
  const Scaling* scaling = nullptr;  // may be null when op is neither Avg nor PreMulSum
};

using ReduceCopyFn = void (*)(const ReduceCopy&) noexcept;

// The best implementation for this machine's instruction set. Look it up once per operation, not
// per call. Never null.
ReduceCopyFn reduce_copy_for(DType dtype, Op op) noexcept;

// to[] <- reduce(left[], right[]), `bytes` of whole elements, 1 to kPairBytes; operands as above.
// The kernel of two sources and one sink, without Scaling, for messages that fit into a line:
// everything is in registers. Null for PreMulSum and Avg, which scale.
inline constexpr size_t kPairBytes = 56;
using FoldPairFn = void (*)(const void* left, const void* right, void* to, size_t bytes) noexcept;
FoldPairFn fold_pair_for(DType dtype, Op op) noexcept;

// More than kSmallCopyBytes, to other memory than they are in; for copy_bytes.
void copy_large(void* sink, const void* source, size_t bytes, bool streaming) noexcept;

// bytes copied unchanged; what reduce_copy does for one source and one sink. For callers without a
// dtype. A copy onto itself touches no memory.
inline void copy_bytes(void* sink, const void* source, size_t bytes, bool streaming) noexcept {
  if (sink == source) return;
  if (bytes <= kSmallCopyBytes) return copy_small(sink, source, bytes);
  copy_large(sink, source, bytes, streaming);
}

// Name of the instruction set in use, e.g. "AVX3", for reports.
const char* instruction_set() noexcept;

}  // namespace tutti::kernels
