// SPDX-License-Identifier: Apache-2.0
// Walks the operations of each threadblock in order and joins what belongs together.
#include "src/plan/mscclpp_links.h"

#include <algorithm>
#include <optional>

#include <spdlog/fmt/fmt.h>

namespace tutti::plan::mscclpp {
namespace {

// One put of an operation, before it is announced.
struct PendingPut {
  OpPlace at;
  size_t sink = 0;  // among those at peers
  Chunks chunks;
  bool port = false;
  int32_t channel = 0;  // of a port
};

struct Ends {
  std::vector<OpPlace> signals;
  std::vector<OpPlace> waits;
};

class Linker {
 public:
  Linker(const Program& program, std::string_view file) : program_(program), file_(file) {}

  Links run() {
    for (int32_t gpu = 0; gpu < program_.shape.n_ranks; ++gpu) {
      const auto& blocks = program_.gpus[static_cast<size_t>(gpu)].blocks;
      for (size_t b = 0; b < blocks.size(); ++b) walk({gpu, b, 0}, blocks[b]);
    }
    for (const auto& [key, ends] : ends_) check(key, ends);
    for (const auto& [key, reads] : reads_)
      for (const auto& [ordinal, chunks] : reads) links_.signals[key][ordinal].reads = chunks;
    return std::move(links_);
  }

 private:
  const Op& op_at(const OpPlace& at) const {
    return program_.gpus[static_cast<size_t>(at.gpu)].blocks[at.block].ops[at.op];
  }
  [[noreturn]] void fail(const OpPlace& at, const std::string& what) const {
    refuse(file_, at, op_at(at).row->name, what);
  }

  void walk(OpPlace at, const ThreadBlock& block) {
    pending_.clear();
    last_wait_.clear();
    for (at.op = 0; at.op < block.ops.size(); ++at.op) {
      const Op& op = block.ops[at.op];
      check_operands(at, op);
      note_reads(at, op);
      note_puts(at, op);
      if (op.row->kind == OpKind::kSignal)
        for (const Peer& channel : op.channels) signal(at, channel);
      if (op.row->kind == OpKind::kWait)
        for (const Peer& channel : op.channels) wait(at, channel);
    }
    if (!pending_.empty())
      fail(pending_.front().at,
           fmt::format("no later signal of its threadblock to gpu {} announces what it puts there; "
                       "relaxed signals and those on other ports don't",
                       pending_.front().chunks.gpu));
  }

  // ---- operands ----

  void check_operands(const OpPlace& at, const Op& op) const {
    switch (op.row->kind) {
      case OpKind::kPut:
        expect(at, op.sources, 0, op.sources.size());
        expect(at, op.sinks, op.sinks.size(), op.sinks.size());
        return check_put(at, op);
      case OpKind::kGet:
        expect(at, op.sources, op.sources.size(), op.sources.size());
        expect(at, op.sinks, 0, op.sources.size());
        return check_memory(at, op);
      case OpKind::kCopy:
        expect(at, op.sources, 0, 1);
        return expect(at, op.sinks, 0, 1);
      case OpKind::kReduce: {
        const size_t others = op.sources.empty() ? 0 : op.sources.size() - 1;
        if (others == 0) fail(at, "expected two or more sources");
        expect(at, op.sources, op.row->reads ? others : 0, op.sources.size());
        const size_t sent = op.row->sends && !op.sinks.empty() ? op.sinks.size() - 1 : 0;
        expect(at, op.sinks, sent, sent + 1);
        return check_memory(at, op);
      }
      default:
        if (!op.sources.empty() || !op.sinks.empty()) fail(at, "expected no buffers");
    }
  }

  // Of `total` operands, the last `remote` at peers; all as long as the first source.
  void expect(const OpPlace& at, const std::vector<Chunks>& list, size_t remote,
              size_t total) const {
    const Op& op = op_at(at);
    if (list.size() != total || list.empty())
      fail(at, fmt::format("expected {} {}, got {}", std::max<size_t>(total, 1),
                           &list == &op.sources ? "sources" : "sinks", list.size()));
    for (size_t i = 0; i < list.size(); ++i) {
      const bool at_peer = i >= list.size() - remote;
      if ((list[i].gpu != at.gpu) != at_peer)
        fail(at, fmt::format("{} {}: expected {}", &list == &op.sources ? "source" : "sink", i,
                             at_peer ? "a remote buffer" : "a buffer of its own GPU"));
      if (list[i].count != op.sources.front().count)
        fail(at, fmt::format("expected all operands to have {} chunks, got {}",
                             op.sources.front().count, list[i].count));
    }
  }

