// SPDX-License-Identifier: Apache-2.0
// A path's life: connecting, carrying, breaking, closing.
#include "transport/rdma/path.h"

#include <cstring>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/stream.h"

namespace tutti::transport::rdma {
namespace {

constexpr int64_t kLingerNs = kNsPerSecond / 2;
constexpr int kSilenceSeconds = 4;  // of the peer's machine on the side channel
constexpr size_t kFinished = size_t{4} * kSendDepth;

// What to look at next, by how a work request ended.
std::string_view advice(ibv_wc_status status) {
  switch (status) {
    case IBV_WC_RETRY_EXC_ERR:
      return "the peer does not acknowledge: its process, host, port or the way between is gone; "
             "look at the peer's log, `rdma link` on both hosts, ping, and on RoCE at lossless "
             "queues (PFC, ECN, TUTTI_RDMA_TRAFFIC_CLASS)";
    case IBV_WC_RNR_RETRY_EXC_ERR:
      return "the peer has no receive buffer although it granted one: please report this";
    case IBV_WC_WR_FLUSH_ERR:
      return "the queue pair was moved to its error state, by this process, its device, or because "
             "the peer closed it";
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_OP_ERR:
      return "the peer does not allow the access: it has hidden the memory meanwhile, or is of "
             "another version";
    case IBV_WC_LOC_PROT_ERR:
    case IBV_WC_LOC_LEN_ERR:
    case IBV_WC_LOC_QP_OP_ERR:
      return "this end's request was wrong: memory that was sent may have been unmapped";
    default:
      return "look at the kernel's log and at the device's counters (`rdma statistic`)";
  }
}

// Where the peer listens, the best first. iWARP devices don't tell when the other one is silent, so
// there the side channel takes the rail's own way and tells it for them.
std::vector<SocketAddress> side_addresses(const CarrierAddress& peer, const RailAddress& rail,
                                          std::span<const SocketAddress> own) {
  std::vector<SocketAddress> where = by_nearness(peer.listeners, own);
  if (rail.fabric != Fabric::kIwarp) return where;
  SocketAddress on_rail = where.front();
  on_rail.family =
      is_ipv4_mapped(rail.gid) ? SocketAddress::Family::kIpv4 : SocketAddress::Family::kIpv6;
  std::memset(on_rail.ip, 0, sizeof on_rail.ip);
  const size_t skipped = is_ipv4_mapped(rail.gid) ? 12 : 0;
  std::memcpy(on_rail.ip, rail.gid.data() + skipped, rail.gid.size() - skipped);
  where.insert(where.begin(), on_rail);
  return where;
}

}  // namespace

RdmaPath::RdmaPath(Core& core, Rail& rail, int peer_rank, network::FrameSink& sink)
    : Path(sink),
      core_(core),
      rail_(rail),
      rail_index_(static_cast<int>(&rail - core.rails->rails.data())),
      id_(core.new_id()),
      peer_rank_(peer_rank) {
  finished_.reserve(kFinished);
  core_.paths.emplace(id_, this);
}

RdmaPath::RdmaPath(Core& core, Rail& rail, uint8_t peer_rail, const CarrierAddress& peer,
                   int peer_rank, network::FrameSink& sink)
    : RdmaPath(core, rail, peer_rank, sink) {
  // From here on the destructor runs when something throws.
  peer_rail_address_ = peer.rails[peer_rail];
  token_ = random_token();
  const bool by_hand = rail.address.fabric != Fabric::kIwarp;
  if (by_hand) make_pair();
  QueuePairFacts facts = own_facts();
  facts.peer_rail = peer_rail;
  facts.token = token_;
  visitor_ =
      std::make_unique<Visitor>(core.options.secret, facts,
                                side_addresses(peer, peer_rail_address_, core.rails->own_addresses),
                                core.polls, watch_key(Watched::kPath, id_));
  core_.touch(id_);
}

RdmaPath::RdmaPath(Core& core, Rail& rail, const QueuePairFacts& peer, network::FrameSink& sink)
    : RdmaPath(core, rail, peer.rank, sink) {
  peer_ = peer;
  make_pair();
  opened(true);
}

RdmaPath::RdmaPath(Core& core, Rail& rail, const QueuePairFacts& peer,
                   std::unique_ptr<ManagerId> id, network::FrameSink& sink)
    : RdmaPath(core, rail, peer.rank, sink) {
  peer_ = peer;
  manager_id_ = std::move(id);
  manager_id_->belongs_to(id_);
  make_pair();
  pair_->post_all_receives();
  state_ = State::kJoining;
  Manager::accept(*manager_id_, number_);
}

RdmaPath::~RdmaPath() {
  core_.paths.erase(id_);
  linger();
  pair_.reset();
  sender_.reset();  // gives registrations back after the queue pair has stopped reading
}

void RdmaPath::keep(WatchedSocket side_channel) noexcept {
  side_ = std::move(side_channel);
  watch_peer(side_.get(), kSilenceSeconds);
}

QueuePairFacts RdmaPath::own_facts() const noexcept {
  QueuePairFacts facts;
  if (pair_) {
    facts = pair_->facts();
  } else {
    facts.receives = kReceiveDepth;
    facts.receive_bytes = kReceiveBytes;
    facts.mtu = static_cast<uint8_t>(rail_.mtu);
    facts.gid = rail_.address.gid;
    facts.fabric = static_cast<uint8_t>(rail_.address.fabric);
  }
  facts.rank = core_.options.rank;
  facts.own_rail = static_cast<uint8_t>(rail_index_);
  return facts;
}

void RdmaPath::make_pair() {
  pair_ = std::make_unique<QueuePair>(rail_, core_.config, core_.options.budget);
  number_ = pair_->number();
  pair_->set_tag(id_);
  sender_ = std::make_unique<Sender>(*pair_, core_.memory, core_.device_of(rail_));
  receiver_.emplace(*pair_);
}

void RdmaPath::opened(bool by_hand) {
  if (by_hand) pair_->connect(peer_);
  sender_->start(peer_);
  state_ = State::kOpen;
  log(LogLevel::kDebug, "transport", core_.options.rank, "rdma path to rank {} is open: {}",
      peer_rank_, describe());
}

std::string RdmaPath::describe() const {
  return fmt::format(
      "{} {} gid {} ({}) qp {} - rank {} gid {} qp {}", to_string(rail_.address.fabric),
      rail_.name(), rail_.gid_index, to_string(rail_.address.gid), number_, peer_rank_,
      to_string(peer_.receives != 0 ? peer_.gid : peer_rail_address_.gid), peer_.queue_pair);
}

bool RdmaPath::send(const network::OutgoingFrame& frame) noexcept {
  if (state_ != State::kOpen || !sender_->send(frame)) return false;
  if ((sender_->has_finished() || sender_->error() != 0) && !std::exchange(touched_, true))
    core_.touch(id_);
  return true;
}

bool RdmaPath::sabotage() noexcept { return state_ == State::kOpen && pair_->to_error(); }

void RdmaPath::step() noexcept {
  if (state_ != State::kVisiting || !visitor_) return;
  const Step step = visitor_->step();
  if (step == Step::kWaiting) return core_.touch(id_);
  refused_ = step == Step::kFailed && visitor_->refused();
  if (step == Step::kFailed) return fail("it can't be connected: " + visitor_->why());
  try {
    visited();
  } catch (const std::exception& e) {
    fail(std::string("it can't be connected: ") + e.what());
  }
}

void RdmaPath::visited() {
  peer_ = visitor_->answer();
  side_ = visitor_->take_socket();
  watch_peer(side_.get(), kSilenceSeconds);
  visitor_.reset();
  if (rail_.address.fabric != Fabric::kIwarp) return opened(true);
  state_ = State::kJoining;
  manager_id_ = core_.manager->dial(rail_, peer_rail_address_, id_);
}

void RdmaPath::on_manager(const rdma_cm_event& event) noexcept {
  if (state_ == State::kBroken) return;
  try {
    switch (event.event) {
      case RDMA_CM_EVENT_ADDR_RESOLVED:
        return Manager::resolve_route(*manager_id_);
      case RDMA_CM_EVENT_ROUTE_RESOLVED:
        make_pair();
        pair_->post_all_receives();
        return Manager::connect(*manager_id_, token_, number_);
      case RDMA_CM_EVENT_ESTABLISHED:
        if (state_ == State::kJoining) opened(false);
        return;
      case RDMA_CM_EVENT_DISCONNECTED:
      case RDMA_CM_EVENT_TIMEWAIT_EXIT:
        return fail("the peer has closed it");
      default:
        return fail(
            fmt::format("rdma_cm says {} (status {}); look at `rdma link` on both hosts and "
                        "at ping between their addresses",
                        connection_manager().event_str(event.event), event.status));
    }
  } catch (const std::exception& e) {
    fail(e.what());
  }
}

void RdmaPath::on_descriptor() noexcept {
  if (connecting() && visitor_) return step();
  if (!side_) return;
  std::byte ignored[16];
  Incoming incoming;
  std::string why;
  if (incoming.receive(side_.get(), ignored, &why) == Step::kWaiting) return;
  if (incoming.closed())
    return fail("the peer's process has ended or has closed the path; look at its log");
  fail("the peer's machine is silent on the side channel (" + why + "); look at it and at ping");
}

void RdmaPath::on_completion(const ibv_wc& completion) noexcept {
  if (state_ == State::kJoining) opened(false);  // its first frame is faster than rdma_cm's event
  if (state_ != State::kOpen) return;
  if (completion.status != IBV_WC_SUCCESS) return failed_completion(completion);
  const auto number = static_cast<uint32_t>(completion.wr_id);
  if ((number & QueuePair::kSendBit) != 0) {
    sender_->completed(number & ~static_cast<uint32_t>(QueuePair::kSendBit));
  } else {
    uint32_t granted = 0;
    const char* const wrong = receiver_->take(*this, number, completion.byte_len, &granted);
    if (wrong != nullptr) return fail(wrong);
    sender_->peer_granted(granted);
  }
  if (!std::exchange(touched_, true)) core_.touch(id_);
}

void RdmaPath::failed_completion(const ibv_wc& completion) noexcept {
  fail(fmt::format("{} (status {}, vendor code {:#x}): {}",
                   verbs().wc_status_str(completion.status), static_cast<int>(completion.status),
                   completion.vendor_err, advice(completion.status)));
}

void RdmaPath::settle() noexcept {
  touched_ = false;
  if (state_ == State::kVisiting) return step();
  if (state_ != State::kOpen) return;
  int error = 0;
  if (receiver_->taken() > 0) sender_->posted_receives(receiver_->post_again(&error));
  sender_->pump();
  sender_->tell_credit();
  if (error == 0) error = sender_->error();
  if (error != 0)
    return fail(fmt::format("the device takes no work requests ({})", error_text(error)));
  sender_->take_finished(finished_);
  for (const uint64_t token : finished_) sink().sent(*this, token);
}

void RdmaPath::probe() noexcept {
  if (state_ == State::kOpen) sender_->probe();
}

void RdmaPath::fail(const std::string& why) noexcept {
  if (state_ == State::kBroken) return;
  state_ = State::kBroken;
  const std::string text = "rdma path " + describe() + " is broken: " + why;
  core_.paths.erase(id_);
  visitor_.reset();
  side_.reset();
  receiver_.reset();
  pair_.reset();  // nothing is read or written after this
  sender_.reset();
  log(LogLevel::kInfo, "transport", core_.options.rank, "{}", text);
  sink().broken(*this, text);
}

// Messages that the path has copied may be on their way: the queue pair stays until the peer has
// them, unless it reads memory that its owner may want back.
void RdmaPath::linger() noexcept {
  if (state_ != State::kOpen || sender_->reads_foreign_memory() || !sender_->post_last()) return;
  try {
    auto rest = std::make_unique<Lingering>();
    side_.watch_as(watch_key(Watched::kPath, id_), false);
    rest->until = Deadline::after_ns(kLingerNs);
    auto& place = core_.lingering[id_];
    rest->manager_id = std::move(manager_id_);
    rest->side = std::move(side_);
    rest->sender = std::move(sender_);
    rest->pair = std::move(pair_);
    place = std::move(rest);
  } catch (const std::exception&) {
    return;  // closed at once then
  }
}

}  // namespace tutti::transport::rdma
