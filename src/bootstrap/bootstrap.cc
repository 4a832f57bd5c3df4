// SPDX-License-Identifier: Apache-2.0
// Joining a rendezvous: register at the root, attach to the parent, wait for the go (protocol in
// root.h).
#include "src/bootstrap/bootstrap.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/bootstrap/root.h"
#include "src/bootstrap/tree.h"

namespace tutti::bootstrap {
namespace {

// The root knows who is missing and says so at the deadline; this long its word may take.
constexpr int64_t kVerdictGraceNs = kNsPerSecond;
// It comes over the tree, where a rank that is stopped passes nothing on: then the root is asked.
constexpr int64_t kAskRootNs = kNsPerSecond;
constexpr int64_t kReasonGraceNs = kNsPerSecond / 2;

SocketAddress random_abstract_address() {
  std::array<std::byte, 16> random{};
  fill_random(random);
  std::string name = "@tutti-";
  for (const std::byte b : random) name += fmt::format("{:02x}", std::to_integer<unsigned>(b));
  return SocketAddress::parse(name);
}

// Where this rank's children can reach it: the address that reaches the root, another port. A
// loopback address is of no use to other hosts (a host's own name may resolve to one), so then the
// first address of this host, which may be loopback too.
SocketAddress listening_address(const Socket& to_root, const SocketAddress& root) {
  if (root.family == SocketAddress::Family::kUnixAbstract) return random_abstract_address();
  SocketAddress own = to_root.local_address();
  if (is_loopback(own)) {
    const auto all = local_addresses(foreign_variable("TUTTI_SOCKET_IFNAME").value_or(""));
    const auto same =
        std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.family == own.family; });
    if (same != all.end()) own = *same;
  }
  own.port = 0;
  return own;
}

// One rank's way into the tree.
class Joiner {
 public:
  Joiner(const UniqueId& id, int n_ranks, int rank, const Patience& patience)
      : fields_(unpack(id)),
        control_(ControlThread::shared()),
        patience_(patience),
        n_ranks_(n_ranks),
        self_{.rank = rank, .pid = this_process().pid, .host = host_name()} {}

  std::unique_ptr<Tree> join() {
    const std::string root_name = "the rendezvous root at " + fields_.address.to_string();
    Socket socket = connect_to_root(root_name);
    Listener listener =
        Listener::bind(listening_address(socket, fields_.address), SocketKind::kStream);
    Answer root = visit_again({.control = control_,
                               .key = fields_.key,
                               .role = Role::kRegister,
                               .hello = encode(registration(listener.address())),
                               .answer_bytes = wire_bytes<Assignment>(),
                               .host_name = root_name},
                              std::move(socket), fields_.address, patience_, {});
    const auto assignment = decode_as<Assignment>(root.body);
    if (assignment.code != StatusCode::kOk) {
      const Failure why = receive_reason(root, assignment.code, root_name, patience_);
      throw Error(why.code, why.reason);
    }
    std::unique_ptr<Channel> uplink =
        assignment.index == 0 ? std::move(root.channel) : attach(*root.channel, assignment);
    auto tree = std::make_unique<Tree>(Tree::Place{.control = control_,
                                                   .key = fields_.key,
                                                   .listener = std::move(listener),
                                                   .self = self_,
                                                   .n_ranks = n_ranks_,
                                                   .comm_id = assignment.comm_id,
                                                   .index = assignment.index,
                                                   .parent = assignment.parent,
                                                   .uplink = std::move(uplink)});
    const std::unique_ptr<Channel> to_root = std::move(root.channel);  // goes before the tree
    if (to_root != nullptr) {
      run_on(*control_, [&] {
        to_root->try_send(encode(FrameHeader{.type = FrameType::kAttached}));
        news_->go_on(*tree);
      });
    }
    tree->wait_complete({.deadline = with_grace(), .aborted = patience_.aborted},
                        [&] { return ask_root(root_name); });
    return tree;
  }

 private:
  // What the root says while this rank is on its way. All but `signal`: the control thread's.
  struct News {
    Signal signal;
    std::optional<Failure> failure;
    Tree* tree = nullptr;  // once it stands
    void tell(Failure why) {
      if (!failure.has_value()) failure = std::move(why);
      if (tree != nullptr) tree->end(*failure);
      signal.notify();
    }
    // When all have joined, it lets go of everybody.
    void root_ended() {
      if (tree != nullptr) return;
      tell({StatusCode::kRemoteError, "the rendezvous root ended before all ranks had come"});
    }
    void go_on(Tree& standing) {
      tree = &standing;
      if (failure.has_value()) tree->end(*failure);
    }
  };

  Socket connect_to_root(const std::string& root_name) const {
    try {
      return connect_patiently(fields_.address, root_name, patience_, {});
    } catch (const Error& error) {
      if (error.code() != StatusCode::kRemoteError) throw;
      throw Error(StatusCode::kRemoteError,
                  std::string(error.what()) +
                      "; the process that made this unique id must live until all ranks have "
                      "joined, and an id serves one communicator");
    }
  }

