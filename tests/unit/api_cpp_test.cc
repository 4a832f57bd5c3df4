// SPDX-License-Identifier: Apache-2.0
// The C++ wrapper: what it adds to the C API is ownership and exceptions.
#include <numeric>
#include <thread>

#include <gtest/gtest.h>

#include "tutti/tutti.hpp"

namespace {

using tutti::cpp::Communicator;

TEST(CppApi, RanksAsThreads_AllReduce) {
  std::vector<Communicator> comms = Communicator::init_all(3);
  std::vector<std::thread> threads;
  for (Communicator& comm : comms) {
    threads.emplace_back([&comm] {
      const std::vector<double> in(100, comm.rank() + 1);
      std::vector<double> out(100);
      comm.all_reduce(in.data(), out.data(), in.size());
      EXPECT_EQ(out, std::vector<double>(100, 6));
      const Communicator part = comm.split(comm.rank() == 0 ? TUTTI_SPLIT_NOCOLOR : 0, 0);
      EXPECT_EQ(static_cast<bool>(part), comm.rank() != 0);
      if (part) {
        EXPECT_EQ(part.size(), 2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(CppApi, GroupOnOneThread_UsesSharedMemory) {
  const std::vector<Communicator> comms = Communicator::init_all(2);
  const tutti::cpp::Memory<int> memory(20);
  std::iota(memory.begin(), memory.end(), 0);
  tutti::cpp::group([&] {
    for (int r = 0; r < 2; ++r) {
      comms[static_cast<size_t>(r)].all_reduce(memory.data() + r * 10, memory.data() + r * 10, 10);
    }
  });
  for (size_t i = 0; i < 20; ++i) EXPECT_EQ(memory[i], static_cast<int>(10 + 2 * (i % 10)));
}

TEST(CppApi, Stream_Synchronizes) {
  const std::vector<Communicator> comms = Communicator::init_all(1);
  const tutti::cpp::Stream stream = tutti::cpp::Stream::create();
  int x = 3, y = 0;
  comms[0].all_reduce(&x, &y, 1, tuttiSum, stream.get());
  stream.synchronize();
  EXPECT_EQ(y, 3);
}

TEST(CppApi, RefusedCall_Throws) {
  const std::vector<Communicator> comms = Communicator::init_all(1);
  try {
    comms[0].all_reduce<int>(nullptr, nullptr, 1);
    FAIL() << "nothing was thrown";
  } catch (const tutti::cpp::Exception& e) {
    EXPECT_EQ(e.result(), tuttiInvalidArgument);
    EXPECT_NE(std::string(e.what()).find("sendbuff"), std::string::npos);
  }
}

TEST(CppApi, WithoutLauncher_IsAlone) {
  const Communicator comm = Communicator::from_launch();
  EXPECT_EQ(comm.size(), 1);
  comm.barrier();
}

}  // namespace
