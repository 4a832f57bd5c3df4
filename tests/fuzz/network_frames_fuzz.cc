// SPDX-License-Identifier: Apache-2.0
// A peer that sends whatever it likes to another rank's endpoint, over paths that it has dialled.
// An input is a flag byte (bit 0: greets properly first, bit 1: payloads lie in the path's memory)
// and frames {kind u8, path u8, offset u8, length u8, bytes, size u16}: a good frame of that kind
// on that path, whose header is replaced at the offset; a payload of `size` bytes that repeat the
// last ones, where the header does not say otherwise. The path byte's bits: 0 which path, 1 sends
// only half of the frame before the next is looked at, 2 keeps the number of the frame before, 7
// closes the path afterwards. Whatever comes, an honest rank is served, and who is refused is told
// why.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>

#include "src/device/device.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/transport_flow.h"
#include "tests/unit/transport_virtual_time.h"
#include "transport/network/greeting.h"

namespace tutti::fuzz {
namespace {

using namespace transport::testing;
using namespace transport::network;
using transport::FifoLayout;

constexpr FifoLayout kSmall{.n_lines = 8, .n_areas = 2, .area_bytes = 256};
constexpr int kVictim = 0, kAttacker = 1, kHonest = 2, kRanks = 3;
constexpr size_t kPaths = 2;
constexpr size_t kWindowBytes = 4096;

// One of the attacker's paths: speaks a proper greeting if asked to, and listens to nothing else.
class Attack final : public FrameSink {
 public:
  Attack(FakeCarrier& carrier, uint64_t path_id) {
    hello_ = {.from = kAttacker, .to = kVictim, .comm_id = FakeRank::kCommId, .path_id = path_id};
    std::string why;
    path_ = carrier.dial({.rank = kVictim, .process = {}, .address = {}}, 0, *this, &why);
  }
  std::byte* place(const FrameHeader& header) noexcept override {
    arriving_.resize(header.payload_bytes);
    return arriving_.data();
  }
  void arrived(Path&, const FrameHeader& header, const std::byte* lent) noexcept override {
    if (header.kind != FrameKind::kWelcome || header.payload_bytes != sizeof(Welcome)) return;
    std::memcpy(&welcome_, lent != nullptr ? lent : arriving_.data(), sizeof welcome_);
    welcomed_ = true;
  }
  void sent(Path&, uint64_t) noexcept override {}
  void broken(Path&, const std::string&) noexcept override { open_ = false; }

  bool is_open() const { return path_ != nullptr && open_; }
  bool welcomed() const { return welcomed_; }
  void say_hello() {
    send({.kind = FrameKind::kHello}, as_text(std::as_bytes(std::span(&hello_, 1))));
  }
  void confirm() {
    const Confirm confirm{prove(Key{}, Step::kConfirm, hello_, welcome_.nonce)};
    send({.kind = FrameKind::kConfirm}, as_text(std::as_bytes(std::span(&confirm, 1))));
  }
  void send(FrameHeader header, const std::string& payload) {
    header.payload_bytes = static_cast<uint32_t>(payload.size());
    // Without a token: copied at once.
    if (is_open())
      path_->send(
          {.header = header, .payload = reinterpret_cast<const std::byte*>(payload.data())});
  }
  void close() { path_ = nullptr; }

