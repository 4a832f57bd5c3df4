// SPDX-License-Identifier: Apache-2.0
// Reads the JSON: members, ranges, and what the indices of channels and buffers stand for.
#include "src/plan/mscclpp_json.h"

#include <algorithm>
#include <set>
#include <utility>

#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/plan/json_node.h"
#include "src/plan/mscclpp_program.h"

namespace tutti::plan {
namespace mscclpp {
namespace {

using nlohmann::json;
using Node = JsonNode;

constexpr size_t kMostGpus = 4096;
constexpr int32_t kMostChunks = 1 << 20;
constexpr int64_t kMostExtents = 1 << 20;
constexpr size_t kMostChannels = 1024;  // of one GPU to another, of either type
constexpr const char* kSubject = "MSCCL++ plan";
constexpr std::string_view kChannelTypes[] = {"memory", "port"};

// What the ids of a GPU stand for.
struct GpuTables {
  std::vector<Peer> channels[2];                         // by type
  std::vector<std::pair<int32_t, char>> remote_buffers;  // GPU, buffer
};
// And those of one of its threadblocks.
struct BlockTables {
  std::vector<Peer> channels[2];
  std::vector<std::pair<int32_t, char>> remote_buffers[2];
};

size_t type_of(const Node& node) {
  const std::string text = node.text();
  const auto* found = std::ranges::find(kChannelTypes, text);
  if (found == std::end(kChannelTypes)) node.expected("\"memory\" or \"port\"");
  return static_cast<size_t>(found - kChannelTypes);
}

int32_t up_to(const Node& node, int64_t most) {
  return static_cast<int32_t>(node.integer(static_cast<uint64_t>(std::max<int64_t>(most, 0))));
}

char read_buffer(const Node& node) {
  const std::string text = node.text();
  if (text != "i" && text != "o" && text != "s") node.expected("\"i\", \"o\" or \"s\"");
  return text[0];
}

struct CollectiveRow {
  const char* name;
  Collective collective;
  bool whole_input;  // the input has a block of every rank, or the only one
};
constexpr CollectiveRow kCollectives[] = {
    {"allreduce", Collective::kAllReduce, true},
    {"allgather", Collective::kAllGather, false},
    {"reducescatter", Collective::kReduceScatter, true},
    {"alltoall", Collective::kAllToAll, true},
};

class Reader {
 public:
  Reader(const json& document, std::string_view file) : root_(kSubject, document), file_(file) {}

  Program read() {
    program_.name = root_.has("name") ? root_.member("name").text() : "mscclpp";
    // It is printed, and written as JSON.
    std::ranges::replace_if(
        program_.name, [](char c) { return c < ' ' || c > '~'; }, '?');
    program_.in_place = root_.has("inplace") && root_.member("inplace").boolean();
    const std::vector<Node> gpus = root_.member("gpus").items();
    if (gpus.empty() || gpus.size() > kMostGpus)
      root_.member("gpus").fail(
          fmt::format("expected 1 to {} GPUs, got {}", kMostGpus, gpus.size()));
    read_shape(gpus);
    program_.gpus.resize(gpus.size());
    tables_.resize(gpus.size());
    for (size_t i = 0; i < gpus.size(); ++i) read_buffers(gpus[i], i);
    for (size_t i = 0; i < gpus.size(); ++i) read_channels(gpus[i], i);
    number_channels();
    for (size_t i = 0; i < gpus.size(); ++i) read_blocks(gpus[i], i);
    return std::move(program_);
  }

 private:
  int32_t n_gpus() const { return program_.shape.n_ranks; }

  const CollectiveRow& read_collective() const {
    const Node node = root_.member("collective");
    const std::string text = node.text();
    std::string known;
    for (const CollectiveRow& row : kCollectives) {
      if (text == row.name) return row;
      known += (known.empty() ? "" : ", ") + std::string(row.name);
    }
    node.expected("one of " + known);
  }

  void read_shape(const std::vector<Node>& gpus) {
    const CollectiveRow& row = read_collective();
    Shape& shape = program_.shape;
    shape.collective = row.collective;
    shape.n_ranks = static_cast<int32_t>(gpus.size());
    if (gpus.front().has("inputChunks"))
      gpus.front().fail(
          "\"inputChunks\" is of an older form of MSCCL++; expected \"input_chunks\"");
    const Node node = gpus.front().member("input_chunks");
    const int32_t chunks = up_to(node, kMostChunks);
    const bool blocks = row.whole_input && row.collective != Collective::kAllReduce;
    const int32_t per_block = blocks ? chunks / shape.n_ranks : chunks;
    if (per_block == 0 || (blocks && chunks % shape.n_ranks != 0))
      node.fail(fmt::format("expected a multiple of the {} blocks of the input, got {}",
                            blocks ? shape.n_ranks : 1, chunks));
    shape.chunks_per_block = per_block;
    if (int64_t{chunks} * shape.n_ranks > kMostExtents)
      node.fail(fmt::format("expected fewer chunks for {} GPUs, got {}", shape.n_ranks, chunks));
  }

