// SPDX-License-Identifier: Apache-2.0
// Cuts a call into pieces that fit in the areas, and puts copies and kernels into its stream.
#include "src/exec/cuda/symmetric.h"

#include <algorithm>

#include "src/device/cuda/driver.h"
#include "src/exec/cuda/executor.h"
#include "src/exec/cuda/executor_state.h"
#include "src/kernels/cuda/scaling.h"

namespace tutti::exec {
namespace {

using plan::Collective;

constexpr size_t kVectorBytes = 16;          // what the switch takes
constexpr size_t kBytesPerBlock = 64 << 10;  // below, a thread block more costs more than it brings

constexpr size_t rounded(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

struct Slice {
  size_t begin = 0;
  size_t bytes = 0;
};
// Of n, in whole vectors but for the last.
Slice slice_of(size_t bytes, uint32_t rank, uint32_t n) noexcept {
  const size_t each = rounded((bytes + n - 1) / n, kVectorBytes);
  const size_t begin = std::min(each * rank, bytes);
  return {begin, std::min(each, bytes - begin)};
}

// Do the areas hold a block of every rank?
bool has_blocks(Collective collective, SymmetricWay way) noexcept {
  return collective == Collective::kReduceScatter || collective == Collective::kAllToAll ||
         (collective == Collective::kAllGather && way == SymmetricWay::kNvls);
}

// One call on its way into the stream.
class Issue {
 public:
  Issue(ExecutorState& executor, const SymmetricRegion& region, const SymmetricCall& call)
      : executor_(executor),
        region_(region),
        call_(call),
        block_bytes_(call.count * size_of(call.dtype)),
        own_area_(region.areas[region.rank]) {
    const size_t room = has_blocks(call.collective, call.way)
                            ? region.area_bytes / region.n_ranks / kAreaUnit * kAreaUnit
                            : region.area_bytes;
    piece_bytes_ = std::min(block_bytes_, room);
    const size_t held =
        has_blocks(call.collective, call.way) ? piece_bytes_ * region.n_ranks : piece_bytes_;
    blocks_ = static_cast<unsigned>(
        std::clamp<size_t>((held + kBytesPerBlock - 1) / kBytesPerBlock, 1, region.blocks));
  }

  // A call of no bytes is one piece too: its barrier finds calls that differ.
  bool all() {
    do {
      bytes_ = std::min(piece_bytes_, block_bytes_ - at_);
      executor_.go_behind_others(executor_.place_of(call_.stream));
      piece();
      at_ += bytes_;
    } while (at_ < block_bytes_);
    const Place place = executor_.place_of(call_.stream);
    executor_.let_others_follow(place);  // behind the last copy
    return !place.capture;
  }

 private:
  uint32_t rank() const { return region_.rank; }
  uint32_t n_ranks() const { return region_.n_ranks; }
  bool is_root() const { return rank() == call_.root; }
  std::byte* area(uint32_t rank) const { return region_.areas[rank]; }
  const std::byte* input() const { return call_.input + at_; }
  std::byte* output() const { return call_.output + at_; }

  void piece() {
    switch (call_.way) {
      case SymmetricWay::kNvls:
        return by_switch();
      case SymmetricWay::kTwoShot:
        return call_.collective == Collective::kBroadcast ? hand_on() : fold_slices();
      case SymmetricWay::kOneShot:
      case SymmetricWay::kNone:
        break;
    }
    return plan::reduces(call_.collective) ? fold_all() : read_all();
  }

  // --- Copies of this GPU

  void copy(std::byte* to, const std::byte* from, size_t bytes) const {
    if (bytes == 0 || to == from) return;
    cuda::check(
        cuda::driver().cuMemcpyAsync(reinterpret_cast<cuda::DevicePtr>(to),
                                     reinterpret_cast<cuda::DevicePtr>(from), bytes, call_.stream),
        "copying between a buffer and symmetric memory");
  }
  // Blocks that lie `to_apart` and `from_apart` from each other.
  void copy_blocks(std::byte* to, size_t to_apart, const std::byte* from, size_t from_apart) const {
    if (to_apart == bytes_ && from_apart == bytes_) return copy(to, from, bytes_ * n_ranks());
    for (uint32_t r = 0; r < n_ranks(); ++r) copy(to + r * to_apart, from + r * from_apart, bytes_);
  }

  // --- Kernels

  gpu::SymmetricTeam team() const {
    gpu::SymmetricTeam team{};
    std::copy(region_.flags.begin(), region_.flags.end(), team.flags);
    team.epochs = region_.epochs;
    team.rank = rank();
    team.n_ranks = n_ranks();
    team.signature = call_.signature;
    return team;
  }
  template <class Args>
  void submit(cuda::Function function, Args& args) const {
    args.team = team();
    executor_.submit({.place = executor_.place_of(call_.stream),
                      .function = function,
                      .blocks = blocks_,
                      .call = call_.call},
                     args.team.watch, &args);
  }

  void submit_fold(gpu::ReduceCopyArgs& args, size_t bytes) {
    args.move.n_sources = n_ranks();
    args.move.bytes = bytes;
    args.move.post = true;
    args.move.pre_mask = ~uint64_t{0} >> (64 - n_ranks());
    args.reduction = gpu::make_reduction(call_.dtype, call_.op, &call_.scaling);
    submit(executor_.kernels.of(call_.dtype).reduce_copy, args);
  }
  // Every rank folds what is its own out of all areas: AllReduce, Reduce, ReduceScatter.
  void fold_all() {
    gpu::ReduceCopyArgs args{};
    const bool scatters = call_.collective == Collective::kReduceScatter;
    if (scatters) {
      copy_blocks(own_area_, bytes_, input(), block_bytes_);
    } else {
      copy(own_area_, input(), bytes_);
    }
    for (uint32_t r = 0; r < n_ranks(); ++r)
      args.move.sources[r] = area(r) + (scatters ? rank() * bytes_ : 0);
    const bool takes = call_.collective != Collective::kReduce || is_root();
    args.move.n_sinks = 1;
    args.move.sinks[0] = takes ? output() : own_area_;
    submit_fold(args, takes ? bytes_ : 0);
  }
  void fold_slices() {
    gpu::ReduceCopyArgs args{};
    copy(own_area_, input(), bytes_);
    const Slice own = slice_of(bytes_, rank(), n_ranks());
    args.move.n_sinks = n_ranks();
    for (uint32_t r = 0; r < n_ranks(); ++r)
      args.move.sources[r] = args.move.sinks[r] = area(r) + own.begin;
    submit_fold(args, own.bytes);
    copy(output(), own_area_, bytes_);
  }

  // Every rank reads what is its own out of all areas: AllGather, AllToAll, Broadcast.
  void read_all() {
    gpu::SymmetricCopyArgs args{};
    switch (call_.collective) {
      case Collective::kAllToAll:
        copy_blocks(own_area_, bytes_, input(), block_bytes_);
        return read_blocks(args, rank() * bytes_);
      case Collective::kAllGather:
        copy(own_area_, input(), bytes_);
        return read_blocks(args, 0);
      default:
        break;
    }
    if (is_root()) {
      copy(own_area_, input(), bytes_);
      copy(output(), input(), bytes_);
    } else {
      args.n_pieces = 1;
      args.pieces[0] = {area(call_.root), output(), bytes_};
    }
    submit(executor_.kernels.symmetric_copy(), args);
  }
  void read_blocks(gpu::SymmetricCopyArgs& args, size_t offset) {
    args.n_pieces = n_ranks();
    for (uint32_t r = 0; r < n_ranks(); ++r)
      args.pieces[r] = {area(r) + offset, output() + r * block_bytes_, bytes_};
    submit(executor_.kernels.symmetric_copy(), args);
  }
  // Broadcast. A thread block hands on what it has read itself, so there is no barrier between.
  void hand_on() {
    gpu::SymmetricCopyArgs args{};
    if (is_root()) copy(own_area_, input(), bytes_);
    const Slice own = slice_of(bytes_, rank(), n_ranks());
    if (!is_root()) {
      args.n_pieces = 1;
      args.pieces[0] = {area(call_.root) + own.begin, own_area_ + own.begin, own.bytes};
    }
    args.source = own_area_ + own.begin;
    args.bytes = own.bytes;
    for (uint32_t i = 1; i < n_ranks(); ++i) {
      const uint32_t to = (rank() + i) % n_ranks();
      if (to != call_.root) args.sinks[args.n_sinks++] = area(to) + own.begin;
    }
    submit(executor_.kernels.symmetric_copy(), args);
    copy(output(), is_root() ? input() : own_area_, bytes_);
  }

  // --- Through the switch, in whole vectors: what lies behind the bytes is never looked at

  void submit_nvls(gpu::Nvls kind, const std::byte* input, std::byte* output, size_t bytes) {
    gpu::NvlsArgs args{};
    const bool moves = kind == gpu::Nvls::kGather;
    args.kind = kind;
    args.input = input;
    args.output = output;
    args.bytes = rounded(bytes, kVectorBytes);
    if (!moves) args.reduction = gpu::make_reduction(call_.dtype, call_.op, &call_.scaling);
    submit(executor_.kernels.nvls(moves ? DType::kUint32 : call_.dtype), args);
  }
  void by_switch() {
    std::byte* const all = region_.multicast;
    const size_t apart = rounded(bytes_, kVectorBytes);
    const size_t own = rank() * apart;
    switch (call_.collective) {
      case Collective::kAllReduce: {
        copy(own_area_, input(), bytes_);
        const Slice slice = slice_of(bytes_, rank(), n_ranks());
        submit_nvls(gpu::Nvls::kAllReduce, all + slice.begin, all + slice.begin, slice.bytes);
        return copy(output(), own_area_, bytes_);
      }
      case Collective::kReduceScatter:
        copy_blocks(own_area_, apart, input(), block_bytes_);
        // A thread stores where it has loaded: to this rank's block, which nobody else reads.
        submit_nvls(gpu::Nvls::kReduceScatter, all + own, own_area_ + own, bytes_);
        return copy(output(), own_area_ + own, bytes_);
      case Collective::kAllGather:
        copy(own_area_ + own, input(), bytes_);
        submit_nvls(gpu::Nvls::kGather, own_area_ + own, all + own, bytes_);
        return copy_blocks(output(), block_bytes_, own_area_, apart);
      default:
        break;
    }
    if (is_root()) copy(own_area_, input(), bytes_);
    submit_nvls(gpu::Nvls::kGather, own_area_, all, is_root() ? bytes_ : 0);
    copy(output(), is_root() ? input() : own_area_, bytes_);
  }

  ExecutorState& executor_;
  const SymmetricRegion& region_;
  const SymmetricCall& call_;
  const size_t block_bytes_;
  std::byte* const own_area_;
  size_t piece_bytes_ = 0;  // of each block
  unsigned blocks_ = 1;
  size_t at_ = 0;     // of the piece, in every block
  size_t bytes_ = 0;  // of the piece
};

// Of blocks of the size 1, what goes from rank to rank.
bool gives(const SymmetricCall& call, uint32_t from, uint32_t to) noexcept {
  if (call.collective == Collective::kReduce) return to == call.root;
  if (call.collective == Collective::kBroadcast) return from == call.root;
  return true;
}

}  // namespace

bool symmetric_carries(SymmetricWay way, Collective collective, DType dtype, Op op) noexcept {
  switch (way) {
    case SymmetricWay::kNone:
      return false;
    case SymmetricWay::kOneShot:
      return collective != Collective::kGather && collective != Collective::kScatter &&
             collective != Collective::kBarrier;
    case SymmetricWay::kTwoShot:
      return collective == Collective::kAllReduce || collective == Collective::kBroadcast;
    case SymmetricWay::kNvls:
      break;
  }
  if (collective == Collective::kAllGather || collective == Collective::kBroadcast) return true;
  if (collective != Collective::kAllReduce && collective != Collective::kReduceScatter)
    return false;
  if (op != Op::kAvg) return gpu::multimem_reduces(dtype, op);
  // The mean of 16-bit floats would be rounded twice.
  return size_of(dtype) > 2 && gpu::multimem_reduces(dtype, Op::kSum);
}

size_t symmetric_bytes(const SymmetricCall& call, uint32_t n_ranks, uint32_t from,
                       uint32_t to) noexcept {
  const size_t bytes = call.count * size_of(call.dtype);
  const bool by_slices =
      call.way == SymmetricWay::kTwoShot ||
      (call.way == SymmetricWay::kNvls && call.collective == Collective::kAllReduce);
  if (!by_slices) return gives(call, from, to) ? bytes : 0;
  const size_t handed_on = slice_of(bytes, from, n_ranks).bytes;
  const size_t read = slice_of(bytes, to, n_ranks).bytes;
  if (call.collective == Collective::kAllReduce) return handed_on + read;
  return (to == call.root ? 0 : handed_on) + (from == call.root ? read : 0);
}

bool DeviceExecutor::launch(const SymmetricRegion& region, const SymmetricCall& call) {
  const cuda::Current current(state_->gpu);
  return Issue(*state_, region, call).all();
}

}  // namespace tutti::exec
