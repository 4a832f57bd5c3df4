// SPDX-License-Identifier: Apache-2.0
// Measures one-sided transfers: putv and getv of many blocks, in turns with the best that the way
// they go does (perf/transfer/raw.h), and checks what was moved.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <numeric>
#include <sstream>
#include <stdexcept>

#include <sys/prctl.h>
#include <sys/wait.h>

#include "perf/transfer/options.h"
#include "perf/transfer/raw.h"
#include "perf/transfer/target.h"
#include "src/base/clock.h"
#include "src/base/wait.h"
#include "tutti/tutti.h"

namespace tutti::transfer_perf {
namespace {

constexpr size_t kBatchBytes = 8 << 20;
constexpr int kMostBlocks = 256;
constexpr int64_t kPointNs = kNsPerSecond / 2;
constexpr double kPatienceSeconds = 60;

// A row of the table. Bytes per ns are GB/s.
struct Result {
  std::string way;
  uint64_t block = 0;
  int batch = 0;
  int iterations = 0;
  double put = 0, get = 0, best_put = 0, best_get = 0;  // medians; best 0: not to be had
  double put_ratio = 0, get_ratio = 0;                  // medians of the iterations' ratios
  bool wrong = false;
};

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

// The initiator's side of one way.
class Bench {
 public:
  Bench(const Options& options, const Invitation& target, bool same_host);
  ~Bench();
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;
  Result measure(uint64_t block, int batch);
  std::string how() const;

 private:
  void connect_raw(bool same_host);
  void choose_blocks(uint64_t block, int batch);
  void transfer(bool putting, std::byte* local);
  bool best(bool putting);
  bool check();
  double timed(const std::function<void()>& run) const;

