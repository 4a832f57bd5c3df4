// SPDX-License-Identifier: Apache-2.0
// A process that talks to another one's shm hub. An input is a flag byte (bit 0: greets properly
// first) and packets {kind u8, descriptors u8, offset u8, length u8, bytes}: a good packet of that
// kind, whose bytes at the offset are replaced; it ends there when the kind's top bit is set.
// Whatever comes, an honest peer is served afterwards.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include <sys/mman.h>

#include "src/base/socket.h"
#include "src/base/wait.h"
#include "tests/fuzz/fuzz.h"
#include "transport/fifo.h"
#include "transport/shm/hub.h"

namespace tutti::fuzz {
namespace {

using namespace transport;
using namespace transport::shm;

constexpr FifoLayout kSmall{.n_lines = 8, .n_areas = 2, .area_bytes = 1024};
constexpr EndpointKey kRank{.comm_id = 7, .rank = 0};
constexpr int64_t kPatienceNs = 15 * kNsPerSecond;
constexpr uint64_t kCookieValue = 5;

// One hub with one rank and one region, and what a peer may send.
struct World {
  Hub hub;
  SharedBell bell = SharedBell::allocate();
  void* region = device::allocate_shared(4096);
  std::shared_ptr<const device::SharedRegion> exposed = device::find_shared(region, 4096);
  FileDescriptor memory = create_sealed_memfd("fuzz", kSmall.total_bytes());
  FileDescriptor tiny = create_sealed_memfd("fuzz", 64);
  FileDescriptor unsealed{::memfd_create("fuzz", MFD_CLOEXEC)};
  FileDescriptor device{::open("/dev/null", O_RDWR | O_CLOEXEC)};

  World() { hub.expose(exposed); }
  ~World() { device::free_shared(region); }

