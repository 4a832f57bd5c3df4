// SPDX-License-Identifier: Apache-2.0
// Keeps what the communicators of a process hold for staging within a limit: idle ones give theirs
// back.
#pragma once

#include <cstddef>

namespace tutti::comm {

class Communicator;

// Called by the owner of the progress at the begin of each call. While the communicator's
// connections are as they were it costs two loads. When it has made or taken back staging slots,
// and the process's communicators now hold more than TUTTI_STAGING_POOL, those that have been idle
// for a while give theirs back. Never waits for them.
void note_staging(Communicator& comm);

// Of all communicators of the process, as far as noted.
size_t staging_pool_bytes();

}  // namespace tutti::comm
