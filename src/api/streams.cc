// SPDX-License-Identifier: Apache-2.0
// Host streams of the C API.
#include <memory>

#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace

tuttiResult_t tuttiStreamCreate(tuttiStream_t* stream) {
  return guard("tuttiStreamCreate", [&] {
    require(stream, "stream");
    *stream = std::make_unique<tuttiStream>().release();
  });
}

tuttiResult_t tuttiStreamSynchronize(tuttiStream_t stream) {
  return guard("tuttiStreamSynchronize", [&] {
    if (stream != nullptr) stream->synchronize();  // the NULL stream is always complete
  });
}

tuttiResult_t tuttiStreamQuery(tuttiStream_t stream) {
  return guard("tuttiStreamQuery", [&] {
    return stream == nullptr || stream->query() ? tuttiSuccess : tuttiInProgress;
  });
}

tuttiResult_t tuttiStreamDestroy(tuttiStream_t stream) {
  return guard("tuttiStreamDestroy", [&] {
    require(stream, "stream");
    const std::unique_ptr<tuttiStream> owned(stream);
    owned->synchronize();
  });
}
