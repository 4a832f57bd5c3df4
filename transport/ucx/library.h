// SPDX-License-Identifier: Apache-2.0
// UCX's functions, found at run time, and what keeps UCX from changing the process around it.
#pragma once

#include <string>

#include <ucp/api/ucp.h>

#include "src/base/shared_library.h"

namespace tutti::transport::ucx {

// What is used of libucp and libucs. One per process, never unloaded: UCX leaves hooks and a thread
// behind.
struct Library {
  SharedLibrary ucp;
  SharedLibrary ucs;
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;

  decltype(&ucp_get_version) get_version = nullptr;
  decltype(&ucs_status_string) status_string = nullptr;
  decltype(&ucp_config_read) config_read = nullptr;
  decltype(&ucp_config_modify) config_modify = nullptr;
  decltype(&ucp_config_release) config_release = nullptr;
  decltype(&ucp_init_version) init_version = nullptr;
  decltype(&ucp_cleanup) cleanup = nullptr;
  decltype(&ucp_context_query) context_query = nullptr;
  decltype(&ucp_worker_create) worker_create = nullptr;
  decltype(&ucp_worker_destroy) worker_destroy = nullptr;
  decltype(&ucp_worker_flush_nbx) worker_flush = nullptr;
  decltype(&ucp_worker_query) worker_query = nullptr;
  decltype(&ucp_worker_get_address) worker_get_address = nullptr;
  decltype(&ucp_worker_release_address) worker_release_address = nullptr;
  decltype(&ucp_worker_get_efd) worker_get_efd = nullptr;
  decltype(&ucp_worker_arm) worker_arm = nullptr;
  decltype(&ucp_worker_progress) worker_progress = nullptr;
  decltype(&ucp_worker_set_am_recv_handler) set_am_recv_handler = nullptr;
  decltype(&ucp_ep_create) ep_create = nullptr;
  decltype(&ucp_ep_close_nbx) ep_close = nullptr;
  decltype(&ucp_ep_flush_nbx) ep_flush = nullptr;
  decltype(&ucp_am_send_nbx) am_send = nullptr;
  decltype(&ucp_am_recv_data_nbx) am_recv_data = nullptr;
  decltype(&ucp_am_data_release) am_data_release = nullptr;
  decltype(&ucp_request_check_status) request_check_status = nullptr;
  decltype(&ucp_request_free) request_free = nullptr;
  decltype(&ucp_mem_map) mem_map = nullptr;
  decltype(&ucp_mem_unmap) mem_unmap = nullptr;
  decltype(&ucp_rkey_pack) rkey_pack = nullptr;
  decltype(&ucp_rkey_buffer_release) rkey_buffer_release = nullptr;
  decltype(&ucp_ep_rkey_unpack) rkey_unpack = nullptr;
  decltype(&ucp_rkey_destroy) rkey_destroy = nullptr;
  decltype(&ucp_put_nbx) put = nullptr;

  Library();
  bool find_all();
  std::string version() const;
};

// Opens UCX on first use. Throws SystemError when it is missing or older than 1.13.
const Library& library();

// While one lives, what UCX logs on this thread goes to our log and not to its own.
class LogToUs {
 public:
  LogToUs() noexcept;
  ~LogToUs();
  LogToUs(const LogToUs&) = delete;
  LogToUs& operator=(const LogToUs&) = delete;
  // Since it was asked last on this thread, a machine has answered that nobody listens there. UCX's
  // status says less.
  static bool take_refusal() noexcept;
};

}  // namespace tutti::transport::ucx
