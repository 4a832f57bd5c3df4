// SPDX-License-Identifier: Apache-2.0
// Stands in for the rdma transport where it was built without the headers of verbs.
#include "src/base/error.h"
#include "transport/rdma/rdma.h"

namespace tutti::transport::rdma {

std::unique_ptr<network::Carrier> make_carrier(const TransportOptions&) {
  throw Error(StatusCode::kSystemError,
              "this library was built without RDMA: install libibverbs-dev and librdmacm-dev and "
              "build it again");
}

}  // namespace tutti::transport::rdma
