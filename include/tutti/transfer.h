/* SPDX-License-Identifier: Apache-2.0 */
/* One-sided transfers between processes that need no communicator: KV caches of language models,
 * checkpoints, whatever one process puts into another's memory or gets out of it. Part of
 * tutti/tutti.h, which says what holds for all functions.
 *
 * An *agent* is a process's end. It registers memory (*regions*) and exports a *blob*, bytes that
 * the user carries to other processes by any means; who imports the blob may write to the regions
 * and read them, while the agent's process does something else:
 *
 *   target                                      initiator
 *   tuttiAgentCreate(&agent, NULL)              tuttiAgentCreate(&agent, NULL)
 *   tuttiAgentRegister(agent, kv, n, &region)
 *   tuttiAgentExport(agent, blob, ...)    --->  tuttiAgentImport(agent, blob, bytes, &peer)
 *                                               tuttiPutv(peer, descs, n, &signal, &transfer)
 *   tuttiAgentWaitCounter(agent, 0, 1, t)       tuttiTransferWait(transfer, t)
 *                                               tuttiTransferRelease(transfer)
 *
 * Agents come and go; each may be target and initiator for any number of others. The environment is
 * honoured: TUTTI_SOCKET_IFNAME, TUTTI_TCP_SOCKETS, TUTTI_ENCRYPT, TUTTI_NET_TIMEOUT, and
 * TUTTI_TRANSPORT ("shm", "tcp", "rdma"; nothing: memory on one host, tcp between hosts).
 * Memory is the host's. Regions of tuttiMemAlloc are the fastest on one host; local memory
 * need not be registered.
 *
 * Operations have no order among each other, also those to one peer. A put may raise a counter of
 * the target; the counter shows it only when all bytes of that put are there, whatever order the
 * network delivers in. Who has to know that several puts are there counts them.
 *
 * Any function may be called from any thread, but nothing may be in use while it is destroyed or
 * released. docs/howto/transfer.md has a whole program, docs/design/transfer.md who makes progress.
 */
#ifndef TUTTI_TRANSFER_H_
#define TUTTI_TRANSFER_H_

#include "tutti/tutti.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tuttiAgent* tuttiAgent_t;
typedef struct tuttiAgentPeer* tuttiAgentPeer_t;
typedef struct tuttiTransfer* tuttiTransfer_t;

#define TUTTI_AGENT_BLOB_BYTES 65536 /* no blob is larger */
#define TUTTI_AGENT_COUNTERS 256
#define TUTTI_AGENT_REGIONS 1024 /* of one agent at a time */

/* Initialise with TUTTI_AGENT_CONFIG_INITIALIZER; the library reads only the first `size` bytes.
 * Fields left undefined are taken from the environment, then from defaults. */
typedef struct tuttiAgentConfig_v1 {
  size_t size;
  const char* name;      /* for messages of this process and its peers; at most 63 bytes; copied */
  const char* transport; /* as TUTTI_TRANSPORT */
  const char* socketIfname; /* as TUTTI_SOCKET_IFNAME */
} tuttiAgentConfig_t;
#define TUTTI_AGENT_CONFIG_INITIALIZER                                          \
  {                                                                             \
    sizeof(tuttiAgentConfig_t), TUTTI_CONFIG_UNDEF_PTR, TUTTI_CONFIG_UNDEF_PTR, \
        TUTTI_CONFIG_UNDEF_PTR                                                  \
  }

/* An agent with a listener of its own. config may be NULL. tuttiInvalidUsage: the transport named
 * carries no transfers; tuttiSystemError: no network, no port. */
TUTTI_API tuttiResult_t tuttiAgentCreate(tuttiAgent_t* agent, const tuttiAgentConfig_t* config);
/* Ends what is in flight, to and from the agent, deregisters its regions and frees it with all of
 * its peers and transfers. Peers are told. Bounded by TUTTI_NET_TIMEOUT. */
TUTTI_API tuttiResult_t tuttiAgentDestroy(tuttiAgent_t agent);

/* Lets peers write to and read [base, base+bytes), bytes > 0. *region names it in descriptors of
 * peers that import a blob exported afterwards; numbers are never used again. Regions may overlap.
 * tuttiInvalidUsage: there are TUTTI_AGENT_REGIONS already. */
TUTTI_API tuttiResult_t tuttiAgentRegister(tuttiAgent_t agent, void* base, size_t bytes,
                                           uint32_t* region);
/* When it returns nobody writes to the memory or reads it any more; operations of peers on it fail,
 * naming the region. Within a second or two: who is stopped in the middle of a piece loses its
 * path, and on one host the whole allocation is withdrawn from other processes (register it again
 * to have it back). tuttiInvalidArgument: there is no such region. */
TUTTI_API tuttiResult_t tuttiAgentDeregister(tuttiAgent_t agent, uint32_t region);

/* Writes the agent's blob, with the regions registered now, to `blob`, and its bytes to *bytes.
 * `blob` NULL asks for the bytes alone. Who has the blob may use the regions: it is a secret.
 * tuttiInvalidArgument: `capacity` is too small (TUTTI_AGENT_BLOB_BYTES is always enough). */
TUTTI_API tuttiResult_t tuttiAgentExport(tuttiAgent_t agent, void* blob, size_t capacity,
                                         size_t* bytes);
