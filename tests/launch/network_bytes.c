/* SPDX-License-Identifier: Apache-2.0 */
/* Counts what a job's collectives send from host to host, and compares it with the least that any
 * algorithm must send (docs/design/hierarchical.md): network_bytes BYTES [HOST,HOST,...]. Ranks
 * share a host when their host names, and TUTTI_HOST_ID, are the same; or as the list says, which
 * is for TUTTI_LAYOUT. Rank 0 prints a line per collective; the status is 1 when one sends more
 * than 1.02 times the least, or computes something wrong. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tutti/tutti.h>

enum { kMostRanks = 64, kNameBytes = 128 };

static tuttiComm_t comm;
static int rank, size;
static int host_of[kMostRanks];
static int n_hosts;

static void check(tuttiResult_t result) {
  if (result == tuttiSuccess) return;
  fprintf(stderr, "rank %d: %s\n", rank, tuttiGetLastError(comm));
  exit(2);
}

static void hosts_by_list(const char* list) {
  for (int r = 0; r < size; ++r) {
    char* end = NULL;
    host_of[r] = (int)strtol(list, &end, 10);
    list = *end == ',' ? end + 1 : end;
    if (host_of[r] >= n_hosts) n_hosts = host_of[r] + 1;
  }
}

static void hosts_by_name(void) {
  static char names[kMostRanks][kNameBytes];
  char mine[kNameBytes] = {0};
  const char* id = getenv("TUTTI_HOST_ID");
  char name[kNameBytes / 2] = {0};
  gethostname(name, sizeof name - 1);
  snprintf(mine, sizeof mine, "%s/%.60s", name, id == NULL ? "" : id);
  check(tuttiAllGather(mine, names, kNameBytes, tuttiChar, comm, NULL));
  for (int r = 0; r < size; ++r) {
    int first = 0;
    while (strcmp(names[first], names[r]) != 0) ++first;
    host_of[r] = first == r ? n_hosts++ : host_of[first];
  }
}

/* Bytes that this rank has sent to other hosts so far. */
static uint64_t sent_away(void) {
  uint64_t bytes = 0;
  for (int r = 0; r < size; ++r) {
    tuttiPeerStats_t stats = TUTTI_PEER_STATS_INITIALIZER;
    if (host_of[r] == host_of[rank]) continue;
    check(tuttiCommGetPeerStats(comm, r, &stats));
    for (int kind = 0; kind < 4; ++kind) bytes += stats.sentBytes[kind];
  }
  return bytes;
}

static float element(int from, size_t i) { return (float)((i * 7 + (size_t)from) % 64); }

static float sum_of(size_t i) {
  float sum = 0;
  for (int r = 0; r < size; ++r) sum += element(r, i);
  return sum;
}

enum { kAllReduce, kAllGather, kReduceScatter, kCollectives };
static const char* const kNames[] = {"AllReduce", "AllGather", "ReduceScatter"};

static void call(int which, const float* in, float* out, size_t count) {
  if (which == kAllReduce) check(tuttiAllReduce(in, out, count, tuttiFloat, tuttiSum, comm, NULL));
  if (which == kAllGather) check(tuttiAllGather(in, out, count, tuttiFloat, comm, NULL));
  if (which == kReduceScatter)
    check(tuttiReduceScatter(in, out, count, tuttiFloat, tuttiSum, comm, NULL));
}

static int is_right(int which, const float* out, size_t count) {
  const size_t n = which == kAllGather ? count * (size_t)size : count;
  for (size_t i = 0; i < n; ++i) {
    const float want = which == kAllReduce   ? sum_of(i)
                       : which == kAllGather ? element((int)(i / count), i % count)
                                             : sum_of((size_t)rank * count + i);
    if (out[i] != want) return 0;
  }
  return 1;
}

/* 1 when it sent too much or the result is wrong anywhere. */
static int measure(int which, size_t count) {
  const size_t blocks = (size_t)size;
  float* in = malloc(blocks * count * sizeof *in);
  float* out = malloc(blocks * count * sizeof *out);
  if (in == NULL || out == NULL) exit(2);
  for (size_t i = 0; i < blocks * count; ++i) in[i] = element(rank, i);
  const uint64_t before = sent_away();
  call(which, in, out, count);
  uint64_t said[2] = {sent_away() - before, is_right(which, out, count) ? 0 : 1};
  check(tuttiAllReduce(said, said, 2, tuttiUint64, tuttiSum, comm, NULL));
  const double block = (double)(count * sizeof *in);
  const double least = (n_hosts - 1) * block * (which == kAllReduce ? 2 : size);
  const double ratio = least > 0 ? (double)said[0] / least : 1;
  if (rank == 0)
    printf("%s of %.0f bytes, %d ranks on %d hosts: %" PRIu64
           " bytes between hosts, %.4f of the least%s\n",
           kNames[which], block, size, n_hosts, said[0], ratio,
           said[1] == 0 ? "" : ", WRONG RESULT");
  free(in);
  free(out);
  return ratio > 1.02 || ratio < 1 || said[1] != 0;
}

int main(int argc, char** argv) {
  tuttiUniqueId id;
  check(tuttiLaunchInfo(&rank, &size, NULL, NULL));
  if (argc < 2 || size > kMostRanks) {
    fprintf(stderr, "network_bytes BYTES [HOST,HOST,...], under a launcher, with up to %d ranks\n",
            kMostRanks);
    return 2;
  }
  check(tuttiGetLaunchUniqueId(&id));
  check(tuttiCommInitRank(&comm, size, id, rank));
  if (argc > 2) {
    hosts_by_list(argv[2]);
  } else {
    hosts_by_name();
  }
  const size_t count = (size_t)strtoull(argv[1], NULL, 10) / sizeof(float);
  int bad = 0;
  for (int which = 0; which < kCollectives; ++which) bad |= measure(which, count);
  /* A rank that ends with status 1 ends the job: not before rank 0's lines are out. */
  fflush(stdout);
  check(tuttiAllReduce(&bad, &bad, 1, tuttiInt32, tuttiMax, comm, NULL));
  check(tuttiCommFinalize(comm));
  check(tuttiCommDestroy(comm));
  return bad;
}
