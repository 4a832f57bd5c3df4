// SPDX-License-Identifier: Apache-2.0
// One process' end of a verbs connection in the test bed: errors, what the guest tells by its
// environment, registered memory and completions.
// says, registered memory, completions.
#pragma once

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <infiniband/verbs.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace tutti::vm {

constexpr int kDeadlineMs = 10'000;
constexpr unsigned kProcessSeconds =
    60;  // SIGALRM ends a process that hangs where no deadline can be given
constexpr std::size_t kBlockBytes = 256 * 1024;
constexpr std::uint16_t kPort = 7471;
constexpr std::uint8_t kRetries = 6;   // 7 would be for ever
constexpr std::uint8_t kTimeout = 14;  // 4.096 us * 2^14 = 67 ms each
constexpr int kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ;

[[noreturn]] inline void fail(const std::string& what) { throw std::runtime_error(what); }

inline void must(bool fine, const std::string& what) {
  if (!fine) fail(what + ": " + std::strerror(errno));
}

// Verbs that give back an error number instead of setting errno.
inline void must_zero(int result, const std::string& what) {
  if (result > 0) errno = result;
  must(result == 0, what);
}

template <auto Release>
struct Releaser {
  template <typename T>
  void operator()(T* handle) const {
    Release(handle);
  }
};
template <typename T, auto Release>
using Handle = std::unique_ptr<T, Releaser<Release>>;

inline void wait_readable(int fd, const std::string& what) {
  pollfd wanted{.fd = fd, .events = POLLIN, .revents = 0};
  const int ready = ::poll(&wanted, 1, kDeadlineMs);
  must(ready >= 0, what);
  if (ready == 0) fail(what + ": nothing came within " + std::to_string(kDeadlineMs) + " ms");
}

// What one process tells the other about its end, over a socket pair.
struct Facts {
  std::uint64_t address;
  std::uint32_t rkey;
  std::uint32_t qp_number;
  ibv_gid gid;
};

class Talk {
 public:
  explicit Talk(int fd) : fd_(fd) {}
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;
  ~Talk() { ::close(fd_); }

  template <typename T>
  T exchange(const T& mine) const {
    must(::send(fd_, &mine, sizeof mine, MSG_NOSIGNAL) == sizeof mine, "telling the other process");
    T theirs{};
    wait_readable(fd_, "hearing from the other process");
    must(::recv(fd_, &theirs, sizeof theirs, MSG_WAITALL) == sizeof theirs,
         "hearing from the other process");
    return theirs;
  }
  void meet() const { (void)exchange<char>(0); }

 private:
  int fd_;
};

struct Rail {
  std::string device;
  std::string netdev;
  std::string address;
};

inline std::string environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr) fail(name + " is not set: run this by tests/vm/run");
  return value;
}

inline std::vector<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> found;
  for (std::string word; in >> word;) found.push_back(word);
  return found;
}

inline std::vector<Rail> rails_of(int host) {
  const std::string suffix = "_" + std::to_string(host);
  const auto devices = words(environment("TUTTI_VM_DEVICES" + suffix));
  const auto netdevs = words(environment("TUTTI_VM_NETDEVS" + suffix));
  const auto addresses = words(environment("TUTTI_VM_ADDRESSES" + suffix));
  if (devices.empty() || devices.size() != netdevs.size() || devices.size() != addresses.size()) {
    fail("devices, netdevs and addresses of host " + std::to_string(host) + " differ in number");
  }
  std::vector<Rail> rails;
  for (std::size_t i = 0; i < devices.size(); ++i)
    rails.push_back({devices[i], netdevs[i], addresses[i]});
  return rails;
}

inline std::uint64_t sent_bytes(const Rail& rail) {
  std::ifstream in("/sys/class/net/" + rail.netdev + "/statistics/tx_bytes");
  std::uint64_t bytes = 0;
  if (!(in >> bytes)) fail("no statistics of " + rail.netdev);
  return bytes;
}

inline Handle<ibv_context, ibv_close_device> open_device(const std::string& name) {
  int count = 0;
  const Handle<ibv_device*, ibv_free_device_list> list(ibv_get_device_list(&count));
  must(list != nullptr, "ibv_get_device_list");
  std::string seen;
  for (int i = 0; i < count; ++i) {
    if (name == ibv_get_device_name(list.get()[i])) {
      Handle<ibv_context, ibv_close_device> context(ibv_open_device(list.get()[i]));
      must(context != nullptr, "ibv_open_device " + name);
      return context;
    }
    seen += std::string(" ") + ibv_get_device_name(list.get()[i]);
  }
  fail("no device " + name + " among the " + std::to_string(count) + " there are:" + seen);
}

inline ibv_port_attr active_port(ibv_context* context, const std::string& name) {
  ibv_port_attr port{};
  must_zero(ibv_query_port(context, 1, &port), "ibv_query_port " + name);
  if (port.state != IBV_PORT_ACTIVE)
    fail("port 1 of " + name + " is " + ibv_port_state_str(port.state));
  return port;
}

