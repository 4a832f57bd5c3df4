// SPDX-License-Identifier: Apache-2.0
// Opening UCX without letting it take over the process's signals and standard output.
#include "transport/ucx/library.h"

#include <signal.h>

#include <array>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <string_view>
#include <utility>

#include <ucs/debug/log_def.h>

#include "src/base/config.h"
#include "src/base/error.h"
#include "src/base/log.h"

namespace tutti::transport::ucx {
namespace {

constexpr unsigned kOldestMajor = 1;
constexpr unsigned kOldestMinor = 13;

thread_local int calls_inside = 0;  // of ours into UCX, on this thread
thread_local bool refused = false;  // see LogToUs::take_refusal()

LogLevel level_of(ucs_log_level_t level) {
  if (level <= UCS_LOG_LEVEL_ERROR) return LogLevel::kWarn;  // each failure is reported by us, too
  if (level == UCS_LOG_LEVEL_WARN) return LogLevel::kInfo;
  return level <= UCS_LOG_LEVEL_INFO ? LogLevel::kDebug : LogLevel::kTrace;
}

// UCX is used by others in this process, perhaps: only what our own calls cause is taken.
ucs_log_func_rc_t take_log(const char*, unsigned, const char* function, ucs_log_level_t level,
                           const ucs_log_component_config_t*, const char* message, va_list values) {
  // errno is what the message's %m stands for.
  if (errno == ECONNREFUSED && std::string_view(function) == "ucs_socket_connect") refused = true;
  if (calls_inside == 0 || level == UCS_LOG_LEVEL_FATAL) return UCS_LOG_FUNC_RC_CONTINUE;
  const LogLevel ours = level_of(level);
  if (!log_enabled(ours, "transport")) return UCS_LOG_FUNC_RC_STOP;
  std::array<char, 512> text;
  std::vsnprintf(text.data(), text.size(), message, values);
  log(ours, "transport", -1, "UCX in {}: {}", function, text.data());
  return UCS_LOG_FUNC_RC_STOP;
}

// UCX installs handlers that print a backtrace, when it is loaded. A library does not do that to a
// process that never asked for it; who wants them sets UCX_HANDLE_ERRORS.
class KeptSignals {
 public:
  KeptSignals() : keep_(!foreign_variable("UCX_HANDLE_ERRORS").has_value()) {
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], nullptr, &before_[i]);
  }
  ~KeptSignals() {
    if (!keep_) return;
    for (size_t i = 0; i < kSignals.size(); ++i) sigaction(kSignals[i], &before_[i], nullptr);
  }
  KeptSignals(const KeptSignals&) = delete;
  KeptSignals& operator=(const KeptSignals&) = delete;

 private:
  static constexpr std::array kSignals{SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT};
  bool keep_;
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace

Library::Library()
    : ucp("libucp.so.0", SharedLibrary::Unload::kNever),
      ucs("libucs.so.0", SharedLibrary::Unload::kNever) {}

bool Library::find_all() {
  return ucp.find("ucp_get_version", get_version) && ucs.find("ucs_status_string", status_string) &&
         ucp.find("ucp_config_read", config_read) && ucp.find("ucp_config_modify", config_modify) &&
         ucp.find("ucp_config_release", config_release) &&
         ucp.find("ucp_init_version", init_version) && ucp.find("ucp_cleanup", cleanup) &&
         ucp.find("ucp_context_query", context_query) &&
         ucp.find("ucp_worker_create", worker_create) &&
         ucp.find("ucp_worker_destroy", worker_destroy) &&
         ucp.find("ucp_worker_flush_nbx", worker_flush) &&
         ucp.find("ucp_worker_query", worker_query) &&
         ucp.find("ucp_worker_get_address", worker_get_address) &&
         ucp.find("ucp_worker_release_address", worker_release_address) &&
         ucp.find("ucp_worker_get_efd", worker_get_efd) && ucp.find("ucp_worker_arm", worker_arm) &&
         ucp.find("ucp_worker_progress", worker_progress) &&
         ucp.find("ucp_worker_set_am_recv_handler", set_am_recv_handler) &&
         ucp.find("ucp_ep_create", ep_create) && ucp.find("ucp_ep_close_nbx", ep_close) &&
         ucp.find("ucp_ep_flush_nbx", ep_flush) && ucp.find("ucp_am_send_nbx", am_send) &&
         ucp.find("ucp_am_recv_data_nbx", am_recv_data) &&
         ucp.find("ucp_am_data_release", am_data_release) &&
         ucp.find("ucp_request_check_status", request_check_status) &&
         ucp.find("ucp_request_free", request_free) && ucp.find("ucp_mem_map", mem_map) &&
         ucp.find("ucp_mem_unmap", mem_unmap) && ucp.find("ucp_rkey_pack", rkey_pack) &&
         ucp.find("ucp_rkey_buffer_release", rkey_buffer_release) &&
         ucp.find("ucp_ep_rkey_unpack", rkey_unpack) &&
         ucp.find("ucp_rkey_destroy", rkey_destroy) && ucp.find("ucp_put_nbx", put);
}

std::string Library::version() const { return fmt::format("{}.{}.{}", major, minor, release); }

const Library& library() {
  // Opened once; what went wrong is told every time.
  static const Library* const opened = [] {
    const KeptSignals signals;
    auto* const made = new Library;
    if (!made->find_all()) return made;
    made->get_version(&made->major, &made->minor, &made->release);
    decltype(&ucs_log_push_handler) push = nullptr;
    if (made->ucs.find("ucs_log_push_handler", push)) push(take_log);
    return made;
  }();
  const std::string& why =
      opened->ucp.reason().empty() ? opened->ucs.reason() : opened->ucp.reason();
  if (!why.empty()) {
    throw Error(StatusCode::kSystemError,
                "UCX can't be used: " + why + "; install libucx0 (UCX 1.13 or newer)");
  }
  if (opened->major != kOldestMajor || opened->minor < kOldestMinor) {
    throw Error(StatusCode::kSystemError,
                fmt::format("UCX {} is installed, {}.{} or a later {}.x is needed",
                            opened->version(), kOldestMajor, kOldestMinor, kOldestMajor));
  }
  return *opened;
}

LogToUs::LogToUs() noexcept { ++calls_inside; }
LogToUs::~LogToUs() { --calls_inside; }
bool LogToUs::take_refusal() noexcept { return std::exchange(refused, false); }

}  // namespace tutti::transport::ucx
