// SPDX-License-Identifier: Apache-2.0
// The rendezvous root as a state machine on the control thread.
#include "src/bootstrap/root.h"

#include <algorithm>
#include <deque>

#include <spdlog/fmt/fmt.h>

#include "src/base/liveness.h"
#include "src/base/log.h"
#include "src/base/process_local.h"
#include "src/base/wait.h"

namespace tutti::bootstrap {
namespace {

constexpr size_t kMaxNamedRanks = 16;

uint64_t draw_comm_id(const Key& key) {
  Transcript transcript{.role = Role::kRegister};
  fill_random(transcript.host);
  const Mac mac = prove(key, transcript, Side::kHost, {});
  uint64_t id = 0;
  for (size_t i = 0; i < sizeof id; ++i) id |= std::to_integer<uint64_t>(mac[i]) << (8 * i);
  return id == 0 ? 1 : id;
}

// "rank 3", "ranks 3 and 5", "ranks 3, 5 and 12 more": the first few of `total` ranks.
std::string ranks_text(const std::vector<int32_t>& first, size_t total) {
  std::string text = total == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < first.size(); ++i) {
    if (i > 0) text += i + 1 == total ? " and " : ", ";
    text += std::to_string(first[i]);
  }
  if (first.size() < total) text += fmt::format(" and {} more", total - first.size());
  return text;
}

// The roots that live in this process. Weak: a root ends by itself.
struct HostedRoots {
  // By key and port: a root may listen on more addresses than its id names.
  std::map<std::pair<Key, uint16_t>, std::weak_ptr<Root>> by_place;
  std::deque<std::weak_ptr<Root>> complete;  // in the order of their completion
};

std::shared_ptr<Root> hosted_root(const UniqueIdFields& id) {
  return ProcessLocal<HostedRoots>::with([&](HostedRoots& hosted) {
    const auto found = hosted.by_place.find({id.key, id.address.port});
    return found == hosted.by_place.end() ? nullptr : found->second.lock();
  });
}

std::string seconds_text(int64_t ns) {
  return fmt::format("{:.1f} s", static_cast<double>(ns) / kNsPerSecond);
}

}  // namespace

SocketAddress Root::start(const SocketAddress& at, const Key& key) {
  const auto root = std::make_shared<Root>(key);  // shared: owns itself through its timers
  Listener listener = Listener::bind(at, SocketKind::kStream);
  const SocketAddress address = listener.address();
  run_on(*root->control_, [&] { root->open(std::move(listener)); });
  ProcessLocal<HostedRoots>::with([&](HostedRoots& hosted) {
    std::erase_if(hosted.by_place, [](const auto& entry) { return entry.second.expired(); });
    hosted.by_place[{key, address.port}] = root;
  });
  return address;
}

void Root::end_hosted(const UniqueIdFields& id, const Failure& failure) noexcept {
  try {
    std::shared_ptr<Root> root = hosted_root(id);
    if (root == nullptr) return;
    const std::shared_ptr<ControlThread> control = root->control_;
    const Deadline deadline = Deadline::after_ns(kFarewellNs);
    bool told = false;
    run_on(*control, [&] { root->fail(failure); });
    while (!told && !deadline.expired()) {
      run_on(*control, [&] { told = root->all_told(); });
      if (!told) sleep_ns(kNsPerMs);
    }
    run_on(*control, [&] { root.reset(); });  // the last reference may be this one
  } catch (const std::exception& e) {
    log(LogLevel::kWarn, "bootstrap", -1, "other ranks may not hear why this one failed: {}",
        e.what());
  }
}

Root::Root(const Key& key)
    : control_(ControlThread::shared()), key_(key), comm_id_(draw_comm_id(key)) {}

void Root::open(Listener listener) {
  gate_ = std::make_unique<Gate>(
      Gate::Config{.control = control_,
                   .listener = std::move(listener),
                   .key = key_,
                   .role = Role::kRegister,
                   .hello_bytes = wire_bytes<Registration>()},
      [this](std::unique_ptr<Gate::Visit> visit) { on_visit(std::move(visit)); });
  life_timer_ = control_->at(Deadline::after_ns(kLifetimeNs), [self = shared_from_this()] {
    self->life_timer_ = 0;
    self->on_deadline(kLifetimeNs);
  });
}

void Root::on_visit(std::unique_ptr<Gate::Visit> visit) {
  const auto newcomer = decode_as<Registration>(visit->hello());
  if (failure_.has_value()) return refuse(*visit, *failure_);
  if (newcomer.address.family == SocketAddress::Family::kNone) {
    return refuse(*visit, {StatusCode::kRemoteError,
                           complete_ ? "all ranks have joined, but word of it was lost on the way"
                                     : missing_text() + " so far"});
  }
  if (std::optional<Failure> failure = objection(newcomer)) {
    refuse(*visit, *failure);
    // A second use of the id is the newcomer's mistake alone.
    if (!complete_) fail(std::move(*failure));
    return;
  }
  admit(std::move(visit), newcomer);
}

