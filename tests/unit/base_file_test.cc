// SPDX-License-Identifier: Apache-2.0
// Descriptors, sealed memfds and mappings.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include "src/base/file.h"
#include "tests/unit/base_test_support.h"

namespace tutti {
namespace {

using testing::HasSubstr;

constexpr size_t kBytes = 8192;

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

TEST(FileDescriptor, GoingOutOfScope_Closes) {
  int raw = -1;
  {
    const FileDescriptor fd{::dup(STDERR_FILENO)};
    raw = fd.get();
    EXPECT_TRUE(fd);
    EXPECT_TRUE(is_open(raw));
  }
  EXPECT_FALSE(is_open(raw));
}

TEST(FileDescriptor, MoveAssigned_ClosesTheOldOne) {
  FileDescriptor a{::dup(STDERR_FILENO)};
  FileDescriptor b{::dup(STDERR_FILENO)};
  const int old = a.get();
  const int kept = b.get();
  a = std::move(b);
  EXPECT_EQ(a.get(), kept);
  EXPECT_FALSE(is_open(old));
  EXPECT_TRUE(is_open(kept));
  EXPECT_EQ(a.release(), kept);
  EXPECT_FALSE(a);
  ::close(kept);
}

TEST(SealedMemfd, Created_HasItsSizeAndCantChangeIt) {
  const FileDescriptor fd = create_sealed_memfd("tutti-test", kBytes);
  EXPECT_EQ(file_bytes(fd.get()), kBytes);
  EXPECT_TRUE(is_sealed_against_shrinking(fd.get()));
  EXPECT_EQ(::ftruncate(fd.get(), kBytes / 2), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd.get(), kBytes * 2), -1);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1)
      << "a peer could seal it against writing";
  EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(SealedMemfd, OtherFiles_AreNotSealed) {
  const FileDescriptor unsealed{::memfd_create("tutti-test", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  EXPECT_FALSE(is_sealed_against_shrinking(unsealed.get()));
  EXPECT_FALSE(is_sealed_against_shrinking(-1));
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const FileDescriptor read_end{ends[0]};
  const FileDescriptor write_end{ends[1]};
  EXPECT_FALSE(is_sealed_against_shrinking(read_end.get()));
}

TEST(SealedMemfd, NameTooLong_ThrowsSystemError) {
  const auto error = error_of([] { create_sealed_memfd(std::string(300, 'x'), kBytes); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), StatusCode::kSystemError);
  EXPECT_THAT(error->what(), HasSubstr("EINVAL"));
}

TEST(FileBytes, BadDescriptor_ThrowsSystemError) {
  const auto error = error_of([] { file_bytes(-1); });
  ASSERT_TRUE(error.has_value());
  EXPECT_THAT(error->what(), HasSubstr("EBADF"));
}

TEST(Mapping, TwoOfOneFile_ShareTheirBytes) {
  const FileDescriptor fd = create_sealed_memfd("tutti-test", kBytes);
  const Mapping a(fd.get(), kBytes);
  const Mapping b(fd.get(), kBytes);
  EXPECT_NE(a.data(), b.data());
  for (size_t i = 0; i < kBytes; ++i) ASSERT_EQ(a.data()[i], std::byte{0});
  std::memset(a.data(), 0x5a, kBytes);
  EXPECT_EQ(std::memcmp(a.data(), b.data(), kBytes), 0);
}

TEST(Mapping, Moved_LeavesNothingBehind) {
  const FileDescriptor fd = create_sealed_memfd("tutti-test", kBytes);
  Mapping a(fd.get(), kBytes);
  std::byte* data = a.data();
  Mapping b(std::move(a));
  EXPECT_EQ(b.data(), data);
  Mapping c(fd.get(), kBytes);
  c = std::move(b);
  EXPECT_EQ(c.data(), data);
  EXPECT_EQ(c.bytes(), kBytes);
  c.reset();
  EXPECT_EQ(c.data(), nullptr);
  EXPECT_EQ(::msync(data, kBytes, MS_ASYNC), -1) << "still mapped";
  EXPECT_EQ(errno, ENOMEM);
}

TEST(Mapping, NoBytesOrNoFile_ThrowsSystemError) {
  const FileDescriptor fd = create_sealed_memfd("tutti-test", kBytes);
  EXPECT_TRUE(error_of([&] { Mapping(fd.get(), 0); }).has_value());
  EXPECT_TRUE(error_of([&] { Mapping(-1, kBytes); }).has_value());
}

}  // namespace
}  // namespace tutti
