// SPDX-License-Identifier: Apache-2.0
// Reads and writes topologies as JSON, going by attribute_table() so that no field is forgotten.
#include "topology/formats/native_json.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"

namespace tutti::topology {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int64_t kVersion = 1;

[[noreturn]] void fail(const std::string& path, const std::string& reason) {
  throw Error(StatusCode::kInvalidArgument, (path.empty() ? "/" : path) + ": " + reason);
}

std::string excerpt(const json& value) {
  constexpr size_t kMaxShown = 40;
  std::string text = value.dump(-1, ' ', true);
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
  return text;
}

const json& expect(const json& value, bool right, const std::string& path,
                   std::string_view wanted) {
  if (!right) fail(path, fmt::format("expected {}, got {}", wanted, excerpt(value)));
  return value;
}

// A required member of an object.
const json& member(const json& object, const char* key, const std::string& path) {
  const auto found = object.find(key);
  if (found == object.end()) fail(path, fmt::format("the key \"{}\" is missing", key));
  return *found;
}

std::string text_of(const json& value, const std::string& path) {
  return expect(value, value.is_string(), path, "a string").get<std::string>();
}

int64_t integer_of(const json& value, const std::string& path) {
  constexpr const char* kWanted = "an integer from 0 to 9223372036854775807";
  expect(value, value.is_number_unsigned() && value.get<uint64_t>() <= INT64_MAX, path, kWanted);
  return value.get<int64_t>();
}

void check_keys(const json& object, const std::vector<std::string_view>& allowed,
                const std::string& path) {
  for (const auto& [key, value] : object.items())
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end())
      fail(path, fmt::format("unknown key {}; allowed are {}", excerpt(json(key)),
                             fmt::join(allowed, ", ")));
}

// Calls read(element, path) for each element, which must be an object, of an optional array member
// of the document.
template <typename Read>
void for_each_object(const json& document, const char* key, Read read) {
  const auto found = document.find(key);
  if (found == document.end()) return;
  const std::string path = fmt::format("/{}", key);
  expect(*found, found->is_array(), path, "an array");
  size_t index = 0;
  for (const json& element : *found) {
    const std::string element_path = fmt::format("{}/{}", path, index++);
    read(expect(element, element.is_object(), element_path, "an object"), element_path);
  }
}

struct Reader {
  Report report;
  std::unordered_map<std::string, int32_t> index_of_id;

  int32_t reference(const json& object, const char* key, const std::string& path) const {
    const std::string at = path + '/' + key;
    const std::string id = text_of(member(object, key, path), at);
    const auto found = index_of_id.find(id);
    if (found == index_of_id.end())
      fail(at, fmt::format("there is no node {} before this place", excerpt(json(id))));
    return found->second;
  }

  void read_node(const json& object, const std::string& path) {
    static const std::vector<std::string_view> allowed = [] {
      std::vector<std::string_view> keys = {"id", "kind", "parent"};
      for (const AttributeRow& row : attribute_table()) keys.emplace_back(row.name);
      return keys;
    }();
    check_keys(object, allowed, path);
    Node node;
    node.id = text_of(member(object, "id", path), path + "/id");
    const std::string kind = text_of(member(object, "kind", path), path + "/kind");
    const auto parsed = parse_node_kind(kind);
    if (!parsed)
      fail(path + "/kind",
           fmt::format("expected one of {}; got {}", node_kind_names(), excerpt(json(kind))));
    node.kind = *parsed;
    if (!report.graph.nodes.empty())
      node.parent = reference(object, "parent", path);
    else if (object.contains("parent"))
      fail(path + "/parent", "the first node is the root; it has no parent");
    read_attributes(object, path, node.attributes);
    const auto index = static_cast<int32_t>(report.graph.nodes.size());
    if (!index_of_id.emplace(node.id, index).second)
      fail(path + "/id",
           fmt::format("the id {} is taken by an earlier node", excerpt(json(node.id))));
    report.graph.nodes.push_back(std::move(node));
  }

  static void read_attributes(const json& object, const std::string& path, Attributes& into) {
    for (const AttributeRow& row : attribute_table()) {
      const auto found = object.find(row.name);
      if (found == object.end()) continue;
      const std::string at = path + '/' + row.name;
      if (const auto* integer = std::get_if<int64_t Attributes::*>(&row.field)) {
        into.*(*integer) = integer_of(*found, at);
      } else if (const auto* text = std::get_if<std::string Attributes::*>(&row.field)) {
        into.*(*text) = text_of(*found, at);
      } else {
        into.*std::get<bool Attributes::*>(row.field) =
            expect(*found, found->is_boolean(), at, "true or false").get<bool>();
      }
    }
  }

