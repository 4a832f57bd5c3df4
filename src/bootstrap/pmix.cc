// SPDX-License-Identifier: Apache-2.0
// A PMIx client of few words. The library is opened at run time; its calls block without a deadline
// of their own, so a helper thread makes them, which is left behind when it does not come back.
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include <spdlog/fmt/fmt.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/monitor.h"
#include "src/bootstrap/key_value.h"
#include "src/bootstrap/pmix_abi.h"

namespace tutti::bootstrap {
namespace {

constexpr const char* kKey = "tutti.launch";
constexpr int64_t kGoodbyeNs = 5 * kNsPerSecond;
constexpr int64_t kLongestTimeoutSeconds = 1'000'000;

// Stays loaded: it has threads of its own.
pmix::Functions open_library() {
  void* library = ::dlopen(pmix::kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw Error(StatusCode::kSystemError,
                fmt::format("the launcher speaks PMIx, but {} can't be opened ({}); install the "
                            "PMIx client library (Debian: libpmix2) on all hosts",
                            pmix::kLibrary, ::dlerror()));
  }
  const auto find = [library](const char* name) {
    void* symbol = ::dlsym(library, name);
    if (symbol != nullptr) return symbol;
    throw Error(StatusCode::kSystemError,
                fmt::format("{} has no {}; PMIx 3 or later is needed", pmix::kLibrary, name));
  };
  pmix::Functions functions{};
  const auto set = [&](auto& into, const char* name) {
    into = reinterpret_cast<std::remove_reference_t<decltype(into)>>(find(name));
  };
  set(functions.init, "PMIx_Init");
  set(functions.finalize, "PMIx_Finalize");
  set(functions.put, "PMIx_Put");
  set(functions.commit, "PMIx_Commit");
  set(functions.fence, "PMIx_Fence");
  set(functions.get, "PMIx_Get");
  set(functions.error_string, "PMIx_Error_string");
  return functions;
}

pmix::Info info_of(const char* key, uint16_t type) {
  pmix::Info info{};
  std::strncpy(info.key, key, sizeof info.key - 1);
  info.value.type = type;
  return info;
}

// One visit to the server: connected from construction to destruction. The library counts, so that
// a visit in a program that uses PMIx itself (by MPI) changes nothing for it.
class Visit {
 public:
  explicit Visit(const pmix::Functions& library) : library_(library) {
    status_ = library_.init(&self_, nullptr, 0);
  }
  ~Visit() {
    if (connected()) library_.finalize(nullptr, 0);
  }
  Visit(const Visit&) = delete;
  Visit& operator=(const Visit&) = delete;

  bool connected() const { return status_ == pmix::kSuccess; }
  bool unreachable() const { return status_ == pmix::kErrUnreachable; }
  void require_connected() const { must(status_, "PMIx_Init"); }
  int rank() const { return static_cast<int>(self_.rank); }

  void put(const std::string& text) {
    std::string copy = text;
    pmix::Value value{};
    value.type = pmix::kString;
    value.data.string = copy.data();
    must(library_.put(pmix::kScopeGlobal, kKey, &value), "PMIx_Put");
    must(library_.commit(), "PMIx_Commit");
  }
  void fence(Deadline deadline) {
    pmix::Info info[] = {info_of(pmix::kKeyCollect, pmix::kBool),
                         info_of(pmix::kKeyTimeout, pmix::kInt)};
    info[0].value.data.flag = true;
    const int64_t seconds = std::min(deadline.left_ns() / kNsPerSecond + 1, kLongestTimeoutSeconds);
    info[1].value.data.integer = static_cast<int>(seconds);
    must(library_.fence(nullptr, 0, info, std::size(info)), "PMIx_Fence");
  }
  std::string text_of_rank_0() { return text_of(get(0, kKey), kKey); }
  int number(uint32_t rank, const char* key) {
    const std::unique_ptr<pmix::Value, void (*)(void*)> value(get(rank, key), std::free);
    if (value->type == pmix::kUint32) return static_cast<int>(value->data.uint32);
    if (value->type == pmix::kUint16) return value->data.uint16;
    throw wrong_type(key, value->type);
  }
  int own_number(const char* key) { return number(self_.rank, key); }

 private:
  void must(int status, const char* call) const {
    if (status == pmix::kSuccess) return;
    throw Error(StatusCode::kRemoteError,
                fmt::format("{} failed: {} ({}); look at the launcher's output, or set TUTTI_KEY "
                            "and MASTER_ADDR to do without PMIx",
                            call, library_.error_string(status), status));
  }
  static Error wrong_type(const char* key, uint16_t type) {
    return {StatusCode::kRemoteError,
            fmt::format("PMIx gave {} as a value of type {}, which is not expected", key, type)};
  }
  pmix::Value* get(uint32_t rank, const char* key) {
    pmix::Process of = self_;
    of.rank = rank;
    pmix::Value* value = nullptr;
    must(library_.get(&of, key, nullptr, 0, &value), "PMIx_Get");
    if (value == nullptr)
      throw Error(StatusCode::kRemoteError, fmt::format("PMIx_Get gave no value for {}", key));
    return value;
  }
  // Takes the value and its string, which the library leaves to be freed by its caller.
  static std::string text_of(pmix::Value* raw, const char* key) {
    const std::unique_ptr<pmix::Value, void (*)(void*)> value(raw, std::free);
    if (value->type != pmix::kString || value->data.string == nullptr)
      throw wrong_type(key, value->type);
    const std::unique_ptr<char, void (*)(void*)> string(value->data.string, std::free);
    return {string.get(), ::strnlen(string.get(), kMaxSharedBytes + 1)};
  }

