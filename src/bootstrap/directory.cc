// SPDX-License-Identifier: Apache-2.0
// The directory of a launch and how ranks ask it.
#include "src/bootstrap/directory.h"

#include <algorithm>
#include <optional>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/base/log.h"
#include "src/base/wait.h"
#include "src/bootstrap/root.h"

namespace tutti::bootstrap {
namespace {

constexpr std::string_view kTextVersion = "1";
// An address costs up to 47 bytes of text, so that all fit into the smallest launcher's value.
constexpr size_t kMaxAddresses = 8;
constexpr int64_t kFirstPatienceNs = kNsPerSecond / 2;  // per address; doubles
constexpr int64_t kLastPatienceNs = 8 * kNsPerSecond;
constexpr int64_t kBetweenRoundsNs = 50 * kNsPerMs;

std::string hex_text(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte b : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(b));
  return text;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool parse_key(std::string_view text, Key& key) {
  if (text.size() != 2 * key.size()) return false;
  for (size_t i = 0; i < key.size(); ++i) {
    const int high = hex_digit(text[2 * i]);
    const int low = hex_digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    key[i] = static_cast<std::byte>(16 * high + low);
  }
  return true;
}

[[noreturn]] void refuse_text(const char* why) {
  throw Error(StatusCode::kInvalidArgument,
              fmt::format("what rank 0 passed by the launcher is no directory of a launch: {}; use "
                          "one version of Tutti in all processes",
                          why));
}

std::string names_of(const std::vector<SocketAddress>& addresses) {
  std::string names;
  for (const SocketAddress& address : addresses)
    names += (names.empty() ? "" : ", ") + address.to_string();
  return names;
}

// The addresses that others may reach this host by: of one family, since one listener serves them.
std::vector<SocketAddress> addresses_to_tell(const std::string& interface_prefix) {
  std::vector<SocketAddress> all = local_addresses(interface_prefix);
  const SocketAddress first = all.front();  // never empty; loopback comes last
  std::erase_if(all, [&](const SocketAddress& a) {
    return a.family != first.family || (is_loopback(a) && !is_loopback(first));
  });
  if (all.size() > kMaxAddresses) all.resize(kMaxAddresses);
  return all;
}

// The listing of the directory at `address`; nullopt when this address is of no use, and then `why`
// says why. Throws what the directory says about a root that it could not start.
std::optional<Listing> ask(const SocketAddress& address, const Key& key, uint64_t sequence,
                           const Patience& patience, std::string& why) {
  const std::string name = "rank 0's directory at " + address.to_string();
  Failure refusal{.code = StatusCode::kOk, .reason = {}};
  try {
    const Answer answer = visit({.control = ControlThread::shared(),
                                 .key = key,
                                 .role = Role::kLookup,
                                 .hello = encode(Lookup{.sequence = sequence}),
                                 .answer_bytes = wire_bytes<Listing>(),
                                 .host_name = name},
                                connect_patiently(address, name, patience, {}), patience);
    const auto listing = decode_as<Listing>(answer.body);
    if (listing.code == StatusCode::kOk) return listing;
    refusal = receive_reason(answer, listing.code, name, patience);
  } catch (const Error& error) {
    why = error.what();
    return std::nullopt;
  }
  throw Error(refusal.code, name + ": " + refusal.reason);
}

UniqueId id_of(const Listing& listing, const SocketAddress& directory) {
  UniqueIdFields fields{.address = directory, .key = listing.key};
  fields.address.port = listing.port;
  return pack(fields);
}

}  // namespace

std::string DirectoryPlace::to_text() const {
  std::string text = fmt::format("{};{};", kTextVersion, hex_text(key));
  for (size_t i = 0; i < addresses.size(); ++i)
    text += (i == 0 ? "" : ",") + addresses[i].to_string();
  return text;
}

DirectoryPlace DirectoryPlace::parse(const std::string& text) {
  const std::string_view all(text);
  const size_t first = all.find(';');
  const size_t second = first == std::string_view::npos ? first : all.find(';', first + 1);
  if (second == std::string_view::npos) refuse_text("it has too few parts");
  if (all.substr(0, first) != kTextVersion) refuse_text("it has another version");
  DirectoryPlace place;
  if (!parse_key(all.substr(first + 1, second - first - 1), place.key)) refuse_text("its key");
  for (std::string_view left = all.substr(second + 1); !left.empty();) {
    const std::string_view item = left.substr(0, left.find(','));
    left.remove_prefix(std::min(left.size(), item.size() + 1));
    try {
      place.addresses.push_back(SocketAddress::parse(std::string(item)));
    } catch (const Error&) {
      refuse_text("an address");
    }
    if (place.addresses.size() > kMaxAddresses) refuse_text("it has too many addresses");
    if (place.addresses.back().family == SocketAddress::Family::kUnixAbstract)
      refuse_text("an address of one host only");
  }
  if (place.addresses.empty()) refuse_text("it has no address");
  return place;
}

Directory::Directory(const std::string& interface_prefix) : control_(ControlThread::shared()) {
  fill_random(place_.key);
  place_.addresses = addresses_to_tell(interface_prefix);
  anywhere_.family = place_.addresses.front().family;
  Listener listener = Listener::bind(anywhere_, SocketKind::kStream);
  for (SocketAddress& address : place_.addresses) address.port = listener.address().port;
  log(LogLevel::kInfo, "bootstrap", 0, "the directory of this launch is at {}",
      names_of(place_.addresses));
  run_on(*control_, [&] {
    gate_ =
        std::make_unique<Gate>(Gate::Config{.control = control_,
                                            .listener = std::move(listener),
                                            .key = place_.key,
                                            .role = Role::kLookup,
                                            .hello_bytes = wire_bytes<Lookup>()},
                               [this](std::unique_ptr<Gate::Visit> visit) { on_visit(*visit); });
  });
}

Directory::~Directory() {
  run_on_at_end(*control_, [this] { gate_.reset(); });
}

UniqueId Directory::id(uint64_t sequence) {
  UniqueId id;
  run_on(*control_, [&] { id = pack(entry(sequence)); });
  return id;
}

const UniqueIdFields& Directory::entry(uint64_t sequence) {
  const auto found = entries_.find(sequence);
  if (found != entries_.end()) return found->second;
  UniqueIdFields fields;
  fill_random(fields.key);
  fields.address = place_.addresses.front();
  fields.address.port = Root::start(anywhere_, fields.key).port;
  return entries_.emplace(sequence, fields).first->second;
}

void Directory::on_visit(Gate::Visit& visit) {
  const auto lookup = decode_as<Lookup>(visit.hello());
  try {
    if (lookup.protocol != kProtocolVersion) {
      throw Error(StatusCode::kInvalidUsage,
                  fmt::format("version {} of the bootstrap protocol came to one of version {}; use "
                              "one version of Tutti in all processes",
                              lookup.protocol, kProtocolVersion));
    }
    const UniqueIdFields& fields = entry(lookup.sequence);
    visit.answer(encode(Listing{.port = fields.address.port, .key = fields.key}));
  } catch (const Error& error) {
    visit.refuse(encode(Listing{.code = error.code()}), {error.code(), error.what()});
  }
}

UniqueId look_up(DirectoryPlace& place, uint64_t sequence, const Patience& patience) {
  const int64_t start_ns = now_ns();
  std::string last;
  for (int64_t brief_ns = kFirstPatienceNs;; brief_ns = std::min(2 * brief_ns, kLastPatienceNs)) {
    for (SocketAddress& address : place.addresses) {
      const Patience brief{
          .deadline = Deadline::after_ns(std::min(brief_ns, patience.deadline.left_ns())),
          .aborted = patience.aborted};
      const std::optional<Listing> listing = ask(address, place.key, sequence, brief, last);
      if (patience.is_aborted()) throw_aborted();
      if (listing.has_value()) {
        std::swap(address, place.addresses.front());
        return id_of(*listing, place.addresses.front());
      }
    }
    if (patience.deadline.expired()) {
      throw Error(
          StatusCode::kRemoteError,
          fmt::format("the launcher says that rank 0 is at {}, but none of that answered in "
                      "{:.1f} s (last: {}); can this host reach it, is a firewall between "
                      "them, or should TUTTI_SOCKET_IFNAME choose another interface on "
                      "rank 0's host?",
                      names_of(place.addresses),
                      static_cast<double>(now_ns() - start_ns) / kNsPerSecond, last));
    }
    sleep_ns(kBetweenRoundsNs);
  }
}

}  // namespace tutti::bootstrap
