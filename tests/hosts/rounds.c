/* SPDX-License-Identifier: Apache-2.0 */
/* A job of collectives and sends of random sizes, round after round until the file FOLDER/stop is
   there, every result checked. Each rank notes in FOLDER/<rank> how many rounds are done, so that
   whoever breaks the network meanwhile can wait for rounds that began after it.

     rounds FOLDER MAX_BYTES

   Status 0: stopped. 1: a wrong result. 3: a call failed; FOLDER/failed<rank> says when, in
   seconds of CLOCK_MONOTONIC, which all hosts of one machine share, and how. Then it waits a while
   for FOLDER/stop, because launchers end a job whose first rank ends with an error. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tutti/tutti.h"

enum { kKinds = 6 };
static const char* const kNames[kKinds] = {"AllReduce",     "AllGather", "Broadcast",
                                           "ReduceScatter", "AllToAll",  "SendRecv"};

struct Job {
  const char* folder;
  int rank, size;
  tuttiComm_t comm;
  size_t capacity; /* elements of each buffer */
  uint32_t *in, *out;
  uint64_t round;
};

static int failed(const struct Job* job, const char* what) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  char name[512], final_name[512];
  snprintf(name, sizeof name, "%s/.failed%d", job->folder, job->rank);
  snprintf(final_name, sizeof final_name, "%s/failed%d", job->folder, job->rank);
  printf("%s: %s\n", what, tuttiGetLastError(NULL));
  FILE* file = fopen(name, "w");
  if (file == NULL) return 3;
  fprintf(file, "%.3f %s: %s", (double)now.tv_sec + (double)now.tv_nsec * 1e-9, what,
          tuttiGetLastError(NULL));
  fclose(file);
  (void)rename(name, final_name);
  return 3;
}

static int is_told_to_stop(const struct Job* job) {
  char stop[512];
  snprintf(stop, sizeof stop, "%s/stop", job->folder);
  return access(stop, F_OK) == 0;
}

