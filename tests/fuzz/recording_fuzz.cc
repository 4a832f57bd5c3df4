// SPDX-License-Identifier: Apache-2.0
// Flight recordings, which `tutti trace` takes from other processes and hosts, through everything
// that is told from them. An input changes words of one good recording per rank:
//   number of entries u8, number of ranks u8, then {rank u8, word u16, value u64} until the end
#include <cmath>
#include <cstring>
#include <memory>

#include <nlohmann/json.hpp>

#include "src/trace/analysis.h"
#include "src/trace/chrome.h"
#include "src/trace/reader.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

using namespace trace;

constexpr int64_t kStartNs = 1'000'000'000;
constexpr uint64_t kTicksPerRecord = 1'000'000;

struct Place {
  uint32_t entries;
  int32_t rank, n_ranks;
};

void write_header(const Place& place, Image* image) {
  const auto h = std::make_unique<Header>();
  h->magic = kMagic;
  h->layout_version = kLayoutVersion;
  h->entries = place.entries;
  h->total_bytes = image->size() * sizeof(uint64_t);
  h->comm_id = 0xc0;
  h->rank = place.rank;
  h->n_ranks = place.n_ranks;
  h->host_id = 1;
  h->process_uid = 100 + static_cast<uint64_t>(place.rank);
  h->pid = 1000 + place.rank;
  h->first_mono_ns = kStartNs;
  h->opened_mono_ns = kStartNs;
  h->opened_wall_ns = 1'700'000'000'000'000'000;
  h->last_ticks = 100 * kTicksPerRecord;
  h->last_mono_ns = kStartNs + 100 * static_cast<int64_t>(kTicksPerRecord);
  std::strcpy(h->host, "host");
  std::strcpy(h->program, "program");
  std::memcpy(image->data(), h.get(), sizeof *h);
  auto* names = reinterpret_cast<char*>(image->data()) + kNamesOffset;
  for (const char* name : {"", "AllReduce", "ring", "shm"}) {
    std::strcpy(names, name);
    names += kNameBytes;
  }
}

// AllReduces, of which the last one runs and the next one is queued.
void write_records(const Place& place, Image* image) {
  constexpr uint64_t kRecords = 20;
  for (uint64_t i = 0; i < kRecords; ++i) {
    const bool last = i + 1 == kRecords;
    const uint64_t version = make_version(i, last ? State::kRunning : State::kDone);
    uint64_t* words = &(*image)[kRingOffset / 8 + ring_index(version, place.entries) * kWords];
    words[kVersion] = version;
    words[kBegun] = (i * 4 + 1) * kTicksPerRecord + static_cast<uint64_t>(place.rank);
    words[kEnded] = words[kBegun] + kTicksPerRecord;
    words[kCount] = 4096;
    words[kFacts] = make_facts(i, 0, 7, 0);
    words[kRanks] = make_ranks(-1, last ? 0 : -1);
    words[kDetails] = uint64_t{1} << 24 | uint64_t{2} << 16;
  }
  uint64_t* queued = &(*image)[kQueueOffset / 8];
  queued[kVersion] = make_version(0, State::kQueued);
  queued[kIssued] = 90 * kTicksPerRecord;
  queued[kFacts] = make_facts(0, static_cast<uint8_t>(Kind::kSend), 7, 0);
  queued[kRanks] = make_ranks(0, -1);
  uint64_t* traffic = &(*image)[peers_offset(place.entries) / 8];
  traffic[0] = traffic[4] = 17;
  traffic[19] = 3;
}

std::vector<Image> good_images(uint32_t entries, int32_t n_ranks) {
  std::vector<Image> images;
  for (int32_t rank = 0; rank < n_ranks; ++rank) {
    Image image(total_bytes(entries, static_cast<uint64_t>(n_ranks)) / sizeof(uint64_t));
    write_header({entries, rank, n_ranks}, &image);
    write_records({entries, rank, n_ranks}, &image);
    images.push_back(std::move(image));
  }
  return images;
}

bool prints(const std::string& text) {
  return text.find_first_of(std::string_view("\0\n\r\t\x1b\x7f", 6)) == std::string::npos;
}

void check_operation(const Operation& o, const Recording& r) {
  require(o.root >= -1 && o.root < r.n_ranks, "a root is a rank");
  require(o.waiting_for >= -1 && o.waiting_for < r.n_ranks, "who is waited for is a rank");
  require(!o.ended() || o.begun_ns <= o.ended_ns, "an operation ends after it begins");
  require(!describe(o).empty() && prints(describe(o)), "an operation can be described");
  require(std::isfinite(bus_factor(o, r.n_ranks)), "a bus factor is a number");
  require(payload_bytes(o, r.n_ranks) == 0 || o.count > 0, "bytes come from elements");
}

void check_recording(const Recording& r) {
  require(r.rank >= 0 && r.rank < r.n_ranks, "a recording is of a rank");
  require(prints(r.host + r.comm_name + r.program + r.failure), "texts are for terminals");
  for (size_t i = 0; i < r.ring.size(); ++i) {
    check_operation(r.ring[i], r);
    require(i == 0 || r.ring[i - 1].sequence < r.ring[i].sequence, "sequences ascend");
  }
  for (const Operation& queued : r.queue) check_operation(queued, r);
  for (const PeerCounters& c : r.counters)
    require(c.peer >= 0 && c.peer < r.n_ranks && prints(c.transport), "counters are of a rank");
}

void check_findings(const std::vector<Recording>& recordings) {
  const Timeline timeline(recordings);
  const Fate fate = [](const Recording& r) { return "RSTZ?\0"[r.pid % 6]; };
  for (const CommFindings& found : analyse(timeline, fate)) {
    require(!found.text().empty(), "findings can be told");
    for (const Finding& finding : found.findings)
      for (const int rank : finding.ranks)
        require(rank >= 0 && rank < found.comm->n_ranks, "who is blamed is a rank");
  }
  require(nlohmann::json::accept(chrome_trace(timeline)), "a trace file is JSON");
}

std::string change(uint8_t rank, uint16_t word, uint64_t value) {
  std::string text(1, static_cast<char>(rank));
  for (int i = 0; i < 2; ++i) text += static_cast<char>(word >> (8 * i));
  for (int i = 0; i < 8; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

}  // namespace

void run(std::string_view input) {
  Input in(input);
  const uint32_t entries = 16U << (in.number<uint8_t>() % 2);
  std::vector<Image> images = good_images(entries, 1 + in.number<uint8_t>() % 4);
  while (!in.empty()) {
    Image& image = images[in.number<uint8_t>() % images.size()];
    uint64_t& word = image[in.number<uint16_t>() % image.size()];
    word = in.number<uint64_t>();
  }
  std::vector<Recording> recordings;
  for (const Image& image : images) {
    if (auto recording = accepted([&] { return parse(image, "file"); })) {
      check_recording(*recording);
      recordings.push_back(std::move(*recording));
    }
  }
  check_findings(recordings);
}

std::vector<std::string> seeds() {
  constexpr uint16_t kRing = kRingOffset / 8;
  constexpr uint16_t kState = offsetof(Header, comm_state) / 8;
  const std::string two("\0\1", 2), four("\1\3", 2);
  return {two,
          four,
          two + change(1, kRing + kCount, 4097),
          two + change(1, kRing + kFacts, make_facts(16, 8, 7, 0)),
          four + change(2, kState, static_cast<uint64_t>(CommState::kFailed)),
          four + change(3, kRing + 3 * kWords + kVersion, 0)};
}

}  // namespace tutti::fuzz
