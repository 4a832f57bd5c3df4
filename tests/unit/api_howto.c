/* SPDX-License-Identifier: Apache-2.0 */
/* The program of docs/howto/use-the-c-api.md, as C99; alone it is rank 0 of 1. */
#include <stdio.h>
#include <tutti/tutti.h>

int main(void) {
  int rank, size;
  tuttiUniqueId id;
  tuttiComm_t comm;
  float x = 1, sum = 0;
  if (tuttiLaunchInfo(&rank, &size, NULL, NULL) != tuttiSuccess || tuttiGetLaunchUniqueId(&id) != tuttiSuccess ||
      tuttiCommInitRank(&comm, size, id, rank) != tuttiSuccess ||
      tuttiAllReduce(&x, &sum, 1, tuttiFloat32, tuttiSum, comm, NULL) != tuttiSuccess) {
    fprintf(stderr, "%s\n", tuttiGetLastError(NULL));
    return 1;
  }
  printf("rank %d of %d: %g\n", rank, size, sum);
  return tuttiCommDestroy(comm) != tuttiSuccess;
}
