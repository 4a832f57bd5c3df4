/* SPDX-License-Identifier: Apache-2.0 */
/* A job of one AllReduce, from the launcher's environment alone. Says where this rank ran and what
   came: "sum S", or "no transport" where the ranks have met (bootstrap is through) but no transport
   of this build joins their hosts, which is status 0 too. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tutti/tutti.h"

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, tuttiGetLastError(NULL));
  return 1;
}

int main(void) {
  int rank = 0, size = 0, local_rank = 0, local_size = 0;
  char host[64] = "";
  gethostname(host, sizeof host - 1);
  if (tuttiLaunchInfo(&rank, &size, &local_rank, &local_size) != tuttiSuccess)
    return fail("launch");
  printf("rank %d of %d, local %d of %d, on %s: ", rank, size, local_rank, local_size, host);
  tuttiUniqueId id;
  if (tuttiGetLaunchUniqueId(&id) != tuttiSuccess) return fail("unique id");
  tuttiComm_t comm = NULL;
  if (tuttiCommInitRank(&comm, size, id, rank) != tuttiSuccess) {
    if (strstr(tuttiGetLastError(NULL), "no transport reaches rank") == NULL)
      return fail("communicator");
    printf("no transport\n");
    return 0;
  }
  double mine = rank + 1, sum = 0;
  if (tuttiAllReduce(&mine, &sum, 1, tuttiFloat64, tuttiSum, comm, NULL) != tuttiSuccess)
    return fail("all-reduce");
  printf("sum %g\n", sum);
  return tuttiCommDestroy(comm) == tuttiSuccess ? 0 : fail("end");
}
