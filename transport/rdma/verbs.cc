// SPDX-License-Identifier: Apache-2.0
// The loader's work for verbs.h.
#include "transport/rdma/verbs.h"

#include <dlfcn.h>

#include <string>

#include "src/base/error.h"

namespace tutti::transport::rdma {
namespace {

class Library {
 public:
  Library(const char* file, const char* package)
      : file_(file), handle_(::dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ != nullptr) return;
    const char* const text = ::dlerror();
    throw Error(
        StatusCode::kSystemError,
        std::string("no RDMA: ") + (text == nullptr ? file : text) + " (package " + package + ")");
  }
  template <typename Function>
  void find(const char* name, Function& function) const {
    find_if_there(name, function);
    if (function == nullptr)
      throw Error(StatusCode::kSystemError, std::string("no RDMA: ") + file_ + " has no " + name +
                                                "; it is older than rdma-core 31");
  }
  template <typename Function>
  void find_if_there(const char* name, Function& function) const {
    function = reinterpret_cast<Function>(::dlsym(handle_, name));
  }

 private:
  const char* file_;
  void* handle_;
};

Verbs open_verbs() {
  const Library library("libibverbs.so.1", "libibverbs1");
  Verbs v{};
  library.find("ibv_get_device_list", v.get_device_list);
  library.find("ibv_free_device_list", v.free_device_list);
  library.find("ibv_get_device_name", v.get_device_name);
  library.find("ibv_open_device", v.open_device);
  library.find("ibv_close_device", v.close_device);
  library.find("ibv_query_device", v.query_device);
  library.find("ibv_query_port", v.query_port);
  library.find("ibv_query_pkey", v.query_pkey);
  library.find("_ibv_query_gid_ex", v.query_gid_ex);
  library.find("ibv_alloc_pd", v.alloc_pd);
  library.find("ibv_dealloc_pd", v.dealloc_pd);
  library.find("ibv_reg_mr", v.reg_mr);
  library.find("ibv_reg_mr_iova2", v.reg_mr_iova2);
  library.find("ibv_dereg_mr", v.dereg_mr);
  library.find("ibv_create_comp_channel", v.create_comp_channel);
  library.find("ibv_destroy_comp_channel", v.destroy_comp_channel);
  library.find("ibv_create_cq", v.create_cq);
  library.find("ibv_destroy_cq", v.destroy_cq);
  library.find("ibv_get_cq_event", v.get_cq_event);
  library.find("ibv_ack_cq_events", v.ack_cq_events);
  library.find("ibv_create_qp", v.create_qp);
  library.find("ibv_modify_qp", v.modify_qp);
  library.find("ibv_destroy_qp", v.destroy_qp);
  library.find("ibv_get_async_event", v.get_async_event);
  library.find("ibv_ack_async_event", v.ack_async_event);
  library.find("ibv_event_type_str", v.event_type_str);
  library.find("ibv_wc_status_str", v.wc_status_str);
  library.find_if_there("ibv_reg_dmabuf_mr", v.reg_dmabuf_mr);
  return v;
}

ConnectionManager open_manager() {
  const Library library("librdmacm.so.1", "librdmacm1");
  ConnectionManager m{};
  library.find("rdma_create_event_channel", m.create_event_channel);
  library.find("rdma_destroy_event_channel", m.destroy_event_channel);
  library.find("rdma_create_id", m.create_id);
  library.find("rdma_destroy_id", m.destroy_id);
  library.find("rdma_bind_addr", m.bind_addr);
  library.find("rdma_listen", m.listen);
  library.find("rdma_resolve_addr", m.resolve_addr);
  library.find("rdma_resolve_route", m.resolve_route);
  library.find("rdma_connect", m.connect);
  library.find("rdma_accept", m.accept);
  library.find("rdma_reject", m.reject);
  library.find("rdma_get_cm_event", m.get_cm_event);
  library.find("rdma_ack_cm_event", m.ack_cm_event);
  library.find("rdma_event_str", m.event_str);
  library.find("rdma_get_src_port", m.get_src_port);
  return m;
}

}  // namespace

const Verbs& verbs() {
  static const Verbs opened = open_verbs();
  return opened;
}

const ConnectionManager& connection_manager() {
  static const ConnectionManager opened = open_manager();
  return opened;
}

}  // namespace tutti::transport::rdma