 private:
  std::unique_ptr<Path> path_;
  bool open_ = true;
  Hello hello_{};
  Welcome welcome_{};
  bool welcomed_ = false;
  std::vector<std::byte> arriving_;
};

// The victim with a window, and a connection to the attacker on which messages wait.
class World {
 public:
  explicit World(bool lends) {
    net_.n_paths = 1;
    net_.made = [lends](FakeLink& link) { link.lends = lends; };
    victim_.config.timeout_ns = kNsPerMs;  // the end does not wait for who does not answer
    victim_.endpoint->exports().add(memory_, kWindowBytes);
    for (size_t i = 0; i < kPaths; ++i)
      attacks_[i] = std::make_unique<Attack>(attacker_, (uint64_t{kAttacker} << 32) + i + 1);
    settle();
  }
  ~World() {
    for (auto& attack : attacks_) attack = nullptr;
    victim_.endpoint = nullptr;
    device::free_shared(memory_);
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void greet() {
    for (auto& attack : attacks_) attack->say_hello();
    settle();
    for (auto& attack : attacks_) {
      require(attack->welcomed(), "who greets properly is welcomed");
      attack->confirm();
    }
    settle();
    to_attacker_ = victim_.with(kAttacker).open({FakeRank::kCommId, kVictim, kAttacker, 0}, kSmall);
    transport::SendView view;
    view.attach(to_attacker_->mirror.base(), kSmall, nullptr);
    for (int i = 0; i < 4; ++i) view.commit(0, transport::MessageKind::kInline);
    settle();
  }
  void take(Input& in) {
    const auto kind = in.number<uint8_t>();
    const auto how = in.number<uint8_t>();
    const auto offset = std::min<size_t>(in.number<uint8_t>(), sizeof(FrameHeader));
    const std::string_view bytes = in.text(in.number<uint8_t>());
    const auto size = in.number<uint16_t>();
    FrameHeader header{.sequence = (how & 4) != 0 ? sequence_ : sequence_ + 1,
                       .kind = static_cast<FrameKind>(kind)};
    std::string payload = good_payload(header, size, bytes);
    std::memcpy(reinterpret_cast<std::byte*>(&header) + offset, bytes.data(),
                std::min(bytes.size(), sizeof header - offset));
    sequence_ = header.sequence;
    Attack& attack = *attacks_[how & 1];
    attack.send(header, payload);
    halves_ = (how & 2) != 0 ? 1 : 1 << 20;
    net_.allows = [this](FakeEvent event, FakeLink&, int end) {
      return event != FakeEvent::kDeliver || end == 0 || halves_-- > 0;
    };
    (void)victim_.move();
    net_.allows = [](FakeEvent, FakeLink&, int) { return true; };
    if ((how & 0x80) != 0) attack.close();
  }
  void settle() {
    for (int i = 0; i < 8; ++i) {
      pass_time(kNsPerMs);
      (void)victim_.move();
      bool moved = false;
      (void)attacker_.progress(&moved);
    }
  }
  void check_victim() {
    const Status status = victim_.with(kAttacker).status();
    if (status.ok()) return;
    require(status.code == StatusCode::kRemoteError && status.rank == kAttacker,
            "a refusal blames the peer");
    require(std::string(status.reason).find("rank 1") != std::string::npos,
            "a refusal names the peer");
  }
  void check_honest_rank() {
    FakeRank honest(net_, kHonest, kRanks);
    Flow flow(honest, victim_, {.messages = 3, .seed = 4});
    for (int i = 0; i < 1000 && !flow.done(); ++i) {
      pass_time(kNsPerMs);
      flow.send_one();
      (void)honest.move();
      (void)victim_.move();
      flow.take_one();
      flow.release_one();
    }
    require(flow.done() && flow.wrong().empty(), "an honest rank is served");
  }

 private:
  // What a frame of that kind has, so that a fuzzer need not find it.
  std::string good_payload(FrameHeader& header, size_t size, std::string_view bytes) {
    switch (header.kind) {
      case FrameKind::kOpen: {
        header.stream = opened_++;
        const OpenPayload open{.channel = 0, .n_lines = 8, .n_areas = 2, .area_bytes = 256};
        std::string text = as_text(std::as_bytes(std::span(&open, 1)));
        if (size != 0) text.replace(0, std::min(bytes.size(), text.size()), bytes);
        return text.substr(0, sizeof open);
      }
      case FrameKind::kAccept:
        return std::string(sizeof(MemoryKey), '\0');
      case FrameKind::kMessage:
        header.number = messages_++;
        header.word = size == transport::kInlineBytes ? 0 : 1;
        break;
      case FrameKind::kPut:
      case FrameKind::kSignal:
      case FrameKind::kRead:
        header.stream = 1;
        header.word = 1;
        break;
      default:
        break;
    }
    return std::string(size, bytes.empty() ? 'x' : bytes.back());
  }

  FakeNet net_;
  void* memory_ = device::allocate_shared(kWindowBytes);
  FakeRank victim_{net_, kVictim, kRanks};
  FakeCarrier attacker_{net_, kAttacker};
  std::array<std::unique_ptr<Attack>, kPaths> attacks_;
  std::shared_ptr<SendStream> to_attacker_;  // shared with the session
  uint64_t sequence_ = 0;
  uint64_t messages_ = 0;
  uint32_t opened_ = 0;
  int halves_ = 0;
};

}  // namespace

void run(std::string_view input) {
  constexpr int kMostFrames = 60;
  Input in(input);
  const auto flags = in.number<uint8_t>();
  World world((flags & 2) != 0);
  if ((flags & 1) != 0) world.greet();
  for (int i = 0; !in.empty() && i < kMostFrames; ++i) world.take(in);
  world.settle();
  world.check_victim();
  world.check_honest_rank();
}

std::vector<std::string> seeds() {
  const auto frame = [](FrameKind kind, int how = 0, int size = 0, const std::string& bytes = "",
                        int offset = 0) {
    return std::string{static_cast<char>(kind), static_cast<char>(how), static_cast<char>(offset),
                       static_cast<char>(bytes.size())} +
           bytes + std::string{static_cast<char>(size), static_cast<char>(size >> 8)};
  };
  const std::string open = frame(FrameKind::kOpen);
  const std::string greeting = as_text(std::as_bytes(std::span("\0\0\0\0\0\0\0", 8)));
  return {"\1" + open + frame(FrameKind::kMessage, 1, 56) + frame(FrameKind::kMessage, 0, 200),
          "\3" + open + frame(FrameKind::kMessage, 2, 56) + frame(FrameKind::kNone),
          "\1" + frame(FrameKind::kAccept) + frame(FrameKind::kCredit) + frame(FrameKind::kFailure),
          "\1" + frame(FrameKind::kPut, 2, 64) + frame(FrameKind::kPut, 5, 64) +
              frame(FrameKind::kSignal, 1) + frame(FrameKind::kRead) + frame(FrameKind::kWords),
          "\1" + frame(FrameKind::kAbandon) + frame(FrameKind::kAbandoned, 1) +
              frame(FrameKind::kAck, 0, 0, greeting) + frame(FrameKind::kBye, 0, 0, greeting),
          "\1" + frame(FrameKind::kWelcome, 0, 48, greeting) +
              frame(FrameKind::kConfirm, 0, 32, greeting) +
              frame(FrameKind::kRefuse, 1, 0, greeting),
          std::string(1, '\0') + frame(FrameKind::kHello, 0, 48, greeting) +
              frame(FrameKind::kConfirm, 1, 32, greeting)};
}

}  // namespace tutti::fuzz
