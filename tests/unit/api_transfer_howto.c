/* SPDX-License-Identifier: Apache-2.0 */
/* The program of docs/howto/transfer.md: a prefill process puts blocks of its KV cache into those
 * of a decode process, which waits for a counter and reads one back by hand. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/wait.h>
#include <tutti/tutti.h>

enum { kBlockBytes = 64 << 10, kBlocks = 256, kSent = 40, kReady = 3 };

static void check(tuttiResult_t result, const char* call) {
  if (result == tuttiSuccess) return;
  fprintf(stderr, "%s: %s: %s\n", call, tuttiGetErrorString(result), tuttiGetLastError(NULL));
  exit(1);
}

/* Any means will do: a pipe here, a key-value store or HTTP between hosts. */
static void pass_on(int fd, const void* data, size_t bytes) {
  if (write(fd, data, bytes) != (ssize_t)bytes) exit(1);
}
static void take(int fd, void* data, size_t bytes) {
  char* at = data;
  while (bytes > 0) {
    const ssize_t got = read(fd, at, bytes);
    if (got <= 0) exit(1);
    at += got;
    bytes -= (size_t)got;
  }
}

/* Which of the decoder's blocks the i-th of ours goes to; in life the scheduler says so. */
static size_t slot_of(size_t i) { return (i * 7 + 3) % kBlocks; }

static int decode(int to_prefill) {
  tuttiAgent_t agent;
  tuttiAgentConfig_t config = TUTTI_AGENT_CONFIG_INITIALIZER;
  config.name = "decode-0";
  check(tuttiAgentCreate(&agent, &config), "tuttiAgentCreate");
  void* cache;
  uint32_t region;
  check(tuttiMemAlloc(&cache, (size_t)kBlocks * kBlockBytes), "tuttiMemAlloc");
  check(tuttiAgentRegister(agent, cache, (size_t)kBlocks * kBlockBytes, &region),
        "tuttiAgentRegister");
  char* blob = malloc(TUTTI_AGENT_BLOB_BYTES);
  size_t bytes;
  check(tuttiAgentExport(agent, blob, TUTTI_AGENT_BLOB_BYTES, &bytes), "tuttiAgentExport");
  pass_on(to_prefill, &bytes, sizeof bytes);
  pass_on(to_prefill, blob, bytes);
  free(blob);

  /* Until then this process may do what it likes: nobody has to call the library. */
  const tuttiResult_t ready = tuttiAgentWaitCounter(agent, kReady, 1, 30);
  if (ready == tuttiInProgress) {
    fprintf(stderr, "the prefill has not come within 30 s\n");
    return 1;
  }
  check(ready, "tuttiAgentWaitCounter");
  for (size_t i = 0; i < kSent; ++i) {
    const char* block = (const char*)cache + slot_of(i) * kBlockBytes;
    for (size_t at = 0; at < kBlockBytes; ++at) {
      if (block[at] == (char)(i + 1)) continue;
      fprintf(stderr, "block %zu is wrong at byte %zu\n", i, at);
      return 1;
    }
  }
  printf("decode: %d blocks of %d KiB are here\n", kSent, kBlockBytes >> 10);
  check(tuttiAgentDestroy(agent), "tuttiAgentDestroy");
  check(tuttiMemFree(cache), "tuttiMemFree");
  return 0;
}

static int prefill(int from_decode) {
  tuttiAgent_t agent;
  check(tuttiAgentCreate(&agent, NULL), "tuttiAgentCreate");
  char* blob = malloc(TUTTI_AGENT_BLOB_BYTES);
  size_t bytes, region_bytes;
  take(from_decode, &bytes, sizeof bytes);
  take(from_decode, blob, bytes);
  tuttiAgentPeer_t peer;
  uint32_t region;
  check(tuttiAgentImport(agent, blob, bytes, &peer), "tuttiAgentImport");
  check(tuttiAgentPeerGetRegion(peer, 0, &region, &region_bytes), "tuttiAgentPeerGetRegion");
  free(blob);

  char* keys = malloc((size_t)kSent * kBlockBytes);
  tuttiTransferDesc_t blocks[kSent];
  for (size_t i = 0; i < kSent; ++i) {
    memset(keys + i * kBlockBytes, (int)(i + 1), kBlockBytes);
    blocks[i].local = keys + i * kBlockBytes;
    blocks[i].region = region;
    blocks[i].offset = slot_of(i) * kBlockBytes;
    blocks[i].bytes = kBlockBytes;
  }
  const tuttiTransferSignal_t ready = {kReady, 1};
  tuttiTransfer_t transfer;
  check(tuttiPutv(peer, blocks, kSent, &ready, 0, &transfer), "tuttiPutv");
  /* ... the next layer is computed meanwhile ... */
  tuttiResult_t result = tuttiTransferWait(transfer, 10);
  if (result == tuttiInProgress) {
    fprintf(stderr, "decode is slow to take it: given up\n");
    check(tuttiTransferCancel(transfer), "tuttiTransferCancel"); /* keys are ours again */
    result = tuttiTransferTest(transfer);
  }
  if (result != tuttiSuccess)
    fprintf(stderr, "another decoder has to take it: %s\n", tuttiGetLastError(NULL));
  check(tuttiTransferRelease(transfer), "tuttiTransferRelease");
  check(tuttiAgentDestroy(agent), "tuttiAgentDestroy");
  free(keys);
  return result == tuttiSuccess ? 0 : 1;
}

int main(void) {
  int ends[2];
  if (pipe(ends) != 0) return 1;
  const pid_t child = fork(); /* before the library is used */
  if (child < 0) return 1;
  if (child == 0) {
    close(ends[1]);
    return prefill(ends[0]);
  }
  close(ends[0]);
  const int wrong = decode(ends[1]);
  int status = 0;
  waitpid(child, &status, 0);
  return wrong != 0 || status != 0;
}