  Socket connect() const {
    SocketAddress to{.family = SocketAddress::Family::kUnixAbstract};
    std::memcpy(to.name, hub.address().name, sizeof hub.address().name);
    return Socket::connect(to, SocketKind::kSequencedPacket, Deadline::after_ns(kPatienceNs));
  }
  int descriptor(int which) const {
    const std::array all{memory.get(), bell.fd(), tiny.get(), unsealed.get(), device.get()};
    return which == 0 ? -1 : all[static_cast<size_t>(which - 1) % all.size()];
  }
};

template <typename Packet>
std::string text_of(const Packet& packet) {
  return as_text(bytes_of(packet));
}

HelloPacket hello(const World& world) {
  return {.token = world.hub.address().token,
          .process = this_process(),
          .cookie = {.address = reinterpret_cast<uintptr_t>(&kCookieValue), .value = kCookieValue}};
}

WantPacket want(const World& world, uint64_t request) {
  return {.request = request,
          .comm_id = kRank.comm_id,
          .region = world.exposed->id,
          .rank = kRank.rank};
}

std::string good_packet(const World& world, unsigned kind) {
  const WireId id{.comm_id = kRank.comm_id, .source_rank = 1, .sink_rank = 0};
  const BellPlace bell = place_of(world.bell);
  switch (kind % 10) {
    case 0:
      return text_of(hello(world));
    case 1:
      return text_of(ConnectPacket{.id = id, .layout = kSmall, .bell = bell});
    case 2:
      return text_of(CancelPacket{.id = id});
    case 3:
      return text_of(AcceptedPacket{.id = id, .bell = bell});
    case 4:
      return text_of(RefusedPacket{.id = id});
    case 5:
      return text_of(RegionPacket{.region = 1, .bytes = 64});
    case 6:
      return text_of(UnmapPacket{.region = 1});
    case 7:
      return text_of(want(world, 1));
    case 8:
      return text_of(ExposedPacket{.request = 1, .region = 1, .bytes = 64, .bell = bell});
    default:
      return std::string(kMaxPacketBytes + 1, 'x');
  }
}

// False when the hub has closed the link.
bool send(Socket& socket, const std::string& packet, std::span<const int> descriptors = {}) {
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  std::array<std::byte, kMaxPacketBytes> answer;
  try {
    while (!socket.try_send_packet(as_bytes(packet), descriptors)) {
      require(!deadline.expired(), "the hub reads its packets");
      if (!socket.try_receive_packet(answer)) sleep_ns(50 * kNsPerUs);
    }
  } catch (const Error& error) {
    require(error.code() == StatusCode::kRemoteError, "only the hub ends a link");
    return false;
  }
  return true;
}

// Bytes of the next packet; empty when the hub has closed the link.
std::string receive(Socket& socket) {
  const Deadline deadline = Deadline::after_ns(kPatienceNs);
  std::array<std::byte, kMaxPacketBytes> buffer;
  for (;;) {
    if (const auto received = socket.try_receive_packet(buffer))
      return as_text(std::span(buffer).first(received->bytes));
    require(!deadline.expired(), "the hub answers");
    sleep_ns(50 * kNsPerUs);
  }
}

void check_honest_peer(const World& world) {
  constexpr uint64_t kRequest = 4711;
  Socket socket = world.connect();
  require(send(socket, text_of(hello(world))) && send(socket, text_of(want(world, kRequest))),
          "an honest peer is let in");
  const auto answer = parse<ExposedPacket>(as_bytes(receive(socket)));
  require(answer && answer->request == kRequest && answer->why == Refusal::kNone,
          "an honest peer is served");
}

// A process may say that it is another program now, but not so often that a fuzzer's descriptors
// run out.
void tame_greeting(std::string* packet) {
  constexpr size_t kAt = offsetof(HelloPacket, process) + offsetof(ProcessIdentity, process_uid);
  if (packet->size() < kAt + sizeof(uint64_t) || packet->size() > sizeof(HelloPacket)) return;
  uint64_t uid = 0;
  std::memcpy(&uid, packet->data() + kAt, sizeof uid);
  uid = this_process().process_uid ^ (uid & 1);
  std::memcpy(packet->data() + kAt, &uid, sizeof uid);
}

std::string next_packet(const World& world, uint8_t kind, Input* in) {
  std::string packet = good_packet(world, kind & 0x7f);
  const size_t offset = std::min<size_t>(in->number<uint8_t>(), packet.size());
  const std::string_view bytes = in->text(in->number<uint8_t>());
  const bool ends = (kind & 0x80) != 0;
  packet.replace(offset, ends ? std::string::npos : bytes.size(), bytes);
  if ((kind & 0x7f) % 10 == 0) tame_greeting(&packet);
  return packet.empty() ? "x" : packet;
}

}  // namespace

void run(std::string_view input) {
  static World world;
  constexpr int kMostPackets = 40;
  world.hub.add_endpoint(kRank, world.bell);
  Input in(input);
  Socket socket = world.connect();
  bool open = (in.number<uint8_t>() & 1) == 0 || send(socket, text_of(hello(world)));
  for (int i = 0; open && !in.empty() && i < kMostPackets; ++i) {
    const auto kind = in.number<uint8_t>();
    const auto which = in.number<uint8_t>();
    std::vector<int> descriptors;
    for (const int nibble : {which & 15, which >> 4})
      if (const int fd = world.descriptor(nibble); fd >= 0) descriptors.push_back(fd);
    open = send(socket, next_packet(world, kind, &in), descriptors);
  }
  check_honest_peer(world);
  socket = Socket();
  world.hub.remove_endpoint(kRank);
}

std::vector<std::string> seeds() {
  const auto packet = [](uint8_t kind, uint8_t descriptors) {
    return std::string{static_cast<char>(kind), static_cast<char>(descriptors), '\0', '\0'};
  };
  return {"\1" + packet(1, 0x21),
          "\1" + packet(1, 0x21) + packet(2, 0),
          "\1" + packet(5, 1) + packet(6, 0),
          "\1" + packet(7, 0) + packet(3, 2) + packet(4, 0) + packet(8, 0x21),
          std::string(1, '\0') + packet(0, 0) + packet(0, 0),
          "\1" + packet(9, 0) + packet(0x81, 0x11)};
}

}  // namespace tutti::fuzz
