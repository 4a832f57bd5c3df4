// SPDX-License-Identifier: Apache-2.0
// Copies and memsets, at once and in streams.
#include "tests/cudasim/src/driver/call.h"
#include "tests/cudasim/src/driver/ops.h"
#include "tests/cudasim/src/driver/state.h"

namespace cudasim {
namespace {

bool is_pageable(uint64_t address) {
  return address - kWindow >= kWindowBytes && space().find(address) == nullptr;
}

void check_range(uint64_t address, uint64_t bytes) {
  if (address - kWindow >= kWindowBytes) return;
  for (uint64_t at = address; at < address + bytes;) {
    const Region& region = space().live(at);
    at = region.base + region.bytes;
  }
}

Result copy_now(uint64_t to, uint64_t from, uint64_t bytes) {
  if (bytes == 0) return Result::kSuccess;
  check_range(to, bytes);
  check_range(from, bytes);
  return run_now(std::make_unique<CopyOp>(current_context().device, to, from, bytes));
}

Result copy_later(uint64_t to, uint64_t from, uint64_t bytes, abi::Stream stream) {
  if (bytes == 0) return Result::kSuccess;
  check_range(to, bytes);
  check_range(from, bytes);
  Lock lock(engine().mutex());
  abi::StreamObject& in = stream_of(stream);
  auto op = std::make_unique<CopyOp>(in.context->device, to, from, bytes);
  const bool captures = in.capture != nullptr;
  if (!captures) op->stage();
  submit(in, std::move(op));
  // The driver returns from copies to pageable memory when they are done.
  if (!captures && is_pageable(to)) engine().wait_idle(lock, {&in});
  return Result::kSuccess;
}

std::unique_ptr<Op> set_op(int device, uint64_t to, uint32_t value, uint32_t width,
                           uint64_t count) {
  require(to % width == 0, Result::kInvalidValue, "the address is not aligned");
  check_range(to, count * width);
  return std::make_unique<SetOp>(device, to, value, width, count);
}

Result set_now(uint64_t to, uint32_t value, uint32_t width, uint64_t count) {
  if (count == 0) return Result::kSuccess;
  return run_now(set_op(current_context().device, to, value, width, count));
}

Result set_later(uint64_t to, uint32_t value, uint32_t width, uint64_t count, abi::Stream stream) {
  if (count == 0) return Result::kSuccess;
  const Lock lock(engine().mutex());
  abi::StreamObject& in = stream_of(stream);
  submit(in, set_op(in.context->device, to, value, width, count));
  return Result::kSuccess;
}

uint64_t address_of(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

}  // namespace
}  // namespace cudasim

namespace tutti::cuda {

using namespace cudasim;  // NOLINT(google-build-using-namespace): this file is the simulator's

Result cuMemcpy(DevicePtr to, DevicePtr from, size_t bytes) {
  return call("cuMemcpy", [&] { return copy_now(to, from, bytes); });
}
Result cuMemcpyHtoD_v2(DevicePtr to, const void* from, size_t bytes) {
  return call("cuMemcpyHtoD", [&] { return copy_now(to, address_of(from), bytes); });
}
Result cuMemcpyDtoH_v2(void* to, DevicePtr from, size_t bytes) {
  return call("cuMemcpyDtoH", [&] { return copy_now(address_of(to), from, bytes); });
}
Result cuMemcpyDtoD_v2(DevicePtr to, DevicePtr from, size_t bytes) {
  return call("cuMemcpyDtoD", [&] { return copy_now(to, from, bytes); });
}
Result cuMemcpyPeer(DevicePtr to, Context, DevicePtr from, Context, size_t bytes) {
  return call("cuMemcpyPeer", [&] { return copy_now(to, from, bytes); });
}

Result cuMemcpyAsync(DevicePtr to, DevicePtr from, size_t bytes, Stream stream) {
  return call("cuMemcpyAsync", [&] { return copy_later(to, from, bytes, stream); });
}
Result cuMemcpyHtoDAsync_v2(DevicePtr to, const void* from, size_t bytes, Stream stream) {
  return call("cuMemcpyHtoDAsync", [&] { return copy_later(to, address_of(from), bytes, stream); });
}
Result cuMemcpyDtoHAsync_v2(void* to, DevicePtr from, size_t bytes, Stream stream) {
  return call("cuMemcpyDtoHAsync", [&] { return copy_later(address_of(to), from, bytes, stream); });
}
Result cuMemcpyDtoDAsync_v2(DevicePtr to, DevicePtr from, size_t bytes, Stream stream) {
  return call("cuMemcpyDtoDAsync", [&] { return copy_later(to, from, bytes, stream); });
}
Result cuMemcpyPeerAsync(DevicePtr to, Context, DevicePtr from, Context, size_t bytes,
                         Stream stream) {
  return call("cuMemcpyPeerAsync", [&] { return copy_later(to, from, bytes, stream); });
}

Result cuMemsetD8_v2(DevicePtr to, unsigned char value, size_t count) {
  return call("cuMemsetD8", [&] { return set_now(to, value, 1, count); });
}
Result cuMemsetD16_v2(DevicePtr to, unsigned short value, size_t count) {
  return call("cuMemsetD16", [&] { return set_now(to, value, 2, count); });
}
Result cuMemsetD32_v2(DevicePtr to, unsigned value, size_t count) {
  return call("cuMemsetD32", [&] { return set_now(to, value, 4, count); });
}
Result cuMemsetD8Async(DevicePtr to, unsigned char value, size_t count, Stream stream) {
  return call("cuMemsetD8Async", [&] { return set_later(to, value, 1, count, stream); });
}
Result cuMemsetD16Async(DevicePtr to, unsigned short value, size_t count, Stream stream) {
  return call("cuMemsetD16Async", [&] { return set_later(to, value, 2, count, stream); });
}
Result cuMemsetD32Async(DevicePtr to, unsigned value, size_t count, Stream stream) {
  return call("cuMemsetD32Async", [&] { return set_later(to, value, 4, count, stream); });
}

}  // namespace tutti::cuda
