// SPDX-License-Identifier: Apache-2.0
// Stands in where the library is built without UCX's headers.
#include "src/base/error.h"
#include "transport/ucx/ucx.h"

namespace tutti::transport {

std::unique_ptr<network::Carrier> make_ucx_carrier(const TransportOptions&) {
  throw Error(StatusCode::kSystemError,
              "this library was built without UCX: install libucx-dev (UCX 1.13 or newer) and "
              "build again");
}

}  // namespace tutti::transport
