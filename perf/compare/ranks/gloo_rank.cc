// SPDX-License-Identifier: Apache-2.0
// Gloo over its TCP transport, on COMPARE_ADDRESS. COMPARE_GLOO chooses how reductions are done:
// "new" (the functions with options), or an algorithm object on busy-polling pairs: "ring",
// "bcube", "halving". Those work in place, so that out of place costs them a copy of the input.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gloo/allgather.h>
#include <gloo/allreduce.h>
#include <gloo/allreduce_bcube.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/allreduce_ring.h>
#include <gloo/alltoall.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/math.h>
#include <gloo/reduce_scatter.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/rendezvous/prefix_store.h>
#include <gloo/transport/tcp/device.h>

#include "perf/compare/ranks/backend.h"

namespace tutti::compare {
namespace {

using gloo::transport::UnboundBuffer;

constexpr auto kTimeout = std::chrono::seconds(60);

std::string variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : otherwise;
}

class GlooBackend final : public Backend {
 public:
  GlooBackend()
      : rank_(std::atoi(variable("COMPARE_RANK", "0").c_str())),
        size_(std::atoi(variable("COMPARE_SIZE", "1").c_str())),
        how_(variable("COMPARE_GLOO", "new")) {
    gloo::transport::tcp::attr where;
    where.hostname = variable("COMPARE_ADDRESS", "127.0.0.1");
    device_ = gloo::transport::tcp::CreateDevice(where);
    gloo::rendezvous::FileStore files(variable("COMPARE_STORE", "."));
    context_ = connect(files, "new");
    if (how_ != "new") {
      busy_ = connect(files, "busy");
      for (int peer = 0; peer < size_; ++peer) {
        if (peer != rank_) {
          busy_->getPair(peer)->setSync(true, true);
        }
      }
    }
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string version() const override { return "2022-05-18"; }  // what Debian packages

  void prepare(const Call& call) override {
    call_ = call;
    tag_ += 2;
    switch (call.point.op) {
      case Op::all_reduce:
        return prepare_all_reduce();
      case Op::reduce_scatter:
        return prepare_reduce_scatter();
      case Op::all_gather:
        return prepare_all_gather();
      case Op::broadcast:
        return prepare_broadcast();
      case Op::all_to_all:
        return prepare_all_to_all();
      case Op::ping_pong:
        return prepare_ping_pong();
      case Op::send_recv:
        return prepare_send_recv();
      case Op::other:
        break;
    }
    throw Unsupported("gloo does not know " + call.point.name);
  }
  void run(int root) override { step_(root); }
  void finish() override {
    step_ = nullptr;
    algorithm_.reset();
    broadcasts_.clear();
    input_.reset();
    output_.reset();
  }
  void barrier() override {
    gloo::BarrierOptions options(context_);
    gloo::barrier(options);
  }

 private:
  std::shared_ptr<gloo::rendezvous::Context> connect(gloo::rendezvous::Store& store,
                                                     const char* name) {
    gloo::rendezvous::PrefixStore prefixed(name, store);
    auto context = std::make_shared<gloo::rendezvous::Context>(rank_, size_);
    context->setTimeout(kTimeout);
    context->connectFullMesh(prefixed, device_);
    return context;
  }

  void only_new() const {
    if (how_ != "new") {
      throw Unsupported("this setting is about reductions");
    }
  }

  void prepare_all_reduce() {
    const size_t count = call_.shape.block_elems;
    if (how_ == "new") {
      auto options = std::make_shared<gloo::AllreduceOptions>(context_);
      options->setInput(call_.input, count);
      options->setOutput(call_.output, count);
      options->setReduceFunction(
          static_cast<void (*)(void*, const void*, const void*, size_t)>(&gloo::sum<float>));
      options->setTag(tag_);
      step_ = [options](int) { gloo::allreduce(*options); };
      return;
    }
    const std::vector<float*> pointers{call_.output};
    const int n = static_cast<int>(count);
    if (how_ == "ring") {
      algorithm_ = std::make_unique<gloo::AllreduceRing<float>>(busy_, pointers, n);
    } else if (how_ == "bcube") {
      algorithm_ = std::make_unique<gloo::AllreduceBcube<float>>(busy_, pointers, n);
    } else {
      algorithm_ = std::make_unique<gloo::AllreduceHalvingDoubling<float>>(busy_, pointers, n);
    }
    step_ = [this](int) {
      if (call_.input != call_.output) {
        std::memcpy(call_.output, call_.input, call_.point.bytes);
      }
      algorithm_->run();
    };
  }

  // The only ReduceScatter there is; it works in place on the whole input.
  void prepare_reduce_scatter() {
    const size_t total = call_.shape.input_elems;
    work_.resize(total);
    const std::vector<int> counts(static_cast<size_t>(size_),
                                  static_cast<int>(call_.shape.block_elems));
    algorithm_ = std::make_unique<gloo::ReduceScatterHalvingDoubling<float>>(
        how_ == "new" ? context_ : busy_, std::vector<float*>{work_.data()},
        static_cast<int>(total), counts);
    step_ = [this](int) {
      std::memcpy(work_.data(), call_.input, work_.size() * sizeof(float));
      algorithm_->run();
      std::memcpy(call_.output, work_.data(), call_.shape.block_elems * sizeof(float));
    };
  }

  void prepare_all_gather() {
    only_new();
    auto options = std::make_shared<gloo::AllgatherOptions>(context_);
    options->setInput(call_.input, call_.shape.input_elems);
    options->setOutput(call_.output, call_.shape.output_elems);
    options->setTag(tag_);
    step_ = [options](int) { gloo::allgather(*options); };
  }

  void prepare_broadcast() {
    only_new();
    for (int root = 0; root < size_; ++root) {
      auto options = std::make_unique<gloo::BroadcastOptions>(context_);
      options->setOutput(call_.output, call_.shape.block_elems);
      options->setRoot(root);
      options->setTag(tag_);
      broadcasts_.push_back(std::move(options));
    }
    step_ = [this](int root) { gloo::broadcast(*broadcasts_[static_cast<size_t>(root)]); };
  }

  void prepare_all_to_all() {
    only_new();
    auto options = std::make_shared<gloo::AlltoallOptions>(context_);
    options->setInput(call_.input, call_.shape.input_elems);
    options->setOutput(call_.output, call_.shape.output_elems);
    options->setTag(tag_);
    step_ = [options](int) { gloo::alltoall(*options); };
  }

  void prepare_ping_pong() {
    only_new();
    input_ = context_->createUnboundBuffer(call_.input, call_.point.bytes);
    output_ = context_->createUnboundBuffer(call_.output, call_.point.bytes);
    step_ = [this, peer = partner_of(rank_)](int) {
      const auto send = [&] {
        input_->send(peer, tag_);
        input_->waitSend(kTimeout);
      };
      const auto receive = [&] {
        output_->recv(peer, tag_);
        output_->waitRecv(kTimeout);
      };
      if (rank_ < peer) {
        send();
        receive();
      } else {
        receive();
        send();
      }
    };
  }

  void prepare_send_recv() {
    only_new();
    input_ = context_->createUnboundBuffer(call_.input, call_.point.bytes);
    output_ = context_->createUnboundBuffer(call_.output, call_.point.bytes);
    step_ = [this, peer = partner_of(rank_)](int) {
      output_->recv(peer, tag_);
      input_->send(peer, tag_);
      input_->waitSend(kTimeout);
      output_->waitRecv(kTimeout);
    };
  }

  int rank_;
  int size_;
  std::string how_;
  uint32_t tag_ = 100;
  std::shared_ptr<gloo::transport::Device> device_;
  std::shared_ptr<gloo::rendezvous::Context> context_;
  std::shared_ptr<gloo::rendezvous::Context> busy_;
  Call call_;
  std::function<void(int)> step_;
  std::unique_ptr<gloo::Algorithm> algorithm_;
  std::vector<std::unique_ptr<gloo::BroadcastOptions>> broadcasts_;
  std::unique_ptr<UnboundBuffer> input_;
  std::unique_ptr<UnboundBuffer> output_;
  std::vector<float> work_;
};

}  // namespace
}  // namespace tutti::compare

int main() try {
  tutti::compare::begin_rank(tutti::compare::launch_rank());
  tutti::compare::GlooBackend backend;
  return tutti::compare::serve(backend);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
