// SPDX-License-Identifier: Apache-2.0
// Makes the recording's memory and does what is not on the path of every operation.
#include "src/trace/recorder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/base/log.h"
#include "src/trace/kinds.h"
#include "src/trace/metrics.h"

namespace tutti::trace {
namespace {

// relaxed: a number
uint64_t next_serial() noexcept {
  static std::atomic<uint64_t> next{0};
  return next.fetch_add(1, std::memory_order_relaxed);
}

// One for all recordings of the process: the longer ago, the better the counter's rate is known.
TickAnchor first_anchor(bool by_counter) noexcept {
  static const TickAnchor anchor = take_tick_anchor(by_counter);
  return anchor;
}

template <size_t N>
void put_text(char (&into)[N], std::string_view text) noexcept {
  const size_t size = std::min(N - 1, text.size());
  std::memcpy(into, text.data(), size);
  into[size] = '\0';
}

std::string program_name() {
  const FileDescriptor fd{::open("/proc/self/comm", O_RDONLY | O_CLOEXEC)};
  char name[32] = {};
  const ssize_t bytes = fd ? ::read(fd.get(), name, sizeof name) : 0;
  return {name, bytes > 0 ? static_cast<size_t>(bytes - 1) : 0};
}

std::string hex(uint64_t value) { return fmt::format("{:x}", value); }

}  // namespace

Recorder::Recorder(const RecorderOptions& options)
    : by_counter_(counter_is_steady()),
      byte_mask_((options.entries - 1) * sizeof(Record)),
      metrics_file_(options.metrics_file),
      budget_(options.budget) {
  const size_t bytes = total_bytes(options.entries, static_cast<uint64_t>(options.n_ranks));
  if (options.budget != nullptr)
    charge_ = MemoryCharge(*options.budget, MemoryUse::kRecording, whole_pages(bytes),
                           "the flight recording");
  fd_ = create_backing(options, bytes);
  std::byte* base = nullptr;
  if (fd_) {
    mapping_ = Mapping(fd_.get(), bytes);
    base = mapping_.data();
  } else {
    own_memory_ = std::vector<Record>(bytes / sizeof(Record));
    base = reinterpret_cast<std::byte*>(own_memory_.data());
  }
  header_ = reinterpret_cast<Header*>(base);
  names_ = reinterpret_cast<char*>(base + kNamesOffset);
  queue_ = reinterpret_cast<Record*>(base + kQueueOffset);
  ring_ = base + kRingOffset;
  peers_ = reinterpret_cast<PeerTraffic*>(base + peers_offset(options.entries));
  calls_ = reinterpret_cast<CallCounters*>(base + kCallsOffset);
  std::memset(base + kRingOffset, 0, options.entries * sizeof(Record));  // no page faults later
  write_header(options, bytes);
  list_recorder(*this);
}

// No descriptor: the recording stays in memory of the process alone, for debuggers.
FileDescriptor Recorder::create_backing(const RecorderOptions& options, size_t bytes) {
  if (options.folder.empty()) {
    try {
      return create_sealed_memfd(kMemfdName, bytes);
    } catch (const Error& e) {
      log(LogLevel::kWarn, "trace", options.rank, "`tutti top` will not see this rank: {}",
          e.what());
      return {};
    }
  }
  const std::string name = kFilePrefix + host_name() + "-" + std::to_string(::getpid()) + "-" +
                           hex(this_process().process_uid) + "-" + std::to_string(next_serial()) +
                           "-" + hex(options.comm_id) + "-r" + std::to_string(options.rank) +
                           kFileSuffix;
  try {
    return create_reserved_file(options.folder + "/" + name, bytes);
  } catch (const Error& e) {
    throw Error(e.code(), std::string(e.what()) +
                              "; TUTTI_TRACE_DIR must name a folder that this process may write "
                              "to, with room for it");
  }
}

void Recorder::write_header(const RecorderOptions& options, size_t bytes) {
  const ProcessIdentity& self = this_process();
  const TickAnchor first = first_anchor(by_counter_);
  Header& h = *header_;
  h.layout_version = kLayoutVersion;
  h.entries = options.entries;
  h.total_bytes = bytes;
  h.comm_id = options.comm_id;
  h.rank = options.rank;
  h.n_ranks = options.n_ranks;
  h.host_id = self.host_id;
  h.process_uid = self.process_uid;
  h.start_ticks = self.start_ticks;
  h.pid = self.pid;
  h.uid = self.uid;
  h.serial = next_serial();
  h.first_ticks = first.ticks;
  h.first_mono_ns = first.mono_ns;
  h.opened_mono_ns = now_ns();
  h.opened_wall_ns = wall_ns();
  put_text(h.host, host_name());
  put_text(h.comm_name, options.comm_name);
  put_text(h.program, program_name());
  put_text(h.job, options.job);
  refresh_anchor();
  h.magic.store(kMagic, std::memory_order_release);  // pairs with the readers' acquire load
}

Recorder::~Recorder() {
  finalized();
  // One that failed has no file yet.
  if (!metrics_file_.empty() && !metrics_written_) write_metrics_file(*this);
  unlist_recorder(*this);
}

Recorder::Queued Recorder::queue(const Call& call) noexcept {
  const uint64_t now = read_ticks(by_counter_);
  const uint32_t start = queue_hint_.fetch_add(1, std::memory_order_relaxed);
  for (uint32_t i = 0; i < kQueueEntries; ++i) {
    const int entry = static_cast<int>((start + i) % kQueueEntries);
    Record& record = queue_[entry];
    uint64_t free = 0;
    // acquire: pairs with the release store in dequeue(), so that the stores below come after it.
    if (!record.words[kVersion].compare_exchange_strong(free, make_version(0, State::kWriting),
                                                        std::memory_order_acquire,
                                                        std::memory_order_relaxed)) {
      continue;
    }
    put(record, kIssued, now);
    put(record, kBegun, 0);
    put(record, kEnded, 0);
    put(record, kCount, call.count);
    put(record, kFacts, make_facts(0, call.kind, call.dtype, call.op));
    put(record, kRanks, make_ranks(call.root, -1));
    put(record, kDetails, uint64_t{call.transfers & 0xffffff} << 40 | uint64_t{call.flags} << 32);
    // The time makes the version differ from that of the entry's last use.
    publish(record, make_version(now, State::kQueued));
    return {now, entry};
  }
  header_->queue_lost.fetch_add(1, std::memory_order_relaxed);  // a statistic
  return {now, -1};
}

void Recorder::dequeue(Queued& queued) noexcept {
  if (queued.entry >= 0) publish(queue_[queued.entry], 0);
  queued.entry = -1;
}

void Recorder::end_aside(uint64_t version, int protocol) noexcept {
  settle(version, with_state(version, State::kDone, protocol));
}

// The owner may overwrite the record at any moment. Then the exchange fails, and `ended` is a word
// that the new record does not have yet.
void Recorder::settle(uint64_t version, uint64_t outcome) noexcept {
  Record& record = at(version);
  if (!still_there(record, version)) return;
  put(record, kEnded, read_ticks(by_counter_));
  // relaxed: only the owner changes it, before it leaves the record to the other thread
  uint64_t seen = record.words[kVersion].load(std::memory_order_relaxed);
  if (seen / kVersionStep != version / kVersionStep) return;
  // release: as publish()
  record.words[kVersion].compare_exchange_strong(seen, outcome, std::memory_order_release,
                                                 std::memory_order_relaxed);
}

void Recorder::waiting(uint64_t version, int peer) noexcept {
  Record& record = at(version);
  uint64_t ranks = record.words[kRanks].load(std::memory_order_relaxed);
  const uint64_t changed = make_ranks(static_cast<int32_t>(static_cast<uint32_t>(ranks)), peer);
  // An exchange, since the record may be overwritten at any moment; release: as put().
  if (still_there(record, version)) {
    record.words[kRanks].compare_exchange_strong(ranks, changed, std::memory_order_release,
                                                 std::memory_order_relaxed);
  }
  refresh_anchor();
}

void Recorder::fail(uint64_t version, int waiting_for, int result) noexcept {
  waiting(version, waiting_for);
  const auto kind =
      static_cast<uint8_t>(at(version).words[kFacts].load(std::memory_order_relaxed) >> 16);
  calls_[kind].failed.fetch_add(1, std::memory_order_relaxed);  // both threads count
  settle(version, with_state(version, State::kFailed, result));
}

void Recorder::failed(std::string_view message) noexcept {
  if (has_ended_.exchange(true, std::memory_order_relaxed)) return;
  put_text(header_->failure, message);
  header_->comm_state.store(static_cast<uint64_t>(CommState::kFailed),
                            std::memory_order_release);  // pairs with the readers' acquire load
}

void Recorder::finalized() noexcept {
  refresh_anchor();
  if (has_ended_.exchange(true, std::memory_order_relaxed)) return;
  header_->comm_state.store(static_cast<uint64_t>(CommState::kFinalized),
                            std::memory_order_release);  // as in failed()
  if (metrics_file_.empty()) return;
  metrics_written_ = true;
  write_metrics_file(*this);
}

Recorder::Described Recorder::describe(const Call& call, const char* algorithm) noexcept {
  note_memory();
  return {.name = call.name,
          .count = call.count,
          .facts = make_facts(0, call.kind, call.dtype, call.op),
          .ranks = make_ranks(call.root, -1),
          .details = uint64_t{call.transfers & 0xffffff} << 40 | uint64_t{call.flags} << 32 |
                     uint64_t{number_of(call.name)} << 24 | uint64_t{number_of(algorithm)} << 16,
          .bytes = payload_bytes({call.kind, call.flags, call.dtype, call.count}, header_->n_ranks),
          .counters = &calls_[call.kind]};
}

// Texts that come when the table is full have number 0.
uint8_t Recorder::number_of(const char* text) noexcept {
  if (text == nullptr || *text == '\0') return 0;
  size_t number = 1;
  while (number < n_names_ && std::strncmp(names_ + number * kNameBytes, text, kNameBytes - 1) != 0)
    ++number;
  if (number == kNames) return 0;
  if (number == n_names_) {
    std::strncpy(names_ + number * kNameBytes, text, kNameBytes - 1);
    ++n_names_;  // readers find the text by the record that is published after it
  }
  return static_cast<uint8_t>(number);
}

// A sequence lock of its own: odd while the two words change. When another thread is at it, the
// words are fresh.
void Recorder::refresh_anchor() noexcept {
  note_memory();
  // acquire: pairs with clear()
  if (refreshing_.test_and_set(std::memory_order_acquire)) return;
  const TickAnchor anchor = take_tick_anchor(by_counter_);
  Header& h = *header_;
  const uint64_t version = h.anchor_version.load(std::memory_order_relaxed);
  h.anchor_version.store(version + 1, std::memory_order_relaxed);
  // Release: whoever reads one of them finds the version changed.
  h.last_ticks.store(anchor.ticks, std::memory_order_release);
  h.last_mono_ns.store(static_cast<uint64_t>(anchor.mono_ns), std::memory_order_release);
  h.anchor_version.store(version + 2, std::memory_order_release);  // pairs with the acquire load
  refreshing_.clear(std::memory_order_release);
}

void Recorder::note_memory() noexcept {
  if (budget_ == nullptr) return;
  header_->memory_bytes.store(budget_->used_bytes(), std::memory_order_relaxed);  // statistics
  header_->memory_peak_bytes.store(budget_->peak_bytes(), std::memory_order_relaxed);
}

CallTotals Recorder::calls_of(uint8_t kind) const noexcept {
  const CallCounters& c = calls_[kind];
  return {c.begun.load(std::memory_order_relaxed), c.bytes.load(std::memory_order_relaxed),
          c.failed.load(std::memory_order_relaxed)};
}

PeerCounters Recorder::counters_of(int peer) const {
  const PeerTraffic& from = peers_[peer];
  PeerCounters c{.peer = peer};
  const auto relaxed = [](const std::atomic<uint64_t>& word) {
    return word.load(std::memory_order_relaxed);
  };
  for (size_t i = 0; i < kProtocols; ++i) {
    c.sent_messages[i] = relaxed(from.protocols[i].sent_messages);
    c.sent_bytes[i] = relaxed(from.protocols[i].sent_bytes);
    c.received_messages[i] = relaxed(from.protocols[i].received_messages);
    c.received_bytes[i] = relaxed(from.protocols[i].received_bytes);
  }
  c.retries = relaxed(from.retries);
  c.fallbacks = relaxed(from.fallbacks);
  c.waits = relaxed(from.waits);
  c.waited_ns = relaxed(from.waited_ns);
  // Pairs with set_transport().
  if (const uint64_t name = from.transport.load(std::memory_order_acquire); name != 0)
    c.transport = names_ + name * kNameBytes;
  return c;
}

Counters Recorder::counters() const {
  const Header& h = *header_;
  Counters all{.comm_id = h.comm_id,
               .rank = h.rank,
               .n_ranks = h.n_ranks,
               .pid = h.pid,
               .host = h.host,
               .comm_name = h.comm_name,
               .program = h.program,
               .job = h.job,
               .state = static_cast<CommState>(h.comm_state.load(std::memory_order_relaxed))};
  if (budget_ != nullptr) {
    all.memory_bytes = budget_->used_bytes();
    all.memory_peak_bytes = budget_->peak_bytes();
  }
  for (size_t kind = 0; kind < kCallKinds; ++kind)
    all.calls[kind] = calls_of(static_cast<uint8_t>(kind));
  for (int peer = 0; peer < h.n_ranks; ++peer) {
    PeerCounters c = counters_of(peer);
    if (!c.transport.empty() || c.waits != 0) all.peers.push_back(std::move(c));
  }
  return all;
}

}  // namespace tutti::trace
