// SPDX-License-Identifier: Apache-2.0
// Makes symmetric memory in three steps: offers, descriptors, multicast binding.
#include "src/comm/symmetric_memory.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/base/socket.h"
#include "src/base/wait.h"
#include "src/comm/bytes.h"
#include "src/device/cuda/driver.h"
#include "src/device/cuda/stream.h"

namespace tutti::comm {
namespace {

constexpr int64_t kPassNs = 30 * kNsPerSecond;  // what descriptors may take
constexpr int64_t kNapNs = kNsPerMs / 5;
// Of a launch. Enough thread blocks to fill NVLink; a guess until it is measured on GPUs.
constexpr uint32_t kMostBlocks = 32;

// What a descriptor comes with, as one packet.
struct Label {
  uint64_t comm_id = 0;
  int32_t rank = 0;
  uint32_t reserved = 0;
  std::array<std::byte, 32> secret{};
};
static_assert(sizeof(Label) == 48 && std::is_trivially_copyable_v<Label>);

template <class T>
T* at(const cuda::Range& range, size_t offset) {
  return std::bit_cast<T*>(range.address() + offset);
}

std::string said_by(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The first rank's reason, of those that all ranks give; empty: there is none.
std::string agreed_reason(const Exchange& exchange, const std::string& mine) {
  const auto all = exchange(std::as_bytes(std::span(mine.data(), mine.size())));
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    return fmt::format(
        "rank {}: {}", rank,
        std::string_view(reinterpret_cast<const char*>(all[rank].data()), all[rank].size()));
  }
  return "";
}

}  // namespace

struct SymmetricMemory::Offer {
  std::string obstacle;
  uint64_t bytes = 0;  // of the allocation
  uint32_t most_blocks = 0;
  SocketAddress address;  // of its Post

  std::vector<std::byte> encode() const {
    ByteWriter out;
    out.text(obstacle);
    out.value(bytes);
    out.value(most_blocks);
    out.value(address);
    return out.take();
  }
  static Offer decode(std::span<const std::byte> from) {
    ByteReader in(from);
    Offer offer;
    offer.obstacle = in.text();
    offer.bytes = in.value<uint64_t>();
    offer.most_blocks = in.value<uint32_t>();
    offer.address = in.value<SocketAddress>();
    return offer;
  }
};

// This rank's descriptors, and where those of the others arrive. They wait in the kernel until they
// are taken, so ranks need not take turns.
class SymmetricMemory::Post {
 public:
  // `object`: of the multicast object; null: another rank has it, or nobody.
  Post(const Wanted& wanted, const cuda::Allocation& memory, const cuda::Allocation* object)
      : wanted_(wanted), memory_(memory.export_descriptor()) {
    if (object != nullptr) object_ = object->export_descriptor();
    const std::string name = fmt::format("@tutti-symmetric-{:x}-{}-{:x}", wanted.comm_id,
                                         wanted.rank, this_process().process_uid);
    listener_ = Listener::bind(SocketAddress::parse(name), SocketKind::kSequencedPacket);
  }
  const SocketAddress& address() const noexcept { return listener_.address(); }

  void send(const SocketAddress& to, Deadline deadline) {
    const int descriptors[] = {memory_.get(), object_.get()};
    const Label label{.comm_id = wanted_.comm_id, .rank = wanted_.rank, .secret = wanted_.secret};
    // Kept: what has not been received goes with the socket.
    Socket& socket =
        sent_.emplace_back(Socket::connect(to, SocketKind::kSequencedPacket, deadline));
    const std::span<const int> carried(descriptors, object_ ? 2 : 1);
    while (!socket.try_send_packet(std::as_bytes(std::span(&label, 1)), carried)) nap(deadline);
  }

