// SPDX-License-Identifier: Apache-2.0
// What the driver asks a rank to measure. A message of the control socket is one line: a verb, then
// key=value words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>

namespace tutti::compare {

// Something that a back end cannot do; the driver reports the point as skipped, with this reason.
class Unsupported : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Message {
  std::string verb;
  std::map<std::string, std::string> words;

  const std::string& text(const std::string& key) const;  // throws when missing
  size_t number(const std::string& key) const;
};
Message parse_message(const std::string& line);

enum class Op {
  all_reduce,
  all_gather,
  reduce_scatter,
  broadcast,  // in place, as MPI_Bcast
  all_to_all,
  ping_pong,  // between ranks 2k and 2k+1; one call is a round trip
  send_recv,  // between the same; both send and receive at once
  other,      // a limit of the machine, named in Point::name
};

enum class Pages { small, huge };

// Bytes are what nccl-tests calls size: the buffer of AllReduce and Broadcast, the output of
// AllGather, the input of ReduceScatter and AllToAll, one message of ping-pong
// and of send_recv.
struct Point {
  Op op = Op::other;
  std::string name;
  size_t bytes = 0;
  bool in_place = false;  // AllReduce only
  Pages pages = Pages::small;
  size_t offset_bytes = 0;  // of each buffer from a page's start
  uint32_t seed = 0;

  bool one_way() const;  // a call goes there and back, and half its time is told
  bool checked() const;  // the result is compared
};
Point parse_point(const Message& message);

// Elements (float32) of a rank's buffers. For Broadcast and in-place calls, output is 0: the input
// buffer is also the output.
struct Shape {
  size_t input_elems = 0;
  size_t output_elems = 0;
  size_t block_elems = 0;  // what one rank contributes, receives or sends to one other
};
Shape shape_of(const Point& point, int n_ranks);

}  // namespace tutti::compare
