// SPDX-License-Identifier: Apache-2.0
// The messages of the rendezvous and the tree. The first byte says which.
#include "src/bootstrap/wire.h"
#include "tests/fuzz/fuzz.h"

namespace tutti::fuzz {
namespace {

using namespace bootstrap;

// Texts lose what follows their end, so bytes need not come back; what was read must.
template <typename Message>
void check(std::string_view bytes) {
  Decoder in(as_bytes(bytes));
  Message message;
  decode(in, message);
  const bool whole = bytes.size() >= wire_bytes<Message>();
  require(in.ok() == whole, "a message is whole exactly when all its bytes are there");
  const Bytes written = encode(message);
  require(written.size() == wire_bytes<Message>(), "a message has one size");
  require(encode(decode_as<Message>(written)) == written, "what was read comes back");
}

void check_table(std::string_view input) {
  Input in(input);
  const int n_ranks = 1 + in.number<uint8_t>();
  const std::string_view bytes = in.rest();
  std::vector<Bytes> table;
  try {
    table = parse_table(as_bytes(bytes), n_ranks);
  } catch (const Error& error) {
    require(error.code() == StatusCode::kInternalError, "a bad table is an internal error");
    return;
  }
  require(table.size() == static_cast<size_t>(n_ranks), "an entry for each rank");
  Encoder out;
  for (int rank = 0; rank < n_ranks; ++rank) append_entry(out, rank, table[rank]);
  const Bytes written = out.take();
  require(written.size() == bytes.size(), "every byte is in one entry");
  require(parse_table(written, n_ranks) == table, "a table comes back");
}

template <typename Message>
std::string seed(char which, const Message& message) {
  return which + as_text(encode(message));
}

std::string table_seed() {
  Encoder out;
  for (int rank = 0; rank < 3; ++rank) append_entry(out, rank, as_bytes("some bytes"));
  append_entry(out, 3, {});
  return std::string("T") + '\3' + as_text(out.take());
}

}  // namespace

void run(std::string_view input) {
  if (input.empty()) return;
  const std::string_view bytes = input.substr(1);
  switch (input[0]) {
    case 'R':
      return check<Registration>(bytes);
    case 'S':
      return check<Assignment>(bytes);
    case 'A':
      return check<Attachment>(bytes);
    case 'L':
      return check<Lookup>(bytes);
    case 'I':
      return check<Listing>(bytes);
    case 'F':
      return check<Failure>(bytes);
    case 'H':
      return check<FrameHeader>(bytes);
    case 'N':
      return check<SocketAddress>(bytes);
    case 'T':
      return check_table(bytes);
    default:
      return;
  }
}

std::vector<std::string> seeds() {
  const Peer peer{.rank = 3, .pid = 4711, .host = "node17"};
  const SocketAddress address = SocketAddress::parse("10.1.2.3:4567");
  return {seed('R', Registration{.n_ranks = 8,
                                 .wait_ns = 60'000'000'000,
                                 .peer = peer,
                                 .identity = {},
                                 .address = address}),
          seed('S', Assignment{.comm_id = 99,
                               .index = 2,
                               .parent = peer,
                               .parent_address = SocketAddress::parse("@name")}),
          seed('A', Attachment{.comm_id = 99, .index = 2, .peer = peer}),
          seed('L', Lookup{.sequence = 3}),
          seed('I', Listing{.port = 4711}),
          seed('F', Failure{.code = StatusCode::kInvalidUsage, .reason = "sizes differ"}),
          seed('H', FrameHeader{.type = FrameType::kUp, .sequence = 1, .bytes = 100}),
          seed('N', SocketAddress::parse("[::1]:1")),
          table_seed()};
}

}  // namespace tutti::fuzz
