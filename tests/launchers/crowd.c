/* SPDX-License-Identifier: Apache-2.0 */
/* One rank of a crowd: makes a communicator, says when it had it and what memory the process holds, before any use, then uses it and checks the
 * result. Prints: ready MONOTONIC_NS PRIVATE_KIB before BASE_KIB, where BASE_KIB is what the process held before it called the library. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <tutti/tutti.h>

static void must(tuttiResult_t result, const char* call) {
  if (result == tuttiSuccess) return;
  fprintf(stderr, "%s: %s\n", call, tuttiGetLastError(NULL));
  exit(1);
}

/* The sum of Private_Clean, Private_Dirty and Private_Hugetlb, in KiB. */
static long private_kib(void) {
  FILE* file = fopen("/proc/self/smaps_rollup", "r");
  char line[256];
  long sum = 0;
  if (file == NULL) {
    perror("/proc/self/smaps_rollup");
    exit(1);
  }
  while (fgets(line, sizeof line, file) != NULL) {
    long kib = 0;
    if (strncmp(line, "Private_", 8) == 0 && sscanf(line, "%*s %ld", &kib) == 1) sum += kib;
  }
  fclose(file);
  return sum;
}

static long long monotonic_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

int main(void) {
  const long base = private_kib();
  int rank = 0;
  int size = 1;
  tuttiUniqueId id;
  tuttiComm_t comm = NULL;
  must(tuttiLaunchInfo(&rank, &size, NULL, NULL), "tuttiLaunchInfo");
  must(tuttiGetLaunchUniqueId(&id), "tuttiGetLaunchUniqueId");
  must(tuttiCommInitRank(&comm, size, id, rank), "tuttiCommInitRank");
  const long long ready = monotonic_ns();
  printf("ready %lld %ld before %ld\n", ready, private_kib(), base);
  fflush(stdout);

  double values[64];
  for (int i = 0; i < 64; ++i) values[i] = rank + i;
  must(tuttiAllReduce(values, values, 64, tuttiFloat64, tuttiSum, comm, NULL), "tuttiAllReduce");
  for (int i = 0; i < 64; ++i) {
    const double expected = (double)size * (size - 1) / 2 + (double)size * i;
    if (values[i] == expected) continue;
    fprintf(stderr, "rank %d, element %d: expected %g, got %g\n", rank, i, expected, values[i]);
    return 1;
  }
  must(tuttiCommDestroy(comm), "tuttiCommDestroy");
  printf("used\n");
  return 0;
}
