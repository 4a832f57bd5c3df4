/* SPDX-License-Identifier: Apache-2.0 */
/* A program that gets into trouble on request, for the tests of what explains it:
 * trouble MODE [ITERATIONS] with MODE ok, late, hang, kill, diverge, count, recv or busy. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tutti/tutti.h>

static tuttiComm_t comm;
static float data[4096];

static void check(tuttiResult_t result) {
  if (result == tuttiSuccess) return;
  fprintf(stderr, "%s\n", tuttiGetLastError(comm));
  exit(1);
}

static void all_reduce(size_t count) {
  check(tuttiAllReduce(data, data, count, tuttiFloat, tuttiMax, comm, NULL));
}

/* What the last rank does instead of the last AllReduce. */
static void misbehave(const char* mode) {
  if (!strcmp(mode, "hang"))
    for (;;) pause();
  if (!strcmp(mode, "kill")) raise(SIGKILL);
  if (!strcmp(mode, "diverge")) check(tuttiBroadcast(data, data, 4096, tuttiFloat, 0, comm, NULL));
  if (!strcmp(mode, "count")) all_reduce(17);
  if (!strcmp(mode, "recv")) check(tuttiRecv(data, 4096, tuttiFloat, 0, comm, NULL));
}

int main(int argc, char** argv) {
  const char* mode = argc > 1 ? argv[1] : "hang";
  const int iterations = argc > 2 ? atoi(argv[2]) : 20;
  int rank = 0, size = 1;
  tuttiUniqueId id;
  tuttiConfig_t config = TUTTI_CONFIG_INITIALIZER;
  config.commName = "dp";
  check(tuttiLaunchInfo(&rank, &size, NULL, NULL));
  check(tuttiGetLaunchUniqueId(&id));
  check(tuttiCommInitRankConfig(&comm, size, id, rank, &config));
  const int odd = rank == size - 1;
  for (int i = 0; i < iterations || !strcmp(mode, "busy"); ++i) {
    if (odd && !strcmp(mode, "late")) usleep(3000);
    all_reduce(4096);
  }
  if (odd && strcmp(mode, "ok") && strcmp(mode, "late")) {
    misbehave(mode);
  } else {
    all_reduce(4096);
  }
  check(tuttiCommFinalize(comm));
  check(tuttiCommDestroy(comm));
  return 0;
}
