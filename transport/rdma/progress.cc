// SPDX-License-Identifier: Apache-2.0
// Moving the verbs carrier's paths: completions, events of devices, descriptors.
#include <algorithm>
#include <array>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/log.h"
#include "transport/rdma/carrier.h"

namespace tutti::transport::rdma {
namespace {

constexpr int kBatch = 32;
constexpr int kMostBatches = 8;  // of one queue in one progress()
constexpr int64_t kProbeNs = kNsPerSecond / 2;
constexpr uint32_t kCallsPerLook = 128;  // between looks at descriptors while calls keep coming

}  // namespace

void RdmaCarrier::dispatch(const ibv_wc& completion) noexcept {
  const auto id = static_cast<uint32_t>(completion.wr_id >> 32);
  if (const auto found = core_.paths.find(id); found != core_.paths.end())
    return found->second->on_completion(completion);
  const auto rest = core_.lingering.find(id);
  if (rest == core_.lingering.end()) return;  // of a queue pair that is gone
  const auto number = static_cast<uint32_t>(completion.wr_id);
  if (completion.status == IBV_WC_SUCCESS) {
    if ((number & QueuePair::kSendBit) == 0) return;
    rest->second->sender->completed(number & ~static_cast<uint32_t>(QueuePair::kSendBit));
    if (!rest->second->sender->last_completed()) return;
  }
  core_.lingering.erase(rest);
}

bool RdmaCarrier::poll_completions() noexcept {
  bool any = false;
  std::array<ibv_wc, kBatch> completions;
  // By index: a callback may dial, and so add a queue.
  for (const auto& device : core_.rails->devices) {
    for (size_t q = 0; q < device->queues().size(); ++q) {
      for (int batch = 0; batch < kMostBatches; ++batch) {
        const int got = ibv_poll_cq(device->queues()[q]->cq.get(), kBatch, completions.data());
        for (int i = 0; i < got; ++i) dispatch(completions[static_cast<size_t>(i)]);
        if (got > 0) settle();
        any |= got > 0;
        if (got < kBatch) break;
      }
    }
  }
  return any;
}

void RdmaCarrier::settle() noexcept {
  settling_.swap(core_.touched);
  for (const uint32_t id : settling_) {
    if (const auto found = core_.paths.find(id); found != core_.paths.end())
      found->second->settle();
  }
  settling_.clear();
}

Status RdmaCarrier::progress(bool* moved) noexcept {
  bool any = poll_completions();
  settle();
  if (core_.look_at_descriptors || ++calls_ >= kCallsPerLook) {
    calls_ = 0;
    core_.look_at_descriptors = false;
    any |= look_at_descriptors();
    expire();
    settle();
  }
  if (any) *moved = true;
  const bool lost =
      std::ranges::all_of(core_.rails->devices, [](const auto& device) { return device->lost; });
  if (!lost) return kOkStatus;
  return {StatusCode::kSystemError, core_.options.rank,
          "every RDMA device has reported a fatal error; look at the kernel's log"};
}

bool RdmaCarrier::arm(bool) noexcept {
  for (const auto& device : core_.rails->devices) {
    device->take_events();
    device->request_events();
  }
  const bool came = poll_completions();  // what came before the request makes no event
  core_.look_at_descriptors = true;
  return !came;
}

bool RdmaCarrier::look_at_descriptors() noexcept {
  std::array<uint64_t, 64> keys;
  const size_t found = core_.polls.ready(keys);
  for (size_t i = 0; i < found; ++i) look_at(keys[i]);
  return found > 0;
}

void RdmaCarrier::look_at(uint64_t key) noexcept {
  const uint64_t id = key & ((uint64_t{1} << 56) - 1);
  switch (static_cast<Watched>(key >> 56)) {
    case Watched::kListener:
      return accept_visitors();
    case Watched::kCompletions:
      return core_.rails->devices[id]->take_events();
    case Watched::kAsync:
      return take_async_events(*core_.rails->devices[id]);
    case Watched::kManager:
      return core_.manager->take_events([this](JoinRequest request) { join(std::move(request)); });
    case Watched::kVisitor:
      return step_visitor(id);
    case Watched::kPath:
      break;
  }
  const auto number = static_cast<uint32_t>(id);
  // What the peer has sent before it closed comes first.
  while (poll_completions()) {
  }
  if (const auto found = core_.paths.find(number); found != core_.paths.end())
    return found->second->on_descriptor();
  core_.lingering.erase(number);  // the peer has closed its end too
}

// Handshakes and farewells that take too long, and peers that have been silent.
void RdmaCarrier::expire() noexcept {
  if (const int64_t now = now_ns(); now - probed_ns_ > kProbeNs) {
    probed_ns_ = now;
    for (const auto& [id, path] : core_.paths) path->probe();
  }
  std::erase_if(core_.lingering, [](const auto& rest) { return rest.second->until.expired(); });
  std::erase_if(expected_, [](const auto& expected) { return expected.second.until.expired(); });
  if (visitors_.empty()) return;
  std::vector<uint64_t> ids;
  for (const auto& [id, host] : visitors_) ids.push_back(id);
  for (const uint64_t id : ids) step_visitor(id);
}

std::vector<uint32_t> RdmaCarrier::path_ids() const {
  std::vector<uint32_t> ids;
  for (const auto& [id, path] : core_.paths) ids.push_back(id);
  return ids;
}

void RdmaCarrier::break_rail(const Rail& rail, const std::string& why) noexcept {
  // A sink may close other paths while it is told.
  for (const uint32_t id : path_ids()) {
    const auto found = core_.paths.find(id);
    if (found != core_.paths.end() && &found->second->port() == &rail) found->second->fail(why);
  }
}

void RdmaCarrier::port_event(Device& device, int port, const char* event) noexcept {
  for (Rail& rail : core_.rails->rails) {
    if (rail.device != &device || (port != 0 && rail.address.port != port)) continue;
    if (device.lost) {
      rail.down = "its device has reported a fatal error; look at the kernel's log";
    } else {
      look_again(rail);
    }
    log(LogLevel::kInfo, "transport", core_.options.rank, "rdma {}: {}{}{}", rail.name(), event,
        rail.down.empty() ? "" : ": ", rail.down);
    if (!rail.down.empty())
      break_rail(rail, fmt::format("port {} reports '{}': {}", rail.name(), event, rail.down));
  }
}

void RdmaCarrier::take_async_events(Device& device) noexcept {
  ibv_async_event event{};
  while (verbs().get_async_event(device.context(), &event) == 0) {
    const char* const text = verbs().event_type_str(event.event_type);
    // Acknowledged before it is acted on: a queue pair can't be destroyed while an event is not.
    verbs().ack_async_event(&event);
    switch (event.event_type) {
      case IBV_EVENT_QP_FATAL:
      case IBV_EVENT_QP_REQ_ERR:
      case IBV_EVENT_QP_ACCESS_ERR:
        for (const uint32_t id : path_ids()) {
          const auto found = core_.paths.find(id);
          if (found != core_.paths.end() && found->second->uses(event.element.qp))
            found->second->fail(fmt::format("its queue pair reports '{}'", text));
        }
        break;
      case IBV_EVENT_DEVICE_FATAL:
        device.lost = true;
        port_event(device, 0, text);
        break;
      case IBV_EVENT_PORT_ACTIVE:
      case IBV_EVENT_PORT_ERR:
      case IBV_EVENT_LID_CHANGE:
      case IBV_EVENT_PKEY_CHANGE:
      case IBV_EVENT_GID_CHANGE:
        port_event(device, event.element.port_num, text);
        break;
      default:
        log(LogLevel::kDebug, "transport", core_.options.rank, "rdma {}: {}", device.name(), text);
    }
  }
}

}  // namespace tutti::transport::rdma