  // From one of the ranks that have not sent yet; returns which.
  int receive(std::array<FileDescriptor, 2>& descriptors, Deadline deadline) {
    while (true) {
      while (auto arrived = listener_.try_accept()) arrived_.push_back(std::move(*arrived));
      for (Socket& socket : arrived_) {
        Label label;
        const auto rank = take(socket, label, descriptors);
        if (rank.has_value()) return *rank;
      }
      std::erase_if(arrived_, [](const Socket& socket) { return !socket; });
      nap(deadline);
    }
  }

 private:
  static void nap(Deadline deadline) {
    if (deadline.expired()) {
      throw Error(StatusCode::kRemoteError,
                  "descriptors of GPU memory did not come from all ranks within 30 s");
    }
    sleep_ns(kNapNs);
  }
  // nullopt while nothing has come. A socket that has said something is emptied.
  std::optional<int> take(Socket& socket, Label& label,
                          std::array<FileDescriptor, 2>& descriptors) const {
    if (!socket) return std::nullopt;
    auto received = socket.try_receive_packet(std::as_writable_bytes(std::span(&label, 1)));
    if (!received.has_value()) return std::nullopt;
    socket = Socket();
    if (received->bytes != sizeof label || label.comm_id != wanted_.comm_id || label.rank < 0 ||
        label.rank >= wanted_.n_ranks || label.secret != wanted_.secret) {
      return std::nullopt;  // a stranger
    }
    descriptors = std::move(received->descriptors);
    return label.rank;
  }

