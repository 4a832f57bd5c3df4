// SPDX-License-Identifier: Apache-2.0
#include "tests/cudasim/src/driver/call.h"

#include <unistd.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <string_view>

#include <spdlog/fmt/fmt.h>

#include "tests/cudasim/src/config.h"
#include "tests/cudasim/src/driver/errors.h"
#include "tests/cudasim/src/driver/state.h"

namespace cudasim {
namespace {

// "cuMemCreate:3=OUT_OF_MEMORY,cuMemMap=UNKNOWN": the third call of the one fails, every call of
// the other.
class Injections {
 public:
  explicit Injections(const std::string& text) {
    for (size_t from = 0; from < text.size();) {
      const size_t to = std::min(text.find(',', from), text.size());
      add(text.substr(from, to - from));
      from = to + 1;
    }
  }

  void check(const std::string& name) {
    const std::lock_guard lock(mutex_);
    const auto at = rows_.find(name);
    if (at == rows_.end()) return;
    Row& row = at->second;
    if (++row.calls != row.which && row.which != 0) return;
    throw Failure(row.code, "CUDASIM_FAIL says so");
  }
  bool empty() const { return rows_.empty(); }

 private:
  struct Row {
    int which = 0;  // 0: all
    int calls = 0;
    Result code = Result::kUnknown;
  };
  void add(const std::string& text) {
    const size_t equal = text.find('=');
    if (equal == std::string::npos) return complain(text);
    std::string name = text.substr(0, equal);
    Row row;
    if (const size_t colon = name.find(':'); colon != std::string::npos) {
      row.which = std::atoi(name.c_str() + colon + 1);  // NOLINT(cert-err34-c): 0 is all
      name.resize(colon);
    }
    if (!error_named(text.substr(equal + 1), &row.code)) return complain(text);
    rows_[name] = row;
  }
  static void complain(const std::string& text) {
    std::fprintf(stderr, "cudasim: CUDASIM_FAIL: \"%s\" is not CALL:NUMBER=ERROR\n", text.c_str());
  }

  std::mutex mutex_;
  std::map<std::string, Row> rows_;
};

Injections& injections() {
  static Injections* const kInjections = new Injections(config().fail);
  return *kInjections;
}

}  // namespace

void begin_call(const char* name, bool needs_init) {
  if (!injections().empty()) injections().check(name);
  if (!needs_init) return;
  const pid_t starter = state().pid.load(std::memory_order_acquire);  // pairs with cuInit
  if (starter == 0) throw Failure(Result::kNotInitialized, "cuInit was not called");
  if (starter != getpid())
    throw Failure(Result::kNotInitialized, "the driver was started before fork()");
}

Result end_failed_call(const char* name, Result code, const char* reason) {
  if (config().log && code != Result::kNotReady)
    std::fprintf(stderr, "cudasim[%d]: %s returns %s: %s\n", getpid(), name, error_name(code),
                 reason);
  return code;
}

State& state() {
  static State* const kState = new State();
  return *kState;
}

std::vector<abi::ContextObject*>& context_stack() {
  // Not destroyed with its thread: destructors of static objects may still call the driver.
  thread_local auto* const stack = new std::vector<abi::ContextObject*>();
  return *stack;
}

abi::ContextObject* current_or_null() {
  auto& stack = context_stack();
  return stack.empty() ? nullptr : stack.back();
}

abi::ContextObject& current_context() {
  abi::ContextObject* const context = current_or_null();
  require(context != nullptr, Result::kInvalidContext, "no context is current");
  return *context;
}

void check_usable(const abi::ContextObject& context) {
  if (context.error != Result::kSuccess)
    throw Failure(context.error, "the context has failed before; its device must be reset");
}

abi::ContextObject& usable_context() {
  abi::ContextObject& context = current_context();
  const std::lock_guard lock(engine().mutex());
  check_usable(context);
  return context;
}

int check_device(abi::Device device) {
  const auto count = static_cast<abi::Device>(machine().gpus().size());
  if (device < 0 || device >= count)
    throw Failure(Result::kInvalidDevice, fmt::format("device {}, of {} devices", device, count));
  return device;
}

void drain(Lock& lock, abi::ContextObject& context) {
  engine().wait_idle(lock, {context.streams.begin(), context.streams.end()});
}

Result run_now(std::unique_ptr<Op> op) {
  abi::ContextObject& context = current_context();
  check_not_capturing();
  Lock lock(engine().mutex());
  check_usable(context);
  engine().enqueue(*context.null_stream, std::move(op));
  engine().wait_idle(lock, {context.null_stream});
  return context.error;
}

}  // namespace cudasim
