// SPDX-License-Identifier: Apache-2.0
// The tree's all-gather, in the caller's thread: contributions go up, everybody's come down.
#include <algorithm>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "src/bootstrap/root.h"
#include "src/bootstrap/tree.h"

namespace tutti::bootstrap {
namespace {

constexpr int64_t kGracePerLevelNs = 200 * kNsPerMs;
constexpr int64_t kCloseReasonNs = kNsPerSecond;

}  // namespace

uint32_t Tree::height(uint32_t index) const {
  uint32_t levels = 0;
  while (uint64_t{kFanIn} * index + 1 < static_cast<uint64_t>(place_.n_ranks)) {
    index = kFanIn * index + 1;
    ++levels;
  }
  return levels;
}

std::vector<Bytes> Tree::all_gather(std::span<const std::byte> mine, const Patience& patience) {
  ++sequence_;
  std::vector<Link*> parent;
  std::vector<Link*> children;
  run_on(*place_.control, [&] {
    for (Link& link : links_) (&link == &links_.front() ? parent : children).push_back(&link);
  });
  Bytes table = collect(mine, children, patience);
  if (place_.index > 0) {
    send(*parent.front(), FrameType::kUp, table, patience);
    table = std::move(take(parent, FrameType::kDown, patience).front().payload);
  }
  for (Link* child : children) send(*child, FrameType::kDown, table, patience);
  return parse_table(table, place_.n_ranks);
}

// The entries of this rank's subtree.
Bytes Tree::collect(std::span<const std::byte> mine, std::span<Link* const> children,
                    const Patience& patience) {
  Encoder entries;
  append_entry(entries, place_.self.rank, mine);
  for (const Frame& frame : take(children, FrameType::kUp, patience)) entries.raw(frame.payload);
  Bytes subtree = entries.take();
  const size_t limit = kMaxGatherBytes + kEntryHeaderBytes * static_cast<size_t>(place_.n_ranks);
  if (subtree.size() > limit) {
    run_on(*place_.control, [&] {
      fail({StatusCode::kInvalidArgument,
            fmt::format("an all-gather of the bootstrap carries at most {} bytes in all, rank {} "
                        "and the ranks below it in "
                        "the tree gave {}",
                        kMaxGatherBytes, place_.self.rank, subtree.size())});
    });
    throw_failure();
  }
  return subtree;
}

// One frame of this all-gather from each link. Ranks near the leaves give up first, so that the one
// that knows best who is late says so; who waits for its parent comes last.
std::vector<Frame> Tree::take(std::span<Link* const> links, FrameType type,
                              const Patience& patience) {
  if (links.empty()) return {};
  const int64_t wait_ns = patience.deadline.left_ns();
  const int64_t levels = type == FrameType::kUp ? height(place_.index) - 1 : height(0) + 4;
  Patience extended = patience;
  if (wait_ns < INT64_MAX - levels * kGracePerLevelNs) {
    extended.deadline = Deadline::after_ns(wait_ns + levels * kGracePerLevelNs);
  }
  std::vector<Frame> frames;
  const auto ready = [&] {
    for (const Link* link : links) {
      if (!link->inbox.empty()) continue;
      if (link->left) fail(left_text(*link));
      return false;
    }
    for (Link* link : links) {
      frames.push_back(std::move(link->inbox.front()));
      link->inbox.pop_front();
    }
    return true;
  };
  wait_until(extended, ready, [&] { return late_text(links, wait_ns); });
  for (const Frame& frame : frames) {
    if (frame.header.type == type && frame.header.sequence == sequence_) continue;
    throw Error(StatusCode::kInternalError,
                fmt::format("rank {} is in all-gather {}, a neighbour in {}", place_.self.rank,
                            sequence_, frame.header.sequence));
  }
  return frames;
}

Failure Tree::left_text(const Link& link) {
  return {StatusCode::kRemoteError, link.name + " has left the communicator"};
}

Failure Tree::late_text(std::span<Link* const> links, int64_t wait_ns) const {
  std::string names;
  for (const Link* link : links) {
    if (!link->inbox.empty()) continue;
    names += (names.empty() ? "" : ", ") + link->name;
    if (height(link->index) > 0 && link->index > place_.index)
      names += " or a rank below it in the tree";
  }
  return {StatusCode::kRemoteError,
          fmt::format("{} did not answer rank {} in an all-gather of the bootstrap within {:.1f} "
                      "s; it is stopped, or did not "
                      "make the same call",
                      names, place_.self.rank, static_cast<double>(wait_ns) / kNsPerSecond)};
}

// Blocks in the caller's thread. The peer always drains its socket from its control thread, so two
// nodes that send to each other don't wait for each other.
void Tree::send(Link& link, FrameType type, std::span<const std::byte> payload,
                const Patience& patience) {
  bool has_failed = false;
  run_on(*place_.control, [&] {
    has_failed = failure_.has_value();
    link.sending = !has_failed;
  });
  if (has_failed) throw_failure();
  const Bytes head =
      encode(FrameHeader{.type = type, .sequence = sequence_, .bytes = payload.size()});
  std::optional<Failure> failure;
  try {
    link.channel->socket().send_all(head, patience.deadline);
    link.channel->socket().send_all(payload, patience.deadline);
  } catch (const Error& error) {
    failure = Failure{error.code(), fmt::format("rank {} could not send to {}: {}",
                                                place_.self.rank, link.name, error.what())};
  }
  if (failure.has_value()) {
    // After half a frame nothing can follow: `sending` stays set. Why the peer closed is on its
    // way, or in our socket.
    const Patience grace{.deadline = Deadline::after_ns(kCloseReasonNs), .aborted = nullptr};
    wait_until(
        grace,
        [&] {
          if (link.left) fail(left_text(link));
          return false;
        },
        [&] { return *failure; });
  }
  run_on(*place_.control, [&] {
    link.sending = false;
    if (failure_.has_value()) link.channel->try_send(error_frame(*failure_));
  });
}

}  // namespace tutti::bootstrap
