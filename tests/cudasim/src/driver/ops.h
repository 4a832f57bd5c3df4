// SPDX-License-Identifier: Apache-2.0
// What streams do.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "tests/cudasim/src/grid.h"
#include "tests/cudasim/src/objects.h"

namespace cudasim {

class CopyOp final : public Op {
 public:
  // `device` is the stream's. Addresses outside of the window are the host's.
  CopyOp(int device, uint64_t to, uint64_t from, uint64_t bytes)
      : device_(device), to_(to), from_(from), bytes_(bytes) {}
  // Takes a copy of what pageable host memory holds now, as the driver does.
  void stage();
  bool poll() override;
  std::unique_ptr<Op> again() const override { return std::make_unique<CopyOp>(*this); }
  std::string describe() const override;

 private:
  int device_;
  uint64_t to_;
  uint64_t from_;
  uint64_t bytes_;
  std::shared_ptr<const std::vector<uint8_t>> staged_;
};

class SetOp final : public Op {
 public:
  SetOp(int device, uint64_t to, uint32_t value, uint32_t width, uint64_t count)
      : device_(device), to_(to), value_(value), width_(width), count_(count) {}
  bool poll() override;
  std::unique_ptr<Op> again() const override { return std::make_unique<SetOp>(*this); }
  std::string describe() const override;

 private:
  int device_;
  uint64_t to_;
  uint32_t value_;
  uint32_t width_;
  uint64_t count_;
};

class WaitValueOp final : public Op {
 public:
  WaitValueOp(uint64_t at, uint64_t value, uint32_t bytes, unsigned flags)
      : at_(at), value_(value), bytes_(bytes), flags_(flags) {}
  bool poll() override;
  std::unique_ptr<Op> again() const override { return std::make_unique<WaitValueOp>(*this); }
  std::string describe() const override;

 private:
  uint64_t at_;
  uint64_t value_;
  uint32_t bytes_;
  unsigned flags_;
};

class WriteValueOp final : public Op {
 public:
  WriteValueOp(uint64_t at, uint64_t value, uint32_t bytes)
      : at_(at), value_(value), bytes_(bytes) {}
  bool poll() override;
  std::unique_ptr<Op> again() const override { return std::make_unique<WriteValueOp>(*this); }
  std::string describe() const override;

 private:
  uint64_t at_;
  uint64_t value_;
  uint32_t bytes_;
};

// Several operations, one after the other, as one: of cuStreamBatchMemOp.
class SequenceOp final : public Op {
 public:
  explicit SequenceOp(std::vector<std::unique_ptr<Op>> ops) : ops_(std::move(ops)) {}
  bool poll() override;
  std::unique_ptr<Op> again() const override;
  std::string describe() const override;

 private:
  std::vector<std::unique_ptr<Op>> ops_;
  size_t next_ = 0;
};

class RecordOp final : public Op {
 public:
  explicit RecordOp(abi::EventObject& event);  // counts a record; the event outlives it
  bool poll() override;
  void drop() override { poll(); }
  std::unique_ptr<Op> again() const override { return std::make_unique<RecordOp>(*event_); }
  std::string describe() const override { return "the record of an event"; }

 private:
  abi::EventObject* event_;
  std::shared_ptr<Backing> backing_;
  std::shared_ptr<Shared> own_;
  Shared* state_;
  uint64_t ticket_;
};

class WaitEventOp final : public Op {
 public:
  explicit WaitEventOp(const abi::EventObject& event);
  bool poll() override;
  std::unique_ptr<Op> again() const override { return std::make_unique<WaitEventOp>(*this); }
  std::string describe() const override;

 private:
  std::shared_ptr<Backing> backing_;
  std::shared_ptr<Shared> own_;
  const Shared* state_;
  uint64_t ticket_;
};

class HostOp final : public Op {
 public:
  HostOp(abi::HostFunction function, void* user) : function_(function), user_(user) {}
  bool poll() override;
  std::unique_ptr<Op> again() const override { return std::make_unique<HostOp>(function_, user_); }
  std::string describe() const override { return "a host function"; }

 private:
  abi::HostFunction function_;
  void* user_;
  std::shared_ptr<std::atomic<bool>> done_;
};

class KernelOp final : public Op {
 public:
  explicit KernelOp(Launch launch) : launch_(std::move(launch)) {}
  bool poll() override;
  std::unique_ptr<Op> again() const override { return std::make_unique<KernelOp>(launch_); }
  std::string describe() const override { return "kernel " + launch_.name; }

 private:
  Launch launch_;
  std::shared_ptr<Grid> grid_;
};

// Does nothing: joins what it comes after.
class EmptyOp final : public Op {
 public:
  bool poll() override { return true; }
  std::unique_ptr<Op> again() const override { return std::make_unique<EmptyOp>(); }
  std::string describe() const override { return "nothing"; }
};

class GraphOp final : public Op {
 public:
  explicit GraphOp(const GraphData& graph);
  bool poll() override;
  void drop() override;
  std::unique_ptr<Op> again() const override;
  std::string describe() const override;

 private:
  GraphOp() = default;
  std::vector<std::unique_ptr<Op>> ops_;
  std::vector<std::vector<size_t>> after_;
  std::vector<bool> done_;
};

}  // namespace cudasim
