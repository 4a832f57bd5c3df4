// SPDX-License-Identifier: Apache-2.0
// Host streams of the C API.
#include "src/api/arguments.h"
#include "src/api/guard.h"
#include "src/api/handles.h"
#include "src/comm/group.h"

using namespace tutti::api;  // NOLINT(google-build-using-namespace): the C functions below are
                             // outside of any namespace

tuttiResult_t tuttiStreamCreate(tuttiStream_t* stream) {
  return guard("tuttiStreamCreate", [&] {
    require(stream, "stream");
    *stream = nullptr;
    *stream = Handles<tuttiStream>::publish(Handles<tuttiStream>::make());
  });
}

tuttiResult_t tuttiStreamSynchronize(tuttiStream_t stream) {
  return guard("tuttiStreamSynchronize", [&] {
    // The NULL stream is always complete.
    if (tutti::comm::Stream* queue = stream_of(stream)) queue->synchronize();
  });
}

tuttiResult_t tuttiStreamQuery(tuttiStream_t stream) {
  return guard("tuttiStreamQuery", [&] {
    tutti::comm::Stream* queue = stream_of(stream);
    return queue == nullptr || queue->query() ? tuttiSuccess : tuttiInProgress;
  });
}

tuttiResult_t tuttiStreamDestroy(tuttiStream_t stream) {
  return guard("tuttiStreamDestroy", [&] {
    if (tutti::comm::Group::current().uses(Handles<tuttiStream>::find(stream, "stream"))) {
      throw tutti::Error(tutti::StatusCode::kInvalidUsage,
                         "stream has calls in the group that this thread has not ended; call "
                         "tuttiGroupEnd first");
    }
    const auto owned = Handles<tuttiStream>::take(stream, "stream");
    owned->value.synchronize();
  });
}
