// SPDX-License-Identifier: Apache-2.0
// A parser by lines; blocks are joined when all of them are known.
#include "topology/formats/ibnetdiscover.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "topology/fabric.h"
#include "topology/link_rates.h"

namespace tutti::topology {
namespace {

constexpr int64_t kMaxPorts = 254;   // of a switch, by the InfiniBand specification
constexpr int64_t kMaxLid = 0xffff;  // 0: none assigned yet

struct BlockKind {
  std::string_view word;
  char letter;  // that names begin with
  IbKind kind;
};
constexpr BlockKind kBlocks[] = {{"Switch", 'S', IbKind::kSwitch},
                                 {"Ca", 'H', IbKind::kChannelAdapter},
                                 {"Rt", 'R', IbKind::kRouter}};
// Lines between the blocks that say nothing about cables.
constexpr std::string_view kIgnored[] = {"vendid=", "devid=",  "sysimgguid=", "switchguid=",
                                         "caguid=", "rtguid=", "Chassis ",    "Hostname: "};

struct Name {
  IbKind kind = IbKind::kSwitch;
  uint64_t guid = 0;
};

// One line, taken apart from its front.
class Line {
 public:
  Line(std::string_view text, size_t number, const std::string& file)
      : rest_(text), number_(number), file_(file) {}

  [[noreturn]] void refuse(const std::string& reason) const {
    throw Error(StatusCode::kInvalidArgument,
                fmt::format("{}: line {}: {}", file_, number_, reason));
  }
  [[noreturn]] void expected(std::string_view what) const {
    constexpr size_t kShown = 40;
    refuse(rest_.empty() ? fmt::format("expected {}, but the line ends", what)
                         : fmt::format("expected {}, got \"{}\"", what, rest_.substr(0, kShown)));
  }

  std::string_view rest() const { return rest_; }
  size_t number() const { return number_; }
  void skip(size_t characters) { rest_.remove_prefix(characters); }
  void skip_space() { skip(std::min(rest_.find_first_not_of(" \t"), rest_.size())); }
  bool accept(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    skip(text.size());
    return true;
  }
  void expect(std::string_view text, std::string_view what) {
    if (!accept(text)) expected(what);
  }

  int64_t integer(std::string_view what, int64_t low, int64_t high) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc{} || value < low || value > high)
      expected(fmt::format("{} from {} to {}", what, low, high));
    skip(static_cast<size_t>(end - rest_.data()));
    return value;
  }

  // "S-0c42a10300000001" in quotes.
  Name name() {
    constexpr std::string_view kWhat =
        "a name in quotes: S- (switch), H- (adapter) or R- (router) and a GUID of 16 digits";
    constexpr size_t kDigits = 16;
    Name name;
    const bool shaped = rest_.size() >= kDigits + 4 && rest_[0] == '"' && rest_[2] == '-' &&
                        rest_[kDigits + 3] == '"';
    if (!shaped) expected(kWhat);
    const auto* const block =
        std::find_if(std::begin(kBlocks), std::end(kBlocks),
                     [this](const BlockKind& b) { return b.letter == rest_[1]; });
    const char* const digits = rest_.data() + 3;
    const auto [end, error] = std::from_chars(digits, digits + kDigits, name.guid, 16);
    if (block == std::end(kBlocks) || error != std::errc{} || end != digits + kDigits)
      expected(kWhat);
    name.kind = block->kind;
    skip(kDigits + 4);
    return name;
  }

  // "[3]", then what may follow it: "[ext 5]" in grouped output, "(GUID)" of the port.
  int64_t port(int64_t ports) {
    expect("[", "a port in brackets");
    const int64_t number = integer("a port", 1, ports);
    expect("]", "] after the port");
    if (accept("[ext ")) {
      integer("an external port", 0, kMaxPorts);
      expect("]", "] after the external port");
    }
    skip_space();
    if (accept("(")) {
      uint64_t guid = 0;
      const auto [end, error] =
          std::from_chars(rest_.data(), rest_.data() + rest_.size(), guid, 16);
      if (error != std::errc{}) expected("the GUID of a port");
      skip(static_cast<size_t>(end - rest_.data()));
      expect(")", ") after the port's GUID");
      skip_space();
    }
    return number;
  }

  // The comment's quoted text, "" without a comment. Quotes inside it belong to it.
  std::string quoted_comment() {
    skip_space();
    if (rest_.empty()) return "";
    expect("#", "# and a description");
    const size_t open = rest_.find('"');
    const size_t close = rest_.rfind('"');
    if (open == std::string_view::npos || open == close) expected("a description in quotes");
    std::string text(rest_.substr(open + 1, close - open - 1));
    skip(close + 1);
    skip_space();
    return text;
  }

