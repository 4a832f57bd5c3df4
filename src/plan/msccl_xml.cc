// SPDX-License-Identifier: Apache-2.0
// Reads the XML: elements and attributes, each checked where it stands.
#include "src/plan/msccl_xml.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include <pugixml.hpp>
#include <spdlog/fmt/fmt.h>

#include "src/base/error.h"
#include "src/plan/msccl_schedule.h"
#include "src/plan/mscclpp_json.h"

namespace tutti::plan {
namespace msccl {
namespace {

constexpr int32_t kMaxGpus = 4096;
constexpr int32_t kMaxChunks = 1 << 20;
// Far above what runtimes take (a count below 72); bound the memory that a small file may ask for.
constexpr int64_t kMaxExtents = 1 << 20;
constexpr int32_t kMaxCount = 1024;

int32_t blocks(const Shape& shape) {
  return shape.collective == Collective::kAllReduce || shape.collective == Collective::kReduce ||
                 shape.collective == Collective::kBroadcast
             ? 1
             : shape.n_ranks;
}

class Reader {
 public:
  Reader(std::string_view text, const Locator& locator) : locator_(locator) {
    const pugi::xml_parse_result result = document_.load_buffer(text.data(), text.size());
    if (!result) locator_.fail(result.offset, std::string("not XML: ") + result.description());
  }

  Schedule read() {
    const pugi::xml_node algo = document_.child("algo");
    if (!algo) locator_.fail(0, "expected an element <algo>, got none");
    read_algo(algo);
    const int32_t n = schedule_.shape.n_ranks;
    std::vector<bool> seen(static_cast<size_t>(n), false);
    schedule_.gpus.resize(static_cast<size_t>(n));
    for (const pugi::xml_node gpu : algo.children("gpu")) {
      const auto id = static_cast<size_t>(integer(gpu, "id", 0, n - 1));
      if (seen[id]) fail(gpu, "id", "expected each gpu once, got " + std::to_string(id) + " twice");
      seen[id] = true;
      read_gpu(gpu, static_cast<int32_t>(id));
    }
    const auto missing = std::find(seen.begin(), seen.end(), false);
    if (missing != seen.end()) {
      fail(algo, "ngpus",
           "expected " + std::to_string(n) + " elements <gpu>, got none with id " +
               std::to_string(missing - seen.begin()));
    }
    return std::move(schedule_);
  }

 private:
  [[noreturn]] void fail(pugi::xml_node node, const char* attribute, const std::string& what) {
    locator_.fail(node.offset_debug(),
                  std::string("<") + node.name() + "> " + attribute + ": " + what);
  }

  int32_t integer(pugi::xml_node node, const char* name, int32_t least, int32_t most) {
    const pugi::xml_attribute attribute = node.attribute(name);
    const std::string range =
        "expected an integer from " + std::to_string(least) + " to " + std::to_string(most);
    if (!attribute) fail(node, name, range + ", got no such attribute");
    const std::string_view text = attribute.value();
    int32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
      fail(node, name, range + ", got \"" + std::string(text.substr(0, 40)) + "\"");
    return value;
  }
  int32_t integer_or(pugi::xml_node node, const char* name, int32_t otherwise, int32_t most) {
    return node.attribute(name) ? integer(node, name, 0, most) : otherwise;
  }

  void read_algo(pugi::xml_node algo) {
    Shape& shape = schedule_.shape;
    shape.collective = read_collective(algo);
    shape.n_ranks = integer(algo, "ngpus", 1, kMaxGpus);
    shape.root = has_root(shape.collective) ? integer_or(algo, "root", 0, shape.n_ranks - 1) : 0;
    const int32_t chunks = integer(algo, "nchunksperloop", 1, kMaxChunks);
    if (chunks % blocks(shape) != 0) {
      fail(algo, "nchunksperloop",
           "expected a multiple of the " + std::to_string(shape.n_ranks) +
               " blocks of the collective, got " + std::to_string(chunks));
    }
    if (int64_t{chunks} * shape.n_ranks > kMaxExtents) {
      fail(algo, "nchunksperloop",
           "expected at most " + std::to_string(kMaxExtents) + " chunks times gpus, got " +
               std::to_string(chunks) + " times " + std::to_string(shape.n_ranks));
    }
    shape.chunks_per_block = chunks / blocks(shape);
    const bool in_place = integer_or(algo, "inplace", 0, 1) == 1;
    const bool out_of_place = integer_or(algo, "outofplace", in_place ? 0 : 1, 1) == 1;
    schedule_.aliased = in_place && !out_of_place;
    schedule_.name = algo.attribute("name") ? algo.attribute("name").value() : "msccl";
    // It is printed, and written as JSON.
    std::ranges::replace_if(
        schedule_.name, [](char c) { return c < ' ' || c > '~'; }, '?');
  }

