// SPDX-License-Identifier: Apache-2.0
// MSCCL++ plans in short lines for tests and fuzz seeds.
//
//   "gpu 2 4 1"      a GPU with so many chunks of input, output and scratch
//   "mem 1 2"        its memory channels, by the GPUs that they lead to; "port 1" likewise
//   "remote 1o 2s"   buffers of other GPUs that it uses
//   "sem 0"          its semaphores' first values
//   "tb"             a threadblock with all of these; "tb mem 1" and "tb port 1" with those
//   channels "put o0x2 > r1:3x2 ch0"    two chunks of the output to remote buffer 1 from its chunk
//   3;
//                    "port", "sem0,1", "bar0/2" (barrier 0 of 2 threadblocks) after that
#pragma once

#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace tutti::testing {

class MscclppPlan {
 public:
  using Json = nlohmann::ordered_json;

  MscclppPlan(const std::string& collective, bool in_place, const std::vector<std::string>& lines) {
    json_ = {{"name", "test"}, {"collective", collective}, {"protocol", "Simple"}};
    json_["inplace"] = in_place;
    json_["gpus"] = Json::array();
    for (const std::string& line : lines) add(line);
  }

  Json& json() { return json_; }
  std::string text() const { return json_.dump(1); }

 private:
  static Json numbers(std::istream& in) {
    Json list = Json::array();
    for (int number = 0; in >> number;) list.push_back(number);
    return list;
  }
  static Json listed(const std::string& text) {
    std::string spaced = text;
    for (char& c : spaced)
      if (c == ',') c = ' ';
    std::istringstream in(spaced);
    return numbers(in);
  }
  Json& gpu() { return json_["gpus"].back(); }

  void add(const std::string& line) {
    std::istringstream in(line);
    std::string word;
    in >> word;
    if (word == "gpu") {
      const Json chunks = numbers(in);
      json_["gpus"].push_back({{"id", json_["gpus"].size()},
                               {"input_chunks", chunks[0]},
                               {"output_chunks", chunks[1]},
                               {"scratch_chunks", chunks[2]},
                               {"threadblocks", Json::array()},
                               {"channels", Json::array()},
                               {"remote_buffers", Json::array()},
                               {"semaphores", Json::array()}});
    } else if (word == "mem" || word == "port") {
      gpu()["channels"].push_back(
          {{"channel_type", word == "mem" ? "memory" : "port"}, {"connected_to", numbers(in)}});
    } else if (word == "remote") {
      for (std::string buffer; in >> buffer;)
        gpu()["remote_buffers"].push_back({{"rank", std::stoi(buffer)},
                                           {"type", std::string(1, buffer.back())},
                                           {"access_channel_types", {"memory", "port"}}});
    } else if (word == "sem") {
      for (const Json& value : numbers(in)) gpu()["semaphores"].push_back({{"init_value", value}});
    } else if (word == "tb") {
      add_block(in);
    } else {
      add_op(word, in);
    }
  }

  void add_block(std::istream& in) {
    Json block{{"id", gpu()["threadblocks"].size()},
               {"ops", Json::array()},
               {"channels", Json::array()},
               {"remote_buffer_refs", Json::array()}};
    std::string type;
    const bool chosen = static_cast<bool>(in >> type);
    if (chosen) {
      block["channels"].push_back(
          {{"channel_type", type == "mem" ? "memory" : "port"}, {"channel_ids", numbers(in)}});
    } else {
      for (const Json& channel : gpu()["channels"]) {
        Json ids = Json::array();
        for (size_t i = 0; i < channel["connected_to"].size(); ++i) ids.push_back(i);
        block["channels"].push_back(
            {{"channel_type", channel["channel_type"]}, {"channel_ids", ids}});
      }
    }
    Json all = Json::array();
    for (size_t i = 0; i < gpu()["remote_buffers"].size(); ++i) all.push_back(i);
    for (const char* access : {"memory", "port"})
      block["remote_buffer_refs"].push_back(
          {{"access_channel_type", access}, {"remote_buffer_ids", all}});
    gpu()["threadblocks"].push_back(block);
  }