/* The agent behind a blob as a peer of this one. A local call, but that on one host the other
 * process passes its memory on (no code of its user runs). The same blob may be imported again.
 * tuttiInvalidArgument: these bytes are no blob; tuttiInvalidUsage: the two agents use different
 * transports; tuttiRemoteError: it can't be reached. */
TUTTI_API tuttiResult_t tuttiAgentImport(tuttiAgent_t agent, const void* blob, size_t bytes,
                                         tuttiAgentPeer_t* peer);
/* Cancels what is in flight to the peer, and frees it; its transfers stay to be released. */
TUTTI_API tuttiResult_t tuttiAgentPeerRelease(tuttiAgentPeer_t peer);

/* What the blob said, and how the peer is reached. The library fills the first `size` bytes; the
 * texts are cut to what they have room for. */
typedef struct tuttiAgentPeerInfo_v1 {
  size_t size;
  char name[64];
  int pid;
  int sameHost; /* 1: by memory */
  size_t numRegions;
  char how[512]; /* for people: what is mapped, which paths are open, why not by memory */
} tuttiAgentPeerInfo_t;
#define TUTTI_AGENT_PEER_INFO_INITIALIZER             \
  {                                                   \
    sizeof(tuttiAgentPeerInfo_t), {0}, 0, 0, 0, { 0 } \
  }
TUTTI_API tuttiResult_t tuttiAgentPeerGetInfo(tuttiAgentPeer_t peer, tuttiAgentPeerInfo_t* info);
/* The peer's i-th region, i < numRegions, in the order of registration. Pointers may be NULL. */
TUTTI_API tuttiResult_t tuttiAgentPeerGetRegion(tuttiAgentPeer_t peer, size_t i, uint32_t* region,
                                                size_t* bytes);
/* *error: tuttiSuccess, or tuttiRemoteError once the peer has died, left or can't be reached;
 * tuttiGetLastError(NULL) names it and says why. Other peers go on. An agent that comes back is a
 * new one: import its new blob. */
TUTTI_API tuttiResult_t tuttiAgentPeerGetError(tuttiAgentPeer_t peer, tuttiResult_t* error);

/* ---- operations ---- */

/* One block: bytes of local memory, and as many at `offset` of a region of the peer. */
typedef struct {
  void* local; /* read by puts, written by gets; may be NULL when bytes is 0 */
  uint32_t region;
  size_t offset;
  size_t bytes;
} tuttiTransferDesc_t;

/* Adds `value` to a counter of the target; 0: nothing. */
typedef struct {
  int counter; /* 0 <= counter < TUTTI_AGENT_COUNTERS */
  uint64_t value;
} tuttiTransferSignal_t;

/* Starts copying nDescs blocks into the peer's memory, and returns. signal may be NULL. The local
 * memory must not change, the remote not be relied on, until the transfer has ended; then all bytes
 * are at the target. Blocks of one call must not overlap at the target. flags must be 0. *transfer
 * is the caller's to release.
 * tuttiInvalidArgument: a descriptor leaves its region, or the peer's blob has no such region (the
 * message names the descriptor, the region and the peer); tuttiRemoteError: the peer has failed. */
TUTTI_API tuttiResult_t tuttiPutv(tuttiAgentPeer_t peer, const tuttiTransferDesc_t* descs,
                                  size_t nDescs, const tuttiTransferSignal_t* signal,
                                  unsigned int flags, tuttiTransfer_t* transfer);
/* Starts copying nDescs blocks of the peer's memory into local memory. As tuttiPutv. */
TUTTI_API tuttiResult_t tuttiGetv(tuttiAgentPeer_t peer, const tuttiTransferDesc_t* descs,
                                  size_t nDescs, unsigned int flags, tuttiTransfer_t* transfer);

/* tuttiInProgress while the transfer runs, else its result: tuttiSuccess; tuttiRemoteError: the
 * peer died, left or was lost (within TUTTI_NET_TIMEOUT, on one host at once); tuttiInvalidUsage:
 * the peer has deregistered a region (named), or the transfer was cancelled. Never waits; moves a
 * piece of what is to be moved. */
TUTTI_API tuttiResult_t tuttiTransferTest(tuttiTransfer_t transfer);
/* The same after at most timeoutSeconds; < 0: TUTTI_TIMEOUT. A transfer that has not ended goes on.
 */
TUTTI_API tuttiResult_t tuttiTransferWait(tuttiTransfer_t transfer, double timeoutSeconds);
/* Ends the transfer, within about a second: its local memory is the caller's again when this
 * returns. What has arrived stays; a signal is raised only for a put that was whole. Test then
 * tells how it ended. */
TUTTI_API tuttiResult_t tuttiTransferCancel(tuttiTransfer_t transfer);
/* Frees the handle; cancels first what has not ended. */
TUTTI_API tuttiResult_t tuttiTransferRelease(tuttiTransfer_t transfer);

/* ---- counters of this agent ---- */

/* *value: what puts have added so far. The bytes of those puts are visible. */
TUTTI_API tuttiResult_t tuttiAgentGetCounter(tuttiAgent_t agent, int counter, uint64_t* value);
/* Waits until the counter is at least `value`. timeoutSeconds < 0: TUTTI_TIMEOUT. tuttiInProgress:
 * the time is over. */
TUTTI_API tuttiResult_t tuttiAgentWaitCounter(tuttiAgent_t agent, int counter, uint64_t value,
                                              double timeoutSeconds);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* TUTTI_TRANSFER_H_ */
