// SPDX-License-Identifier: Apache-2.0
// Reads the XML: elements and attributes, each checked where it stands.
#include "src/planner/import/nccl_graph_xml.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <pugixml.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::planner::nccl {
namespace {

constexpr int32_t kMostChannels = 64;  // that NCCL has
constexpr int32_t kMostRanks = 1 << 16;
constexpr size_t kMostGpus = 1024;  // of a channel
constexpr size_t kShownText = 40;
constexpr int kSystemShift = 56;  // a device's number: the host's above, its own below

class Reader {
 public:
  Reader(std::string_view text, std::string_view file) : text_(text), file_(file) {
    const pugi::xml_parse_result result = document_.load_buffer(text.data(), text.size());
    if (!result) fail(file_, line(result.offset), std::string("not XML: ") + result.description());
  }

  std::vector<ChannelGraph> read() const {
    const pugi::xml_node graphs = document_.child("graphs");
    if (!graphs) fail(file_, 1, "expected an element <graphs>, got none");
    std::vector<ChannelGraph> found;
    std::set<int32_t> ids;
    for (const pugi::xml_node node : graphs.children("graph")) {
      found.push_back(read_graph(node));
      if (!ids.insert(found.back().id).second)
        refuse(node, "id", fmt::format("expected each graph once, got {} twice", found.back().id));
    }
    if (found.empty()) fail(file_, line_of(graphs), "expected elements <graph>, got none");
    return found;
  }

 private:
  size_t line(std::ptrdiff_t offset) const {
    const auto end = std::min(text_.size(), static_cast<size_t>(std::max<ptrdiff_t>(offset, 0)));
    return 1 + static_cast<size_t>(std::count(text_.begin(), text_.begin() + end, '\n'));
  }
  size_t line_of(pugi::xml_node node) const { return line(node.offset_debug()); }

  [[noreturn]] void refuse(pugi::xml_node node, const char* attribute,
                           const std::string& what) const {
    fail(file_, line_of(node), fmt::format("<{}> {}: {}", node.name(), attribute, what));
  }

  static std::string quoted(std::string_view text) {
    return fmt::format("\"{}\"", text.substr(0, kShownText));
  }

  int32_t integer(pugi::xml_node node, const char* name, int32_t least, int32_t most) const {
    const std::string range = fmt::format("expected an integer from {} to {}", least, most);
    const pugi::xml_attribute attribute = node.attribute(name);
    if (!attribute) refuse(node, name, range + ", got no such attribute");
    const std::string_view text = attribute.value();
    int32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
      refuse(node, name, range + ", got " + quoted(text));
    return value;
  }

  // NCCL writes and reads them in hexadecimal.
  uint64_t device_number(pugi::xml_node node) const {
    const pugi::xml_attribute attribute = node.attribute("dev");
    if (!attribute) refuse(node, "dev", "expected a hexadecimal number, got no such attribute");
    std::string_view text = attribute.value();
    const std::string_view whole = text;
    if (text.starts_with("0x")) text.remove_prefix(2);
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
    if (error != std::errc() || end != text.data() + text.size())
      refuse(node, "dev", "expected a hexadecimal number, got " + quoted(whole));
    return value;
  }

  Device read_device(pugi::xml_node node) const {
    const uint64_t number = device_number(node);
    Device device{.system = number >> kSystemShift,
                  .dev = number & ((uint64_t{1} << kSystemShift) - 1),
                  .rank = kNoRank,
                  .line = line_of(node)};
    if (node.attribute("rank")) device.rank = integer(node, "rank", 0, kMostRanks - 1);
    return device;
  }

  Channel read_channel(pugi::xml_node node) const {
    constexpr size_t kMostNets = 2;
    Channel channel{.gpus = {}, .nets = {}, .line = line_of(node)};
    for (const pugi::xml_node child : node.children()) {
      const std::string_view name = child.name();
      if (name == "gpu") channel.gpus.push_back(read_device(child));
      if (name == "net") channel.nets.push_back(read_device(child));
    }
    if (channel.gpus.empty() || channel.gpus.size() > kMostGpus)
      fail(file_, channel.line,
           fmt::format("<channel>: expected 1 to {} elements <gpu>, got {}", kMostGpus,
                       channel.gpus.size()));
    if (channel.nets.size() > kMostNets)
      fail(file_, channel.line,
           fmt::format("<channel>: expected at most 2 elements <net>, one before and one after the "
                       "GPUs, got {}",
                       channel.nets.size()));
    return channel;
  }

  ChannelGraph read_graph(pugi::xml_node node) const {
    constexpr int32_t kMostIds = 255;
    ChannelGraph graph{.line = line_of(node)};
    graph.id = integer(node, "id", 0, kMostIds);
    if (graph.id != kRingId && graph.id != kTreeId) return graph;
    graph.pattern = integer(node, "pattern", 0, kMostIds);
    if (node.attribute("crossnic")) graph.crossnic = integer(node, "crossnic", 0, 2);
    const int32_t n = integer(node, "nchannels", 0, kMostChannels);
    for (const pugi::xml_node channel : node.children("channel"))
      graph.channels.push_back(read_channel(channel));
    if (graph.channels.size() != static_cast<size_t>(n))
      refuse(
          node, "nchannels",
          fmt::format("expected the number of its channels, {}, got {}", graph.channels.size(), n));
    for (const Channel& channel : graph.channels)
      if (channel.gpus.size() != graph.channels.front().gpus.size())
        fail(file_, channel.line,
             fmt::format("<channel>: expected {} elements <gpu> as in the first channel, got {}",
                         graph.channels.front().gpus.size(), channel.gpus.size()));
    return graph;
  }

  std::string_view text_;
  std::string_view file_;
  pugi::xml_document document_;
};

}  // namespace

std::vector<ChannelGraph> read_graphs(std::string_view text, std::string_view file) {
  return Reader(text, file).read();
}

void fail(std::string_view file, size_t line, const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, fmt::format("{}:{}: {}", file, line, what));
}

}  // namespace tutti::planner::nccl
