// SPDX-License-Identifier: Apache-2.0
// The initiator's side of an operation: which way it goes, waiting for it, taking it back.
#include <algorithm>
#include <cstring>

#include <spdlog/fmt/fmt.h>

#include "src/transfer/agent.h"

namespace tutti::transfer {
namespace {

using network::FrameHeader;
using network::FrameKind;
using network::OutgoingFrame;
using network::Session;

constexpr size_t kInlineBytes = 64 << 10;        // copied by the caller before the call returns
constexpr int64_t kLetGoNs = kNsPerSecond;       // for paths to be done with an operation's memory
constexpr uint64_t kGetTag = uint64_t{1} << 63;  // placements of gets; those of puts are regions
constexpr const char* kCancelled = "the operation was cancelled";

}  // namespace

uint64_t tag_of_get(uint64_t number) noexcept { return number | kGetTag; }

// Between this process's memory and a neighbour's.
class CopyWork final : public LocalWork {
 public:
  CopyWork(Agent& agent, std::shared_ptr<Request> request)
      : agent_(agent), request_(std::move(request)) {
    for (const Descriptor& range : request_->ranges) span_bytes_.push_back(range.bytes);
  }

 private:
  Status move(std::span<const Part> parts) noexcept override {
    Status status = kOkStatus;
    for (size_t i = 0; i < parts.size() && status.ok(); ++i) status = move(parts[i]);
    return status;
  }
  Status move(const Part& part) noexcept {
    const Descriptor& range = request_->ranges[part.span];
    RemoteAgent& remote = *request_->remote;
    const RegionEntry& region = remote.regions.find(range.region)->second;
    const uint64_t there = range.offset + part.offset;
    return request_->kind == Kind::kPut
               ? remote.neighbour->write(region, there, range.local + part.offset, part.bytes)
               : remote.neighbour->read(region, there, range.local + part.offset, part.bytes);
  }
  void finished(const Status& moved) noexcept override {
    RemoteAgent& remote = *request_->remote;
    Status status = moved;
    const Signal& signal = request_->signal;
    if (status.ok()) status = remote.neighbour->raise(signal.counter, signal.value);
    std::string why = status.ok() ? "" : remote.name() + ": " + status.reason;
    {
      const Agent::Lock lock(agent_.endpoint_->mutex());
      remote.copying.erase(request_);
      request_->end(status.code, std::move(why));
    }
    ring(agent_.bell_.bell());
  }

  Agent& agent_;
  const std::shared_ptr<Request> request_;  // shared with the user
};

void Agent::check_request(const RemoteAgent& remote, const std::vector<Descriptor>& ranges,
                          const Signal& signal) const {
  const auto refuse = [](const std::string& why) {
    throw Error(StatusCode::kInvalidArgument, why);
  };
  if (ranges.size() > kMostDescriptors)
    refuse(fmt::format("{} descriptors; at most {} in one call", ranges.size(), kMostDescriptors));
  if (signal.value != 0 && signal.counter >= kCounters)
    refuse(fmt::format("counter {}; an agent has counters 0 to {}", signal.counter, kCounters - 1));
  uint64_t total = 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    const Descriptor& range = ranges[i];
    const auto at = remote.regions.find(range.region);
    const uint64_t there = at == remote.regions.end() ? 0 : at->second.bytes;
    const std::string problem =
        range_problem(remote.name(), range.region, there, range.offset, range.bytes);
    if (!problem.empty()) refuse(fmt::format("descriptor {}: {}", i, problem));
    if (range.bytes != 0 && range.local == nullptr)
      refuse(fmt::format("descriptor {}: local is NULL and bytes {}", i, range.bytes));
    if (total + range.bytes < total) refuse("the descriptors' bytes overflow 64 bits");
    total += range.bytes;
  }
}

Route Agent::route_of(const RemoteAgent& remote, const Request& request) const noexcept {
  const Neighbour* const near = remote.neighbour.get();
  if (near == nullptr) return Route::kNetwork;
  const bool mapped = std::ranges::all_of(request.ranges, [&](const Descriptor& range) {
    return range.bytes == 0 || near->mapped(remote.regions.find(range.region)->second) != nullptr;
  });
  if (mapped || (request.kind == Kind::kGet && near->may_read())) return Route::kCopy;
  const bool pull = request.kind == Kind::kPut && !remote.refuses_pulls &&
                    request.ranges.size() <= kRangesPerNote;
  return pull ? Route::kPull : Route::kNetwork;
}

