// SPDX-License-Identifier: Apache-2.0
// From a checked call to a running operation.
#include "src/comm/collectives.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string_view>
#include <utility>

#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/log.h"
#include "src/comm/recording.h"
#include "src/trace/kinds.h"

namespace tutti::comm {
namespace {

// Size class that stands for counts that ranks do not agree on.
constexpr size_t kNominalUnevenBytes = 64 << 10;

uint64_t program_key(const Choice& choice) {
  Hasher hash;
  hash.value(choice.plan != nullptr);
  if (choice.plan != nullptr) {
    hash.value(choice.plan->hash);
  } else {
    hash.text(choice.row->name);
  }
  hash.value(choice.request.collective);
  hash.value(choice.request.root);
  return hash.finish();
}

// Bytes of one block as the cost model sees them.
size_t block_bytes(const CollectiveCall& call) {
  if (call.uneven == nullptr) return call.count * size_of(call.dtype);
  if (!call.uneven->agreed) return kNominalUnevenBytes;
  const auto& counts = call.uneven->counts;
  return *std::max_element(counts.begin(), counts.end()) * size_of(call.dtype);
}

CallFacts facts_of(const CollectiveCall& call, uint64_t plan_hash) {
  CallFacts facts{.count = call.count,
                  .plan = plan_hash,
                  .root = call.root,
                  .collective = call.collective,
                  .dtype = call.dtype,
                  .op = call.op};
  if (call.uneven == nullptr) return facts;
  facts.count = 0;
  if (!call.uneven->agreed) return facts;  // each rank knows its own counts only
  Hasher hash;
  for (const size_t count : call.uneven->counts) {
    hash.value(count);
    facts.count += count;
  }
  facts.counts = hash.finish() | 1;
  return facts;
}

CallExtents extents_of(const plan::Shape& shape, int rank, size_t block_bytes) {
  const auto n_in = static_cast<size_t>(plan::blocks_in(shape, rank, plan::Buffer::kInput));
  const auto n_out = static_cast<size_t>(plan::blocks_in(shape, rank, plan::Buffer::kOutput));
  CallExtents extents{.input_bytes = n_in * block_bytes, .output_bytes = n_out * block_bytes};
  if (shape.collective == plan::Collective::kAllToAll || n_in == 0 || n_out == 0) return extents;
  const size_t own = static_cast<size_t>(rank) * block_bytes;
  if (n_in > 1) extents.input_own = own;
  if (n_out > 1) extents.output_own = own;
  extents.may_be_in_place = block_bytes != 0;
  return extents;
}

// Elements from the beginning of the buffer to the end of its last block.
size_t uneven_extent(const plan::Shape& shape, int rank, plan::Buffer buffer,
                     const UnevenBlocks& uneven) {
  const auto& offsets =
      buffer == plan::Buffer::kInput ? uneven.input_offsets : uneven.output_offsets;
  size_t end = 0;
  for (int32_t i = 0; i < plan::blocks_in(shape, rank, buffer); ++i) {
    const int32_t block = exec::block_index(shape, rank, plan::block_at(shape, rank, buffer, i));
    const size_t offset = offsets.empty() ? 0 : offsets[static_cast<size_t>(i)];
    end = std::max(end, offset + uneven.counts[static_cast<size_t>(block)]);
  }
  return end;
}

uint32_t agreed_digest(const CallFacts& facts) {
  Hasher hash;
  hash.value(facts.collective);
  hash.value(facts.dtype);
  hash.value(facts.op);
  hash.value(facts.root);
  hash.value(facts.plan);
  hash.value(facts.count);
  hash.value(facts.counts);
  return transport::to_signature(hash.finish());
}

}  // namespace

std::optional<Error> Collectives::begin(CollectiveCall& call) {
  call_ = &call;
  forget_last();
  begun_.store(begun() + 1, std::memory_order_relaxed);
  if (call.late_scalar != nullptr && place_.device == nullptr)
    std::memcpy(call.scaling.pre, call.late_scalar, size_of(call.dtype));
  if (call.uneven == nullptr) {
    const CallKey key = make_key(call.count, call.collective, call.dtype, call.op, call.root);
    Prepared& remembered = remembered_[slot_of(key)];
    if (remembered.program == nullptr || remembered.key != key) [[unlikely]] {
      remembered = prepare(call);
      remembered.key = key;
      remembered.recorded = &described_[slot_of(key)];
      described_[slot_of(key)] = {};  // anew, below
    }
    if (!journal_.lasts(remembered.described))
      remembered.described = journal_.describe(remembered.facts);
    current_ = &remembered;
    recorded_ = &described_[slot_of(key)];
  } else {
    uneven_ = prepare(call);
    current_ = &uneven_;
    recorded_ = &described_.back();
    *recorded_ = {};
  }
  history_ = extended(history_, current_->digest);
  journal_.begin(number(), current_->described);
  if (current_->program == nullptr) [[unlikely]]
    return refuse(call);
  // Names differ where what is done does not: Bcast, Broadcast.
  if (call.name != recorded_->name) [[unlikely]]
    *recorded_ = recorder_.describe(recorded_call(call), algorithm());
  if (links_.resting()) [[unlikely]]
    links_.resume();
  if (!is_symmetric() && !current_->program->connected) open_connections(*current_->program);
  return std::nullopt;
}

// The call takes its place in the order and does nothing: ranks that have made another call than
// this one still find out.
std::optional<Error> Collectives::refuse(const CollectiveCall& call) {
  *recorded_ = recorder_.describe(recorded_call(call), "");
  recorded_->name = nullptr;  // anew when it is admitted
  end();
  return Error(StatusCode::kSystemError, refusal_);
}

bool Collectives::try_start() {
  if (is_symmetric()) {
    launch_symmetric();
    return true;
  }
  ProgramEntry& entry = *current_->program;
  if (!entry.connected) {
    poll_recvs(entry);
    if (!entry.connected) return false;
  }
  if (place_.device != nullptr) {
    launch(entry);
    return true;
  }
  if (current_->line == nullptr && begun() >= current_->next_line) make_line(*call_);
  start();
  return true;
}

void Collectives::launch(ProgramEntry& entry) {
  if (entry.on_device == nullptr)
    entry.on_device = place_.device->executor().prepare(entry.program, entry.connections);
  const exec::DeviceLaunch launch{.binding = bind(*call_),
                                  .pre_scalar = static_cast<const std::byte*>(call_->late_scalar),
                                  .tiling = current_->tiling,
                                  .signature = history_,
                                  .protocol = current_->protocol,
                                  .call = number(),
                                  .stream = static_cast<cuda::Stream>(call_->device_stream)};
  runs_ = place_.device->launch(*entry.on_device, launch, memory_of(*call_));
  sent_.mask |= 1u << static_cast<unsigned>(transport::MessageKind::kStaged);
}

void Collectives::launch_symmetric() {
  const exec::SymmetricCall call{.way = current_->symmetric,
                                 .collective = call_->collective,
                                 .dtype = call_->dtype,
                                 .op = call_->op,
                                 .scaling = call_->scaling,
                                 .root = static_cast<uint32_t>(call_->root),
                                 .count = call_->count,
                                 .signature = history_,
                                 .call = number(),
                                 .stream = static_cast<cuda::Stream>(call_->device_stream)};
  runs_ = place_.device->launch(*symmetric_, call, memory_of(*call_));
  constexpr auto kKind = static_cast<unsigned>(transport::MessageKind::kMapped);
  sent_.mask |= 1u << kKind;
  const auto own = static_cast<uint32_t>(place_.rank);
  for (uint32_t peer = 0; peer < symmetric_->n_ranks; ++peer) {
    if (peer == own) continue;
    links_.note_direct_use(static_cast<int>(peer));
    if (!runs_) continue;
    auto& counted = recorder_.peer(static_cast<int>(peer)).protocols[kKind];
    const size_t sent = exec::symmetric_bytes(call, symmetric_->n_ranks, own, peer);
    const size_t received = exec::symmetric_bytes(call, symmetric_->n_ranks, peer, own);
    add(counted.sent_messages, sent != 0 ? 1 : 0);
    add(counted.sent_bytes, sent);
    add(counted.received_messages, received != 0 ? 1 : 0);
    add(counted.received_bytes, received);
  }
}

CallMemory Collectives::memory_of(const CollectiveCall& call) const {
  CallMemory memory{.input = static_cast<const std::byte*>(call.input),
                    .input_bytes = current_->extents.input_bytes,
                    .output = static_cast<std::byte*>(call.output),
                    .output_bytes = current_->extents.output_bytes};
  if (call.uneven == nullptr) return memory;
  const plan::Shape& shape = current_->program->program.shape;
  const size_t elem_bytes = size_of(call.dtype);
  memory.input_bytes =
      elem_bytes * uneven_extent(shape, place_.rank, plan::Buffer::kInput, *call.uneven);
  memory.output_bytes =
      elem_bytes * uneven_extent(shape, place_.rank, plan::Buffer::kOutput, *call.uneven);
  memory.output_is_whole = false;
  return memory;
}

void Collectives::start() {
  ProgramEntry& entry = *current_->program;
  std::byte* const scratch = scratch_.acquire(current_->scratch_bytes + current_->bounce_bytes);
  operation_.start({.program = &entry.program,
                    .connections = &entry.connections,
                    .binding = bind(*call_),
                    .tiling = current_->tiling,
                    .policy = tuning_.policy,
                    .signature = history_,
                    .scratch = scratch,
                    .bounce = {scratch + current_->scratch_bytes, current_->bounce_bytes},
                    .sent = &sent_});
}

// Only for calls whose buffers are all that may differ.
void Collectives::make_line(const CollectiveCall& call) noexcept {
  current_->next_line = begun() + kLineCalls;
  if (call.uneven != nullptr || call.op == Op::kPreMulSum) return;
  // A call that goes the long way after all must not fail then for want of memory.
  if (current_->scratch_bytes + current_->bounce_bytes != 0) return;
  const ProgramEntry& entry = *current_->program;
  // In turns: calls that alternate, such as a Broadcast from one root after the other, each keep
  // theirs.
  const size_t at = lines_made_++ % kLines;
  Prepared* const owner = std::exchange(line_owners_[at], nullptr);
  if (owner != nullptr && owner->line == &lines_[at]) owner->line = nullptr;
  if (!lines_[at].make(entry.program, entry.connections, current_->tiling,
                       {call.count, call.dtype, call.op}, tuning_.policy,
                       call.scaling.post_divisor)) {
    current_->next_line = UINT64_MAX;
    return;
  }
  current_->algorithm = algorithm();
  line_owners_[at] = current_;
  current_->line = &lines_[at];
}

void Collectives::go_on(Prepared& known, CollectiveCall& call, uint32_t step) {
  call_ = &call;
  current_ = &known;
  recorded_ = known.recorded;
  start();
  sent_.mask |= known.line->sent_mask();
  if (known.line->refers()) operation_.expect_references();
  for (uint32_t done = 0; done < step; ++done) {
    const exec::StraightLine::Place place = known.line->place_of(done);
    operation_.skip(place.lane, place.tile, place.step);
  }
}

Collectives::Prepared Collectives::prepare(const CollectiveCall& call) {
  const std::optional<Cut> chosen =
      choose({.collective = call.collective,
              .n_ranks = place_.n_ranks,
              .root = call.root,
              .cores = place_.cores,
              .hosts = place_.hosts,
              .block_bytes = block_bytes(call),
              .uneven = call.uneven != nullptr && !call.uneven->agreed,
              .dtype = call.dtype},
             call);
  Prepared prepared;
  prepared.facts = facts_of(call, chosen.has_value() ? chosen->plan->hash : 0);
  prepared.digest = agreed_digest(prepared.facts);
  prepared.described = journal_.describe(prepared.facts);
  if (!chosen.has_value()) return prepared;
  prepared.program = &program_for(*chosen);
  prepared.symmetric = symmetric_way(call, *chosen);
  prepared.extents =
      extents_of(prepared.program->program.shape, place_.rank, call.count * size_of(call.dtype));
  prepared.tiling = chosen->tiling;
  prepared.protocol = chosen->protocol;
  log(LogLevel::kDebug, "comm", place_.rank, "{} of {} x {}: plan '{}' in {} tiles", call.name,
      call.count, name(call.dtype), chosen->plan->plan.algorithm, prepared.tiling.n_tiles);
  if (place_.device != nullptr) return prepared;  // the executor has the scratch
  const exec::Program& program = prepared.program->program;
  prepared.scratch_bytes = exec::scratch_bytes(program, prepared.tiling, call.dtype);
  if (tuning_.policy.pull_min_bytes != UINT64_MAX)
    prepared.bounce_bytes = exec::bounce_bytes(program);
  return prepared;
}

Collectives::Cut Collectives::cut(const Choice& choice, const CollectiveCall& call) const {
  Cut made{.plan = choice.plan, .key = program_key(choice)};
  if (made.plan == nullptr) made.plan = planner::verified_plan(*choice.row, choice.request);
  const bool counts_agreed = call.uneven == nullptr || call.uneven->agreed;
  made.protocol = device_protocol(call, *made.plan);
  const size_t slot_bytes =
      made.protocol == exec::DeviceProtocol::kSimple
          ? tuning_.layout.area_bytes
          : exec::slot_capacity(made.protocol, transport::kInlineFifoSlotBytes);
  made.tiling =
      exec::make_tiling(made.plan->plan.shape, bind(call),
                        std::min<size_t>(slot_bytes, tuning_.layout.area_bytes), counts_agreed);
  return made;
}

// Equal on all ranks.
exec::SymmetricWay Collectives::symmetric_way(const CollectiveCall& call,
                                              const Cut& chosen) const noexcept {
  using exec::SymmetricWay;
  if (symmetric_ == nullptr || call.uneven != nullptr || chosen.plan == tuning_.plan)
    return SymmetricWay::kNone;
  // Its scalar may be GPU memory that is read when the call runs, which plans do alone.
  if (call.op == Op::kPreMulSum) return SymmetricWay::kNone;
  const auto carries = [&](SymmetricWay way) {
    return exec::symmetric_carries(way, call.collective, call.dtype, call.op);
  };
  if (tuning_.nvls && carries(SymmetricWay::kNvls)) return SymmetricWay::kNvls;
  const std::string_view row = chosen.plan->plan.algorithm;
  const bool twice = row == "two_shot" || row == "scatter_all_gather";
  if (twice && carries(SymmetricWay::kTwoShot)) return SymmetricWay::kTwoShot;
  const bool once = row == "one_shot" || row == "pairwise";
  return once && carries(SymmetricWay::kOneShot) ? SymmetricWay::kOneShot : SymmetricWay::kNone;
}

// Equal on all ranks.
exec::DeviceProtocol Collectives::device_protocol(const CollectiveCall& call,
                                                  const planner::VerifiedPlan& plan) const {
  const DeviceProtocols& wanted = tuning_.device;
  const plan::Shape& shape = plan.plan.shape;
  const uint64_t bytes = block_bytes(call) * static_cast<uint64_t>(plan::block_count(shape));
  const bool fits = plan.verdict.min_slots <= static_cast<int64_t>(transport::kInlineFifoSlots);
  return fits && bytes <= wanted.most_bytes ? wanted.small : exec::DeviceProtocol::kSimple;
}

// nullopt, and refusal_, when the caps leave no room for it.
std::optional<Collectives::Cut> Collectives::admit(const Choice& choice,
                                                   const CollectiveCall& call) {
  Cut made = cut(choice, call);
  if (!memory_.limited()) return made;
  const auto refusal =
      memory_.admit({.plan = *made.plan,
                     .program_key = made.key,
                     .chunk_bytes = made.tiling.chunk_elems * size_of(call.dtype)});
  if (!refusal.has_value()) return made;
  refusal_ = *refusal;
  return std::nullopt;
}

// The best plan that the caps of all ranks leave room for; nullopt when there is none. Every rank
// finds the same.
std::optional<Collectives::Cut> Collectives::choose(const Selection& selection,
                                                    const CollectiveCall& call) {
  std::optional<Cut> best = admit(select(selection, tuning_), call);
  if (best.has_value()) return best;
  const std::string refusal = refusal_;
  for (const Choice& choice : substitutes(selection, tuning_)) {
    best = admit(choice, call);
    if (!best.has_value()) continue;
    log(LogLevel::kInfo, "comm", place_.rank, "{} uses '{}', which needs less memory: {}",
        call.name, choice.row->name, refusal);
    return best;
  }
  refusal_ = refusal;
  return std::nullopt;
}

Collectives::ProgramEntry& Collectives::program_for(const Cut& cut) {
  auto& entry = programs_[cut.key];
  if (entry == nullptr) {
    auto made = std::make_unique<ProgramEntry>();
    check_slots(*cut.plan);
    made->program = exec::compile(cut.plan, place_.rank);
    made->charge = MemoryCharge(budget_, MemoryUse::kPrograms, exec::program_bytes(made->program),
                                "a compiled program");
    const plan::Plan& plan = cut.plan->plan;
    log(LogLevel::kInfo, "comm", place_.rank,
        "first call of {}: plan '{}' of {}, {} lanes here, sends to {} and receives from {} "
        "connections",
        trace::kind_name(static_cast<uint8_t>(plan.shape.collective)), plan.algorithm,
        cut.plan == tuning_.plan ? "TUTTI_PLAN_FILE" : "the library", made->program.lanes.size(),
        made->program.send_peers.size(), made->program.recv_peers.size());
    entry = std::move(made);
  }
  return *entry;
}

void Collectives::check_slots(const planner::VerifiedPlan& plan) const {
  const auto slots = static_cast<int64_t>(tuning_.layout.n_areas);
  if (plan.verdict.min_slots <= slots) return;
  throw Error(StatusCode::kInvalidArgument,
              "algorithm '" + plan.plan.algorithm + "' needs " +
                  std::to_string(plan.verdict.min_slots) +
                  " slots per connection, rank 0's configuration gives " + std::to_string(slots) +
                  "; raise TUTTI_SLOTS");
}

void Collectives::open_connections(ProgramEntry& entry) {
  const exec::Program& program = entry.program;
  if (entry.connections.send.size() == program.send_peers.size() &&
      entry.connections.recv.size() == program.recv_peers.size()) {
    return;
  }
  entry.connections.send.clear();
  for (const exec::Endpoint& to : program.send_peers) {
    entry.connections.send.push_back(&links_.send_to(to.peer, to.channel));
  }
  entry.send_ready.assign(program.send_peers.size(), false);
  entry.connections.recv.assign(program.recv_peers.size(), nullptr);
}

Status Collectives::poll_sends() noexcept {
  if (is_symmetric()) return kOkStatus;
  ProgramEntry& entry = *current_->program;
  if (entry.connected) [[likely]]
    return kOkStatus;
  for (size_t i = 0; i < entry.send_ready.size(); ++i) {
    if (entry.send_ready[i]) continue;
    bool ready = false;
    Status status = entry.connections.send[i]->ready(&ready);
    if (!status.ok()) {
      status.rank = entry.program.send_peers[i].peer;
      return status;
    }
    entry.send_ready[i] = ready;
  }
  return kOkStatus;
}

void Collectives::poll_recvs(ProgramEntry& entry) {
  entry.connected = std::all_of(entry.send_ready.begin(), entry.send_ready.end(),
                                [](bool ready) { return ready; });
  for (size_t i = 0; i < entry.connections.recv.size(); ++i) {
    auto*& connection = entry.connections.recv[i];
    const exec::Endpoint& from = entry.program.recv_peers[i];
    if (connection == nullptr) connection = links_.try_recv_from(from.peer, from.channel);
    entry.connected = entry.connected && connection != nullptr;
  }
}

int Collectives::missing_peer() const noexcept {
  const ProgramEntry& entry = *current_->program;
  for (size_t i = 0; i < entry.connections.recv.size(); ++i) {
    if (entry.connections.recv[i] == nullptr) return entry.program.recv_peers[i].peer;
  }
  for (size_t i = 0; i < entry.send_ready.size(); ++i) {
    if (!entry.send_ready[i]) return entry.program.send_peers[i].peer;
  }
  return -1;
}

bool Collectives::misses(int rank) const noexcept {
  const ProgramEntry& entry = *current_->program;
  for (size_t i = 0; i < entry.connections.recv.size(); ++i) {
    if (entry.connections.recv[i] == nullptr && entry.program.recv_peers[i].peer == rank)
      return true;
  }
  for (size_t i = 0; i < entry.send_ready.size(); ++i) {
    if (!entry.send_ready[i] && entry.program.send_peers[i].peer == rank) return true;
  }
  return false;
}

exec::Binding Collectives::bind(const CollectiveCall& call) const noexcept {
  exec::Binding binding{.input = static_cast<const std::byte*>(call.input),
                        .output = static_cast<std::byte*>(call.output),
                        .dtype = call.dtype,
                        .op = call.op,
                        .scaling = call.scaling,
                        .in_place = call.in_place,
                        .block_count = call.count};
  if (call.uneven != nullptr) {
    const auto offsets = [](const std::vector<size_t>& v) {
      return v.empty() ? nullptr : v.data();
    };
    binding.block_counts = call.uneven->counts.data();
    binding.input_offsets = offsets(call.uneven->input_offsets);
    binding.output_offsets = offsets(call.uneven->output_offsets);
  }
  return binding;
}

}  // namespace tutti::comm
