// SPDX-License-Identifier: Apache-2.0
// Writing and decoding journals.
#include "src/comm/journal.h"

#include <algorithm>

namespace tutti::comm {
uint64_t Journal::describe(const CallFacts& facts) noexcept {
  ++version_;
  const size_t at = kFirstSlot + (version_ & (kSlots - 1)) * kSlotWords;
  store(at + kSlotWords - 1, version_);
  store(at + 1, facts.count);
  store(at + 2, facts.counts);
  store(at + 3, facts.plan);
  store(at + 4, static_cast<uint64_t>(static_cast<uint32_t>(facts.root)) << 32 |
                    static_cast<uint64_t>(facts.collective) << 16 |
                    static_cast<uint64_t>(facts.dtype) << 8 | static_cast<uint64_t>(facts.op));
  store(at, version_);
  return version_;
}

void Journal::note_send(uint32_t ordinal, int peer, const SendFacts& facts) noexcept {
  const size_t at = kFirstSend + (sends_++ & (kSends - 1)) * 2;
  store(at, 0);
  store(at + 1, facts.count);
  store(at, (uint64_t{ordinal} + 1) << 32 | static_cast<uint64_t>(peer & 0xffffff) << 8 |
                static_cast<uint64_t>(facts.dtype));
}

std::optional<JournalCopy::Last> JournalCopy::last() const noexcept {
  uint64_t newest = 0;
  for (size_t i = 0; i < Journal::kCalls; ++i)
    newest = std::max(newest, words_[Journal::kFirstCall + i * 2]);
  if (newest == 0) return std::nullopt;
  return Last{(newest >> 1) - 1, (newest & 1) != 0};
}

std::optional<CallFacts> JournalCopy::facts(uint64_t number) const noexcept {
  const uint64_t* call = words_.data() + Journal::kFirstCall + (number & (Journal::kCalls - 1)) * 2;
  const uint64_t version = call[1] & Journal::kVersionMask;
  if (call[0] >> 1 != number + 1 || call[1] >> 48 != (number & 0xffff)) return std::nullopt;
  const uint64_t* at =
      words_.data() + Journal::kFirstSlot + (version & (Journal::kSlots - 1)) * Journal::kSlotWords;
  if ((at[0] & Journal::kVersionMask) != version) return std::nullopt;  // described anew since
  const uint64_t kinds = at[4];
  if (at[0] == 0 || at[0] != at[Journal::kSlotWords - 1] ||
      (kinds >> 16 & 0xff) >= plan::kCollectiveCount || (kinds >> 8 & 0xff) >= kDTypeCount ||
      (kinds & 0xff) >= kOpCount) {
    return std::nullopt;
  }
  return CallFacts{.count = at[1],
                   .counts = at[2],
                   .plan = at[3],
                   .root = static_cast<int32_t>(kinds >> 32),
                   .collective = static_cast<plan::Collective>(kinds >> 16 & 0xff),
                   .dtype = static_cast<DType>(kinds >> 8 & 0xff),
                   .op = static_cast<Op>(kinds & 0xff)};
}

std::optional<SendFacts> JournalCopy::send(int peer, uint32_t ordinal) const noexcept {
  const uint64_t key = (uint64_t{ordinal} + 1) << 24 | static_cast<uint64_t>(peer & 0xffffff);
  for (size_t i = 0; i < Journal::kSends; ++i) {
    const uint64_t* at = words_.data() + Journal::kFirstSend + i * 2;
    if (at[0] >> 8 == key && (at[0] & 0xff) < kDTypeCount)
      return SendFacts{at[1], static_cast<DType>(at[0] & 0xff)};
  }
  return std::nullopt;
}

}  // namespace tutti::comm