  const Options& options_;
  const Invitation& target_;
  tuttiAgent_t agent_ = nullptr;
  tuttiAgentPeer_t peer_ = nullptr;
  uint32_t region_ = 0;
  std::vector<std::byte> local_ = std::vector<std::byte>(kRegionBytes, std::byte{2});
  std::vector<std::byte> back_;
  void* shared_ = nullptr;  // what memcpy is measured with
  std::unique_ptr<Streams> streams_;
  uint64_t block_ = 0;
  std::vector<std::vector<size_t>> places_;  // of the blocks of each transfer in flight
};

Bench::Bench(const Options& options, const Invitation& target, bool same_host)
    : options_(options), target_(target) {
  tuttiAgentConfig_t config = TUTTI_AGENT_CONFIG_INITIALIZER;
  config.name = "transfer_perf";
  if (target.way == "tcp") config.transport = "tcp";
  require(tuttiAgentCreate(&agent_, &config), "tuttiAgentCreate");
  require(tuttiAgentImport(agent_, target.blob.data(), target.blob.size(), &peer_),
          "tuttiAgentImport");
  size_t bytes = 0;
  require(tuttiAgentPeerGetRegion(peer_, 0, &region_, &bytes), "tuttiAgentPeerGetRegion");
  if (bytes != kRegionBytes) throw std::runtime_error("the target is of another version");
  if (target.way == "mapped") {
    require(tuttiMemAlloc(&shared_, kRegionBytes), "tuttiMemAlloc");
    std::memset(shared_, 1, kRegionBytes);
  }
  if (target.way == "tcp" && options.best) connect_raw(same_host);
}

Bench::~Bench() {
  streams_.reset();
  const tuttiTransferSignal_t done{.counter = kDone, .value = 1};
  tuttiTransfer_t transfer = nullptr;
  require(tuttiPutv(peer_, nullptr, 0, &done, 0, &transfer), "tuttiPutv");
  require(tuttiTransferWait(transfer, kPatienceSeconds), "tuttiTransferWait");
  require(tuttiAgentDestroy(agent_), "tuttiAgentDestroy");
  if (shared_ != nullptr) require(tuttiMemFree(shared_), "tuttiMemFree");
}

void Bench::connect_raw(bool same_host) {
  std::istringstream addresses(same_host ? "127.0.0.1" : target_.addresses);
  std::string why = "the target has no IPv4 address";
  for (std::string address; std::getline(addresses, address, ',');) {
    try {
      streams_ = std::make_unique<Streams>();
      return streams_->connect(address, target_.raw_port, target_.sockets);
    } catch (const std::runtime_error& e) {
      why = e.what();
    }
  }
  throw std::runtime_error("no raw stream to measure against: " + why);
}

std::string Bench::how() const {
  tuttiAgentPeerInfo_t info = TUTTI_AGENT_PEER_INFO_INITIALIZER;
  require(tuttiAgentPeerGetInfo(peer_, &info), "tuttiAgentPeerGetInfo");
  return info.how;
}

// Scattered, as the pages of a cache are; the same everywhere, so that all ways move the same.
void Bench::choose_blocks(uint64_t block, int batch) {
  block_ = block;
  const auto n = static_cast<size_t>(batch) * static_cast<size_t>(options_.depth);
  const size_t room = kRegionBytes / block;
  if (room < n) {
    throw std::runtime_error(std::to_string(n) + " blocks of " + text_of_bytes(block) +
                             " in flight need more than the region's " +
                             text_of_bytes(kRegionBytes));
  }
  const size_t stride = room | 1;  // odd, and then made coprime to the number of places
  size_t step = std::max<size_t>(1, stride * 5 / 8);
  while (std::gcd(step, room) != 1) ++step;
  places_.assign(static_cast<size_t>(options_.depth), {});
  for (size_t i = 0; i < n; ++i)
    places_[i / static_cast<size_t>(batch)].push_back(i * step % room * block);
}

void Bench::transfer(bool putting, std::byte* local) {
  std::vector<tuttiTransfer_t> transfers;
  std::vector<tuttiTransferDesc_t> blocks;
  for (const auto& places : places_) {
    blocks.clear();
    for (const size_t place : places) blocks.push_back({local + place, region_, place, block_});
    tuttiTransfer_t transfer = nullptr;
    if (putting) {
      require(tuttiPutv(peer_, blocks.data(), blocks.size(), nullptr, 0, &transfer), "tuttiPutv");
    } else {
      require(tuttiGetv(peer_, blocks.data(), blocks.size(), 0, &transfer), "tuttiGetv");
    }
    transfers.push_back(transfer);
  }
  for (const tuttiTransfer_t transfer : transfers) {
    require(tuttiTransferWait(transfer, kPatienceSeconds), "tuttiTransferWait");
    require(tuttiTransferRelease(transfer), "tuttiTransferRelease");
  }
}

// The same bytes by the least that has to be done. False: the system does not let us.
bool Bench::best(bool putting) {
  size_t bytes = 0;
  std::vector<Pair> pairs;
  for (const auto& places : places_) {
    for (const size_t place : places) {
      pairs.push_back({local_.data() + place, target_.memory + place, block_});
      bytes += block_;
    }
  }
  if (target_.way == "plain") return copy_by_kernel(target_.pid, pairs, putting);
  if (target_.way == "mapped") {
    for (const Pair& pair : pairs) {
      std::byte* const there =
          static_cast<std::byte*>(shared_) + static_cast<size_t>(pair.there - target_.memory);
      std::memcpy(putting ? there : pair.here, putting ? pair.here : there, pair.bytes);
    }
    return true;
  }
  streams_->send_order(putting ? 'w' : 'r', bytes);
  if (!putting) {
    streams_->receive(local_.data(), bytes);
    return true;
  }
  streams_->send(local_.data(), bytes);
  char way = 0;
  uint64_t confirmed = 0;
  if (!streams_->receive_order(&way, &confirmed)) throw std::runtime_error("the raw stream broke");
  return true;
}

// True when something came back that was not put.
bool Bench::check() {
  uint32_t state = static_cast<uint32_t>(block_) * 2654435761U + 1;
  for (std::byte& b : local_) {
    state = state * 1664525U + 1013904223U;
    b = static_cast<std::byte>(state >> 24);
  }
  back_.assign(kRegionBytes, std::byte{0});
  transfer(true, local_.data());
  transfer(false, back_.data());
  bool wrong = false;
  for (const auto& places : places_) {
    for (const size_t place : places)
      wrong = std::memcmp(back_.data() + place, local_.data() + place, block_) != 0 || wrong;
  }
  return wrong;
}

double Bench::timed(const std::function<void()>& run) const {
  const int64_t before = now_ns();
  run();
  return static_cast<double>(std::max<int64_t>(1, now_ns() - before));
}

Result Bench::measure(uint64_t block, int batch) {
  choose_blocks(block, batch);
  Result result{.way = target_.way, .block = block, .batch = batch};
  if (options_.check) result.wrong = check();
  std::vector<double> put, get, best_put, best_get, put_ratio, get_ratio;
  bool has_best = options_.best;
  const auto once = [&] {
    put.push_back(timed([&] { transfer(true, local_.data()); }));
    best_put.push_back(timed([&] { has_best = has_best && best(true); }));
    get.push_back(timed([&] { transfer(false, local_.data()); }));
    best_get.push_back(timed([&] { has_best = has_best && best(false); }));
    return put.back() + best_put.back() + get.back() + best_get.back();
  };
  double round_ns = 1;
  for (int i = 0; i < std::max(1, options_.warmup); ++i) round_ns = once();
  for (auto* times : {&put, &get, &best_put, &best_get}) times->clear();
  result.iterations =
      options_.iterations != 0
          ? options_.iterations
          : static_cast<int>(std::clamp(static_cast<double>(kPointNs) / round_ns, 9.0, 500.0));
  for (int i = 0; i < result.iterations; ++i) {
    once();
    put_ratio.push_back(best_put.back() / put.back());
    get_ratio.push_back(best_get.back() / get.back());
  }
  const double bytes =
      static_cast<double>(block) * static_cast<double>(batch) * static_cast<double>(options_.depth);
  result.put = bytes / median(put);
  result.get = bytes / median(get);
  if (!has_best) return result;
  result.best_put = bytes / median(best_put);
  result.best_get = bytes / median(best_get);
  result.put_ratio = median(put_ratio);
  result.get_ratio = median(get_ratio);
  return result;
}

// Output

void print_head(const Options& o) {
  std::printf(
      "# transfer_perf: %d transfers in flight; GB/s, medians; ratio: to the best of the same way, "
      "in turns\n"
      "#%7s %8s %6s %6s | %8s %8s %6s | %8s %8s %6s %s\n",
      o.depth, "way", "block", "batch", "iters", "putv", "best", "ratio", "getv", "best", "ratio",
      "wrong");
  std::fflush(stdout);
}

void print(const Result& r) {
  std::printf(" %7s %8s %6d %6d | %8.2f %8.2f %6.2f | %8.2f %8.2f %6.2f %d\n", r.way.c_str(),
              text_of_bytes(r.block).c_str(), r.batch, r.iterations, r.put, r.best_put, r.put_ratio,
              r.get, r.best_get, r.get_ratio, r.wrong ? 1 : 0);
  std::fflush(stdout);
}

void write_json(const Options& o, const std::vector<Result>& results) {
  std::ofstream file(o.json_file);
  file << "{\"depth\": " << o.depth << ", \"results\": [";
  const char* between = "\n";
  for (const Result& r : results) {
    file << between << "  {\"way\": \"" << r.way << "\", \"block_bytes\": " << r.block
         << ", \"batch\": " << r.batch << ", \"iterations\": " << r.iterations
         << ", \"put_gbps\": " << r.put << ", \"get_gbps\": " << r.get
         << ", \"best_put_gbps\": " << r.best_put << ", \"best_get_gbps\": " << r.best_get
         << ", \"put_ratio\": " << r.put_ratio << ", \"get_ratio\": " << r.get_ratio
         << ", \"wrong\": " << (r.wrong ? "true" : "false") << "}";
    between = ",\n";
  }
  file << "\n]}\n";
  if (!file) throw std::runtime_error("can't write " + o.json_file);
}

// Targets

// Written whole or not at all, so that the other side never reads half of it.
void write_file(const std::string& text, void* context) {
  const std::string& name = *static_cast<const std::string*>(context);
  std::ofstream file(name + ".new", std::ios::binary);
  file << text;
  file.close();
  if (!file || std::rename((name + ".new").c_str(), name.c_str()) != 0) {
    std::fprintf(stderr, "transfer_perf: can't write %s\n", name.c_str());
    std::exit(2);
  }
  std::fprintf(stderr, "transfer_perf: serving; now: transfer_perf --with %s\n", name.c_str());
}

std::string read_file(const std::string& name) {
  std::ifstream file(name, std::ios::binary);
  if (!file) throw std::runtime_error(name + " can't be read");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// A target on this host, as a process that was forked before the library had any thread.
class LocalTarget {
 public:
  explicit LocalTarget(const std::string& way);
  ~LocalTarget();
  LocalTarget(const LocalTarget&) = delete;
  LocalTarget& operator=(const LocalTarget&) = delete;
  std::string begin();  // its invitation

 private:
  int go_[2] = {-1, -1}, out_[2] = {-1, -1};
  pid_t pid_ = -1;
};

void write_pipe(const std::string& text, void* context) {
  const int fd = *static_cast<const int*>(context);
  for (size_t done = 0; done < text.size();) {
    const ssize_t wrote = ::write(fd, text.data() + done, text.size() - done);
    if (wrote <= 0) std::exit(2);
    done += static_cast<size_t>(wrote);
  }
  ::close(fd);
}

LocalTarget::LocalTarget(const std::string& way) {
  if (::pipe(go_) != 0 || ::pipe(out_) != 0) throw std::runtime_error("no pipe for the target");
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("no process for the target");
  if (pid_ != 0) {
    ::close(go_[0]);
    ::close(out_[1]);
    return;
  }
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::close(go_[1]);
  ::close(out_[0]);
  char go = 0;
  if (::read(go_[0], &go, 1) != 1) std::exit(0);
  std::exit(serve(way, write_pipe, &out_[1]));
}

LocalTarget::~LocalTarget() {
  ::close(go_[1]);
  ::close(out_[0]);
  if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
}

std::string LocalTarget::begin() {
  if (::write(go_[1], "g", 1) != 1) throw std::runtime_error("the target has ended");
  std::string text;
  char piece[4096];
  for (ssize_t got = 0; (got = ::read(out_[0], piece, sizeof piece)) > 0;)
    text.append(piece, static_cast<size_t>(got));
  return text;
}

// False when something was wrong or slower than expected.
bool measure_all(const Options& o, const Invitation& target, bool same_host,
                 std::vector<Result>* results) {
  bool good = true;
  Bench bench(o, target, same_host);
  for (const uint64_t block : o.blocks) {
    std::vector<int> batches = o.batches;
    if (batches.empty())
      batches.push_back(std::clamp(static_cast<int>(kBatchBytes / block), 1, kMostBlocks));
    for (const int batch : batches) {
      const Result r = bench.measure(block, batch);
      print(r);
      results->push_back(r);
      const double least = expected_ratio(o.expect, block);
      const bool slow = r.best_put != 0 && std::min(r.put_ratio, r.get_ratio) < least;
      if (slow) std::fprintf(stderr, "transfer_perf: below %.2f of the best\n", least);
      good = good && !r.wrong && !slow;
    }
  }
  std::printf("# %s: %s\n", target.way.c_str(), bench.how().c_str());
  return good;
}

int run(const Options& o) {
  if (!o.serve_file.empty()) {
    std::string name = o.serve_file;
    return serve(o.ways.size() == 1 ? o.ways[0] : "tcp", write_file, &name);
  }
  std::vector<Result> results;
  bool good = true;
  if (!o.with_file.empty()) {
    const Invitation target = decode(read_file(o.with_file));
    print_head(o);
    good = measure_all(o, target, false, &results);
  } else {
    std::vector<std::unique_ptr<LocalTarget>> targets;
    for (const std::string& way : o.ways) targets.push_back(std::make_unique<LocalTarget>(way));
    print_head(o);
    for (const auto& target : targets)
      good = measure_all(o, decode(target->begin()), true, &results) && good;
  }
  if (!o.json_file.empty()) write_json(o, results);
  return good ? 0 : 1;
}

}  // namespace
}  // namespace tutti::transfer_perf

int main(int argc, char** argv) {
  tutti::transfer_perf::Options options;
  int exit_status = 0;
  if (!tutti::transfer_perf::parse(argc, argv, &options, &exit_status)) return exit_status;
  try {
    return tutti::transfer_perf::run(options);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "transfer_perf: %s\n", e.what());
    return 2;
  }
}
