// SPDX-License-Identifier: Apache-2.0
// Describes a connection for kernels, wherever its memory lies.
#include "src/exec/cuda/endpoints.h"

#include <algorithm>
#include <bit>

namespace tutti::exec {
namespace {

using transport::DeviceFifo;
using transport::FifoLayout;

template <class T>
T* pointer(cuda::DevicePtr address) noexcept {
  return std::bit_cast<T*>(address);
}

void set_layout(const FifoLayout& layout, DeviceEndpoint* end) noexcept {
  end->slot_bytes = layout.area_bytes;
  end->n_slots = layout.n_areas;
  end->n_lines = layout.n_lines;
  end->window = std::min(layout.n_areas, layout.n_lines);
}

DeviceEndpoint in_gpu_memory(const DeviceFifo& fifo) noexcept {
  DeviceEndpoint end;
  end.lines = pointer<std::byte>(fifo.lines);
  end.slots = pointer<std::byte>(fifo.areas);
  end.released = pointer<uint64_t>(fifo.release_word);
  set_layout(fifo.layout, &end);
  return end;
}

DeviceEndpoint in_ring(const DeviceFifo::Inline& ring) noexcept {
  DeviceEndpoint end;
  end.slots = pointer<std::byte>(ring.slots);
  end.released = pointer<uint64_t>(ring.released);
  end.slot_bytes = ring.slot_bytes;
  end.n_slots = end.window = ring.n_slots;
  return end;
}

}  // namespace

DeviceProtocol protocol_of(const DeviceFifo& fifo, DeviceProtocol wanted) noexcept {
  return fifo.inline_fifo.slot_bytes == 0 ? DeviceProtocol::kSimple : wanted;
}

// The whole connection's memory, from its lines on (transport/fifo.h).
template <class View>
DeviceEndpoint DeviceEndpoints::shared_with_host(const View& view) {
  FifoLayout layout;
  layout.n_lines = view.n_lines;
  layout.n_areas = view.n_areas;
  layout.area_bytes = view.area_bytes;
  auto* const base = reinterpret_cast<std::byte*>(view.lines);
  const cuda::DevicePtr at =
      shares_.try_emplace(base, base, layout.total_bytes()).first->second.device();
  DeviceEndpoint end;
  end.lines = pointer<std::byte>(at);
  end.slots = pointer<std::byte>(at + layout.areas_offset());
  end.released = pointer<uint64_t>(at + layout.release_offset());
  set_layout(layout, &end);
  return end;
}

template <class Connection>
cuda::DevicePtr DeviceEndpoints::find_or_make(const Connection& connection, int peer,
                                              DeviceProtocol protocol, bool is_sender,
                                              uint64_t count) {
  const auto [known, added] = known_.try_emplace({&connection, protocol}, 0);
  if (!added && known->second != 0) return known->second;
  const bool simple = protocol == DeviceProtocol::kSimple;
  DeviceEndpoint end = !simple                        ? in_ring(connection.device.inline_fifo)
                       : connection.device.lines != 0 ? in_gpu_memory(connection.device)
                                                      : shared_with_host(connection.view);
  end.count = simple ? count : 0;
  // Nothing is known of what has been given back but that it is at most `window` less.
  end.seen_released = static_cast<uint32_t>(end.count) - end.window;
  end.protocol = protocol;
  end.peer = peer;
  end.is_sender = is_sender ? 1 : 0;
  const Block block = memory_.take(sizeof(end), 0);
  memory_.write(block.device, &end, sizeof(end));
  known->second = block.device;
  return known->second;
}

cuda::DevicePtr DeviceEndpoints::find(const transport::SendConnection& connection, int peer,
                                      DeviceProtocol protocol) {
  return find_or_make(connection, peer, protocol, /*is_sender=*/true, connection.view.committed);
}

cuda::DevicePtr DeviceEndpoints::find(const transport::RecvConnection& connection, int peer,
                                      DeviceProtocol protocol) {
  return find_or_make(connection, peer, protocol, /*is_sender=*/false, connection.view.consumed);
}

}  // namespace tutti::exec
