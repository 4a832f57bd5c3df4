// SPDX-License-Identifier: Apache-2.0
// Pages of doorbells and who holds which bell.
#include "src/base/shared_bell.h"

#include <bitset>
#include <new>
#include <utility>
#include <vector>

#include "src/base/file.h"
#include "src/base/process_local.h"

namespace tutti {
namespace {

constexpr size_t kBellsPerPage = 256;
constexpr size_t kPageBytes = kBellsPerPage * sizeof(Doorbell);

struct BellPage {
  explicit BellPage(uint64_t page_id)
      : fd(create_sealed_memfd("tutti-bells", kPageBytes)),
        mapping(fd.get(), kPageBytes),
        id(page_id) {
    for (size_t i = 0; i < kBellsPerPage; ++i) new (mapping.data() + i * sizeof(Doorbell)) Doorbell;
  }

  FileDescriptor fd;
  Mapping mapping;
  uint64_t id;
  std::bitset<kBellsPerPage> taken;  // guarded by the lock of ProcessLocal<BellPages>
};

struct BellPages {
  std::vector<std::weak_ptr<BellPage>> pages;
  uint64_t next_id = 1;

  std::shared_ptr<BellPage> page_with_room() {
    std::erase_if(pages, [](const auto& page) { return page.expired(); });
    for (const auto& weak : pages) {
      if (auto page = weak.lock(); page != nullptr && !page->taken.all()) return page;
    }
    auto page = std::make_shared<BellPage>(next_id);
    ++next_id;
    pages.push_back(page);
    return page;
  }
};

}  // namespace

SharedBell SharedBell::allocate() {
  register_ringer();
  return ProcessLocal<BellPages>::with([](BellPages& pages) {
    std::shared_ptr<BellPage> page = pages.page_with_room();
    size_t index = 0;
    while (page->taken.test(index)) ++index;
    page->taken.set(index);
    SharedBell result;
    result.offset_ = static_cast<uint32_t>(index * sizeof(Doorbell));
    result.bell_ = std::launder(reinterpret_cast<Doorbell*>(page->mapping.data() + result.offset_));
    result.fd_ = page->fd.get();
    result.page_id_ = page->id;
    result.page_bytes_ = kPageBytes;
    result.page_ = std::move(page);
    return result;
  });
}

SharedBell::SharedBell(SharedBell&& other) noexcept { swap(other); }

SharedBell& SharedBell::operator=(SharedBell&& other) noexcept {
  SharedBell taken(std::move(other));
  swap(taken);
  return *this;
}

SharedBell::~SharedBell() {
  if (page_ == nullptr) return;
  ProcessLocal<BellPages>::with([this](BellPages&) {
    static_cast<BellPage*>(page_.get())->taken.reset(offset_ / sizeof(Doorbell));
  });
}

void SharedBell::swap(SharedBell& other) noexcept {
  std::swap(bell_, other.bell_);
  std::swap(fd_, other.fd_);
  std::swap(page_id_, other.page_id_);
  std::swap(offset_, other.offset_);
  std::swap(page_bytes_, other.page_bytes_);
  page_.swap(other.page_);
}

}  // namespace tutti