  void check_put(const OpPlace& at, const Op& op) const {
    if (op.sources.size() != op.sinks.size())
      fail(at, fmt::format("expected as many sinks as sources, {}, got {}", op.sources.size(),
                           op.sinks.size()));
    if (op.row->signals && !op.port) fail(at, "expected channel_type \"port\"");
    if (!op.port) return;
    if (op.channels.size() < op.sinks.size())
      fail(at, fmt::format("expected {} channel_ids, got {}", op.sinks.size(), op.channels.size()));
    for (size_t i = 0; i < op.sinks.size(); ++i)
      if (op.channels[i].rank != op.sinks[i].gpu)
        fail(at, fmt::format("sink {} is at gpu {}, its channel leads to gpu {}", i,
                             op.sinks[i].gpu, op.channels[i].rank));
  }

  void check_memory(const OpPlace& at, const Op& op) const {
    if (op.port) fail(at, "expected channel_type \"memory\"");
  }

  // ---- what belongs together ----

  void note_puts(const OpPlace& at, const Op& op) {
    size_t n_remote = 0;
    for (size_t i = 0; i < op.sinks.size(); ++i) {
      if (op.sinks[i].gpu == at.gpu) continue;
      PendingPut put{at, n_remote++, op.sinks[i], op.port, 0};
      if (op.port) put.channel = op.channels[i].channel;
      links_.sink_channels[at].push_back(msccl::kNone);
      pending_.push_back(put);
      if (op.row->signals) signal(at, op.channels[i]);
    }
  }

  void signal(const OpPlace& at, const Peer& channel) {
    const ConnectionKey key{at.gpu, channel.rank, channel.channel};
    ends_[key].signals.push_back(at);
    Signal made;
    const Op& op = op_at(at);
    const auto announced = [&](const PendingPut& put) {
      if (op.row->relaxed || put.chunks.gpu != channel.rank || put.port != op.port) return false;
      return !put.port || put.channel == channel.channel;
    };
    for (const PendingPut& put : pending_) {
      if (!announced(put)) continue;
      made.puts.push_back(put.chunks);
      links_.sink_channels[put.at][put.sink] = channel.channel;
    }
    std::erase_if(pending_, announced);
    links_.signals[key].push_back(std::move(made));
  }

  void wait(const OpPlace& at, const Peer& channel) {
    const ConnectionKey key{channel.rank, at.gpu, channel.channel};
    std::vector<OpPlace>& waits = ends_[key].waits;
    last_wait_[channel.rank] = {channel.channel, waits.size()};
    waits.push_back(at);
  }

  void note_reads(const OpPlace& at, const Op& op) {
    for (const Chunks& source : op.sources) {
      if (source.gpu == at.gpu) continue;
      const auto found = last_wait_.find(source.gpu);
      if (found == last_wait_.end())
        fail(at,
             fmt::format("no earlier wait of its threadblock for gpu {} says that what it reads "
                         "there is ready",
                         source.gpu));
      const auto& [channel, ordinal] = found->second;
      reads_[{source.gpu, at.gpu, channel}][ordinal].push_back(source);
      links_.source_channels[at].push_back(channel);
    }
  }

  void check(const ConnectionKey& key, const Ends& ends) const {
    const auto& [source, sink, channel] = key;
    for (const auto* list : {&ends.signals, &ends.waits})
      for (const OpPlace& at : *list)
        if (at.block != list->front().block)
          fail(at, fmt::format("threadblock {} uses this channel between gpus {} and {} too; "
                               "expected one threadblock at each end",
                               list->front().block, source, sink));
    if (ends.signals.size() != ends.waits.size())
      fail(ends.signals.empty() ? ends.waits.front() : ends.signals.front(),
           fmt::format("gpu {} signals gpu {} {} times on this channel, and that one waits {} "
                       "times; expected as many",
                       source, sink, ends.signals.size(), ends.waits.size()));
    const std::vector<Signal>& signals = links_.signals.at(key);
    for (size_t i = 0; i < signals.size(); ++i)
      if (op_at(ends.waits[i]).row->relaxed && !signals[i].puts.empty())
        fail(ends.waits[i], fmt::format("a relaxed wait does not say that what gpu {} has put is "
                                        "there; expected \"wait\"",
                                        source));
  }

  const Program& program_;
  std::string_view file_;
  Links links_;
  std::map<ConnectionKey, Ends> ends_;
  // By the signal's number on its connection.
  std::map<ConnectionKey, std::map<size_t, std::vector<Chunks>>> reads_;
  // Of the threadblock at hand.
  std::vector<PendingPut> pending_;
  std::map<int32_t, std::pair<int32_t, size_t>> last_wait_;  // by GPU: channel, number
};

}  // namespace

Links link(const Program& program, std::string_view file) { return Linker(program, file).run(); }

}  // namespace tutti::plan::mscclpp
