// SPDX-License-Identifier: Apache-2.0
// What NCCL's variables say for each of ours: one function per row of the table in environment.cc.
#pragma once

#include <string>

#include "src/api/nccl/environment.h"

namespace tutti::nccl {

// Without white space around it; "" when it is not set.
std::string variable(const char* name);

Said log_level();
Said log_file();
Said interfaces();
Said tcp_sockets();
Said rdma_devices();
Said gid_index();
Said service_level();
Said traffic_class();
Said ib_timeout();
Said retry_count();
Said queue_pairs();
Said algorithm();
Said protocol();
Said channels();
Said transport();
Said net_plugin();
Said tuner_plugin();
Said slot_bytes();

}  // namespace tutti::nccl