  const Wanted& wanted_;
  FileDescriptor memory_;
  FileDescriptor object_;
  Listener listener_;
  std::vector<Socket> sent_;
  std::vector<Socket> arrived_;
};

SymmetricMemory::SymmetricMemory(const Wanted& wanted, const cuda::Gpu& gpu)
    : wanted_(wanted), gpu_(gpu) {
  region_.rank = static_cast<uint32_t>(wanted.rank);
  region_.n_ranks = static_cast<uint32_t>(wanted.n_ranks);
  region_.area_bytes = wanted.area_bytes;
}

size_t SymmetricMemory::epochs_offset() const noexcept {
  return flags_offset() + gpu::symmetric_flags_bytes(kMostBlocks, region_.n_ranks);
}
size_t SymmetricMemory::total_bytes() const noexcept {
  return epochs_offset() + kMostBlocks * sizeof(uint32_t);
}

// Zeroed before anybody is told of it.
void SymmetricMemory::allocate() {
  if (!wanted_.obstacle.empty()) throw Error(StatusCode::kInvalidUsage, wanted_.obstacle);
  const cuda::GpuFacts& facts = gpu_.facts();
  if (!facts.shares_by_descriptor)
    throw Error(StatusCode::kInvalidUsage, "its GPU's memory can't be exported");
  if (wanted_.multicast && !facts.multicasts)
    throw Error(StatusCode::kInvalidUsage, "its GPU has no switch that multicasts (NVLS)");
  size_t bytes = total_bytes();
  if (wanted_.multicast) bytes = cuda::multicast_bytes(wanted_.n_ranks, bytes);
  const cuda::Gpu* const user = &gpu_;
  ranges_.resize(static_cast<size_t>(wanted_.n_ranks));
  cuda::Range& own = ranges_[region_.rank];
  own = cuda::Range(cuda::Allocation::create(gpu_, bytes), {&user, 1});
  zero();
  if (wanted_.multicast && wanted_.rank == 0)
    multicast_ = cuda::Multicast::create(wanted_.n_ranks, own.bytes());
}

void SymmetricMemory::zero() const {
  const cuda::Range& own = ranges_[region_.rank];
  const cuda::OwnedStream stream(gpu_);
  cuda::check(cuda::driver().cuMemsetD8Async(own.address(), 0, own.bytes(), stream.get()),
              "zeroing symmetric memory");
  stream.synchronize();
}

void SymmetricMemory::take(int rank, int memory_fd, size_t bytes) {
  const cuda::Gpu* const user = &gpu_;
  ranges_[static_cast<size_t>(rank)] =
      cuda::Range(cuda::Allocation::import(memory_fd, bytes), {&user, 1});
}

// Rank 0's packets carry the multicast object too. A rank has sent its own before anything of
// another's can fail it, so nobody waits for one that fails.
void SymmetricMemory::pass_around(Post& post, const std::vector<Offer>& offers) {
  const Deadline deadline = Deadline::after_ns(kPassNs);
  for (int rank = 0; rank < wanted_.n_ranks; ++rank) {
    if (rank == wanted_.rank) continue;
    post.send(offers[static_cast<size_t>(rank)].address, deadline);
  }
  for (int left = wanted_.n_ranks - 1; left > 0; --left) {
    std::array<FileDescriptor, 2> came;
    const int rank = post.receive(came, deadline);
    const size_t bytes = offers[static_cast<size_t>(rank)].bytes;
    take(rank, came[0].get(), bytes);
    if (rank == 0 && wanted_.multicast)
      multicast_ = cuda::Multicast::import_multicast(came[1].get(), bytes);
  }
  if (multicast_ != nullptr) multicast_->add(gpu_);
}

void SymmetricMemory::fill_region(const std::vector<Offer>& offers) {
  region_.blocks = kMostBlocks;
  for (const Offer& offer : offers) region_.blocks = std::min(region_.blocks, offer.most_blocks);
  for (const cuda::Range& range : ranges_) {
    region_.areas.push_back(at<std::byte>(range, 0));
    region_.flags.push_back(at<uint64_t>(range, flags_offset()));
  }
  region_.epochs = at<uint32_t>(ranges_[region_.rank], epochs_offset());
}

// Every GPU has been added.
void SymmetricMemory::bind() {
  if (multicast_ == nullptr) return;
  multicast_->bind(ranges_[region_.rank].memory());
  const cuda::Gpu* const user = &gpu_;
  multicast_range_ = cuda::Range(multicast_, {&user, 1});
  region_.multicast = at<std::byte>(multicast_range_, 0);
}

std::unique_ptr<SymmetricMemory> SymmetricMemory::create(const Wanted& wanted, const cuda::Gpu& gpu,
                                                         const Exchange& exchange,
                                                         std::string* why_not) {
  const cuda::Current current(gpu);
  const cuda::RelaxedCapture relaxed;
  std::unique_ptr<SymmetricMemory> made(new SymmetricMemory(wanted, gpu));
  std::optional<Post> post;
  Offer mine{.most_blocks = wanted.most_blocks};
  mine.obstacle = said_by([&] {
    made->allocate();
    const cuda::Allocation& memory = *made->ranges_[made->region_.rank].memory();
    mine.bytes = memory.bytes();
    post.emplace(wanted, memory, made->multicast_.get());
    mine.address = post->address();
  });
  std::vector<Offer> offers;
  std::string reason;
  for (const auto& bytes : exchange(mine.encode())) {
    const Offer& offer = offers.emplace_back(Offer::decode(bytes));
    if (!offer.obstacle.empty() && reason.empty())
      reason = fmt::format("rank {}: {}", offers.size() - 1, offer.obstacle);
    if (wanted.multicast && offer.bytes != offers[0].bytes && reason.empty())
      reason = fmt::format("rank {}: expected {} bytes as on rank 0, got {}", offers.size() - 1,
                           offers[0].bytes, offer.bytes);
  }
  const auto step = [&](const std::function<void()>& body) {
    std::string mine_now;
    if (reason.empty()) mine_now = said_by(body);
    const std::string found = agreed_reason(exchange, mine_now);
    if (reason.empty()) reason = found;
  };
  step([&] {
    made->pass_around(*post, offers);
    made->fill_region(offers);
  });
  step([&] { made->bind(); });
  *why_not = reason;
  return reason.empty() ? std::move(made) : nullptr;
}

}  // namespace tutti::comm
