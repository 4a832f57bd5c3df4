// SPDX-License-Identifier: Apache-2.0
// The rendezvous root: tells each arriving rank where to attach, and everybody when all are there
// or why they are not.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "src/bootstrap/bootstrap.h"
#include "src/bootstrap/handshake.h"

namespace tutti::bootstrap {

inline constexpr uint32_t kFanIn = 8;

// Protocol. The tree is built in the order of arrival, so that nobody waits at the root: the parent
// of the i-th arrival is arrival (i - 1) / 8, whose listener is known by then.
//
//   rank -> root    connect; both prove the key (auth.h, role kRegister); hello: Registration
//   root -> rank    Assignment: index, parent's address, comm id; or a code, and a frame with why
//   not rank -> parent  connect; both prove the key (role kAttach); hello and answer: Attachment
//   rank -> root    frame kAttached; the root closes. Arrival 0 has no parent and keeps its
//   connection instead root -> arrival 0 -> its children -> ...   frame kGo when all are attached,
//   or kError
//
// At the root a rank costs two small messages and no lasting connection: it holds at most
// Gate::kMaxOpen + kDirect at a time, whatever the number of ranks. Whatever ends a waiting rank's
// connection reaches everybody at once, over the tree: the root's death through arrival 0, a rank's
// death through its neighbours. A rank that is stopped passes nothing on, so the first kDirect
// ranks keep their connections to the root until all have joined. Bulk data never comes here.
//
// The earliest deadline of the ranks that came is the rendezvous's deadline. Two processes with one
// rank, or different sizes, end it for all. Afterwards the root lingers to tell latecomers what
// happened.
//
// Owns itself: its watches and timers on the control thread hold the only references, and it ends
// with the last of them.
class Root : public std::enable_shared_from_this<Root> {
 public:
  static constexpr int64_t kLifetimeNs = 600 * kNsPerSecond;
  // After a failure, and when all have joined: then only a second use of the id can come.
  static constexpr int64_t kLingerNs = 30 * kNsPerSecond;
  static constexpr int64_t kLingerCompleteNs = 3 * kNsPerSecond;
  // Of those that are complete, in this process: jobs that make communicators by the hundred must
  // not run out of descriptors.
  static constexpr size_t kMostLingering = 8;
  static constexpr uint32_t kDirect = 64;  // arrivals that the root tells of a failure itself
  static constexpr int64_t kFarewellNs = kNsPerSecond / 4;  // see end_hosted()
  static constexpr int64_t kAttachNs =
      10 * kNsPerSecond;  // for a rank that has registered to be attached

  // Starts listening; throws SystemError when the address is taken. Returns the address it listens
  // on.
  static SocketAddress start(const SocketAddress& at, const Key& key);

  // A rank of this process has failed to join. Ends the rendezvous with that reason if its root is
  // here and it is not over, and gives the ranks that are on their way a moment to be told: once
  // its own rank has failed, the process may end, and the root with it.
  static void end_hosted(const UniqueIdFields& id, const Failure& failure) noexcept;

  explicit Root(const Key& key);

 private:
  struct Member {
    Registration registration;
    uint32_t index = 0;
    bool attached = false;
  };

  void open(Listener listener);
  void close();  // lets go of everything, itself included
  void give_way();
  void on_visit(std::unique_ptr<Gate::Visit> visit);
  std::optional<Failure> objection(const Registration& newcomer) const;
  void refuse(Gate::Visit& visit, const Failure& failure);
  void admit(std::unique_ptr<Gate::Visit> visit, const Registration& newcomer);
  void keep_first(std::unique_ptr<Channel> channel);
  void await_attachment(std::unique_ptr<Gate::Visit> visit, uint32_t index);
  void on_attached(uint32_t index);
  void on_attachment_failed(uint32_t index, const std::string& what);
  void shorten_deadline(const Registration& newcomer);
  void on_deadline(int64_t wait_ns);
  void fail(Failure failure);
  bool all_told() const;
  void complete();
  void linger();
  bool over() const { return complete_ || failure_.has_value(); }
  std::string missing_text() const;
  std::string place_text() const;

  const std::shared_ptr<ControlThread> control_;  // shared: see ControlThread::shared
  const Key key_;
  const uint64_t comm_id_;
  std::unique_ptr<Gate> gate_;
  std::vector<Member> members_;  // by index
  std::map<int32_t, uint32_t> index_of_rank_;
  uint32_t attached_ = 0;
  bool complete_ = false;
  std::optional<Failure> failure_;
  size_t refused_ = 0;              // visits
  std::unique_ptr<Channel> first_;  // to arrival 0
  struct Attaching {
    std::unique_ptr<Gate::Visit> visit;
    ControlThread::Id timer = 0;
  };
  std::map<uint32_t, Attaching> attaching_;  // by index; the visits end before gate_
  // Attached ones, below kDirect. No longer the gate's: they would fill it for all who follow.
  std::map<uint32_t, std::unique_ptr<Channel>> direct_;
  Deadline deadline_ = Deadline::never();
  ControlThread::Id deadline_timer_ = 0;
  ControlThread::Id life_timer_ = 0;
};

}  // namespace tutti::bootstrap
