// SPDX-License-Identifier: Apache-2.0
// What frames mean: answers to this agent's operations, and the operations of others on its
// regions.
#include <algorithm>
#include <cstring>

#include <spdlog/fmt/fmt.h>

#include "src/base/log.h"
#include "src/transfer/agent.h"

namespace tutti::transfer {

uint64_t tag_of_get(uint64_t number) noexcept;

namespace {

using network::FrameHeader;
using network::FrameKind;
using network::OutgoingFrame;
using network::Placement;
using network::Session;

constexpr size_t kMostCallers = 4096;
constexpr size_t kMostWhyBytes = 400;

bool is_caller(int peer) noexcept { return peer % 2 != 0; }

template <typename T>
T decode(const std::byte* payload) noexcept {
  T value;
  std::memcpy(&value, payload, sizeof value);
  return value;
}

}  // namespace

// Who is who

void Agent::fill_hello(int peer, network::Hello* hello) noexcept {
  const RemoteAgent& remote = *remotes_.at(peer);
  hello->comm_id = remote.blob.agent_id;
  hello->from = remote.dialled_as.first;
  hello->to = remote.dialled_as.second;
}

int Agent::admit(const network::Hello& hello) noexcept {
  if (hello.comm_id != id_ || hello.from < 0 || hello.to < 0) return -1;
  const std::pair<int32_t, int32_t> called{hello.from, hello.to};
  if (const auto known = caller_numbers_.find(called); known != caller_numbers_.end())
    return known->second;
  if (callers_.size() >= kMostCallers) return -1;
  last_number_ += 2;
  const int number = last_number_ + 1;
  callers_[number].called = called;
  caller_numbers_[called] = number;
  return number;
}

const network::Key& Agent::secret_of(int peer) const noexcept {
  return is_caller(peer) ? secret_ : remotes_.at(peer)->blob.secret;
}

std::string Agent::name_of(int peer) const {
  return is_caller(peer) ? fmt::format("an agent that has imported {} (number {})", who_, peer)
                         : remotes_.at(peer)->name();
}

// A caller that has ended here can't go on: the numbers of its frames would start anew.
bool Agent::may_forget(int peer) noexcept {
  const auto caller = callers_.find(peer);
  if (caller == callers_.end()) return false;
  caller_numbers_[caller->second.called] = -1;
  callers_.erase(caller);
  return true;
}

// Bytes to send

bool Agent::next(int peer, size_t most, OutgoingFrame* frame) noexcept {
  const auto caller = callers_.find(peer);
  const bool there =
      !is_caller(peer) ? next_put(*remotes_.at(peer), most, frame)
                       : caller != callers_.end() && next_served(peer, caller->second, most, frame);
  if (there) offered_bytes_ = frame->header.payload_bytes;
  return there;
}

bool Agent::next_put(RemoteAgent& remote, size_t most, OutgoingFrame* frame) noexcept {
  for (; !remote.sending.empty(); remote.sending.pop_front()) {
    Request& request = *remote.sending.front();
    while (request.range < request.ranges.size() &&
           request.offset == request.ranges[request.range].bytes) {
      ++request.range;
      request.offset = 0;
    }
    if (request.closing || request.range == request.ranges.size()) continue;
    const Descriptor& range = request.ranges[request.range];
    const size_t bytes = std::min<uint64_t>(most, range.bytes - request.offset);
    *frame = {.header = {.payload_bytes = static_cast<uint32_t>(bytes),
                         .kind = FrameKind::kTransferData,
                         .stream = range.region,
                         .number = range.offset + request.offset,
                         .place = request.number},
              .payload = range.local + request.offset};
    return true;
  }
  return false;
}

bool Agent::next_served(int peer, Caller& caller, size_t most, OutgoingFrame* frame) noexcept {
  while (!caller.gets.empty()) {
    ServedGet& get = caller.gets.front();
    while (get.range < get.ranges.size() && get.offset == get.ranges[get.range].bytes) {
      ++get.range;
      get.offset = 0;
    }
    if (get.range == get.ranges.size()) {
      caller.gets.pop_front();
      continue;
    }
    const RangeWire& range = get.ranges[get.range];
    const Region* const region = regions_.find(range.region);
    if (region == nullptr) {
      const uint64_t number = get.number;
      std::erase_if(caller.gets, [&](const ServedGet& other) { return other.number == number; });
      answer(*endpoint_->find_session(peer), number, StatusCode::kInvalidUsage, problem_of(range));
      continue;
    }
    const size_t bytes = std::min<uint64_t>(most, range.bytes - get.offset);
    *frame = {.header = {.payload_bytes = static_cast<uint32_t>(bytes),
                         .kind = FrameKind::kTransferData,
                         .stream = static_cast<uint32_t>(get.first + get.range),
                         .number = get.offset,
                         .place = get.number},
              .payload = region->base + range.offset + get.offset};
    return true;
  }
  return false;
}

void Agent::handed(int peer) noexcept {
  if (is_caller(peer)) {
    callers_.at(peer).gets.front().offset += offered_bytes_;
  } else {
    remotes_.at(peer)->sending.front()->offset += offered_bytes_;
  }
}

// Bytes that come

Placement Agent::place(int peer, const FrameHeader& header) noexcept {
  if (is_caller(peer)) {
    Region* const region = regions_.find(header.stream);
    std::byte* const at =
        region == nullptr ? nullptr : region->at(header.number, header.payload_bytes);
    return {at, header.stream};
  }
  const auto& open = remotes_.at(peer)->open;
  const auto request = open.find(header.place);
  if (request == open.end() || request->second->closing || request->second->kind != Kind::kGet ||
      header.stream >= request->second->ranges.size()) {
    return {};
  }
  const Descriptor& range = request->second->ranges[header.stream];
  const bool inside =
      header.number <= range.bytes && header.payload_bytes <= range.bytes - header.number;
  return {inside ? range.local + header.number : nullptr, tag_of_get(header.place)};
}

void Agent::arrived(Session& from, const FrameHeader& header, const std::byte* payload) noexcept {
  const Placement to = place(from.peer(), header);
  if (to.at != nullptr && payload != nullptr) std::memcpy(to.at, payload, header.payload_bytes);
  if (!is_caller(from.peer())) return on_get_data(*remotes_.at(from.peer()), header, to.at);
  if (const auto caller = callers_.find(from.peer()); caller != callers_.end())
    on_put_data(from, caller->second, header, to.at);
}

void Agent::on_get_data(RemoteAgent& remote, const FrameHeader& header,
                        const std::byte* where) noexcept {
  const auto at = remote.open.find(header.place);
  if (at == remote.open.end() || where == nullptr) return;
  Request& request = *at->second;
  request.arrived_bytes += header.payload_bytes;
  if (request.arrived_bytes < request.total_bytes) return;
  request.close_with(StatusCode::kOk, "");
  endpoint_->ring_own_bell();
}

void Agent::on_put_data(Session& from, Caller& caller, const FrameHeader& header,
                        const std::byte* where) noexcept {
  ArrivingPut& put = caller.puts[header.place];
  put.received_bytes += header.payload_bytes;
  if (where == nullptr && put.code == StatusCode::kOk) {
    put.code = StatusCode::kInvalidUsage;
    put.why = problem_of(
        {.region = header.stream, .offset = header.number, .bytes = header.payload_bytes});
  }
  conclude_put(from, caller, header.place);
}

// What is wrong with a range of this agent.
std::string Agent::problem_of(const RangeWire& range) noexcept {
  const Region* const region = regions_.find(range.region);
  return range_problem(who_, range.region, region == nullptr ? 0 : region->entry.bytes,
                       range.offset, range.bytes);
}

void Agent::raise(const SignalWire& signal) noexcept {
  if (signal.value == 0) return;
  // release: pairs with Agent::counter().
  page_->counters[signal.counter].fetch_add(signal.value, std::memory_order_release);
}

void Agent::conclude_put(Session& from, Caller& caller, uint64_t number) noexcept {
  const auto at = caller.puts.find(number);
  if (at == caller.puts.end() || at->second.received_bytes != at->second.total_bytes) return;
  const ArrivingPut put = std::move(at->second);
  caller.puts.erase(at);
  if (put.code == StatusCode::kOk) raise(put.signal);
  answer(from, number, put.code, put.why);
  endpoint_->ring_own_bell();
}

void Agent::answer(Session& to, uint64_t number, StatusCode code, const std::string& why,
                   bool send_bytes) noexcept {
  const size_t bytes = std::min(why.size(), kMostWhyBytes);
  auto payload = std::make_unique<std::byte[]>(bytes);
  if (bytes != 0) std::memcpy(payload.get(), why.data(), bytes);
  to.post({.kind = FrameKind::kTransferNote,
           .stream = static_cast<uint32_t>(code),
           .word = static_cast<uint32_t>(Note::kDone),
           .number = send_bytes ? 1U : 0U,
           .place = number},
          std::move(payload), bytes);
}

// Notes

void Agent::noted(Session& from, const FrameHeader& header, const std::byte* payload) noexcept {
  const auto note = static_cast<Note>(header.word);
  try {
    if (!is_caller(from.peer())) {
      if (note == Note::kDone) return on_done(from, *remotes_.at(from.peer()), header, payload);
      return from.fail(name_of(from.peer()) + " sent a note that only callers send");
    }
    const auto at = callers_.find(from.peer());
    if (at == callers_.end()) return;
    switch (note) {
      case Note::kBegin:
        return on_begin(from, at->second, header, payload);
      case Note::kGet:
        return on_get(from, at->second, header, payload);
      case Note::kPull:
        return on_pull(from, at->second, header, payload);
      case Note::kCancel:
        return on_cancel(at->second, header.place);
      case Note::kDone:
        break;
    }
    from.fail(name_of(from.peer()) + " sent a note of unknown kind");
  } catch (const std::exception& e) {
    from.fail(name_of(from.peer()) + ": " + e.what());
  }
}

void Agent::on_begin(Session& from, Caller& caller, const FrameHeader& header,
                     const std::byte* payload) noexcept {
  if (header.payload_bytes != sizeof(SignalWire))
    return from.fail(name_of(from.peer()) + " began an operation without saying its signal");
  ArrivingPut& put = caller.puts[header.place];
  put.total_bytes = header.number;
  put.signal = decode<SignalWire>(payload);
  if (put.signal.value != 0 && put.signal.counter >= kCounters) {
    put.code = StatusCode::kInvalidArgument;
    put.why = fmt::format("{} has no counter {}", who_, put.signal.counter);
  }
  conclude_put(from, caller, header.place);
}

void Agent::on_get(Session& from, Caller& caller, const FrameHeader& header,
                   const std::byte* payload) {
  if (header.payload_bytes % sizeof(RangeWire) != 0)
    return from.fail(name_of(from.peer()) + " asked for something that is no list of ranges");
  ServedGet get{.number = header.place, .first = header.number};
  get.ranges.resize(header.payload_bytes / sizeof(RangeWire));
  if (header.payload_bytes != 0) std::memcpy(get.ranges.data(), payload, header.payload_bytes);
  for (const RangeWire& range : get.ranges) {
    const std::string problem = problem_of(range);
    if (problem.empty()) continue;
    std::erase_if(caller.gets, [&](const ServedGet& other) { return other.number == get.number; });
    return answer(from, get.number, StatusCode::kInvalidUsage, problem);
  }
  caller.gets.push_back(std::move(get));
}

void Agent::on_done(Session& from, RemoteAgent& remote, const FrameHeader& header,
                    const std::byte* payload) {
  const auto at = remote.open.find(header.place);
  if (at == remote.open.end()) return;
  const std::shared_ptr<Request> request = at->second;
  const std::string why(reinterpret_cast<const char*>(payload), header.payload_bytes);
  if (header.number != 0 && request->route == Route::kPull && !request->closing) {
    log(LogLevel::kInfo, "transport", -1,
        "{} can't read this process's memory ({}); bytes go by {} instead", remote.name(), why,
        remote.blob.carrier);
    remote.refuses_pulls = true;
    request->pull_word.store(0, std::memory_order_seq_cst);
    request->offered = false;
    request->route = Route::kNetwork;
    return post_begin(from, request);
  }
  const auto code = static_cast<StatusCode>(header.stream);
  request->offered = false;
  if (code == StatusCode::kOk && request->closing) {
    // It was whole before the cancel was heard of.
    request->closing_code = code;
    request->closing_why.clear();
  }
  request->close_with(code, code == StatusCode::kOk ? "" : remote.name() + " refused: " + why);
  endpoint_->ring_own_bell();
}

void Agent::on_cancel(Caller& caller, uint64_t number) noexcept {
  caller.puts.erase(number);
  std::erase_if(caller.gets, [&](const ServedGet& get) { return get.number == number; });
}

}  // namespace tutti::transfer
