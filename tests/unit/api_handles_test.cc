// SPDX-License-Identifier: Apache-2.0
// Handles that were destroyed, or never were any, are refused by every call, with their values.
#include <cstdint>
#include <cstdio>

#include "tests/unit/api_support.h"

namespace tutti::testing {
namespace {

int buffer[64];

std::string text_of(const void* pointer) {
  char text[32];
  std::snprintf(text, sizeof text, "%p", pointer);
  return text;
}

// Every call that takes a communicator.
std::vector<std::function<tuttiResult_t(tuttiComm_t)>> calls_on_a_communicator() {
  static int out = 0;
  static tuttiResult_t state;
  static tuttiCommStats_t stats = TUTTI_COMM_STATS_INITIALIZER;
  static tuttiComm_t part = nullptr;
  static tuttiRedOp_t op;
  static void* handle = nullptr;
  static tuttiWindow_t window = nullptr;
  static tuttiWaitSignalDesc_t wait{};
  int* b = buffer;
  return {
      [](auto c) { return tuttiCommFinalize(c); },
      [](auto c) { return tuttiCommDestroy(c); },
      [](auto c) { return tuttiCommAbort(c); },
      [](auto c) { return tuttiCommCount(c, &out); },
      [](auto c) { return tuttiCommUserRank(c, &out); },
      [](auto c) { return tuttiCommDevice(c, &out); },
      [](auto c) { return tuttiCommGetAsyncError(c, &state); },
      [](auto c) { return tuttiCommGetStats(c, &stats); },
      [](auto c) { return tuttiCommSplit(c, 0, 0, &part, nullptr); },
      [=](auto c) {
        return tuttiRedOpCreatePreMulSum(&op, b, tuttiInt32, tuttiScalarHostImmediate, c);
      },
      [](auto c) { return tuttiRedOpDestroy(tuttiSum, c); },
      [=](auto c) { return tuttiAllReduce(b, b, 1, tuttiInt32, tuttiSum, c, nullptr); },
      [=](auto c) { return tuttiSend(b, 1, tuttiInt32, 0, c, nullptr); },
      [](auto c) { return tuttiBarrier(c, nullptr); },
      [=](auto c) { return tuttiCommRegister(c, b, 4, &handle); },
      [](auto c) { return tuttiCommDeregister(c, &handle); },
      [=](auto c) { return tuttiCommWindowRegister(c, b, 4, &window, 0); },
      [](auto c) { return tuttiCommWindowDeregister(c, window); },
      [](auto c) { return tuttiSignal(0, 0, 0, 0, c, nullptr); },
      [](auto c) { return tuttiWaitSignal(1, &wait, c, nullptr); },
  };
}

TEST(DeadHandle, CommunicatorInEveryCall_IsNamedWithItsValue) {
  tuttiComm_t destroyed = nullptr;
  EXPECT_TUTTI(tuttiCommInitAll(&destroyed, 1, nullptr));
  EXPECT_TUTTI(tuttiCommDestroy(destroyed));
  World world(1);  // so that memory of the destroyed one may be in use again
  char foreign[64];
  tuttiComm_t const none[] = {destroyed, reinterpret_cast<tuttiComm_t>(foreign),
                              reinterpret_cast<tuttiComm_t>(uintptr_t{1}),
                              reinterpret_cast<tuttiComm_t>(UINTPTR_MAX - 7),
                              reinterpret_cast<tuttiComm_t>(reinterpret_cast<char*>(world[0]) + 1)};
  for (tuttiComm_t comm : none) {
    for (const auto& call : calls_on_a_communicator()) {
      expect_error(call(comm), tuttiInvalidArgument,
                   {"comm " + text_of(comm) + " is not a live communicator", "destroyed",
                    "never came from tuttiCommInit*"});
    }
    EXPECT_NE(tuttiGetLastError(comm), nullptr);
  }
  int x = 1;
  EXPECT_TUTTI(tuttiAllReduce(&x, &x, 1, tuttiInt32, tuttiSum, world[0], nullptr));
}

TEST(DeadHandle, Stream_IsNamedWithItsValue) {
  World world(1);
  tuttiStream_t destroyed = nullptr;
  EXPECT_TUTTI(tuttiStreamCreate(&destroyed));
  EXPECT_TUTTI(tuttiStreamDestroy(destroyed));
  tuttiStream_t live = nullptr;
  EXPECT_TUTTI(tuttiStreamCreate(&live));
  char foreign[64];
  for (tuttiStream_t stream : {destroyed, reinterpret_cast<tuttiStream_t>(foreign)}) {
    const std::vector<std::string> fragments = {
        "stream " + text_of(stream) + " is not a live stream", "tuttiStreamCreate"};
    expect_error(tuttiStreamSynchronize(stream), tuttiInvalidArgument, fragments);
    expect_error(tuttiStreamQuery(stream), tuttiInvalidArgument, fragments);
    expect_error(tuttiStreamDestroy(stream), tuttiInvalidArgument, fragments);
    expect_error(tuttiBarrier(world[0], stream), tuttiInvalidArgument, fragments);
    tuttiWaitSignalDesc_t wait{};
    expect_error(tuttiWaitSignal(1, &wait, world[0], stream), tuttiInvalidArgument, fragments);
    expect_error(tuttiSignal(0, 0, 0, 0, world[0], stream), tuttiInvalidArgument, fragments);
  }
  expect_error(tuttiStreamDestroy(nullptr), tuttiInvalidArgument, {"stream is NULL"});
  EXPECT_TUTTI(tuttiStreamDestroy(live));
}

TEST(DeadHandle, StreamOfAnOpenGroup_CantBeDestroyed) {
  World world(1);
  tuttiStream_t stream = nullptr;
  EXPECT_TUTTI(tuttiStreamCreate(&stream));
  EXPECT_TUTTI(tuttiGroupStart());
  EXPECT_TUTTI(tuttiBarrier(world[0], stream));
  expect_error(tuttiStreamDestroy(stream), tuttiInvalidUsage, {"tuttiGroupEnd"});
  EXPECT_TUTTI(tuttiGroupEnd());
  EXPECT_TUTTI(tuttiStreamDestroy(stream));
}

TEST(DeadHandle, RegistrationAndWindow_AreNamedWithTheirValues) {
  World world(1), other(1);
  void* handle = nullptr;
  EXPECT_TUTTI(tuttiCommRegister(world[0], buffer, 4, &handle));
  expect_error(tuttiCommDeregister(other[0], handle), tuttiInvalidArgument,
               {"handle belongs to another communicator"});
  EXPECT_TUTTI(tuttiCommDeregister(world[0], handle));
  for (void* dead : {handle, static_cast<void*>(buffer)}) {
    expect_error(tuttiCommDeregister(world[0], dead), tuttiInvalidArgument,
                 {"handle " + text_of(dead) + " is not a live registration", "tuttiCommRegister"});
  }
  void* memory = nullptr;
  EXPECT_TUTTI(tuttiMemAlloc(&memory, 64));
  tuttiWindow_t window = nullptr;
  EXPECT_TUTTI(tuttiCommWindowRegister(world[0], memory, 64, &window, 0));
  expect_error(tuttiCommWindowDeregister(other[0], window), tuttiInvalidArgument,
               {"win belongs to another communicator"});
  EXPECT_TUTTI(tuttiCommWindowDeregister(world[0], window));
  for (tuttiWindow_t dead : {window, reinterpret_cast<tuttiWindow_t>(buffer)}) {
    expect_error(tuttiCommWindowDeregister(world[0], dead), tuttiInvalidArgument,
                 {"win " + text_of(dead) + " is not a live window", "tuttiCommWindowRegister"});
    expect_error(tuttiPutSignal(buffer, 1, tuttiInt32, 0, dead, 0, 0, 0, 0, world[0], nullptr),
                 tuttiInvalidArgument, {"peerWin " + text_of(dead) + " is not a live window"});
  }
  EXPECT_TUTTI(tuttiMemFree(memory));
}

TEST(DeadHandle, WindowTwiceInOneGroup_SecondIsRefused) {
  World world(1);
  void* memory = nullptr;
  EXPECT_TUTTI(tuttiMemAlloc(&memory, 64));
  tuttiWindow_t window = nullptr;
  EXPECT_TUTTI(tuttiCommWindowRegister(world[0], memory, 64, &window, 0));
  EXPECT_TUTTI(tuttiGroupStart());
  EXPECT_TUTTI(tuttiCommWindowDeregister(world[0], window));
  EXPECT_TUTTI(tuttiCommWindowDeregister(world[0], window));
  expect_error(tuttiGroupEnd(), tuttiInvalidArgument, {"is not a live window"});
  EXPECT_TUTTI(tuttiMemFree(memory));
}

}  // namespace
}  // namespace tutti::testing