/* The same on every rank. */
static uint64_t draw(uint64_t* state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static uint32_t value(uint64_t round, int rank, size_t i) {
  return (uint32_t)(round * 40503u) + (uint32_t)(rank + 1) * 2654435761u + (uint32_t)i * 97u;
}

static uint32_t sum(const struct Job* job, size_t i) {
  uint32_t all = 0;
  for (int r = 0; r < job->size; ++r) all += value(job->round, r, i);
  return all;
}

/* What element i of the output must be, of a call with `count`. */
static uint32_t expected(const struct Job* job, int kind, int root, size_t count, size_t i) {
  const int before = (job->rank + job->size - 1) % job->size;
  switch (kind) {
    case 0:
      return sum(job, i);
    case 1:
      return value(job->round, (int)(i / count), i % count);
    case 2:
      return value(job->round, root, i);
    case 3:
      return sum(job, (size_t)job->rank * count + i);
    case 4:
      return value(job->round, (int)(i / count), (size_t)job->rank * count + i % count);
    default:
      return value(job->round, before, i);
  }
}

static tuttiResult_t call(struct Job* job, int kind, int root, size_t count) {
  const tuttiDataType_t type = tuttiUint32;
  switch (kind) {
    case 0:
      return tuttiAllReduce(job->in, job->out, count, type, tuttiSum, job->comm, NULL);
    case 1:
      return tuttiAllGather(job->in, job->out, count, type, job->comm, NULL);
    case 2:
      return tuttiBroadcast(job->in, job->out, count, type, root, job->comm, NULL);
    case 3:
      return tuttiReduceScatter(job->in, job->out, count, type, tuttiSum, job->comm, NULL);
    case 4:
      return tuttiAllToAll(job->in, job->out, count, type, job->comm, NULL);
    default:
      break;
  }
  const int next = (job->rank + 1) % job->size, before = (job->rank + job->size - 1) % job->size;
  tuttiResult_t result = tuttiGroupStart();
  if (result == tuttiSuccess) result = tuttiSend(job->in, count, type, next, job->comm, NULL);
  if (result == tuttiSuccess) result = tuttiRecv(job->out, count, type, before, job->comm, NULL);
  return result == tuttiSuccess ? tuttiGroupEnd() : result;
}

static int one_round(struct Job* job) {
  uint64_t state = job->round;
  const int kind = (int)(draw(&state) % kKinds), root = (int)(draw(&state) % (uint64_t)job->size);
  /* Small and large sizes alike: a random number of bits. */
  size_t most = job->capacity;
  for (uint64_t halvings = draw(&state) % 16; halvings != 0 && most > 16; --halvings) most /= 2;
  const int blocks = kind == 1 || kind == 3 || kind == 4 ? job->size : 1;
  const size_t count = 1 + draw(&state) % (most / (size_t)blocks);
  const size_t sent = kind == 3 || kind == 4 ? count * (size_t)job->size : count;
  const size_t received = kind == 1 || kind == 4 ? count * (size_t)job->size : count;
  for (size_t i = 0; i < sent; ++i) job->in[i] = value(job->round, job->rank, i);
  memset(job->out, 0xee, received * sizeof *job->out);
  if (call(job, kind, root, count) != tuttiSuccess) return failed(job, kNames[kind]);
  for (size_t i = 0; i < received; ++i) {
    const uint32_t want = expected(job, kind, root, count, i);
    if (job->out[i] == want) continue;
    printf("WRONG: rank %d, round %llu, %s of %zu: element %zu is %u instead of %u\n", job->rank,
           (unsigned long long)job->round, kNames[kind], count, i, job->out[i], want);
    return 1;
  }
  return 0;
}

static int note_round(int fd, uint64_t round) {
  char text[32];
  const int n = snprintf(text, sizeof text, "%020llu", (unsigned long long)round);
  return pwrite(fd, text, (size_t)n, 0) == n ? 0 : 1;
}

static int rounds(struct Job* job) {
  char path[512];
  snprintf(path, sizeof path, "%s/%d", job->folder, job->rank);
  const int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  int status = fd < 0;
  uint32_t go_on = 1;
  while (status == 0) {
    if (job->rank == 0) go_on = !is_told_to_stop(job);
    if (tuttiBroadcast(&go_on, &go_on, 1, tuttiUint32, 0, job->comm, NULL) != tuttiSuccess)
      status = failed(job, "Broadcast");
    if (status != 0 || go_on == 0) break;
    ++job->round;
    status = one_round(job);
    if (status == 0) status = note_round(fd, job->round);
  }
  if (fd >= 0) close(fd);
  return status;
}

int main(int argc, char** argv) {
  if (argc != 3) return fprintf(stderr, "usage: rounds FOLDER MAX_BYTES\n"), 2;
  setvbuf(stdout, NULL, _IOLBF, 0);
  struct Job job = {.folder = argv[1], .capacity = strtoul(argv[2], NULL, 10) / sizeof(uint32_t)};
  tuttiUniqueId id;
  if (tuttiLaunchInfo(&job.rank, &job.size, NULL, NULL) != tuttiSuccess ||
      tuttiGetLaunchUniqueId(&id) != tuttiSuccess ||
      tuttiCommInitRank(&job.comm, job.size, id, job.rank) != tuttiSuccess)
    return failed(&job, "start");
  job.in = malloc(job.capacity * sizeof *job.in);
  job.out = malloc(job.capacity * sizeof *job.out);
  int status = job.in == NULL || job.out == NULL ? 2 : rounds(&job);
  if (status == 0) {
    if (tuttiCommDestroy(job.comm) != tuttiSuccess) status = failed(&job, "end");
  } else {
    for (int tenths = 0; tenths < 200 && !is_told_to_stop(&job); ++tenths) usleep(100 * 1000);
    (void)tuttiCommAbort(job.comm);
  }
  free(job.in);
  free(job.out);
  return status;
}