std::shared_ptr<Request> Agent::start(const std::shared_ptr<RemoteAgent>& remote, Kind kind,
                                      std::vector<Descriptor> ranges, Signal signal) {
  check_request(*remote, ranges, signal);
  if (const Error failure = failure_of(*remote); failure.code() != StatusCode::kOk) throw failure;
  auto request = std::make_shared<Request>(remote, kind, std::move(ranges), signal);
  {
    const Lock lock(endpoint_->mutex());
    request->route = route_of(*remote, *request);
    request->number = ++last_operation_;
    if (request->route == Route::kCopy) {
      remote->copying.insert(request);
    } else {
      start_frames(request);
    }
  }
  if (request->route == Route::kCopy) start_copy(request);
  return request;
}

void Agent::start_copy(const std::shared_ptr<Request>& request) {
  const auto work = std::make_shared<CopyWork>(*this, request);
  request->work = work;
  if (request->total_bytes <= kInlineBytes) return mover_.run(work);
  try {
    mover_.start(work);
  } catch (...) {
    const Lock lock(endpoint_->mutex());
    request->remote->copying.erase(request);
    throw;
  }
}

Session& Agent::session_of(const RemoteAgent& remote) {
  Session* const session = endpoint_->find_session(remote.number);
  if (session == nullptr)
    throw Error(StatusCode::kInvalidUsage, remote.name() + " has been released");
  return *session;
}

void Agent::start_frames(const std::shared_ptr<Request>& request) {
  RemoteAgent& remote = *request->remote;
  Session& session = session_of(remote);
  if (request->kind == Kind::kGet && request->total_bytes == 0)
    return request->end(StatusCode::kOk, "");
  if (request->route == Route::kPull) {
    post_pull(session, *request);
  } else if (request->kind == Kind::kGet) {
    post_get(session, *request);
  } else {
    post_begin(session, request);
  }
  remote.open[request->number] = request;
  endpoint_->begin(session);
}

namespace {

RangeWire to_wire(const Descriptor& range) noexcept {
  return {.region = range.region, .offset = range.offset, .bytes = range.bytes};
}

template <typename T>
void post_note(Session& session, FrameHeader header, const T* items, size_t n) {
  const size_t bytes = n * sizeof(T);
  auto payload = std::make_unique<std::byte[]>(bytes);
  if (bytes != 0) std::memcpy(payload.get(), items, bytes);
  header.kind = FrameKind::kTransferNote;
  session.post(header, std::move(payload), bytes);
}

constexpr uint32_t word_of(Note note) noexcept { return static_cast<uint32_t>(note); }

}  // namespace

void Agent::post_begin(Session& session, const std::shared_ptr<Request>& request) {
  const SignalWire signal{.value = request->signal.value, .counter = request->signal.counter};
  post_note(
      session,
      {.word = word_of(Note::kBegin), .number = request->total_bytes, .place = request->number},
      &signal, 1);
  if (request->total_bytes != 0) request->remote->sending.push_back(request);
}

void Agent::post_get(Session& session, const Request& request) {
  std::vector<RangeWire> ranges;
  for (size_t first = 0; first < request.ranges.size(); first += kRangesPerNote) {
    const size_t end = std::min(request.ranges.size(), first + kRangesPerNote);
    ranges.clear();
    for (size_t i = first; i < end; ++i) ranges.push_back(to_wire(request.ranges[i]));
    post_note(session, {.word = word_of(Note::kGet), .number = first, .place = request.number},
              ranges.data(), ranges.size());
  }
}

void Agent::post_pull(Session& session, Request& request) {
  const ProcessIdentity& self = this_process();
  // Nobody else's: the operation's number, spread over the cookie.
  const uint64_t word = (cookie_ ^ request.number * 0x9e3779b97f4a7c15ULL) | 1;
  request.pull_word.store(word, std::memory_order_seq_cst);
  request.offered = true;
  const PullHead head{.signal = {.value = request.signal.value, .counter = request.signal.counter},
                      .word_address = reinterpret_cast<uintptr_t>(&request.pull_word),
                      .word = word,
                      .token = request.remote->neighbour->pull_token(),
                      .host_id = self.host_id,
                      .process_uid = self.process_uid,
                      .start_ticks = self.start_ticks,
                      .pid = self.pid,
                      .uid = self.uid};
  std::vector<std::byte> payload(sizeof head + request.ranges.size() * sizeof(PullRange));
  std::memcpy(payload.data(), &head, sizeof head);
  std::byte* at = payload.data() + sizeof head;
  for (const Descriptor& range : request.ranges) {
    const PullRange wire{.to = to_wire(range), .address = reinterpret_cast<uintptr_t>(range.local)};
    std::memcpy(at, &wire, sizeof wire);
    at += sizeof wire;
  }
  post_note(session, {.word = word_of(Note::kPull), .place = request.number}, payload.data(),
            payload.size());
}

