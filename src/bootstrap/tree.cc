// SPDX-License-Identifier: Apache-2.0
// The bootstrap tree's connections: attaching children, passing on the go and errors, blocking
// waits of the caller.
#include "src/bootstrap/tree.h"

#include <algorithm>

#include <spdlog/fmt/fmt.h>

#include "src/bootstrap/root.h"

namespace tutti::bootstrap {

Tree::Tree(Place place) : place_(std::move(place)) {
  run_on(*place_.control, [this] { start(std::move(place_.uplink)); });
}

Tree::~Tree() {
  run_on_at_end(*place_.control, [this] {
    leave();
    gate_.reset();
    links_.clear();
  });
}

void Tree::start(std::unique_ptr<Channel> uplink) {
  adopt(std::move(uplink), place_.parent,
        place_.index == 0 ? "the rendezvous root" : place_.parent.name());
  gate_ = std::make_unique<Gate>(
      Gate::Config{.control = place_.control,
                   .listener = std::move(place_.listener),
                   .key = place_.key,
                   .role = Role::kAttach,
                   .hello_bytes = wire_bytes<Attachment>()},
      [this](std::unique_ptr<Gate::Visit> visit) { on_child(std::move(visit)); });
}

void Tree::on_child(std::unique_ptr<Gate::Visit> visit) {
  const auto child = decode_as<Attachment>(visit->hello());
  const bool ours = child.comm_id == place_.comm_id && child.index > 0 &&
                    (child.index - 1) / kFanIn == place_.index;
  if (!ours) return;
  visit->answer(
      encode(Attachment{.comm_id = place_.comm_id, .index = place_.index, .peer = place_.self}));
  Link& link = adopt(visit->release(), child.peer, child.peer.name());
  link.index = child.index;
  if (failure_.has_value()) link.channel->try_send(error_frame(*failure_));
}

Tree::Link& Tree::adopt(std::unique_ptr<Channel> channel, const Peer& peer, std::string name) {
  Link& link = links_.emplace_back(
      Link{.peer = peer, .name = std::move(name), .channel = std::move(channel)});
  link.channel->on_end([this, &link] { on_link_end(link); });
  link.channel->expect_frames([this, &link](Frame frame) { on_frame(link, std::move(frame)); });
  return link;
}

void Tree::on_frame(Link& link, Frame frame) {
  switch (frame.header.type) {
    case FrameType::kGo:
      on_go();
      break;
    case FrameType::kError:
      fail(decode_as<Failure>(frame.payload));
      break;
    case FrameType::kUp:
    case FrameType::kDown:
      link.inbox.push_back(std::move(frame));
      break;
    case FrameType::kBye:
      link.left = true;
      break;
    case FrameType::kAttached:
      break;  // meant for the root only
  }
  signal_.notify();
}

void Tree::on_link_end(Link& link) {
  const bool root_is_done = complete_ && place_.index == 0 && &link == &links_.front();
  if (link.left || root_is_done) return;
  fail({StatusCode::kRemoteError,
        fmt::format("{} ended or lost its connection to rank {} {}", link.name, place_.self.rank,
                    complete_ ? "after the rendezvous" : "before all ranks had come")});
}

void Tree::on_go() {
  if (complete_) return;  // it comes from the root and over the tree
  complete_ = true;
  gate_.reset();  // the root says go when everybody is attached
  const Bytes go = encode(FrameHeader{.type = FrameType::kGo});
  for (Link& link : links_) {
    if (&link != &links_.front()) link.channel->try_send(go);
  }
}

// Every neighbour hears it, its sender too: that one has failed already and ignores it.
void Tree::fail(Failure failure) {
  if (failure_.has_value()) return;
  failure_ = std::move(failure);
  const Bytes frame = error_frame(*failure_);
  for (Link& link : links_) {
    if (!link.sending) link.channel->try_send(frame);  // else send() does it afterwards
  }
  signal_.notify();
}

void Tree::leave() {
  if (failure_.has_value()) return;
  if (!complete_) {
    return fail({StatusCode::kRemoteError,
                 place_.self.name() + " left the rendezvous before all ranks had come"});
  }
  const Bytes bye = encode(FrameHeader{.type = FrameType::kBye});
  for (Link& link : links_) link.channel->try_send(bye);
}

void Tree::throw_failure() {
  Failure failure;
  run_on(*place_.control, [&] { failure = *failure_; });
  throw Error(failure.code, failure.reason);
}

bool Tree::await(const Patience& patience, const std::function<bool()>& ready) {
  for (;;) {
    bool is_ready = false;
    bool has_failed = false;
    run_on(*place_.control, [&] {
      is_ready = ready();  // first: what has come before a failure is still good
      has_failed = failure_.has_value();
    });
    if (is_ready) return true;
    if (has_failed) throw_failure();
    switch (signal_.wait(patience)) {
      case Woken::kNotified:
        break;
      case Woken::kExpired:
        return false;
      case Woken::kAborted:
        run_on(*place_.control, [&] {
          fail({StatusCode::kRemoteError, place_.self.name() + " aborted its initialisation"});
        });
        throw_aborted();
    }
  }
}

void Tree::wait_until(const Patience& patience, const std::function<bool()>& ready,
                      const std::function<Failure()>& late) {
  if (await(patience, ready)) return;
  run_on(*place_.control, [&] { fail(late()); });
  throw_failure();
}

void Tree::wait_complete(const Patience& patience, const std::function<Failure()>& why_late) {
  if (await(patience, [this] { return complete_; })) return;
  const Failure why = why_late();
  run_on(*place_.control, [&] { fail(why); });
  throw_failure();
}

}  // namespace tutti::bootstrap
