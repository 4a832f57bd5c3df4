// SPDX-License-Identifier: Apache-2.0
// The table of mapped bell pages.
#include "transport/bell_page.h"

#include <map>
#include <new>
#include <string>
#include <utility>

#include "src/base/error.h"
#include "src/base/liveness.h"
#include "src/base/process_local.h"

namespace tutti::transport {
namespace {

constexpr uint32_t kMaxPageBytes = 1 << 20;

// By (process, page). Entries whose page nobody holds any more go when the next page is mapped.
struct MappedPages {
  std::map<std::pair<uint64_t, uint64_t>, std::weak_ptr<const Mapping>> pages;
};

void check(const BellPlace& place, int fd) {
  const bool on_page = place.page_bytes <= kMaxPageBytes && place.offset % alignof(Doorbell) == 0 &&
                       uint64_t{place.offset} + sizeof(Doorbell) <= place.page_bytes;
  if (on_page && is_sealed_against_shrinking(fd) && file_bytes(fd) >= place.page_bytes) return;
  throw Error(StatusCode::kInvalidArgument,
              "a bell must lie on a sealed memfd page; got offset " + std::to_string(place.offset) +
                  " of a page said to have " + std::to_string(place.page_bytes) + " bytes");
}

}  // namespace

BellPlace place_of(const SharedBell& bell) {
  return {this_process().process_uid, bell.page_id(), bell.offset(), bell.page_bytes()};
}

BellHandle map_bell(const BellPlace& place, int fd) {
  check(place, fd);
  const std::pair key{place.process_uid, place.page_id};
  std::shared_ptr<const Mapping> page = ProcessLocal<MappedPages>::with([&](MappedPages& mapped) {
    std::shared_ptr<const Mapping> held = mapped.pages[key].lock();
    if (held != nullptr) return held;
    held = std::make_shared<const Mapping>(fd, place.page_bytes);
    std::erase_if(mapped.pages, [](const auto& entry) { return entry.second.expired(); });
    mapped.pages[key] = held;
    return held;
  });
  if (page->bytes() < uint64_t{place.offset} + sizeof(Doorbell)) {
    throw Error(StatusCode::kInvalidArgument, "a peer gave two sizes for one page of bells");
  }
  auto* bell = std::launder(reinterpret_cast<Doorbell*>(page->data() + place.offset));
  return {std::move(page), bell};
}

}  // namespace tutti::transport