  Collective read_collective(pugi::xml_node algo) {
    const std::string_view text = algo.attribute("coll").value();
    std::string known;
    for (const CollectiveName& entry : kCollectives) {
      if (text == entry.name) return entry.collective;
      known += (known.empty() ? "" : ", ") + std::string(entry.name);
    }
    fail(algo, "coll", "expected one of " + known + ", got \"" + std::string(text) + "\"");
  }

  void read_gpu(pugi::xml_node node, int32_t rank) {
    Gpu& gpu = schedule_.gpus[static_cast<size_t>(rank)];
    for (const char* name : {"i_chunks", "o_chunks"}) {
      integer(node, name, 0, capacity(schedule_.shape, name[0]));
    }
    gpu.scratch_chunks = integer(node, "s_chunks", 0, kMaxChunks);
    const auto children = node.children("tb");
    gpu.blocks.resize(static_cast<size_t>(std::distance(children.begin(), children.end())));
    std::vector<bool> seen(gpu.blocks.size(), false);
    for (const pugi::xml_node tb : children) {
      const auto id =
          static_cast<size_t>(integer(tb, "id", 0, static_cast<int32_t>(gpu.blocks.size()) - 1));
      if (seen[id]) fail(tb, "id", "expected each tb once, got " + std::to_string(id) + " twice");
      seen[id] = true;
      read_block(tb, rank, &gpu.blocks[id]);
    }
    for (const pugi::xml_node copy : node.children("copy")) gpu.blocks.push_back(read_copy(copy));
    check_dependencies(node, gpu);
  }

  void read_block(pugi::xml_node tb, int32_t rank, Block* block) {
    const int32_t n = schedule_.shape.n_ranks;
    block->send = integer(tb, "send", kNone, n - 1);
    block->recv = integer(tb, "recv", kNone, n - 1);
    for (const char* end : {"send", "recv"}) {
      if (integer(tb, end, kNone, n - 1) == rank) fail(tb, end, "expected another gpu, got itself");
    }
    block->channel = integer(tb, "chan", 0, kMaxCount - 1);
    schedule_.channels = std::max(schedule_.channels, block->channel + 1);
    for (const pugi::xml_node step : tb.children("step")) {
      integer(step, "s", static_cast<int32_t>(block->steps.size()),
              static_cast<int32_t>(block->steps.size()));
      block->steps.push_back(read_step(step, rank, *block));
    }
  }

  ScheduleStep read_step(pugi::xml_node node, int32_t rank, const Block& block) {
    ScheduleStep step;
    step.offset = node.offset_debug();
    step.type = read_type(node);
    const StepTypeRow& type = row(step.type);
    if (type.receives && block.recv == kNone) fail(node, "type", "its tb has no recv");
    if (type.sends && block.send == kNone) fail(node, "type", "its tb has no send");
    if (type.receives) step.from = {block.recv, block.channel};
    if (type.sends) step.to = {block.send, block.channel};
    step.count = integer(node, "cnt", step.type == StepType::kNop ? 0 : 1, kMaxCount);
    if (type.reads) step.src = read_place(node, "srcbuf", "srcoff", rank, step.count);
    if (type.writes) step.dst = read_place(node, "dstbuf", "dstoff", rank, step.count);
    step.dep_block = integer(node, "depid", kNone, kMaxChunks);
    step.dep_step = integer(node, "deps", kNone, kMaxChunks);
    step.has_dependent = integer(node, "hasdep", 0, 1) == 1;
    return step;
  }

  StepType read_type(pugi::xml_node node) {
    const std::string_view text = node.attribute("type").value();
    std::string known;
    for (size_t i = 0; i < kXmlStepTypes; ++i) {
      if (text == kStepTypes[i].name) return static_cast<StepType>(i);
      known += (known.empty() ? "" : ", ") + std::string(kStepTypes[i].name);
    }
    fail(node, "type", "expected one of " + known + ", got \"" + std::string(text) + "\"");
  }