  void read_buffers(const Node& node, size_t i) {
    if (node.member("id").count() != static_cast<int32_t>(i))
      node.member("id").expected(fmt::format("{}, its position", i));
    for (const auto& [key, buffer] :
         {std::pair{"input_chunks", 'i'}, std::pair{"output_chunks", 'o'}}) {
      const int32_t chunks = up_to(node.member(key), kMostChunks);
      const int32_t whole = msccl::capacity(program_.shape, buffer);
      // A buffer that is not used may have none.
      if (chunks != whole && chunks != 0)
        node.member(key).expected(fmt::format("{} chunks, as the collective has", whole));
    }
    program_.gpus[i].scratch_chunks = up_to(node.member("scratch_chunks"), kMostChunks);
    if (node.has("semaphores"))
      for (const Node& semaphore : node.member("semaphores").items())
        program_.gpus[i].semaphores.push_back(semaphore.member("init_value").count());
  }

  // The n-th channel of a type to a GPU is one with that GPU's n-th of this type to here.
  void read_channels(const Node& node, size_t i) {
    GpuTables& tables = tables_[i];
    std::map<int32_t, int32_t> count[2];
    for (const Node& channel : node.member("channels").items()) {
      // Refused where an operation uses it.
      if (channel.member("channel_type").text() == "switch") continue;
      const size_t type = type_of(channel.member("channel_type"));
      for (const Node& peer : channel.member("connected_to").items()) {
        const int32_t rank = up_to(peer, n_gpus() - 1);
        if (rank == static_cast<int32_t>(i)) peer.expected("another GPU");
        const int32_t number = count[type][rank]++;
        if (number >= static_cast<int32_t>(kMostChannels))
          peer.fail(fmt::format("expected at most {} channels to a GPU", kMostChannels));
        tables.channels[type].push_back({rank, number});
        most_[type] = std::max(most_[type], number + 1);
      }
    }
    if (!node.has("remote_buffers")) return;
    for (const Node& buffer : node.member("remote_buffers").items())
      tables.remote_buffers.emplace_back(up_to(buffer.member("rank"), n_gpus() - 1),
                                         read_buffer(buffer.member("type")));
  }

  // Of the plan: those to memory first.
  void number_channels() {
    for (GpuTables& tables : tables_)
      for (Peer& channel : tables.channels[1]) channel.channel += most_[0];
    program_.channels = std::max(1, most_[0] + most_[1]);
  }

  BlockTables read_tables(const Node& block, const GpuTables& gpu) const {
    BlockTables tables;
    if (block.has("channels"))
      for (const Node& channel : block.member("channels").items()) {
        if (channel.member("channel_type").text() == "switch") continue;
        const size_t type = type_of(channel.member("channel_type"));
        for (const Node& id : channel.member("channel_ids").items())
          tables.channels[type].push_back(pick(gpu.channels[type], id, "channels of the GPU"));
      }
    if (block.has("remote_buffer_refs"))
      for (const Node& ref : block.member("remote_buffer_refs").items()) {
        const size_t type = type_of(ref.member("access_channel_type"));
        for (const Node& id : ref.member("remote_buffer_ids").items())
          tables.remote_buffers[type].push_back(
              pick(gpu.remote_buffers, id, "remote buffers of the GPU"));
      }
    return tables;
  }

  template <typename T>
  static const T& pick(const std::vector<T>& list, const Node& id, const char* what) {
    const int32_t index = id.count();
    if (static_cast<size_t>(index) >= list.size())
      id.expected(fmt::format("an index of the {} {}", list.size(), what));
    return list[static_cast<size_t>(index)];
  }

  void read_blocks(const Node& node, size_t gpu) {
    const std::vector<Node> blocks = node.member("threadblocks").items();
    program_.gpus[gpu].blocks.resize(blocks.size());
    for (size_t b = 0; b < blocks.size(); ++b) {
      if (blocks[b].member("id").count() != static_cast<int32_t>(b))
        blocks[b].member("id").expected(fmt::format("{}, its position", b));
      const BlockTables tables = read_tables(blocks[b], tables_[gpu]);
      for (const Node& op : blocks[b].member("ops").items()) {
        auto& ops = program_.gpus[gpu].blocks[b].ops;
        ops.push_back(read_op(op, tables, {static_cast<int32_t>(gpu), b, ops.size()}));
      }
    }
  }

