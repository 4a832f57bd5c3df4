// SPDX-License-Identifier: Apache-2.0
// What comes over a launcher's key-value space: lines of the PMI-1 wire protocol (first byte 'P')
// and the text that tells where rank 0's directory is ('D').
#include "src/bootstrap/directory.h"
#include "src/bootstrap/pmi_wire.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

using namespace bootstrap;

void check_pmi(std::string_view line) {
  const auto message = accepted([&] { return parse_pmi(line); });
  if (!message) return;
  require(!message->command.empty(), "a message has a command");
  for (const auto& [key, value] : message->fields)
    require(message->find(key) == value, "a field is found by its key");
  const auto written = accepted([&] { return format_pmi(*message); });
  if (!written) return;  // a value of several words, or none
  require(written->ends_with('\n'), "a line has an end");
  const PmiMessage again = parse_pmi(std::string_view(*written).substr(0, written->size() - 1));
  require(again.command == message->command && again.fields == message->fields,
          "a message comes back");
}

void check_directory(std::string_view text) {
  const auto place = accepted([&] { return DirectoryPlace::parse(std::string(text)); });
  if (!place) return;
  require(!place->addresses.empty(), "a directory has an address");
  const DirectoryPlace again = DirectoryPlace::parse(place->to_text());
  require(again.key == place->key && again.to_text() == place->to_text(), "a place comes back");
}

}  // namespace

void run(std::string_view input) {
  if (input.empty()) return;
  if (input[0] == 'P') check_pmi(input.substr(1));
  if (input[0] == 'D') check_directory(input.substr(1));
}

std::vector<std::string> seeds() {
  const DirectoryPlace place{
      .key = derive_key("seed", "seed"),
      .addresses = {SocketAddress::parse("10.1.2.3:4567"), SocketAddress::parse("[fe80::1]:4567")}};
  return {"D" + place.to_text(),
          "P" + format_pmi({.command = "put", .fields = {{"kvsname", "k"}, {"key", "a"}}}),
          "Pcmd=response_to_init pmi_version=1 pmi_subversion=1 rc=0",
          "Pcmd=maxes kvsname_max=256 keylen_max=64 vallen_max=1024",
          "Pcmd=get_result rc=0 msg=success value=1;00;10.0.0.1:1",
          "Pcmd=get_result rc=-1 msg=no such key here"};
}

}  // namespace tutti::fuzz