  Place read_place(pugi::xml_node node, const char* buffer_name, const char* offset_name,
                   int32_t rank, int32_t count) {
    const std::string_view buffer = node.attribute(buffer_name).value();
    if (buffer != "i" && buffer != "o" && buffer != "s") {
      fail(node, buffer_name,
           "expected i, o or s, got \"" + std::string(buffer.substr(0, 40)) + "\"");
    }
    const int32_t chunks = buffer == "s" ? schedule_.gpus[static_cast<size_t>(rank)].scratch_chunks
                                         : capacity(schedule_.shape, buffer[0]);
    if (count > chunks) {
      fail(node, "cnt",
           "expected at most the " + std::to_string(chunks) + " chunks of buffer " +
               std::string(buffer) + ", got " + std::to_string(count));
    }
    return {buffer[0], integer(node, offset_name, 0, chunks - count)};
  }

  // <copy i_off o_off/>: a local copy that waits for nothing.
  Block read_copy(pugi::xml_node node) {
    const Shape& shape = schedule_.shape;
    ScheduleStep step;
    step.type = StepType::kCopy;
    step.count = 1;
    step.offset = node.offset_debug();
    step.src = {'i', integer(node, "i_off", 0, capacity(shape, 'i') - 1)};
    step.dst = {'o', integer(node, "o_off", 0, capacity(shape, 'o') - 1)};
    return {.steps = {step}};
  }

  void check_dependencies(pugi::xml_node gpu_node, const Gpu& gpu) {
    for (const Block& block : gpu.blocks) {
      for (const ScheduleStep& step : block.steps) {
        if (step.dep_block == kNone) continue;
        const std::string target =
            "tb " + std::to_string(step.dep_block) + " step " + std::to_string(step.dep_step);
        const auto fail_here = [&](const std::string& what) {
          locator_.fail(step.offset,
                        fmt::format("<step> depid, deps: expected a step of gpu {} {}, got {}",
                                    gpu_node.attribute("id").value(), what, target));
        };
        const auto id = static_cast<size_t>(step.dep_block);
        if (id >= gpu.blocks.size() || step.dep_step < 0 ||
            static_cast<size_t>(step.dep_step) >= gpu.blocks[id].steps.size())
          fail_here("that is there");
        if (!gpu.blocks[id].steps[static_cast<size_t>(step.dep_step)].has_dependent)
          fail_here("with hasdep=\"1\"");
      }
    }
  }

  const Locator& locator_;
  pugi::xml_document document_;
  Schedule schedule_;
};

}  // namespace

int32_t capacity(const Shape& shape, char buffer) {
  const bool whole = buffer == 'i' ? shape.collective != Collective::kAllGather
                                   : shape.collective != Collective::kReduceScatter;
  return shape.chunks_per_block * (whole ? blocks(shape) : 1);
}

size_t Locator::line(ptrdiff_t offset) const {
  const auto end = std::min(text_.size(), static_cast<size_t>(std::max<ptrdiff_t>(offset, 0)));
  return 1 + static_cast<size_t>(std::count(text_.begin(), text_.begin() + end, '\n'));
}

void Locator::fail(ptrdiff_t offset, const std::string& what) const {
  throw Error(StatusCode::kInvalidArgument,
              std::string(file_) + ":" + std::to_string(line(offset)) + ": " + what);
}

std::string Locator::describe(const StepPlace& at, const ScheduleStep& step) const {
  return fmt::format("{}:{}: gpu {} tb {} step {} ({})", file_, line(step.offset), at.gpu, at.block,
                     at.step, row(step.type).name);
}

void Locator::fail_step(const StepPlace& at, const ScheduleStep& step,
                        const std::string& what) const {
  throw Error(StatusCode::kInvalidArgument, describe(at, step) + ": " + what);
}

Schedule parse(std::string_view text, const Locator& locator) {
  return Reader(text, locator).read();
}

}  // namespace msccl

Plan from_msccl_xml(std::string_view text, std::string_view file) {
  const msccl::Locator locator(text, file);
  return msccl::resolve(msccl::parse(text, locator), locator);
}

Plan from_text(std::string_view text, std::string_view file) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '<') return from_msccl_xml(text, file);
  if (is_mscclpp_json(text)) return from_mscclpp_json(text, file);
  try {
    return from_json(text);
  } catch (const Error& error) {
    throw Error(error.code(), std::string(file) + ": " + error.what());
  }
}

}  // namespace tutti::plan