  Op read_op(const Node& node, const BlockTables& tables, const OpPlace& at) const {
    const std::string name = node.member("name").text();
    const auto* row = std::ranges::find(kOps, name, &OpRow::name);
    if (row == kOps.end()) refuse(file_, at, name, "no such operation is known");
    if (row->kind == OpKind::kRefused) refuse(file_, at, name, row->reason);
    if (node.has("tbg_info"))
      refuse(file_, at, name, "a threadblock group divides its chunks among threadblocks");
    node.only({"name", "src_buff", "dst_buff", "channel_ids", "channel_type", "reduce_op",
               "barrier_id", "num_threadblocks", "semaphore_ids"});
    if (node.has("reduce_op") && node.member("reduce_op").text() != "sum")
      refuse(file_, at, name, "a plan reduces by the operation of the call; expected \"sum\"");
    Op op{.row = row};
    size_t type = 0;
    if (node.has("channel_type") && node.member("channel_type").text() != "none") {
      if (node.member("channel_type").text() == "switch") refuse(file_, at, name, kSwitch);
      type = type_of(node.member("channel_type"));
    }
    op.port = type == 1;
    if (node.has("channel_ids"))
      for (const Node& id : node.member("channel_ids").items())
        op.channels.push_back(pick(tables.channels[type], id, "channels of the threadblock"));
    read_operands(node, tables.remote_buffers[type], at, &op);
    if (row->kind == OpKind::kBarrier) {
      op.barrier = node.member("barrier_id").count();
      op.threadblocks = node.member("num_threadblocks").count();
    }
    if (row->kind == OpKind::kAcquire || row->kind == OpKind::kRelease)
      for (const Node& id : node.member("semaphore_ids").items()) {
        pick(program_.gpus[static_cast<size_t>(at.gpu)].semaphores, id, "semaphores of the GPU");
        op.semaphores.push_back(id.count());
      }
    return op;
  }

  void read_operands(const Node& node, const std::vector<std::pair<int32_t, char>>& remote,
                     const OpPlace& at, Op* op) const {
    for (const auto& [key, list] :
         {std::pair{"src_buff", &op->sources}, std::pair{"dst_buff", &op->sinks}}) {
      if (!node.has(key)) continue;
      for (const Node& buffer : node.member(key).items()) {
        if (buffer.has("switch_channel_id")) refuse(file_, at, op->row->name, kSwitch);
        list->push_back(read_chunks(buffer, remote, at.gpu));
      }
    }
  }

  Chunks read_chunks(const Node& node, const std::vector<std::pair<int32_t, char>>& remote,
                     int32_t gpu) const {
    Chunks chunks{.gpu = gpu, .first = {}, .count = 0};
    if (node.has("buffer_id")) {
      const auto& [peer, buffer] =
          pick(remote, node.member("buffer_id"), "remote buffers of the threadblock");
      if (peer == gpu) node.member("buffer_id").fail("expected a buffer of another GPU");
      chunks.gpu = peer;
      chunks.first.buffer = buffer;
    } else {
      chunks.first.buffer = read_buffer(node.member("type"));
    }
    const int32_t all = chunks.first.buffer == 's'
                            ? program_.gpus[static_cast<size_t>(chunks.gpu)].scratch_chunks
                            : msccl::capacity(program_.shape, chunks.first.buffer);
    chunks.count = up_to(node.member("size"), all);
    if (chunks.count == 0) node.member("size").expected("at least one chunk");
    chunks.first.offset = up_to(node.member("index"), all - chunks.count);
    return chunks;
  }

  Node root_;
  std::string_view file_;
  Program program_;
  std::vector<GpuTables> tables_;
  int32_t most_[2] = {0, 0};  // channels of one GPU to another, by type
};

// Locates steps by the operation that they come from, which is their `offset`.
class OpLocator : public msccl::Locator {
 public:
  OpLocator(std::string_view file, const Program& program) : Locator("", file), program_(program) {}

 protected:
  std::string describe(const msccl::StepPlace& at, const msccl::ScheduleStep& step) const override {
    const OpPlace place{at.gpu, at.block, static_cast<size_t>(step.offset)};
    const auto& ops = program_.gpus[static_cast<size_t>(at.gpu)].blocks[at.block].ops;
    return mscclpp::describe(file(), place, ops[place.op].row->name);
  }

 private:
  const Program& program_;
};

}  // namespace

std::string describe(std::string_view file, const OpPlace& at, std::string_view op) {
  constexpr size_t kShown = 40;
  return fmt::format("{}: gpu {} threadblock {} op {} ({})", file, at.gpu, at.block, at.op,
                     op.substr(0, kShown));
}

void refuse(std::string_view file, const OpPlace& at, std::string_view op,
            const std::string& what) {
  throw Error(StatusCode::kInvalidArgument, describe(file, at, op) + ": " + what);
}

Program read_program(std::string_view text, std::string_view file) {
  const json document = parse_json(kSubject, text);
  return Reader(document, file).read();
}

}  // namespace mscclpp

Plan from_mscclpp_json(std::string_view text, std::string_view file) {
  mscclpp::Program program;
  try {
    program = mscclpp::read_program(text, file);
  } catch (const Error& error) {
    const std::string what = error.what();
    if (what.starts_with(file)) throw;
    throw Error(error.code(), fmt::format("{}: {}", file, what));
  }
  const msccl::Schedule schedule = mscclpp::schedule_of(program, file);
  return msccl::resolve(schedule, mscclpp::OpLocator(file, program));
}

bool is_mscclpp_json(std::string_view text) {
  constexpr const char* kGpus = "gpus";
  if (text.find("\"gpus\"") == std::string_view::npos) return false;
  // Only the names of the outermost members are kept.
  const auto outermost = [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    return depth <= 1;
  };
  const nlohmann::json names = nlohmann::json::parse(text, outermost, false);
  return names.is_object() && names.contains(kGpus) && !names.contains("format");
}

}  // namespace tutti::plan
