// SPDX-License-Identifier: Apache-2.0
// Takes images of recordings and checks everything in them.
#include "src/trace/reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include <sys/stat.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/file.h"
#include "src/kernels/dtypes.h"
#include "src/kernels/ops.h"
#include "src/trace/kinds.h"

namespace tutti::trace {
namespace {

constexpr size_t kMostBytes = size_t{1} << 30;

[[noreturn]] void refuse(const std::string& source, const std::string& why) {
  throw Error(StatusCode::kInvalidArgument, source + ": " + why);
}

// The image's fixed part as the struct that it is a copy of.
struct Plain {
  alignas(Header) std::array<std::byte, sizeof(Header)> bytes;
  const Header& header() const noexcept { return *reinterpret_cast<const Header*>(bytes.data()); }
};

std::string text_of(const char* text, size_t capacity) {
  std::string result(text, ::strnlen(text, capacity));
  // Control characters would reach terminals.
  std::ranges::replace_if(
      result, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  return result;
}

// Everything that parsing one record needs.
struct Context {
  const Image& image;
  TickAnchor first, last;
  int32_t n_ranks = 1;
  uint64_t entries = 0;

  std::string name(uint64_t number) const {
    if (number == 0 || number >= kNames) return "";
    const auto* names = reinterpret_cast<const char*>(image.data()) + kNamesOffset;
    return text_of(names + number * kNameBytes, kNameBytes);
  }
  int64_t time(uint64_t ticks) const noexcept { return ticks_to_ns(ticks, first, last); }
  int32_t rank(uint64_t word) const noexcept {
    const auto rank = static_cast<int32_t>(static_cast<uint32_t>(word));
    return rank >= 0 && rank < n_ranks ? rank : -1;
  }
};

bool known_kind(uint8_t kind) noexcept {
  return is_collective(kind) || (kind >= static_cast<uint8_t>(Kind::kSend) &&
                                 kind <= static_cast<uint8_t>(Kind::kMoeCombine));
}

// nullopt when it is empty, torn, or no record.
std::optional<Operation> parse_record(const Context& context, const uint64_t* words, bool queued) {
  const uint64_t version = words[kVersion];
  const uint64_t state = version & 7;
  if (version == 0 || state >= kStateCount || state == static_cast<uint64_t>(State::kWriting) ||
      (state == static_cast<uint64_t>(State::kQueued)) != queued) {
    return std::nullopt;
  }
  Operation o;
  o.state = static_cast<State>(state);
  o.sequence = version / kVersionStep - 1;
  o.number = words[kFacts] >> 24;
  o.kind = static_cast<uint8_t>(words[kFacts] >> 16);
  o.dtype = static_cast<uint8_t>(words[kFacts] >> 8);
  o.op = static_cast<uint8_t>(words[kFacts]);
  if (!known_kind(o.kind) || o.dtype >= kDTypeCount || o.op >= kOpCount) return std::nullopt;
  o.count = words[kCount];
  o.root = context.rank(words[kRanks]);
  o.waiting_for = context.rank(words[kRanks] >> 32);
  o.transfers = static_cast<uint32_t>(words[kDetails] >> 40);
  o.flags = static_cast<uint8_t>(words[kDetails] >> 32);
  o.name = context.name(words[kDetails] >> 24 & 0xff);
  o.algorithm = context.name(words[kDetails] >> 16 & 0xff);
  if (o.name.empty()) o.name = kind_name(o.kind);
  if (o.collective() && !plan::has_root(static_cast<plan::Collective>(o.kind))) o.root = -1;
  if (!queued) o.begun_ns = context.time(words[kBegun]);
  o.issued_ns = words[kIssued] == 0 ? o.begun_ns : context.time(words[kIssued]);
  if (o.ended()) {
    o.ended_ns = std::max(o.begun_ns, context.time(words[kEnded]));
    const auto outcome = static_cast<uint8_t>(version >> 3 & 31);
    (o.state == State::kDone ? o.protocol : o.result) = outcome;
    if (o.protocol > kProtocols) o.protocol = 0;
  }
  return o;
}

void parse_records(const Context& context, Recording* into) {
  const uint64_t* at = context.image.data() + kQueueOffset / 8;
  for (size_t i = 0; i < kQueueEntries; ++i, at += kWords) {
    if (auto queued = parse_record(context, at, true)) into->queue.push_back(std::move(*queued));
  }
  for (uint64_t i = 0; i < context.entries; ++i, at += kWords) {
    into->operations = std::max(into->operations, at[kVersion] / kVersionStep);
    auto record = parse_record(context, at, false);
    if (record.has_value() && ring_index(at[kVersion], context.entries) == i) {
      into->ring.push_back(std::move(*record));
    } else if (at[kVersion] != 0) {
      ++into->torn;
    }
  }
  std::ranges::sort(into->ring, {}, &Operation::sequence);
  std::ranges::sort(into->queue, {}, &Operation::issued_ns);
  for (const Operation& o : into->ring)
    into->last_seen_ns = std::max({into->last_seen_ns, o.begun_ns, o.ended_ns});
  for (const Operation& o : into->queue)
    into->last_seen_ns = std::max(into->last_seen_ns, o.issued_ns);
}

void parse_calls(const Context& context, Recording* into) {
  const uint64_t* at = context.image.data() + kCallsOffset / 8;
  for (size_t kind = 0; kind < kCallKinds; ++kind, at += sizeof(CallCounters) / 8) {
    if (known_kind(static_cast<uint8_t>(kind))) into->calls[kind] = {at[0], at[1], at[2]};
  }
}

void parse_counters(const Context& context, Recording* into) {
  const uint64_t* at = context.image.data() + peers_offset(context.entries) / 8;
  for (int32_t peer = 0; peer < context.n_ranks; ++peer, at += sizeof(PeerTraffic) / 8) {
    PeerCounters c{.peer = peer};
    for (size_t i = 0; i < kProtocols; ++i) {
      c.sent_messages[i] = at[4 * i];
      c.sent_bytes[i] = at[4 * i + 1];
      c.received_messages[i] = at[4 * i + 2];
      c.received_bytes[i] = at[4 * i + 3];
    }
    c.retries = at[16];
    c.fallbacks = at[17];
    c.waits = at[18];
    c.waited_ns = at[19];
    c.transport = context.name(at[20]);
    if (at[20] != 0 || c.waits != 0) into->counters.push_back(std::move(c));
  }
}

void check_header(const Header& h, size_t bytes, const std::string& source) {
  if (h.magic.load(std::memory_order_relaxed) != kMagic)
    refuse(source, "this is no recording of Tutti (or its process ended while it was made)");
  if (h.layout_version != kLayoutVersion) {
    refuse(source, "the recording has layout " + std::to_string(h.layout_version) +
                       ", this program reads layout " + std::to_string(kLayoutVersion) +
                       "; use the `tutti` of the library that wrote it");
  }
  const bool sane = h.entries != 0 && (h.entries & (h.entries - 1)) == 0 &&
                    h.entries <= kMostEntries && h.n_ranks >= 1 && h.n_ranks <= kMostRanks &&
                    h.rank >= 0 && h.rank < h.n_ranks && h.pid > 0;
  // So that no sum or difference of times can overflow.
  constexpr int64_t kMostMonoNs = int64_t{1} << 60;
  constexpr int64_t kMostWallNs = 4'000'000'000'000'000'000;
  const auto believable = [](int64_t ns, int64_t most) { return ns >= 0 && ns < most; };
  const auto last_mono_ns = static_cast<int64_t>(h.last_mono_ns.load(std::memory_order_relaxed));
  const bool clocks =
      believable(h.first_mono_ns, kMostMonoNs) && believable(last_mono_ns, kMostMonoNs) &&
      believable(h.opened_mono_ns, kMostMonoNs) && believable(h.opened_wall_ns, kMostWallNs);
  if (!sane || !clocks) refuse(source, "the recording's header is damaged");
  const size_t expected = total_bytes(h.entries, static_cast<uint64_t>(h.n_ranks));
  if (h.total_bytes != expected || bytes != expected) {
    refuse(source, "the recording is damaged: it must have " + std::to_string(expected) +
                       " bytes and has " + std::to_string(bytes));
  }
}

void copy_identity(const Header& h, Recording* into) {
  into->comm_id = h.comm_id;
  into->rank = h.rank;
  into->n_ranks = h.n_ranks;
  into->host_id = h.host_id;
  into->process_uid = h.process_uid;
  into->start_ticks = h.start_ticks;
  into->serial = h.serial;
  into->pid = h.pid;
  into->uid = h.uid;
  into->opened_ns = h.opened_mono_ns;
  into->wall_offset_ns = h.opened_wall_ns - h.opened_mono_ns;
  into->host = text_of(h.host, sizeof h.host);
  into->comm_name = text_of(h.comm_name, sizeof h.comm_name);
  into->program = text_of(h.program, sizeof h.program);
  into->job = text_of(h.job, sizeof h.job);
  into->memory_bytes = h.memory_bytes.load(std::memory_order_relaxed);
  into->memory_peak_bytes = h.memory_peak_bytes.load(std::memory_order_relaxed);
  const uint64_t state = h.comm_state.load(std::memory_order_relaxed);
  if (state <= static_cast<uint64_t>(CommState::kFailed))
    into->comm_state = static_cast<CommState>(state);
  if (into->comm_state == CommState::kFailed) into->failure = text_of(h.failure, sizeof h.failure);
  into->queue_lost = h.queue_lost.load(std::memory_order_relaxed);
}

void read_whole(int fd, Image* image) {
  auto* into = reinterpret_cast<char*>(image->data());
  size_t done = 0;
  const size_t bytes = image->size() * sizeof(uint64_t);
  while (done < bytes) {
    const ssize_t got = ::pread(fd, into + done, bytes - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw system_error("can't read", errno);
    if (got == 0) break;  // it has been cut meanwhile; zeros follow
    done += static_cast<size_t>(got);
  }
}

// Calls visit(word index) for each record of an image that has a believable header.
template <typename Visit>
void for_each_record(const Image& image, Visit visit) {
  Plain plain;
  std::memcpy(plain.bytes.data(), image.data(), sizeof(Header));
  const size_t entries = std::min<size_t>(plain.header().entries, kMostEntries) + kQueueEntries;
  for (size_t i = 0; i < entries; ++i) {
    const size_t at = kQueueOffset / 8 + i * kWords;
    if (at + kWords <= image.size()) visit(at);
  }
}

}  // namespace

Image copy_mapped(const std::byte* base, size_t bytes) {
  Image image(bytes / sizeof(uint64_t));
  if (bytes < kRingOffset) return image;
  // The counters and constants: each word by itself. Sources are other processes' stores.
  const auto word = [&](size_t i, std::memory_order order) {
    return std::atomic_ref(reinterpret_cast<uint64_t*>(const_cast<std::byte*>(base))[i])
        .load(order);
  };
  image[0] = word(0, std::memory_order_acquire);  // pairs with the release store of the magic
  for (int tries = 0; tries < 100; ++tries) {     // the anchor's sequence lock
    constexpr size_t kAnchor = offsetof(Header, anchor_version) / 8;
    const uint64_t before = word(kAnchor, std::memory_order_acquire);
    // Pairs with refresh_anchor(): a word that is new makes the version differ.
    for (size_t i = 1; i < kQueueOffset / 8; ++i) image[i] = word(i, std::memory_order_acquire);
    if (before % 2 == 0 && before == word(kAnchor, std::memory_order_relaxed)) break;
  }
  for (size_t i = kQueueOffset / 8; i < image.size(); ++i)
    image[i] = word(i, std::memory_order_relaxed);
  for_each_record(image, [&](size_t at) {
    const uint64_t before = word(at, std::memory_order_acquire);  // see record.h
    for (size_t i = 0; i < kWords; ++i) image[at + i] = word(at + i, std::memory_order_acquire);
    image[at] = before;
    if (word(at, std::memory_order_relaxed) != before) {
      image[at] = before & ~uint64_t{7};  // as kWriting
    }
  });
  return image;
}

Image copy_file(int fd, size_t bytes) {
  Image first(bytes / sizeof(uint64_t));
  Image second(first.size());
  read_whole(fd, &first);
  read_whole(fd, &second);
  if (bytes < kRingOffset) return first;
  for_each_record(first, [&](size_t at) {
    if (!std::equal(first.begin() + static_cast<ptrdiff_t>(at),
                    first.begin() + static_cast<ptrdiff_t>(at + kWords),
                    second.begin() + static_cast<ptrdiff_t>(at))) {
      first[at] &= ~uint64_t{7};  // as kWriting
    }
  });
  return first;
}

Recording parse(const Image& image, const std::string& source) {
  const size_t bytes = image.size() * sizeof(uint64_t);
  if (bytes < kRingOffset) refuse(source, "it is too short for a recording of Tutti");
  Plain plain;
  std::memcpy(plain.bytes.data(), image.data(), sizeof(Header));
  const Header& h = plain.header();
  check_header(h, bytes, source);
  Recording recording{.source = source};
  copy_identity(h, &recording);
  const Context context{
      .image = image,
      .first = {h.first_ticks, h.first_mono_ns},
      .last = {h.last_ticks.load(std::memory_order_relaxed),
               static_cast<int64_t>(h.last_mono_ns.load(std::memory_order_relaxed))},
      .n_ranks = h.n_ranks,
      .entries = h.entries};
  recording.last_seen_ns = context.last.mono_ns;
  parse_records(context, &recording);
  parse_calls(context, &recording);
  parse_counters(context, &recording);
  return recording;
}

Counters counters_of(const Recording& r) {
  return {.comm_id = r.comm_id,
          .rank = r.rank,
          .n_ranks = r.n_ranks,
          .pid = r.pid,
          .host = r.host,
          .comm_name = r.comm_name,
          .program = r.program,
          .job = r.job,
          .state = r.comm_state,
          .memory_bytes = r.memory_bytes,
          .memory_peak_bytes = r.memory_peak_bytes,
          .calls = r.calls,
          .peers = r.counters};
}

Recording read_file(const std::string& path) {
  const FileDescriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!fd) throw system_error("can't open " + path, errno);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode))
    refuse(path, "it is not a regular file");
  const auto bytes = static_cast<size_t>(status.st_size);
  if (bytes > kMostBytes || bytes % sizeof(uint64_t) != 0)
    refuse(path, "a recording of Tutti never has " + std::to_string(bytes) + " bytes");
  const Image image = copy_file(fd.get(), bytes);
  const int64_t read_ns = now_ns();
  Recording recording = parse(image, path);
  recording.read_ns = read_ns;
  return recording;
}

}  // namespace tutti::trace