  const pmix::Functions library_;
  pmix::Process self_{};
  int status_ = pmix::kSuccess;
};

// Runs `talk` on a thread of its own until the deadline.
template <typename Result>
Result until(Deadline deadline, const char* what, std::function<Result()> talk) {
  struct State {
    Monitor monitor;
    bool done = false;  // guarded by monitor, as what follows
    Result result{};
    std::exception_ptr error;
  };
  const auto state = std::make_shared<State>();  // shared: the thread may outlive the call
  const int64_t start_ns = now_ns();
  std::thread([state, talk = std::move(talk)] {
    Result result{};
    std::exception_ptr error;
    try {
      result = talk();
    } catch (...) {
      error = std::current_exception();
    }
    const Monitor::Lock lock = state->monitor.lock();
    state->result = std::move(result);
    state->error = error;
    state->done = true;
    state->monitor.notify_all();
  }).detach();
  Monitor::Lock lock = state->monitor.lock();
  if (!state->monitor.wait(lock, deadline, [&] { return state->done; })) {
    throw Error(StatusCode::kRemoteError,
                fmt::format("{} over PMIx was not done in {:.1f} s: a rank has not come, or the "
                            "launcher does not answer",
                            what, static_cast<double>(now_ns() - start_ns) / kNsPerSecond));
  }
  if (state->error != nullptr) std::rethrow_exception(state->error);
  return std::move(state->result);
}

// The library can't be initialised again reliably once its last user has gone. So a process makes
// one visit: what asks for the rank leaves it open for what shares the address, else for the end of
// the process, which launchers want to hear of.
struct Session {
  std::mutex mutex;  // held by helper threads only, whose callers have deadlines
  std::unique_ptr<Visit> visit;
  bool asked = false;
  std::optional<PmixPlace> place;  // when asked: nullopt, nobody answered
  pid_t process = 0;               // a forked child must not end its parent's visit
};
Session& session() {
  static Session& one = *new Session;  // never destroyed: helper threads may outlive static objects
  return one;
}

void end_visit_at_exit() {
  if (session().process != ::getpid()) return;
  try {
    until<bool>(Deadline::after_ns(kGoodbyeNs), "saying goodbye", [] {
      const std::lock_guard lock(session().mutex);
      session().visit.reset();
      return true;
    });
  } catch (const std::exception&) {
    return;  // it does not answer; the process ends all the same
  }
}

std::optional<PmixPlace> ask_once() {
  Session& here = session();
  const std::lock_guard lock(here.mutex);
  if (here.asked) return here.place;
  auto visit = std::make_unique<Visit>(open_library());
  if (!visit->unreachable()) {
    visit->require_connected();
    here.place = PmixPlace{.rank = visit->rank(),
                           .size = visit->number(pmix::kRankWildcard, pmix::kKeyJobSize),
                           .local_rank = visit->own_number(pmix::kKeyLocalRank),
                           .local_size = visit->number(pmix::kRankWildcard, pmix::kKeyLocalSize)};
    here.visit = std::move(visit);
    here.process = ::getpid();
    std::atexit(end_visit_at_exit);
  }
  here.asked = true;
  return here.place;
}

std::unique_ptr<Visit> take_visit() {
  Session& here = session();
  const std::lock_guard lock(here.mutex);
  return here.visit != nullptr ? std::move(here.visit) : std::make_unique<Visit>(open_library());
}

// For the same reason: MPI_Init would have to.
void refuse_before_mpi() {
  void* found = ::dlsym(RTLD_DEFAULT, "MPI_Initialized");
  if (found == nullptr) return;
  int initialised = 0;
  reinterpret_cast<int (*)(int*)>(found)(&initialised);
  if (initialised != 0) return;
  throw Error(StatusCode::kInvalidUsage,
              "this program uses MPI, which shares the connection to the launcher (PMIx): call "
              "MPI_Init before the first tuttiGetLaunchUniqueId, or set TUTTI_KEY and MASTER_ADDR");
}

}  // namespace

std::optional<std::string> why_no_pmix(int rank) {
  const auto given = foreign_variable("PMIX_RANK");
  if (!given.has_value() || !foreign_variable("PMIX_NAMESPACE").has_value())
    return "PMIx: PMIX_NAMESPACE and PMIX_RANK are not set";
  if (*given == std::to_string(rank)) return std::nullopt;
  return fmt::format("PMIx: PMIX_RANK={} is of another job than rank {}", *given, rank);
}

std::string share_by_pmix(const Sharing& sharing) {
  refuse_before_mpi();
  return until<std::string>(sharing.deadline, "exchanging rank 0's address", [sharing] {
    const std::unique_ptr<Visit> open = take_visit();
    Visit& visit = *open;
    visit.require_connected();
    if (visit.rank() != sharing.rank) {
      throw Error(StatusCode::kInvalidUsage,
                  fmt::format("PMIx calls this process rank {}, its environment rank {}",
                              visit.rank(), sharing.rank));
    }
    if (sharing.rank == 0) visit.put(sharing.mine);
    visit.fence(sharing.deadline);
    return sharing.rank == 0 ? sharing.mine : visit.text_of_rank_0();
  });
}

std::optional<PmixPlace> ask_pmix_for_place(Deadline deadline) {
  return until<std::optional<PmixPlace>>(deadline, "asking for the rank", ask_once);
}

}  // namespace tutti::bootstrap