std::optional<Failure> Root::objection(const Registration& newcomer) const {
  const std::string who = newcomer.peer.name();
  if (complete_) {
    return Failure{StatusCode::kInvalidUsage,
                   fmt::format("{} came to a rendezvous that is complete with all its {} ranks; a "
                               "unique id serves one "
                               "communicator, make another for the next",
                               who, members_.size())};
  }
  if (newcomer.protocol != kProtocolVersion) {
    return Failure{
        StatusCode::kInvalidUsage,
        fmt::format(
            "{} speaks version {} of the bootstrap protocol, expected {}; use one version of Tutti "
            "in all processes",
            who, newcomer.protocol, kProtocolVersion)};
  }
  if (newcomer.n_ranks < 1 || newcomer.peer.rank < 0 || newcomer.peer.rank >= newcomer.n_ranks) {
    return Failure{StatusCode::kInvalidUsage,
                   fmt::format("{} of {} ranks is impossible", who, newcomer.n_ranks)};
  }
  if (members_.empty()) return std::nullopt;
  const Registration& first = members_.front().registration;
  if (newcomer.n_ranks != first.n_ranks) {
    return Failure{
        StatusCode::kInvalidUsage,
        fmt::format(
            "{} came with {} ranks, but {} with {}; give all processes the same number of ranks",
            who, newcomer.n_ranks, first.peer.name(), first.n_ranks)};
  }
  if (const auto twin = index_of_rank_.find(newcomer.peer.rank); twin != index_of_rank_.end()) {
    return Failure{
        StatusCode::kInvalidUsage,
        fmt::format("two processes claim one rank: {} and {}; give each a rank of its own", who,
                    members_[twin->second].registration.peer.name())};
  }
  return std::nullopt;
}

void Root::refuse(Gate::Visit& visit, const Failure& failure) {
  ++refused_;
  visit.refuse(encode(Assignment{.code = failure.code}), failure);
}

void Root::admit(std::unique_ptr<Gate::Visit> visit, const Registration& newcomer) {
  const auto index = static_cast<uint32_t>(members_.size());
  Assignment assignment{.comm_id = comm_id_, .index = index};
  if (index > 0) {
    const Registration& parent = members_[(index - 1) / kFanIn].registration;
    assignment.parent = parent.peer;
    assignment.parent_address = parent.address;
  }
  members_.push_back({.registration = newcomer, .index = index});
  index_of_rank_[newcomer.peer.rank] = index;
  visit->answer(encode(assignment));
  if (index == 0) {
    keep_first(visit->release());
  } else {
    await_attachment(std::move(visit), index);
  }
  shorten_deadline(newcomer);
  if (index == 0) on_attached(0);
}

void Root::keep_first(std::unique_ptr<Channel> channel) {
  first_ = std::move(channel);
  first_->on_end([this] {
    if (over()) return first_.reset();
    fail({StatusCode::kRemoteError,
          members_.front().registration.peer.name() + " ended or left before all ranks had come"});
  });
  first_->expect_frames([this](const Frame& frame) {
    if (frame.header.type == FrameType::kError) fail(decode_as<Failure>(frame.payload));
  });
}

void Root::await_attachment(std::unique_ptr<Gate::Visit> visit, uint32_t index) {
  Channel& channel = visit->channel();
  attaching_[index] = {.visit = std::move(visit),
                       .timer = control_->at(Deadline::after_ns(kAttachNs), [this, index] {
                         attaching_[index].timer = 0;
                         on_attachment_failed(index,
                                              "was not attached in " + seconds_text(kAttachNs));
                       })};
  channel.on_end([this, index] {
    if (direct_.erase(index) != 0) return;  // its neighbours in the tree notice
    on_attachment_failed(index, "ended or lost its connection");
  });
  channel.expect_frames([this, index](const Frame& frame) {
    if (frame.header.type == FrameType::kAttached) return on_attached(index);
    if (frame.header.type == FrameType::kError) fail(decode_as<Failure>(frame.payload));
  });
}

void Root::on_attached(uint32_t index) {
  if (const auto found = attaching_.find(index); found != attaching_.end()) {
    if (found->second.timer != 0) control_->remove(found->second.timer);
    if (index < kDirect) direct_[index] = found->second.visit->release();
    attaching_.erase(found);
  }
  members_[index].attached = true;
  ++attached_;
  if (!over() && attached_ == static_cast<uint32_t>(members_.front().registration.n_ranks))
    complete();
}

void Root::on_attachment_failed(uint32_t index, const std::string& what) {
  if (attaching_[index].timer != 0) control_->remove(attaching_[index].timer);
  attaching_.erase(index);
  const Registration& child = members_[index].registration;
  const Registration& parent = members_[(index - 1) / kFanIn].registration;
  fail({StatusCode::kRemoteError,
        fmt::format("{} {} before it reached {} at {}; can the two hosts connect to each other?",
                    child.peer.name(), what, parent.peer.name(), parent.address.to_string())});
}

