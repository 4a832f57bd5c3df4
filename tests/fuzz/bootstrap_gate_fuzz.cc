// SPDX-License-Identifier: Apache-2.0
// Visitors of a gate. First byte: does the visitor prove the key for its bytes; the rest is what it
// sends. Whoever proves it is let in with exactly these bytes, nobody else is, and an honest
// visitor comes through afterwards.
#include <algorithm>
#include <memory>
#include <utility>

#include "src/bootstrap/handshake.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

using namespace bootstrap;

constexpr size_t kHelloBytes = 24;
constexpr int64_t kPatienceNs = 15 * kNsPerSecond;

Key shared_key() {
  Key key{};
  key.fill(std::byte{42});
  return key;
}

// A gate that answers each visitor with its own bytes.
struct House {
  std::shared_ptr<ControlThread> control = ControlThread::shared();
  std::unique_ptr<Gate> gate;
  Bytes last_hello;  // the control thread's
  int visits = 0;

  House() {
    run_on(*control, [this] {
      gate = std::make_unique<Gate>(
          Gate::Config{
              .control = control,
              .listener = Listener::bind(SocketAddress::parse("127.0.0.1:0"), SocketKind::kStream),
              .key = shared_key(),
              .role = Role::kAttach,
              .hello_bytes = kHelloBytes},
          [this](std::unique_ptr<Gate::Visit> visit) {
            ++visits;
            last_hello = visit->hello();
            visit->answer(visit->hello());
          });
    });
  }
  ~House() {
    run_on_at_end(*control, [this] { gate.reset(); });
  }
  Socket connect() const {
    return Socket::connect(gate->address(), SocketKind::kStream, Deadline::after_ns(kPatienceNs));
  }
  int count() const {
    int now = 0;
    run_on(*control, [&] { now = visits; });
    return now;
  }
};

void come_in(House& house, Bytes hello) {
  hello.resize(kHelloBytes);
  const int before = house.count();
  const Answer answer = visit({.control = house.control,
                               .key = shared_key(),
                               .role = Role::kAttach,
                               .hello = hello,
                               .answer_bytes = kHelloBytes,
                               .host_name = "the house"},
                              house.connect(), {.deadline = Deadline::after_ns(kPatienceNs)});
  require(answer.body == hello, "the answer is the host's");
  require(house.count() == before + 1, "who proves the key is let in once");
}

// Sends `bytes` after the challenge and goes.
void knock(House& house, std::string_view bytes) {
  const int before = house.count();
  {
    Socket socket = house.connect();
    Bytes challenge(sizeof(Nonce));
    socket.receive_all(challenge, Deadline::after_ns(kPatienceNs));
    try {
      socket.send_all(as_bytes(bytes), Deadline::after_ns(kPatienceNs));
    } catch (const Error& error) {
      require(error.code() == StatusCode::kRemoteError, "only the host ends a connection");
    }
  }
  require(house.count() == before, "who does not prove the key is not let in");
}

}  // namespace

void run(std::string_view input) {
  static House house;
  if (input.empty()) return;
  const std::string_view bytes = input.substr(1);
  if (input[0] != 'p') return knock(house, bytes);
  const auto hello = as_bytes(bytes);
  come_in(house, {hello.begin(), hello.end()});
}

std::vector<std::string> seeds() {
  Bytes noise(sizeof(Nonce) + kHelloBytes + sizeof(Mac), std::byte{5});
  const Transcript transcript{.role = Role::kAttach};
  const std::span<const std::byte> body = std::span(noise).subspan(sizeof(Nonce), kHelloBytes);
  const Mac mac = prove(shared_key(), transcript, Side::kVisitor, body);
  Bytes stale = noise;
  std::copy(mac.begin(), mac.end(), stale.end() - sizeof(Mac));
  return {"phello", "x" + as_text(noise), "x" + as_text(stale), "xshort", "x"};
}

}  // namespace tutti::fuzz