  // Why nothing has come of it, by the root's own word. A root that has failed turns everybody away
  // with its reason.
  Failure ask_root(const std::string& root_name) const {
    const Patience patience{.deadline = Deadline::after_ns(kAskRootNs),
                            .aborted = patience_.aborted};
    try {
      const Answer root =
          visit({.control = control_,
                 .key = fields_.key,
                 .role = Role::kRegister,
                 .hello = encode(registration({})),
                 .answer_bytes = wire_bytes<Assignment>(),
                 .host_name = root_name},
                connect_patiently(fields_.address, root_name, patience, {}), patience);
      const auto assignment = decode_as<Assignment>(root.body);
      if (assignment.code != StatusCode::kOk)
        return receive_reason(root, assignment.code, root_name, patience);
      return {StatusCode::kRemoteError, root_name + " has lost this rank's place"};
    } catch (const Error& error) {
      return {StatusCode::kRemoteError,
              fmt::format("{} did not say in time which ranks are missing ({}); its process may be "
                          "stopped",
                          root_name, error.what())};
    }
  }

  Registration registration(const SocketAddress& address) const {
    return {.n_ranks = n_ranks_,
            .wait_ns = patience_.deadline.left_ns(),
            .peer = self_,
            .identity = this_process(),
            .address = address};
  }

  // Connects to the parent; gives up early when the root says that it is over.
  std::unique_ptr<Channel> attach(Channel& root, const Assignment& assignment) {
    const auto news = news_;
    run_on(*control_, [&] {
      root.on_end([news] { news->root_ended(); });
      root.expect_frames([news](const Frame& frame) {
        if (frame.header.type == FrameType::kError) news->tell(decode_as<Failure>(frame.payload));
        if (frame.header.type == FrameType::kGo && news->tree != nullptr) news->tree->go();
      });
    });
    std::optional<Failure> failure;
    const auto look = [&] {
      run_on(*control_, [&] { failure = news->failure; });
      return failure.has_value();
    };
    try {
      return attach_to_parent(assignment, look);
    } catch (const Error& error) {
      if (error.code() != StatusCode::kRemoteError) throw;
      // A parent that has failed is gone; the root's word on why may come a moment later.
      news->signal.wait(
          {.deadline = Deadline::after_ns(kReasonGraceNs), .aborted = patience_.aborted});
      if (look()) throw Error(failure->code, failure->reason);
      throw;
    }
  }

  std::unique_ptr<Channel> attach_to_parent(const Assignment& assignment,
                                            const std::function<bool()>& stop) {
    const std::string parent_name =
        assignment.parent.name() + " at " + assignment.parent_address.to_string() +
        ", the parent of rank " + std::to_string(self_.rank) + " in the tree";
    Socket socket = connect_patiently(assignment.parent_address, parent_name, patience_, stop);
    Answer parent =
        visit_again({.control = control_,
                     .key = fields_.key,
                     .role = Role::kAttach,
                     .hello = encode(Attachment{
                         .comm_id = assignment.comm_id, .index = assignment.index, .peer = self_}),
                     .answer_bytes = wire_bytes<Attachment>(),
                     .host_name = parent_name},
                    std::move(socket), assignment.parent_address, patience_, stop);
    return std::move(parent.channel);
  }

  Deadline with_grace() const {
    const int64_t left_ns = patience_.deadline.left_ns();
    return left_ns > INT64_MAX - kVerdictGraceNs ? Deadline::never()
                                                 : Deadline::after_ns(left_ns + kVerdictGraceNs);
  }

  const UniqueIdFields fields_;
  const std::shared_ptr<ControlThread> control_;  // shared: see ControlThread::shared
  const Patience patience_;
  const int n_ranks_;
  const Peer self_;
  // Shared: handlers of the connection to the root may outlive this object.
  const std::shared_ptr<News> news_ = std::make_shared<News>();
};

}  // namespace

struct Bootstrap::Impl {
  std::unique_ptr<Tree> tree;
};

Bootstrap::Bootstrap() : impl_(std::make_unique<Impl>()) {}
Bootstrap::~Bootstrap() = default;

std::unique_ptr<Bootstrap> Bootstrap::join(const UniqueId& id, int n_ranks, int rank,
                                           Deadline deadline, const std::atomic<bool>* aborted) {
  if (n_ranks < 1 || rank < 0 || rank >= n_ranks) {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("rank {} of {} ranks: expected at least one rank and 0 <= rank < ranks",
                            rank, n_ranks));
  }
  std::unique_ptr<Bootstrap> bootstrap(new Bootstrap);
  try {
    bootstrap->impl_->tree =
        Joiner(id, n_ranks, rank, {.deadline = deadline, .aborted = aborted}).join();
  } catch (const Error& error) {
    // An abort is this rank's own affair; the root sees it leave.
    if (aborted == nullptr || !aborted->load(std::memory_order_relaxed))
      Root::end_hosted(unpack(id), {error.code(), error.what()});
    throw;
  }
  return bootstrap;
}

int Bootstrap::rank() const noexcept { return impl_->tree->place().self.rank; }
int Bootstrap::n_ranks() const noexcept { return impl_->tree->place().n_ranks; }
uint64_t Bootstrap::comm_id() const noexcept { return impl_->tree->place().comm_id; }

std::vector<std::vector<std::byte>> Bootstrap::all_gather(std::span<const std::byte> mine,
                                                          Deadline deadline,
                                                          const std::atomic<bool>* aborted) {
  return impl_->tree->all_gather(mine, {.deadline = deadline, .aborted = aborted});
}

}  // namespace tutti::bootstrap