 private:
  std::string_view rest_;
  size_t number_;
  const std::string& file_;
};

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  Report read(std::string_view text) {
    for (size_t number = 1; !text.empty(); ++number) {
      const size_t end = std::min(text.find('\n'), text.size());
      std::string_view line = text.substr(0, end);
      if (line.ends_with('\r')) line.remove_suffix(1);
      read_line(Line(line, number, file_));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
    if (fabric_.nodes.empty())
      throw Error(StatusCode::kInvalidArgument,
                  file_ + ": expected ibnetdiscover's output, found no Switch and no Ca in it");
    for (const Cable& cable : cables_) join(cable);
    for (const Cable& cable : cables_) check_other_end(cable);
    return fabric_report(fabric_, "ibnetdiscover");
  }

 private:
  // A port's line; its peer may come later.
  struct Cable {
    Line line;
    int32_t node;
    size_t port;  // index in the node's ports
    Name peer;
  };

  void read_line(Line line) {
    line.skip_space();
    const std::string_view text = line.rest();
    if (text.empty() || text[0] == '#') return;
    if (text[0] == '[') return read_port(line);
    for (const BlockKind& block : kBlocks) {
      if (!text.starts_with(block.word) || text.size() == block.word.size()) continue;
      const char next = text[block.word.size()];
      if (next != ' ' && next != '\t') continue;
      line.skip(block.word.size());
      return read_block(line, block);
    }
    for (const std::string_view ignored : kIgnored)
      if (text.starts_with(ignored)) return;
    line.expected(
        "a block (Switch, Ca, Rt), a port ([1] ...), an attribute (vendid=...) or a # comment");
  }

  void read_block(Line line, const BlockKind& block) {
    line.skip_space();
    ports_ = line.integer("the number of ports", 1, kMaxPorts);
    line.skip_space();
    const Line at_name = line;
    const Name name = line.name();
    if (name.kind != block.kind)
      at_name.expected(
          fmt::format("a name that begins with {}- after {}", block.letter, block.word));
    std::string description = line.quoted_comment();
    const auto index = static_cast<int32_t>(fabric_.nodes.size());
    if (!index_of_guid_.emplace(name.guid, index).second)
      line.refuse(fmt::format("GUID {} has a block already", guid_text(name.guid)));
    fabric_.nodes.push_back({name.kind, name.guid, std::move(description), {}});
    limits_.push_back(ports_);
    seen_.fill(false);
  }

  void read_port(Line line) {
    if (fabric_.nodes.empty()) line.refuse("a port before the first Switch, Ca or Rt");
    const auto number = static_cast<int32_t>(line.port(ports_));
    if (std::exchange(seen_[number], true))
      line.refuse(fmt::format("port {} of this block is given twice", number));
    line.skip_space();
    const Name peer = line.name();
    const auto peer_port = static_cast<int32_t>(line.port(kMaxPorts));
    std::vector<IbPort>& ports = fabric_.nodes.back().ports;
    cables_.push_back({line, static_cast<int32_t>(fabric_.nodes.size()) - 1, ports.size(), peer});
    ports.push_back({number, 0, peer_port, read_rate(line)});
  }

  // After the peer's description: "lid 19 4xHDR", and what some options add.
  static int64_t read_rate(Line line) {
    line.quoted_comment();
    if (line.rest().empty()) return kUnknown;
    line.expect("lid ", "\"lid\" after the description");
    line.integer("a LID", 0, kMaxLid);
    line.skip_space();
    std::string_view rate = line.rest().substr(0, line.rest().find_first_of(" \t"));
    if (rate.empty() || rate.find('?') != std::string_view::npos) return kUnknown;
    const Line at_rate = line;
    const int64_t lanes = line.integer("a number of lanes", 1, 12);
    if (line.accept("x")) rate.remove_prefix(rate.find('x') + 1);
    const int64_t mbit_s = infiniband_mbit_s(lanes, rate);
    if (mbit_s == kUnknown)
      at_rate.expected(
          fmt::format("lanes (1x, 2x, 4x, 8x, 12x) and a speed ({})", infiniband_speed_names()));
    return mbit_s;
  }

  void join(const Cable& cable) {
    IbPort& port = fabric_.nodes[cable.node].ports[cable.port];
    const auto peer = index_of_guid_.find(cable.peer.guid);
    if (peer == index_of_guid_.end())
      cable.line.refuse(fmt::format("peer {} has no block", guid_text(cable.peer.guid)));
    port.peer = peer->second;
    if (fabric_.nodes[port.peer].kind != cable.peer.kind)
      cable.line.refuse(
          fmt::format("peer {} is of another kind in its own block", guid_text(cable.peer.guid)));
    if (port.peer_port > limits_[port.peer])
      cable.line.refuse(fmt::format("peer {} has {} ports, port {} is not among them",
                                    guid_text(cable.peer.guid), limits_[port.peer],
                                    port.peer_port));
  }

  void check_other_end(const Cable& cable) {
    const IbPort& port = fabric_.nodes[cable.node].ports[cable.port];
    for (const IbPort& back : fabric_.nodes[port.peer].ports) {
      const bool agrees = back.peer == cable.node && back.peer_port == port.number;
      if (back.number != port.peer_port || agrees) continue;
      cable.line.refuse(fmt::format("peer {} says that its port {} is connected to {} port {}",
                                    guid_text(cable.peer.guid), back.number,
                                    guid_text(fabric_.nodes[back.peer].guid), back.peer_port));
    }
  }

  const std::string& file_;
  IbFabric fabric_;
  std::vector<int64_t> limits_;  // ports of each node
  std::vector<Cable> cables_;
  std::unordered_map<uint64_t, int32_t> index_of_guid_;
  int64_t ports_ = 0;                       // of the block that is being read
  std::array<bool, kMaxPorts + 1> seen_{};  // its ports so far
};

}  // namespace

Report read_ibnetdiscover(std::string_view text, const std::string& name) {
  return Reader(name).read(text);
}

bool looks_like_ibnetdiscover(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos) return false;
  text.remove_prefix(start);
  if (text[0] == '#') return true;
  const auto begins = [text](std::string_view word) { return text.starts_with(word); };
  return std::any_of(std::begin(kIgnored), std::end(kIgnored), begins) ||
         std::any_of(std::begin(kBlocks), std::end(kBlocks),
                     [&begins](const BlockKind& block) { return begins(block.word); });
}

}  // namespace tutti::topology