// Ends what goes by frames, if it can end now. True when it has ended.
bool Agent::settle(Request& request) noexcept {
  if (request.has_ended() || request.route == Route::kCopy) return request.has_ended();
  RemoteAgent& remote = *request.remote;
  Session* const session = endpoint_->find_session(remote.number);
  if (session == nullptr) {
    request.end(StatusCode::kInvalidUsage, remote.name() + " has been released");
    return true;
  }
  if (const Status status = session->status(); !status.ok()) {
    request.close_with(status.code, status.reason);
    session->pump(false);  // destroys its paths
  } else if (session->peer_left()) {
    request.close_with(StatusCode::kRemoteError,
                       remote.name() + " has left: its agent was destroyed");
  }
  if (remote.neighbour != nullptr && !request.closing) {
    if (const Status near = remote.neighbour->status(); !near.ok())
      request.close_with(near.code, remote.name() + ": " + near.reason);
  }
  if (request.closing && request.closing_code == StatusCode::kRemoteError) request.offered = false;
  if (!request.closing) return false;
  request.pull_word.store(0, std::memory_order_seq_cst);
  std::erase_if(remote.sending, [&](const auto& other) { return other.get() == &request; });
  // All that has been answered has arrived, so nothing that is withdrawn would be missed.
  const bool unread = session->withdraw([&](const OutgoingFrame& frame) {
    return frame.header.kind == FrameKind::kTransferData && frame.header.place == request.number;
  });
  if (request.offered || !unread || session->is_placing(tag_of_get(request.number))) return false;
  request.end(request.closing_code, request.closing_why);
  remote.open.erase(request.number);
  return true;
}

bool Agent::test(Request& request) noexcept {
  if (request.has_ended()) return true;
  if (request.route == Route::kCopy) {
    (void)mover_.help();
    return request.has_ended();
  }
  (void)endpoint_->poll_all();
  const Lock lock(endpoint_->mutex());
  return settle(request);
}

bool Agent::wait(Request& request, Deadline deadline) noexcept {
  if (request.route == Route::kCopy) {
    while (!request.has_ended() && !deadline.expired() && mover_.help()) {
    }
  }
  if (request.has_ended()) return true;
  const auto ended = [&] {
    if (request.route == Route::kCopy) return request.has_ended();
    const Lock lock(endpoint_->mutex());
    return settle(request);
  };
  return wait_until(deadline, ended);
}

bool Agent::wait_counter(uint32_t which, uint64_t least, Deadline deadline) noexcept {
  if (counter(which) >= least) return true;
  return wait_until(deadline, [&] { return counter(which) >= least; });
}

void Agent::cancel(const std::shared_ptr<Request>& request) noexcept {
  if (request->has_ended()) return;
  if (request->route == Route::kCopy) {
    if (const auto work = request->work.lock())
      mover_.cancel(work, {StatusCode::kInvalidUsage, -1, kCancelled});
    // Another thread may be telling it just now.
    (void)wait(*request, Deadline::never());
    return;
  }
  {
    const Lock lock(endpoint_->mutex());
    if (settle(*request)) return;
    Session* const session = endpoint_->find_session(request->remote->number);
    if (!request->closing && session != nullptr) {
      request->close_with(StatusCode::kInvalidUsage, std::string(kCancelled) + "; " +
                                                         request->remote->name() +
                                                         " may have got part of it, and no signal");
      const FrameHeader note{
          .flags = network::kInOrder, .word = word_of(Note::kCancel), .place = request->number};
      post_note<std::byte>(*session, note, nullptr, 0);
      session->pump(false);
    }
  }
  if (wait(*request, Deadline::after_ns(kLetGoNs))) return;
  const Lock lock(endpoint_->mutex());
  if (Session* const session = endpoint_->find_session(request->remote->number)) {
    session->break_paths(
        [&](const OutgoingFrame& frame) {
          return frame.header.kind == FrameKind::kTransferData &&
                 frame.header.place == request->number;
        },
        tag_of_get(request->number), "it was in the middle of an operation that was cancelled");
    session->pump(false);
  }
  // Who is stopped in the middle of reading finds the word changed, so that nothing counts.
  request->offered = false;
  (void)settle(*request);
}

}  // namespace tutti::transfer
