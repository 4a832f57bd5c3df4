// SPDX-License-Identifier: Apache-2.0
// What a session sends: connections' messages and credits, numbered, and again what was lost.
#include "transport/network/session.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "src/base/log.h"
#include "transport/network/endpoint.h"

namespace tutti::transport::network {
namespace {

constexpr uint64_t kAckBatch = 64;  // arrivals that are acknowledged without being asked

}  // namespace

void Session::fail(std::string why) noexcept {
  if (failed_) return;
  failure_ = std::move(why);
  failed_ = true;
  log(LogLevel::kWarn, "transport", endpoint_.rank(), "{}", failure_);
  for (auto& path : paths_) path->state = SessionPath::State::kBroken;  // reap() ends their reading
  endpoint_.ring_own_bell();
}

std::shared_ptr<SendStream> Session::open(const ConnectionId& id, const FifoLayout& layout) {
  if (std::ranges::any_of(sends_, [&](const auto& stream) { return stream->id == id; })) {
    throw Error(StatusCode::kInvalidUsage, "the connection to rank " + std::to_string(peer_) +
                                               ", channel " + std::to_string(id.channel) +
                                               " exists already");
  }
  const auto number = static_cast<uint32_t>(sends_.size());
  sends_.push_back(std::make_shared<SendStream>(id, number, layout));
  SendStream& stream = *sends_.back();
  stream.lent = endpoint_.carrier().lend(stream.mirror.areas(), layout.staging_bytes());
  const OpenPayload open{.channel = id.channel,
                         .n_lines = layout.n_lines,
                         .n_areas = layout.n_areas,
                         .area_bytes = layout.area_bytes};
  auto payload = std::make_unique<std::byte[]>(sizeof open);
  std::memcpy(payload.get(), &open, sizeof open);
  post({.kind = FrameKind::kOpen, .stream = number}, std::move(payload), sizeof open);
  return sends_.back();
}

void Session::post(FrameHeader header, std::unique_ptr<std::byte[]> payload, size_t bytes) {
  header.payload_bytes = static_cast<uint32_t>(bytes);
  posted_bytes_ += bytes;
  wanted_ = true;
  posted_.push_back({header, std::move(payload)});
}

// What comes later by that path does not count, so this is all that has come by it.
void Session::post_own(FrameKind kind, uint64_t path_id) noexcept {
  const Arrivals& arrivals = inbox_.arrivals();
  auto payload = std::make_unique<std::byte[]>(sizeof arrivals);
  std::memcpy(payload.get(), &arrivals, sizeof arrivals);
  own_.push_back(
      {{.payload_bytes = sizeof arrivals, .kind = kind, .number = path_id}, std::move(payload)});
}

// Sending

void Session::observe_rails() noexcept {
  const int64_t now = now_ns();
  observed_ns_ = now;
  double fastest = 0, fastest_open = 0, slowest_open = std::numeric_limits<double>::infinity();
  for (size_t rail = 0; rail < rails_.size(); ++rail) {
    uint64_t handed = 0;
    size_t backlog = 0;
    bool open = false;
    for (auto& path : paths_) {
      if (path->state != SessionPath::State::kOpen || path->rail != rail) continue;
      open = true;
      path->backlog_bytes = path->path->backlog_bytes();
      backlog += path->backlog_bytes;
      handed += path->handed_bytes;
    }
    rails_[rail].observe(now, handed, backlog);
    const double speed = rails_[rail].bytes_per_ns();
    fastest = std::max(fastest, speed);
    if (!open) continue;
    fastest_open = std::max(fastest_open, speed);
    slowest_open = std::min(slowest_open, speed);
  }
  fastest_rail_ = fastest > 0 ? fastest : 1;
  const bool known = slowest_open > 0 && fastest_open > 0;
  rail_ratio_ = known ? fastest_open / slowest_open : 1;
}

// While a slow rail carries one part, a fast one carries `rail_ratio_` of them, and all of these
// have to fit into half of what may be under way: messages are taken in order.
size_t Session::part_bytes(const FifoLayout& layout) const noexcept {
  constexpr size_t kLeastPart = 32 << 10;  // below, frames cost more than they gain
  constexpr double kAlike = 2;
  if (rail_ratio_ < kAlike) return most_part_bytes_;
  const auto fitting =
      static_cast<size_t>(static_cast<double>(layout.staging_bytes()) / 2 / rail_ratio_);
  return std::min(most_part_bytes_, std::max(kLeastPart, std::bit_floor(fitting)));
}

// The rail on which `bytes` more arrive first, and of its paths the one that has least to do.
SessionPath* Session::best_path(size_t bytes) noexcept {
  if (paths_.size() > 1) observe_rails();
  SessionPath* best = nullptr;
  double least = 0;
  for (auto& path : paths_) {
    if (path->state != SessionPath::State::kOpen) continue;
    const double finish = rails_[path->rail].finish_ns(bytes, fastest_rail_);
    const bool better = best == nullptr || finish < least ||
                        (path->rail == best->rail && path->backlog_bytes < best->backlog_bytes);
    if (!better) continue;
    best = path.get();
    least = finish;
  }
  return best;
}

// False when there is no room now; `owned` is taken only when there is.
bool Session::send(OutgoingFrame frame, std::unique_ptr<std::byte[]>& owned, bool own) noexcept {
  SessionPath* const path = run_ != nullptr && run_->state == SessionPath::State::kOpen
                                ? run_
                                : best_path(frame.header.payload_bytes);
  if (path == nullptr || !outbox_.has_room(own)) return false;
  frame.header.sequence = outbox_.next();
  frame.token = frame.header.payload_bytes != 0 ? frame.header.sequence : 0;
  Sent& sent = outbox_.push({.frame = frame, .owned = std::move(owned)});
  if (hand_over(sent, *path)) return true;
  owned = std::move(sent.owned);
  outbox_.undo_push();
  return false;
}

// False: nothing of it has been sent. When the path breaks meanwhile, a part may have been, so the
// frame is the path's, and lost() has it already: its number must not be given to another.
bool Session::hand_over(Sent& sent, SessionPath& path) noexcept {
  const FrameHeader& header = sent.frame.header;
  // An empty reference has no token, so nobody would say when it has been read.
  const bool referenced = (header.flags & kTellRelease) != 0 && sent.frame.token != 0;
  if (referenced && !sends_[header.stream]->begin_reading()) return false;
  sent.frame.header.ack = inbox_.cumulative();
  sent.path = &path;
  sent.reader = sent.frame.token != 0 ? &path : nullptr;
  sent.referenced = referenced;
  if (path.path->send(sent.frame)) {
    path.handed_bytes += sizeof header + header.payload_bytes;
    told_ack_ = header.ack;
    return true;
  }
  if (path.state == SessionPath::State::kBroken) return true;
  end_reading(sent);
  sent.path = nullptr;
  return false;
}

bool Session::send(const OutgoingFrame& frame) noexcept {
  std::unique_ptr<std::byte[]> nothing;
  return send(frame, nothing, false);
}

bool Session::resend(Sent& sent) noexcept {
  FrameHeader& header = sent.frame.header;
  // This end has given up, so the bytes are not to be read any more; what follows them, the news of
  // the failure too, still waits for this number.
  if ((header.flags & kTellRelease) != 0 && sends_[header.stream]->given_up())
    sent.frame = {.header = {.sequence = header.sequence, .kind = FrameKind::kNone}};
  sent.frame.more = false;
  SessionPath* const path = best_path(header.payload_bytes);
  return path != nullptr && hand_over(sent, *path);
}

void Session::end_reading(Sent& sent) noexcept {
  sent.reader = nullptr;
  if (std::exchange(sent.referenced, false)) sends_[sent.frame.header.stream]->end_reading();
}

void Session::sent(uint64_t sequence) noexcept {
  Sent* const sent = outbox_.find(sequence);
  if (sent == nullptr) return;
  end_reading(*sent);
  outbox_.read(sequence);
}

bool Session::send_unsequenced(SessionPath& path, FrameHeader header, const void* payload,
                               size_t bytes) noexcept {
  header.payload_bytes = static_cast<uint32_t>(bytes);
  header.ack = inbox_.cumulative();
  if (!path.path->send({.header = header, .payload = static_cast<const std::byte*>(payload)}))
    return false;
  path.handed_bytes += sizeof header + bytes;
  return true;
}

void Session::pump(bool all_credits) noexcept {
  reap();
  blocked_ = false;
  if (failed_) return;
  pump_greetings();
  // Between decisions too, so that it is seen when a rail has nothing left.
  if (rails_.size() > 1 && now_ns() - observed_ns_ >= RailLoad::kObserveNs) observe_rails();
  bool room = pump_lost() && pump_posted();
  for (auto& stream : sends_) room = room && pump_stream(*stream);
  for (auto& [number, stream] : receives_) room = room && pump_credits(*stream, all_credits);
  room = room && pump_transfers();
  blocked_ = !room;
  pump_ack(all_credits ? 1 : kAckBatch);
}

void Session::publish() noexcept {
  bool room = !failed_;
  for (auto& stream : sends_) room = room && pump_stream(*stream);
  for (auto& [number, stream] : receives_) room = room && pump_credits(*stream, true);
}

bool Session::pump_lost() noexcept {
  while (!resend_.empty()) {
    Sent* const sent = outbox_.find(resend_.front());
    if (sent != nullptr && !sent->acknowledged && !resend(*sent)) return false;
    resend_.pop_front();
  }
  return true;
}

bool Session::pump_posted() noexcept {
  const auto send_all = [this](std::deque<Posted>& queue, bool own) {
    while (!queue.empty()) {
      if (own) reap();  // kAbandon and kAbandoned say that this end is closed
      Posted& next = queue.front();
      if (!send({.header = next.header, .payload = next.payload.get()}, next.payload, own))
        return false;
      posted_bytes_ -= own ? 0 : next.header.payload_bytes;
      queue.pop_front();
    }
    return true;
  };
  return send_all(own_, true) && send_all(posted_, false);
}

bool Session::pump_stream(SendStream& stream) noexcept {
  if (stream.given_up()) {
    if (stream.told_failure) return true;
    // acquire: pairs with FailureWord::announce
    const uint64_t value = stream.mirror.failure(0).value.load(std::memory_order_acquire);
    stream.told_failure = send(
        {.header = {
             .kind = FrameKind::kFailure, .stream = stream.number, .word = 0, .number = value}});
    return stream.told_failure;
  }
  if (!stream.accepted.load(std::memory_order_relaxed)) return true;  // the lock orders it
  const size_t most = part_bytes(stream.mirror.layout());
  OutgoingFrame frame;
  while (stream.next(most, &frame)) {
    if (!send(frame)) return stream.given_up();
    stream.advance(frame.header);
  }
  return true;
}

bool Session::pump_credits(RecvStream& stream, bool all) noexcept {
  // acquire: pairs with FailureWord::announce
  const uint64_t failure = stream.mirror.failure(1).value.load(std::memory_order_acquire);
  if (failure != 0 && !stream.told_failure) {
    stream.told_failure = send(
        {.header = {
             .kind = FrameKind::kFailure, .stream = stream.number, .word = 1, .number = failure}});
    if (!stream.told_failure) return false;
  }
  uint64_t released = 0;
  if (!stream.credit(all, &released)) return true;
  if (!send({.header = {.kind = FrameKind::kCredit, .stream = stream.number, .number = released}}))
    return false;
  stream.credited(released);
  return true;
}

void Session::pump_ack(uint64_t batch) noexcept {
  if (inbox_.cumulative() - told_ack_ < batch) return;
  SessionPath* const path = best_path(0);
  if (path == nullptr) return;
  const FrameHeader ack{.kind = FrameKind::kAck, .number = inbox_.bits()};
  if (send_unsequenced(*path, ack, nullptr, 0)) told_ack_ = inbox_.cumulative();
}

bool Session::quiet() const noexcept {
  if (failed_ || peer_left_ || given_up_) return true;
  if (!own_.empty() || !posted_.empty() || !resend_.empty() || !lost_.empty()) return false;
  for (const auto& stream : sends_) {
    if (stream->accepted.load(std::memory_order_relaxed) && stream->pending()) return false;
  }
  return outbox_.all_acknowledged();
}

}  // namespace tutti::transport::network
