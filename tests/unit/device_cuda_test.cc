// SPDX-License-Identifier: Apache-2.0
// The device layer over the simulated driver (tests/cudasim): a DGX H100.
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "src/base/error.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/gpu.h"
#include "src/device/cuda/memory.h"
#include "src/device/cuda/stream.h"
#include "src/device/cuda/user_memory.h"
#include "tests/cudasim/kernels/basic.h"

namespace tutti::cuda {
namespace {

using testing::HasSubstr;

constexpr size_t kBytes = size_t{1} << 20;

std::vector<uint32_t> download(DevicePtr from, size_t count) {
  std::vector<uint32_t> values(count);
  check(driver().cuMemcpyDtoH_v2(values.data(), from, count * sizeof(uint32_t)), "download");
  return values;
}

void upload(DevicePtr to, const std::vector<uint32_t>& values) {
  check(driver().cuMemcpyHtoD_v2(to, values.data(), values.size() * sizeof(uint32_t)), "upload");
}

std::vector<uint32_t> counted(size_t count, uint32_t from) {
  std::vector<uint32_t> values(count);
  std::iota(values.begin(), values.end(), from);
  return values;
}

TEST(Driver, IsFound_WithAllOfItsFunctions) {
  ASSERT_NE(find_driver(), nullptr) << driver_reason();
  EXPECT_EQ(driver_reason(), "");
  EXPECT_EQ(device_count(), 8);
  EXPECT_NE(driver().cuMulticastCreate, nullptr);
  EXPECT_EQ(text_of(Result::kOutOfMemory), "CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
}

TEST(Driver, ChildOfFork_IsTold) {
  ASSERT_NE(find_driver(), nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool told = find_driver() == nullptr && device_count() == 0 &&
                      driver_reason().find("fork()") != std::string::npos;
    ::_exit(told ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(Check, Failure_SaysWhatAndWhy) {
  try {
    check(Result::kInvalidValue, "mapping GPU memory");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), StatusCode::kUnhandledCudaError);
    EXPECT_THAT(e.what(), HasSubstr("mapping GPU memory: CUDA_ERROR_INVALID_VALUE"));
  }
}

TEST(Gpu, Facts_AreTheMachines) {
  const Gpu gpu(3);
  EXPECT_EQ(gpu.facts().capability, 90);
  EXPECT_THAT(gpu.facts().pci_address,
              testing::MatchesRegex("[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\\.0"));
  EXPECT_GT(gpu.facts().multiprocessors, 0);
  EXPECT_TRUE(gpu.facts().shares_by_descriptor);
  EXPECT_TRUE(gpu.facts().multicasts);
  const Gpu peer(4);
  EXPECT_TRUE(gpu.reaches(peer));
  gpu.open_peer(peer);
  gpu.open_peer(peer);  // once or often
}

TEST(Gpu, OrdinalOutOfRange_IsRefused) {
  for (const Device ordinal : {-1, 8}) {
    try {
      const Gpu gpu(ordinal);
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), StatusCode::kInvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr("from 0 to 7"));
    }
  }
}

TEST(Current, Nested_RestoresTheOneBefore) {
  const Gpu one(1);
  const Gpu two(2);
  EXPECT_EQ(current_device(), -1);
  {
    const Current outer(one);
    EXPECT_EQ(current_device(), 1);
    {
      const Current inner(two);
      EXPECT_EQ(current_device(), 2);
    }
    EXPECT_EQ(current_device(), 1);
  }
  EXPECT_EQ(current_device(), -1);
}

TEST(Range, ExportedAllocation_IsOneMemoryForTwoGpus) {
  const Gpu owner(0);
  const Gpu peer(1);
  const Gpu* const users[] = {&owner, &peer};
  const auto memory = Allocation::create(owner, kBytes);
  EXPECT_GE(memory->bytes(), kBytes);
  const Range here(memory, users);
  const FileDescriptor fd = memory->export_descriptor();
  const Range there(Allocation::import(fd.get(), memory->bytes()), users);
  EXPECT_NE(here.address(), there.address());
  const Current current(owner);
  upload(here.address(), counted(1000, 7));
  EXPECT_EQ(download(there.address(), 1000), counted(1000, 7));
}

TEST(Range, Moved_LeavesNothingBehind) {
  const Gpu owner(0);
  const Gpu* const users[] = {&owner};
  Range range(Allocation::create(owner, kBytes), users);
  const DevicePtr address = range.address();
  Range moved(std::move(range));
  EXPECT_EQ(moved.address(), address);
  EXPECT_EQ(range.address(), 0u);  // NOLINT(bugprone-use-after-move): what is said of it
  moved = Range();
  const Current current(owner);
  uint32_t value = 0;
  EXPECT_NE(driver().cuMemcpyDtoH_v2(&value, address, sizeof value), Result::kSuccess);
}

TEST(Multicast, StoresGoToAll_LoadsSum) {
  const Gpu one(0);
  const Gpu two(1);
  const Gpu* const users[] = {&one, &two};
  const size_t bytes = multicast_bytes(2, kBytes);
  const auto object = Multicast::create(2, bytes);
  const auto second = Multicast::import_multicast(object->export_descriptor().get(), bytes);
  object->add(one);
  second->add(two);
  const auto of_one = Allocation::create(one, bytes);
  const auto of_two = Allocation::create(two, bytes);
  const Range range_one(of_one, users);
  const Range range_two(of_two, users);
  object->bind(of_one);
  second->bind(of_two);
  const Range all(object, users);
  EXPECT_EQ(all.bytes(), bytes);
}

TEST(Memory, HostMemory_IsReachedByGpus) {
  const Gpu gpu(0);
  const Current current(gpu);
  const PinnedMemory pinned(4096);
  EXPECT_NE(pinned.device(), 0u);
  EXPECT_EQ(pinned.host()[4095], std::byte{0});
  std::vector<uint32_t> plain = counted(5000, 3);
  const HostRegistration registered(plain.data(), plain.size() * sizeof(uint32_t));
  EXPECT_EQ(download(registered.device(), 5000), plain);
  const HostRegistration again(plain.data(), plain.size() * sizeof(uint32_t));
  EXPECT_EQ(again.device(), registered.device()) << "registered already";
}

TEST(Classify, EachKindOfMemory_IsTold) {
  const Gpu gpu(2);
  const Current current(gpu);
  std::vector<uint32_t> plain(1 << 16);
  EXPECT_EQ(classify(plain.data()).kind, PointerKind::kHost);
  EXPECT_EQ(classify(nullptr).kind, PointerKind::kHost);
  {
    const HostRegistration registered(plain.data(), plain.size() * sizeof(uint32_t));
    EXPECT_EQ(classify(plain.data() + 100).kind, PointerKind::kRegistered);
  }
  EXPECT_EQ(classify(plain.data()).kind, PointerKind::kHost) << "not any more";
  DevicePtr memory = 0;
  check(driver().cuMemAlloc_v2(&memory, kBytes), "memory");
  const PointerFacts facts = classify(reinterpret_cast<const void*>(memory + 64));
  EXPECT_EQ(facts.kind, PointerKind::kDevice);
  EXPECT_EQ(facts.device, 2);
  EXPECT_EQ(facts.address, memory + 64);
  EXPECT_EQ(facts.range_base, memory);
  EXPECT_EQ(facts.range_bytes, kBytes);
  check(driver().cuMemFree_v2(memory), "memory");
  DevicePtr managed = 0;
  check(driver().cuMemAllocManaged(&managed, kBytes, kMemAttachGlobal), "managed memory");
  EXPECT_EQ(classify(reinterpret_cast<const void*>(managed)).kind, PointerKind::kManaged);
  check(driver().cuMemFree_v2(managed), "managed memory");
}

TEST(UserMemory, IsOfItsGpu_AndOpenToTheOthers) {
  void* const memory = allocate_for_user(2, kBytes);
  EXPECT_EQ(current_device(), -1);
  const PointerFacts facts = classify(memory);
  EXPECT_EQ(facts.kind, PointerKind::kDevice);
  EXPECT_EQ(facts.device, 2);
  {
    const Gpu other(5);
    const Current current(other);
    upload(facts.address, counted(1000, 3));
    DevicePtr copy = 0;
    check(driver().cuMemAlloc_v2(&copy, kBytes), "memory");
    check(driver().cuMemcpyDtoD_v2(copy, facts.address, kBytes), "by the other GPU");
    EXPECT_EQ(download(copy, 1000), counted(1000, 3));
    check(driver().cuMemFree_v2(copy), "memory");
  }
  EXPECT_FALSE(free_for_user(static_cast<std::byte*>(memory) + 64));
  EXPECT_TRUE(free_for_user(memory));
  EXPECT_FALSE(free_for_user(memory));
  EXPECT_EQ(classify(memory).kind, PointerKind::kHost);
  EXPECT_THROW(allocate_for_user(64, kBytes), Error);
}

TEST(Kernels, Launched_WriteInTheStreamsOrder) {
  const Gpu gpu(0);
  const Gpu* const users[] = {&gpu};
  const Current current(gpu);
  const char image[] = "any";
  const Kernels kernels(gpu, image);
  const Function fill = kernels.find("test_fill");
  EXPECT_GT(kernels.most_blocks(fill, 128, 0), 0);
  const Range range(Allocation::create(gpu, kBytes), users);
  const OwnedStream first(gpu);
  const OwnedStream second(gpu);
  const OwnedEvent filled(gpu);
  FillArgs args{range.as<uint32_t>(), 1000, 5};
  launch(fill, {.blocks = 2, .threads = 64}, first.get(), &args);
  filled.record(first.get());
  filled.hold(second.get());
  args.count = 500;
  args.value = 1'000'000;
  launch(fill, {.blocks = 1, .threads = 32, .all_at_once = true}, second.get(), &args);
  second.synchronize();
  EXPECT_TRUE(filled.done());
  EXPECT_FALSE(is_capturing(first.get()));
  std::vector<uint32_t> expected = counted(500, 1'000'000);
  const std::vector<uint32_t> rest = counted(500, 505);
  expected.insert(expected.end(), rest.begin(), rest.end());
  EXPECT_EQ(download(range.address(), 1000), expected);
}

TEST(Kernels, UnknownName_IsNamed) {
  const Gpu gpu(0);
  const char image[] = "any";
  const Kernels kernels(gpu, image);
  try {
    (void)kernels.find("no_such_kernel");
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("kernel no_such_kernel: CUDA_ERROR_NOT_FOUND"));
  }
}

TEST(WithoutDriver, EverythingSaysSo) {
  if (find_driver() != nullptr) GTEST_SKIP() << "there is a driver";
  EXPECT_THAT(driver_reason(), HasSubstr("not installed"));
  EXPECT_EQ(device_count(), 0);
  EXPECT_EQ(current_device(), -1);
  int local = 0;
  EXPECT_EQ(classify(&local).kind, PointerKind::kHost);
  try {
    const Gpu gpu(0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), StatusCode::kUnhandledCudaError);
    EXPECT_THAT(e.what(), HasSubstr("libcuda.so.1"));
  }
}

}  // namespace
}  // namespace tutti::cuda