  // "o3x2", "r1:3"
  static Json chunks(const std::string& word) {
    const size_t times = word.find('x');
    const int size = times == std::string::npos ? 1 : std::stoi(word.substr(times + 1));
    if (word[0] == 'r') {
      const size_t colon = word.find(':');
      return {{"buffer_id", std::stoi(word.substr(1))},
              {"index", std::stoi(word.substr(colon + 1))},
              {"size", size}};
    }
    return {
        {"type", std::string(1, word[0])}, {"index", std::stoi(word.substr(1))}, {"size", size}};
  }

  void add_op(const std::string& name, std::istream& in) {
    Json op{{"name", name}};
    const char* list = "src_buff";
    for (std::string word; in >> word;) {
      if (word == ">") {
        list = "dst_buff";
      } else if (word == "port") {
        op["channel_type"] = "port";
      } else if (word.starts_with("ch")) {
        op["channel_ids"] = listed(word.substr(2));
      } else if (word.starts_with("sem")) {
        op["semaphore_ids"] = listed(word.substr(3));
      } else if (word.starts_with("bar")) {
        op["barrier_id"] = std::stoi(word.substr(3));
        op["num_threadblocks"] = std::stoi(word.substr(word.find('/') + 1));
      } else {
        op[list].push_back(chunks(word));
      }
    }
    if (op.contains("channel_ids") && !op.contains("channel_type")) op["channel_type"] = "memory";
    gpu()["threadblocks"].back()["ops"].push_back(op);
  }

  Json json_;
};

// AllGather in place: everyone puts its block into everyone's output.
inline MscclppPlan mscclpp_all_gather(int n) {
  std::vector<std::string> lines;
  for (int r = 0; r < n; ++r) {
    std::string peers;
    std::string remote;
    std::string channels;
    for (int p = 0; p < n; ++p) {
      if (p == r) continue;
      channels += (channels.empty() ? "ch" : ",") + std::to_string(p - (p > r ? 1 : 0));
      peers += " " + std::to_string(p);
      remote += " " + std::to_string(p) + "o";
    }
    const std::string own = std::to_string(r);
    lines.insert(lines.end(),
                 {"gpu 1 " + std::to_string(n) + " 0", "mem" + peers, "remote" + remote, "tb",
                  "rlxsignal " + channels, "rlxwait " + channels, "nop"});
    for (int p = 0; p + 1 < n; ++p)
      lines.push_back("put o" + own + " > r" + std::to_string(p) + ":" + own + " ch" +
                      std::to_string(p));
    lines.insert(lines.end(), {"nop", "signal " + channels, "wait " + channels, "nop"});
  }
  return {"allgather", true, lines};
}

// AllReduce in place: everyone reads an n-th of everyone's input, and puts the sum back.
inline MscclppPlan mscclpp_all_reduce(int n) {
  std::vector<std::string> lines;
  for (int r = 0; r < n; ++r) {
    std::string peers;
    std::string remote;
    std::string channels;
    std::string chunks;
    const std::string own = std::to_string(r);
    for (int p = 0; p < n; ++p) {
      if (p == r) continue;
      const std::string i = std::to_string(p - (p > r ? 1 : 0));
      channels += (channels.empty() ? "ch" : ",") + i;
      peers += " " + std::to_string(p);
      remote += " " + std::to_string(p) + "i";
      chunks += " r" + i + ":" + own;
    }
    const std::string all = std::to_string(n);
    lines.insert(lines.end(), {"gpu " + all + " " + all + " 0", "mem" + peers, "remote" + remote,
                               "tb", "rlxsignal " + channels, "rlxwait " + channels, "nop"});
    lines.push_back("rres i" + own + chunks + " > i" + own + chunks);
    lines.insert(lines.end(), {"nop", "signal " + channels, "wait " + channels, "nop"});
  }
  return {"allreduce", true, lines};
}

}  // namespace tutti::testing