void Root::shorten_deadline(const Registration& newcomer) {
  if (newcomer.wait_ns == INT64_MAX || over()) return;
  const Deadline deadline = Deadline::after_ns(newcomer.wait_ns);
  if (deadline.time_ns() >= deadline_.time_ns()) return;
  if (deadline_timer_ != 0) control_->remove(deadline_timer_);
  deadline_ = deadline;
  deadline_timer_ = control_->at(deadline, [this, wait_ns = newcomer.wait_ns] {
    deadline_timer_ = 0;
    on_deadline(wait_ns);
  });
}

void Root::on_deadline(int64_t wait_ns) {
  if (!over()) {
    fail({StatusCode::kRemoteError,
          fmt::format("{} within {} ({} are here); check that they were "
                      "started, with this id, and can connect to {}",
                      missing_text(), seconds_text(wait_ns), members_.size(), place_text())});
  }
}

// A root of a launch listens on all addresses of its host.
std::string Root::place_text() const {
  const SocketAddress& at = gate_->address();
  const bool anywhere =
      at.family != SocketAddress::Family::kUnixAbstract &&
      std::all_of(std::begin(at.ip), std::end(at.ip), [](uint8_t b) { return b == 0; });
  return anywhere ? fmt::format("port {} of host {}", at.port, host_name()) : at.to_string();
}

std::string Root::missing_text() const {
  if (members_.empty()) return "no rank came";
  const auto n_ranks = static_cast<size_t>(members_.front().registration.n_ranks);
  const bool all_here = members_.size() == n_ranks;
  const size_t total = n_ranks - (all_here ? attached_ : members_.size());
  std::vector<int32_t> first;
  std::vector<int32_t> parents;  // that those could not reach: they may be stopped
  for (int32_t rank = 0; first.size() < std::min(total, kMaxNamedRanks); ++rank) {
    const auto found = index_of_rank_.find(rank);
    if (found != index_of_rank_.end() && (!all_here || members_[found->second].attached)) continue;
    first.push_back(rank);
    if (!all_here) continue;
    const int32_t parent = members_[(found->second - 1) / kFanIn].registration.peer.rank;
    if (std::find(parents.begin(), parents.end(), parent) == parents.end())
      parents.push_back(parent);
  }
  const std::string what = all_here ? "came but could not attach to " +
                                          ranks_text(parents, parents.size()) +
                                          ", above them in the tree"
                                    : "did not come";
  return fmt::format("{} of {} {}", ranks_text(first, total), n_ranks, what);
}

void Root::fail(Failure failure) {
  if (over()) return;
  failure_ = std::move(failure);
  const Bytes frame = error_frame(*failure_);
  if (first_ != nullptr) first_->try_send(frame);
  for (auto& [index, attaching] : attaching_) attaching.visit->channel().try_send(frame);
  for (auto& [index, channel] : direct_) channel->try_send(frame);
  linger();
}

// A rank that never comes can't be counted on.
bool Root::all_told() const {
  if (complete_) return true;
  const size_t expected =
      members_.empty() ? 0 : static_cast<size_t>(members_.front().registration.n_ranks);
  return members_.size() + refused_ >= expected;
}

void Root::complete() {
  complete_ = true;
  const Bytes go = encode(FrameHeader{.type = FrameType::kGo});
  first_->try_send(go);
  for (auto& [index, channel] : direct_) channel->try_send(go);
  direct_.clear();
  linger();
}

void Root::linger() {
  const auto self = shared_from_this();  // the timer that goes holds a reference
  if (deadline_timer_ != 0) control_->remove(std::exchange(deadline_timer_, 0));
  if (life_timer_ != 0) control_->remove(life_timer_);
  life_timer_ = control_->at(Deadline::after_ns(complete_ ? kLingerCompleteNs : kLingerNs),
                             [self] { self->close(); });
  if (complete_) give_way();
}

// The oldest of the complete roots closes when there are too many of them.
void Root::give_way() {
  const auto oldest = ProcessLocal<HostedRoots>::with([&](HostedRoots& hosted) {
    std::erase_if(hosted.complete, [](const auto& root) { return root.expired(); });
    hosted.complete.push_back(weak_from_this());
    if (hosted.complete.size() <= kMostLingering) return std::shared_ptr<Root>();
    auto root = hosted.complete.front().lock();
    hosted.complete.pop_front();
    return root;
  });
  if (oldest == nullptr) return;
  control_->remove(std::exchange(oldest->life_timer_, 0));
  oldest->close();
}

void Root::close() {
  for (auto& [index, attaching] : attaching_) {
    if (attaching.timer != 0) control_->remove(attaching.timer);
  }
  attaching_.clear();
  direct_.clear();
  first_.reset();
  gate_.reset();
}

}  // namespace tutti::bootstrap
