// SPDX-License-Identifier: Apache-2.0
// Checks of single arguments.
#include "src/api/arguments.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <vector>

#include "src/comm/group.h"

namespace tutti::api {
namespace {

// A piece of contiguous memory.
struct Extent {
  const std::byte* begin = nullptr;
  size_t bytes = 0;
};

bool disjoint(const Extent& a, const Extent& b) {
  const std::less_equal<> before;
  return a.bytes == 0 || b.bytes == 0 || before(a.begin + a.bytes, b.begin) ||
         before(b.begin + b.bytes, a.begin);
}

Extent block_of(const BufferArgument& buffer, size_t block) {
  const auto* base = static_cast<const std::byte*>(buffer.base);
  if (buffer.counts == nullptr)
    return {base + block * buffer.count * buffer.elem_bytes, buffer.count * buffer.elem_bytes};
  return {base + buffer.offsets[block] * buffer.elem_bytes,
          buffer.counts[block] * buffer.elem_bytes};
}

size_t extents_in(const BufferArgument& buffer) {
  return buffer.counts == nullptr ? 1 : buffer.n_blocks;
}

Extent extent_of(const BufferArgument& buffer, size_t index) {
  if (buffer.counts != nullptr) return block_of(buffer, index);
  return {static_cast<const std::byte*>(buffer.base),
          buffer.n_blocks * buffer.count * buffer.elem_bytes};
}

bool empty(const BufferArgument& buffer) {
  if (buffer.n_blocks == 0) return true;
  for (size_t i = 0; i < extents_in(buffer); ++i) {
    if (extent_of(buffer, i).bytes != 0) return false;
  }
  return true;
}

[[noreturn]] void refuse_size(const BufferArgument& buffer, size_t block, size_t count) {
  if (buffer.counts != nullptr) {
    const std::string index = "[" + std::to_string(block) + "]";
    refuse(buffer.offsets_name + index + " is " + std::to_string(buffer.offsets[block]) + " and " +
           buffer.counts_name + index + " is " + std::to_string(count) + " elements of " +
           std::to_string(buffer.elem_bytes) + " bytes; such a " + buffer.name +
           " is more than fits in memory");
  }
  refuse(std::string("count of ") + buffer.name + " is " + std::to_string(count) + " elements of " +
         std::to_string(buffer.elem_bytes) + " bytes in " + std::to_string(buffer.n_blocks) +
         " blocks; that is more than fits in memory");
}

}  // namespace

void refuse(const std::string& message) { throw Error(StatusCode::kInvalidArgument, message); }

void require(const void* pointer, const char* name) {
  if (pointer == nullptr)
    refuse(std::string(name) + " is NULL; it must point to memory of the caller");
}

void require_host(comm::Communicator& comm, const char* what) {
  if (comm.path().device == nullptr) return;
  throw Error(StatusCode::kInvalidUsage,
              std::string(what) + " work on memory of the host, and the communicator" +
                  comm.place() + " is one of CUDA device " +
                  std::to_string(comm.options().config.local.device) +
                  "; use one made with config.device = TUTTI_DEVICE_HOST");
}

void set_up(comm::Communicator& comm, std::function<void()> job) {
  comm.team().claim();
  if (!comm::Group::active()) comm::check_not_crowded(comm);
  comm::Group::current().set_up(&comm, std::move(job));
}

DType dtype_of(const tuttiDataType_t& datatype) { return dtype_of(number_of(datatype)); }

DType dtype_of(int value) {
  if (value < 0 || value >= tuttiNumTypes) {
    refuse("datatype is " + std::to_string(value) + "; allowed are 0 (tuttiInt8) to " +
           std::to_string(tuttiNumTypes - 1) + " (tuttiFloat8e5m2)");
  }
  return static_cast<DType>(value);
}

void require_rank(int value, int n, const char* name) {
  if (value >= 0 && value < n) return;
  refuse(std::string(name) + " is " + std::to_string(value) + "; allowed are the ranks 0 to " +
         std::to_string(n - 1));
}

void check_buffer(const BufferArgument& buffer) {
  constexpr size_t kMost = PTRDIFF_MAX;
  if (buffer.n_blocks == 0) return;
  for (size_t i = 0; i < extents_in(buffer); ++i) {
    const size_t count = buffer.counts == nullptr ? buffer.count : buffer.counts[i];
    const size_t repeat = buffer.counts == nullptr ? buffer.n_blocks : 1;
    const size_t offset = buffer.counts == nullptr ? 0 : buffer.offsets[i];
    size_t end = 0;
    if (__builtin_mul_overflow(count, repeat, &end) || __builtin_add_overflow(end, offset, &end) ||
        end > kMost / buffer.elem_bytes) {
      refuse_size(buffer, i, count);
    }
    if (buffer.base == nullptr && count != 0) {
      refuse(std::string(buffer.name) + " is NULL; it must hold " + std::to_string(count * repeat) +
             " elements of " + std::to_string(buffer.elem_bytes) + " bytes");
    }
  }
}

void check_apart(const BufferArgument& output) {
  if (output.counts == nullptr) return;
  const auto check = [&](size_t first, size_t second) {
    if (output.offsets[second] - output.offsets[first] >= output.counts[first]) return;
    const auto text = [&](size_t block) {
      const std::string index = "[" + std::to_string(block) + "]";
      return "rank " + std::to_string(block) + " (" + output.offsets_name + index + " = " +
             std::to_string(output.offsets[block]) + ", " + output.counts_name + index + " = " +
             std::to_string(output.counts[block]) + ")";
    };
    refuse(std::string("the blocks of ") + text(std::min(first, second)) + " and " +
           text(std::max(first, second)) + " overlap in " + output.name +
           "; each must have memory of its own");
  };
  std::vector<size_t> order;  // of the blocks with bytes; stays empty while they ascend
  size_t last = SIZE_MAX;
  for (size_t i = 0; i < output.n_blocks; ++i) {
    if (output.counts[i] == 0) continue;
    if (last != SIZE_MAX && output.offsets[i] < output.offsets[last]) {
      order.resize(output.n_blocks);
      break;
    }
    if (last != SIZE_MAX) check(last, i);
    last = i;
  }
  if (order.empty()) return;
  std::iota(order.begin(), order.end(), size_t{0});
  std::erase_if(order, [&](size_t i) { return output.counts[i] == 0; });
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return output.offsets[a] < output.offsets[b]; });
  for (size_t i = 1; i < order.size(); ++i) check(order[i - 1], order[i]);
}

bool check_in_place(const BufferArgument& in, int in_own, const BufferArgument& out, int out_own) {
  if (empty(in) || empty(out)) return false;
  if (in_own >= 0 && block_of(in, static_cast<size_t>(in_own)).begin ==
                         block_of(out, static_cast<size_t>(out_own)).begin) {
    return true;
  }
  for (size_t i = 0; i < extents_in(in); ++i) {
    for (size_t o = 0; o < extents_in(out); ++o) {
      if (disjoint(extent_of(in, i), extent_of(out, o))) continue;
      refuse(std::string(in.name) + " and " + out.name +
             " overlap, but not as an in-place call may" +
             (in_own < 0 ? "; this collective can't be done in place"
                         : "; for an in-place call they must name the same memory for this rank's "
                           "own block"));
    }
  }
  return false;
}

}  // namespace tutti::api