// The first GID that is an IPv4 address (::ffff:a.b.c.d), which on rxe is RoCE v2.
inline std::uint8_t ipv4_gid(ibv_context* context, const ibv_port_attr& port, ibv_gid* gid) {
  for (int index = 0; index < port.gid_tbl_len; ++index) {
    if (ibv_query_gid(context, 1, index, gid) != 0) continue;
    const auto* raw = reinterpret_cast<const in6_addr*>(gid->raw);
    if (IN6_IS_ADDR_V4MAPPED(raw)) return static_cast<std::uint8_t>(index);
  }
  fail(std::string("no IPv4 GID on ") + ibv_get_device_name(context->device));
}

// Registered memory, a queue pair and its completions. The first block is what peers write to, the
// second what we write from and read into, and the last bytes hold messages.
class End {
 public:
  explicit End(ibv_context* context)
      : memory_(2 * kBlockBytes + 64),
        pd_(ibv_alloc_pd(context)),
        channel_(ibv_create_comp_channel(context)),
        cq_(ibv_create_cq(context, 16, nullptr, channel_.get(), 0)),
        mr_(ibv_reg_mr(pd_.get(), memory_.data(), memory_.size(), kAccess)) {
    must(pd_ && channel_ && cq_ && mr_, "pd, completion queue or memory region");
  }

  ibv_pd* pd() const { return pd_.get(); }
  std::uint8_t* inbox() { return memory_.data(); }
  std::uint8_t* outbox() { return memory_.data() + kBlockBytes; }

  ibv_qp_init_attr wanted_qp() const {
    ibv_qp_init_attr wanted{};
    wanted.send_cq = cq_.get();
    wanted.recv_cq = cq_.get();
    wanted.cap = {.max_send_wr = 8,
                  .max_recv_wr = 8,
                  .max_send_sge = 1,
                  .max_recv_sge = 1,
                  .max_inline_data = 0};
    wanted.qp_type = IBV_QPT_RC;
    wanted.sq_sig_all = 1;
    return wanted;
  }
  void use(ibv_qp* qp) { qp_ = qp; }
  Facts facts() const {
    return {reinterpret_cast<std::uint64_t>(memory_.data()), mr_->rkey, qp_->qp_num, {}};
  }

  void post_receive() {
    ibv_sge piece = message();
    ibv_recv_wr request{.wr_id = 0, .next = nullptr, .sg_list = &piece, .num_sge = 1};
    ibv_recv_wr* bad = nullptr;
    must_zero(ibv_post_recv(qp_, &request, &bad), "ibv_post_recv");
  }

  void post_send() { post(IBV_WR_SEND, message(), {}); }
  void post_rdma(ibv_wr_opcode operation, const Facts& peer) {
    post(operation, {reinterpret_cast<std::uint64_t>(outbox()), kBlockBytes, mr_->lkey}, peer);
  }

  ibv_wc completion() {
    while (true) {
      ibv_wc done{};
      // Armed before looking again: whatever completes after the look makes an event.
      must_zero(ibv_req_notify_cq(cq_.get(), 0), "ibv_req_notify_cq");
      const int count = ibv_poll_cq(cq_.get(), 1, &done);
      must(count >= 0, "ibv_poll_cq");
      if (count == 1) return done;
      wait_readable(channel_->fd, "a completion");
      ibv_cq* cq = nullptr;
      void* context = nullptr;
      must_zero(ibv_get_cq_event(channel_.get(), &cq, &context), "ibv_get_cq_event");
      ibv_ack_cq_events(cq, 1);
    }
  }

  void expect(ibv_wc_opcode wanted) {
    const ibv_wc done = completion();
    if (done.status != IBV_WC_SUCCESS)
      fail(std::string("completion: ") + ibv_wc_status_str(done.status));
    if (done.opcode != wanted)
      fail("completion of kind " + std::to_string(done.opcode) + ", expected " +
           std::to_string(wanted));
  }

 private:
  ibv_sge message() {
    return {reinterpret_cast<std::uint64_t>(memory_.data() + 2 * kBlockBytes), 64, mr_->lkey};
  }

  void post(ibv_wr_opcode operation, ibv_sge piece, const Facts& peer) {
    ibv_send_wr request{};
    request.sg_list = &piece;
    request.num_sge = 1;
    request.opcode = operation;
    request.wr.rdma.remote_addr = peer.address;
    request.wr.rdma.rkey = peer.rkey;
    ibv_send_wr* bad = nullptr;
    must_zero(ibv_post_send(qp_, &request, &bad), "ibv_post_send");
  }

  std::vector<std::uint8_t> memory_;
  Handle<ibv_pd, ibv_dealloc_pd> pd_;
  Handle<ibv_comp_channel, ibv_destroy_comp_channel> channel_;
  Handle<ibv_cq, ibv_destroy_cq> cq_;
  Handle<ibv_mr, ibv_dereg_mr> mr_;
  ibv_qp* qp_ = nullptr;  // of Connected
};

}  // namespace tutti::vm