  void read_link(const json& object, const std::string& path) {
    check_keys(object, {"from", "to", "type", "bandwidth_mbit_s", "reverse_mbit_s", "latency_ns"},
               path);
    Link link;
    link.from = reference(object, "from", path);
    link.to = reference(object, "to", path);
    const std::string type = text_of(member(object, "type", path), path + "/type");
    const auto parsed = parse_link_type(type);
    if (!parsed)
      fail(path + "/type",
           fmt::format("expected one of {}; got {}", link_type_names(), excerpt(json(type))));
    link.type = *parsed;
    const auto optional = [&](const char* key, int64_t otherwise) {
      const auto found = object.find(key);
      if (found == object.end()) return otherwise;
      return found->is_null() ? kUnknown : integer_of(*found, path + '/' + key);
    };
    link.forward_mbit_s = optional("bandwidth_mbit_s", kUnknown);
    link.reverse_mbit_s = optional("reverse_mbit_s", link.forward_mbit_s);
    link.latency_ns = optional("latency_ns", kUnknown);
    report.graph.links.push_back(link);
  }

  void read_note(const json& object, const std::string& path) {
    check_keys(object, {"source", "text"}, path);
    report.notes.push_back({text_of(member(object, "source", path), path + "/source"),
                            text_of(member(object, "text", path), path + "/text")});
  }

  void read_document(const json& document) {
    expect(document, document.is_object(), "", "an object");
    check_keys(document, {"tutti_topology", "nodes", "links", "notes"}, "");
    const int64_t version = integer_of(member(document, "tutti_topology", ""), "/tutti_topology");
    if (version != kVersion)
      fail("/tutti_topology", fmt::format("version {} of the format; this program reads version {}",
                                          version, kVersion));
    member(document, "nodes", "");
    for_each_object(document, "nodes",
                    [this](const json& o, const std::string& path) { read_node(o, path); });
    for_each_object(document, "links",
                    [this](const json& o, const std::string& path) { read_link(o, path); });
    for_each_object(document, "notes",
                    [this](const json& o, const std::string& path) { read_note(o, path); });
    validate(report.graph);
  }
};

// Sees every key. A pass of its own: the library's parser with a callback takes a time that grows
// with the square of an array's length.
class DuplicateFinder final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool start_object(size_t) override {
    keys_.emplace_back();
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    return true;
  }
  bool key(string_t& key) override {
    if (!keys_.back().insert(key).second)
      fail("", fmt::format("the key {} appears twice in one object", excerpt(json(key))));
    return true;
  }
  bool parse_error(size_t, const std::string&, const json::exception&) override { return false; }

 private:
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
};

// The library keeps the last of equal keys; a hand-written file that says two things is an error.
json parse_without_duplicates(std::string_view text) {
  DuplicateFinder duplicates;
  (void)json::sax_parse(text, &duplicates);
  try {
    return json::parse(text);
  } catch (const json::exception& error) {  // not JSON, or a number above the range of double
    const std::string what =
        error.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    const size_t start = what.find("] ");
    throw Error(StatusCode::kInvalidArgument,
                start == std::string::npos ? what : what.substr(start + 2));
  }
}

ordered_json node_json(const Graph& graph, const Node& node) {
  ordered_json object = {{"id", node.id}, {"kind", to_text(node.kind)}};
  if (node.parent >= 0) object["parent"] = graph.nodes[node.parent].id;
  static const Attributes unset;
  for (const AttributeRow& row : attribute_table())
    std::visit(
        [&](auto field) {
          if (node.attributes.*field != unset.*field) object[row.name] = node.attributes.*field;
        },
        row.field);
  return object;
}

ordered_json link_json(const Graph& graph, const Link& link) {
  ordered_json object = {{"from", graph.nodes[link.from].id},
                         {"to", graph.nodes[link.to].id},
                         {"type", to_text(link.type)}};
  if (link.forward_mbit_s != kUnknown) object["bandwidth_mbit_s"] = link.forward_mbit_s;
  if (link.reverse_mbit_s != link.forward_mbit_s)
    object["reverse_mbit_s"] =
        link.reverse_mbit_s == kUnknown ? ordered_json() : ordered_json(link.reverse_mbit_s);
  if (link.latency_ns != kUnknown) object["latency_ns"] = link.latency_ns;
  return object;
}

std::string lines_of(const std::vector<ordered_json>& elements) {
  std::string text;
  for (const ordered_json& element : elements) {
    text += text.empty() ? "\n    " : ",\n    ";
    text += element.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
  }
  return text.empty() ? "[]" : "[" + text + "\n  ]";
}

}  // namespace

Report read_native_json(std::string_view text, const std::string& name) {
  try {
    Reader reader;
    reader.read_document(parse_without_duplicates(text));
    return std::move(reader.report);
  } catch (const Error& error) {
    throw Error(error.code(), name + ": " + error.what());
  }
}

std::string write_native_json(const Report& report) {
  std::vector<ordered_json> nodes;
  std::vector<ordered_json> links;
  std::vector<ordered_json> notes;
  for (const Node& node : report.graph.nodes) nodes.push_back(node_json(report.graph, node));
  for (const Link& link : report.graph.links) links.push_back(link_json(report.graph, link));
  for (const Note& note : report.notes)
    notes.push_back({{"source", note.source}, {"text", note.text}});
  return fmt::format(
      "{{\n  \"tutti_topology\": {},\n  \"nodes\": {},\n  \"links\": {},\n  \"notes\": {}\n}}\n",
      kVersion, lines_of(nodes), lines_of(links), lines_of(notes));
}

}  // namespace tutti::topology
