/* SPDX-License-Identifier: Apache-2.0 */
/* The whole public C API of Tutti: collectives between ranks that are threads or processes. C99 and
 * C++.
 *
 * Names and semantics follow NCCL with the prefix replaced, so that porting is a rename.
 * Conventions:
 *  - Counts are elements of `datatype`, never bytes, unless the name says so. n is the number of
 * ranks.
 *  - In place, as NCCL defines it: AllReduce, Reduce, Broadcast with sendbuff == recvbuff;
 * AllGather and Gather (at the root) with sendbuff == recvbuff + rank * sendcount; ReduceScatter
 * and Scatter (at the root) with recvbuff == sendbuff + rank * recvcount. Any other overlap of a
 * send and a receive buffer is tuttiInvalidArgument. Ranks may differ in being in place.
 *  - Buffers need no alignment. A zero count is legal everywhere; its buffers may be NULL.
 *  - Every rank of the communicator calls collectives in the same order with matching arguments.
 *  - `stream` NULL: the call returns when the operation is complete for this rank. A stream of
 * tuttiStreamCreate: the call returns at once and the operation runs in the stream's order.
 *  - Every function returns a tuttiResult_t; on failure tuttiGetLastError tells what was expected,
 * what came, and what to do. The errors listed with a function are those beside
 * tuttiInvalidArgument (an argument is NULL or out of range, a handle was destroyed or never was
 * one), tuttiInvalidUsage (a handle of the parent process in a forked child), tuttiSystemError (the
 * system refused memory, a socket or a thread) and tuttiInternalError (a bug of the library).
 */
#ifndef TUTTI_TUTTI_H_
#define TUTTI_TUTTI_H_

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define TUTTI_API __attribute__((visibility("default")))
#else
#define TUTTI_API
#endif

#define TUTTI_MAJOR 0
#define TUTTI_MINOR 1
#define TUTTI_PATCH 0
#define TUTTI_VERSION(major, minor, patch) ((major)*10000 + (minor)*100 + (patch))
#define TUTTI_VERSION_CODE TUTTI_VERSION(TUTTI_MAJOR, TUTTI_MINOR, TUTTI_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/* ---- types ---- */

typedef struct tuttiComm* tuttiComm_t;
typedef struct tuttiStream* tuttiStream_t;
typedef struct tuttiWindow* tuttiWindow_t;

#define TUTTI_UNIQUE_ID_BYTES 128
typedef struct {
  char internal[TUTTI_UNIQUE_ID_BYTES];
} tuttiUniqueId;

typedef enum {
  tuttiSuccess = 0,
  tuttiUnhandledCudaError = 1,
  tuttiSystemError = 2,
  tuttiInternalError = 3,
  tuttiInvalidArgument = 4,
  tuttiInvalidUsage = 5,
  tuttiRemoteError = 6,
  tuttiInProgress = 7,
  tuttiNumResults = 8
} tuttiResult_t;

typedef enum {
  tuttiInt8 = 0,
  tuttiChar = 0,
  tuttiUint8 = 1,
  tuttiInt32 = 2,
  tuttiInt = 2,
  tuttiUint32 = 3,
  tuttiInt64 = 4,
  tuttiUint64 = 5,
  tuttiFloat16 = 6,
  tuttiHalf = 6,
  tuttiFloat32 = 7,
  tuttiFloat = 7,
  tuttiFloat64 = 8,
  tuttiDouble = 8,
  tuttiBfloat16 = 9,
  tuttiFloat8e4m3 = 10,
  tuttiFloat8e5m2 = 11,
  tuttiNumTypes = 12
} tuttiDataType_t;

/* Built-in operations; tuttiRedOpCreatePreMulSum returns further values >= tuttiNumOps. */
typedef enum {
  tuttiSum = 0,
  tuttiProd = 1,
  tuttiMax = 2,
  tuttiMin = 3,
  tuttiAvg = 4,
  tuttiNumOps = 5,
  tuttiMaxRedOp = 0x7fffffff
} tuttiRedOp_t;

/* Where the scalar of tuttiRedOpCreatePreMulSum is read. */
typedef enum {
  tuttiScalarDevice = 0,       /* when the collective runs: host memory on a host communicator; on
                                  one of a GPU memory that it reaches, other host memory at the call */
  tuttiScalarHostImmediate = 1 /* before tuttiRedOpCreatePreMulSum returns */
} tuttiScalarResidence_t;

/* ---- library ---- */

/* *version = TUTTI_VERSION_CODE of the library in use. */
TUTTI_API tuttiResult_t tuttiGetVersion(int* version);

/* A short constant text for a result code; never NULL, also for unknown codes. */
TUTTI_API const char* tuttiGetErrorString(tuttiResult_t result);

/* The full message of the last failed call: of `comm` when given and it has failed, else of the
 * calling thread. "" when none. Valid until the next failing call on this thread or communicator.
 */
TUTTI_API const char* tuttiGetLastError(tuttiComm_t comm);

/* ---- bootstrap ---- */

/* Makes an id for one communicator and starts its rendezvous in this process, which must live
 * until every rank has initialised. Pass the 128 bytes to all ranks by any means. */
TUTTI_API tuttiResult_t tuttiGetUniqueId(tuttiUniqueId* id);

/* What the launcher told this process: `tutti run`, torchrun, Open MPI, MPICH/PMI, Slurm, an
 * indexed Job of Kubernetes or PMIx. Without a launcher rank 0 of 1. Each pointer may be NULL.
 * tuttiInvalidUsage when the launcher's variables contradict each other. */
TUTTI_API tuttiResult_t tuttiLaunchInfo(int* rank, int* size, int* localRank, int* localSize);

/* The next unique id of this launch: the k-th call returns the same communicator's id in every
 * process. On one host, and where TUTTI_KEY is set, without communication. On several hosts else
 * the launcher passes on where rank 0 is (PMIx, PMI): the first call waits for all ranks, and the
 * id may name another address of rank 0's host in each process. tuttiRemoteError: they did not come
 * before TUTTI_INIT_TIMEOUT, or rank 0's host can't be reached; tuttiInvalidUsage: the launcher
 * passes nothing on (the message says what to set). docs/howto/launch.md has the launchers. */
TUTTI_API tuttiResult_t tuttiGetLaunchUniqueId(tuttiUniqueId* id);

/* ---- communicators ---- */

#define TUTTI_CONFIG_UNDEF_INT INT32_MIN
#define TUTTI_CONFIG_UNDEF_PTR NULL
#define TUTTI_SPLIT_NOCOLOR (-1)

/* Options of one communicator. Initialise with TUTTI_CONFIG_INITIALIZER; the library reads only
 * the first `size` bytes, so that older programs keep working. Fields left undefined are taken
 * from the environment, then from defaults. Fields marked (0) are decided by rank 0 for all
 * ranks. */
typedef struct tuttiConfig_v1 {
  size_t size;
  unsigned int magic;
  unsigned int version;
  int blocking;   /* 1 (default): init, split and finalize wait; 0: they return tuttiInProgress at
                     once */
  int splitShare; /* 1: a split communicator may share its parent's connections; accepted, and
                     ignored where it can't */
  const char* commName;  /* for messages and traces; copied */
  double timeoutSeconds; /* a wait with no progress of any peer for this long fails, also when the
                            peer is only late; > 0 and <= 1e9; 0 and -1: undefined (TUTTI_TIMEOUT,
                            else 600) */
  double initTimeoutSeconds; /* the same for initialisation */
  size_t memoryCapBytes;     /* most bytes that the communicator may hold on this rank, see
                                tuttiCommGetMemStats; a collective that needs more is refused on all
                                ranks with tuttiSystemError, and others go on; 0: undefined */
  const char* transport;     /* (0) "shm", "inproc": use only this one */
  const char* algorithm;     /* (0) a row of `tutti plan list` */
  const char* protocol;      /* (0) "inline", "staged", "direct" */
  int channels;              /* (0) parallel rings or trees */
  int minCTAs;               /* accepted for NCCL's sake: lower bound of channels */
  int maxCTAs;               /* upper bound of channels */
  const char* netName;       /* accepted for NCCL's sake: the same as transport */
  int cgaClusterSize;        /* this and the next seven: accepted for NCCL's sake and ignored */
  int trafficClass;
  int collnetEnable;
  int CTAPolicy;
  int shrinkShare;
  int nvlsCTAs;
  int nChannelsPerNetPeer;
  int nvlinkCentricSched;
  int deterministic; /* (0) 1: reductions give the same bits for any split, placement, transport and
                        protocol; 0 (default): the fastest plan */
  int device;        /* a GPU as the CUDA driver counts: buffers are its memory (or host memory) and
                        streams CUDA streams; TUTTI_DEVICE_HOST, TUTTI_DEVICE_CURRENT; undefined:
                        TUTTI_DEVICE, else the host */
} tuttiConfig_t;

/* Buffers are memory of the process, streams of tuttiStreamCreate. */
#define TUTTI_DEVICE_HOST (-1)
/* The GPU that the calling thread has chosen (cuCtxSetCurrent, cudaSetDevice); the host when it has
 * none. */
#define TUTTI_DEVICE_CURRENT (-2)

#define TUTTI_CONFIG_MAGIC 0x74757474u
#define TUTTI_CONFIG_INITIALIZER                                                               \
  {                                                                                            \
    sizeof(tuttiConfig_t), TUTTI_CONFIG_MAGIC, TUTTI_VERSION_CODE, TUTTI_CONFIG_UNDEF_INT,     \
        TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_PTR, -1.0, -1.0, 0, TUTTI_CONFIG_UNDEF_PTR, \
        TUTTI_CONFIG_UNDEF_PTR, TUTTI_CONFIG_UNDEF_PTR, TUTTI_CONFIG_UNDEF_INT,                \
        TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_PTR,                \
        TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_INT,                \
        TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_INT,                \
        TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_INT, TUTTI_CONFIG_UNDEF_INT,                \
        TUTTI_CONFIG_UNDEF_INT                                                                 \
  }

/* Joins the communicator that `id` names as `rank` of `nranks`, at most 1048576. Blocks until all
 * ranks have joined, except inside a group, where the ranks of one thread join together at
 * tuttiGroupEnd. With blocking 0 joining starts at once in the background and the handle is set at
 * once, inside a group as well (NCCL defers it): tuttiGroupEnd does not wait for it.
 * tuttiRemoteError: ranks did not come before the deadline (the message lists them);
 * tuttiInvalidUsage: two processes claim one rank, or disagree on nranks. */
TUTTI_API tuttiResult_t tuttiCommInitRank(tuttiComm_t* comm, int nranks, tuttiUniqueId id,
                                          int rank);
/* The same with options; config may be NULL. */
TUTTI_API tuttiResult_t tuttiCommInitRankConfig(tuttiComm_t* comm, int nranks, tuttiUniqueId id,
                                                int rank, tuttiConfig_t* config);
/* A communicator of `ndev` ranks, all in this process: comms[i] is rank i, and works for GPU
 * devlist[i] where devlist is not NULL and there is a CUDA driver. At most 4096 ranks, and a
 * quarter of the process's limit of open files. Not part of a group: waits for the ranks itself. */
TUTTI_API tuttiResult_t tuttiCommInitAll(tuttiComm_t* comms, int ndev, const int* devlist);

/* Collective over `comm`: ranks with equal color (>= 0) form a new communicator, ordered by key,
 * then by old rank. TUTTI_SPLIT_NOCOLOR: *newcomm is NULL. config NULL: the parent's options.
 * Errors as those of collectives. */
TUTTI_API tuttiResult_t tuttiCommSplit(tuttiComm_t comm, int color, int key, tuttiComm_t* newcomm,
                                       tuttiConfig_t* config);

#define TUTTI_SHRINK_DEFAULT 0
#define TUTTI_SHRINK_ABORT 1
/* A communicator of the ranks of `comm` that are not in excludeRanksList (excludeRanksCount
 * entries), in their order. Called by just those, with the same list; `comm` may be broken, which
 * is what it is for: after a failure the survivors go on with it, and an out-of-place operation
 * that failed can be repeated with its inputs. TUTTI_SHRINK_DEFAULT waits for what has been issued
 * on `comm`; TUTTI_SHRINK_ABORT ends it with an error first. `comm` stays the caller's to destroy
 * or abort. config NULL: the parent's options. tuttiRemoteError: one of the ranks left has died or
 * does not call (the message names it); tuttiInvalidUsage: the lists differ. */
TUTTI_API tuttiResult_t tuttiCommShrink(tuttiComm_t comm, int* excludeRanksList,
                                        int excludeRanksCount, tuttiComm_t* newcomm,
                                        tuttiConfig_t* config, int shrinkFlags);
/* An id for growing `comm`. One rank of it calls this, passes the id to the new processes by its
 * own means, and to tuttiCommGrow. */
TUTTI_API tuttiResult_t tuttiCommGetUniqueId(tuttiComm_t comm, tuttiUniqueId* uniqueId);
/* A communicator of nRanks ranks: those of `comm`, with the ranks they have, and new ones behind
 * them. Ranks of `comm` pass rank -1, and uniqueId on the one rank that has it, NULL on the others.
 * New processes pass comm NULL, the id, and their rank (at least the number of ranks of `comm`).
 * config NULL: the parent's options (new ranks: the environment's). Errors as tuttiCommInitRank. */
TUTTI_API tuttiResult_t tuttiCommGrow(tuttiComm_t comm, int nRanks, const tuttiUniqueId* uniqueId,
                                      int rank, tuttiComm_t* newcomm, tuttiConfig_t* config);
/* Ends all operations of `comm` on all its ranks: those that run and all later ones fail, with
 * tuttiInvalidUsage here and tuttiRemoteError elsewhere, naming this rank. The communicator can
 * still be shrunk, destroyed or aborted. For the rank that has found a failure which others can't
 * see. revokeFlags must be 0. From any thread; within a second. */
TUTTI_API tuttiResult_t tuttiCommRevoke(tuttiComm_t comm, int revokeFlags);

/* Completes everything issued on the communicator; afterwards only Destroy, Abort and queries are
 * allowed. Errors: what an operation in flight failed with; tuttiRemoteError: a peer that has yet
 * to receive what this rank sent has died or made no progress before the deadline. */
TUTTI_API tuttiResult_t tuttiCommFinalize(tuttiComm_t comm);
/* Frees the communicator (finalizes it first when the user has not). The handle is invalid
 * afterwards. */
TUTTI_API tuttiResult_t tuttiCommDestroy(tuttiComm_t comm);
/* Ends all operations of this rank with an error and frees the communicator. May be called from any
 * thread. */
TUTTI_API tuttiResult_t tuttiCommAbort(tuttiComm_t comm);

TUTTI_API tuttiResult_t tuttiCommCount(const tuttiComm_t comm, int* count);
TUTTI_API tuttiResult_t tuttiCommUserRank(const tuttiComm_t comm, int* rank);
/* The communicator's GPU, as the CUDA driver counts; -1 for a host communicator. */
TUTTI_API tuttiResult_t tuttiCommDevice(const tuttiComm_t comm, int* device);
/* The same, by NCCL's name. */
TUTTI_API tuttiResult_t tuttiCommCuDevice(const tuttiComm_t comm, int* device);
/* The first error of operations that have already returned (streams, non-blocking calls);
 * tuttiInProgress while a non-blocking call has not finished. */
TUTTI_API tuttiResult_t tuttiCommGetAsyncError(tuttiComm_t comm, tuttiResult_t* asyncError);

/* What carried the data of a communicator so far, for this rank. The library fills the first `size`
 * bytes. */
typedef struct tuttiCommStats_v1 {
  size_t size;
  uint64_t operations;  /* completed; barriers and groups of point-to-point calls included */
  uint64_t messages[4]; /* messages sent: inline, staged, mapped (by reference, peer maps it),
                           pulled (peer reads it) */
  uint64_t bytes[4];    /* their payload bytes */
  uint64_t memoryBytes; /* held now; tuttiCommGetMemStats has the parts */
  uint64_t memoryPeakBytes;
  char lastAlgorithm[32]; /* of the last collective that ran a plan */
  char lastProtocol[16];  /* the most direct protocol one of its messages used: "none", "inline",
                             "staged", "mapped", "pulled" */
  char transports[64];    /* in use by this rank's connections, comma-separated */
  uint64_t failures;      /* operations that failed */
  uint64_t retries;       /* this one and the next three: sums of tuttiPeerStats_t over the peers */
  uint64_t fallbacks;
  uint64_t waits;
  uint64_t waitedNanoseconds;
} tuttiCommStats_t;
#define TUTTI_COMM_STATS_INITIALIZER \
  { sizeof(tuttiCommStats_t), 0, {0}, {0}, 0, 0, {0}, {0}, {0}, 0, 0, 0, 0, 0 }
TUTTI_API tuttiResult_t tuttiCommGetStats(tuttiComm_t comm, tuttiCommStats_t* stats);

/* The memory of a communicator on this rank, in bytes. Memory that a rank makes counts for it,
 * once; what it maps of its peers counts for them, so that the sum over the ranks of a host is what
 * the host spends. The total is the sum of the first six parts. Connections are made by the first
 * operation that needs them; while a communicator is idle it may give their staging slots back
 * (TUTTI_STAGING_POOL), and its scratch serves other communicators of the process and counts for
 * the one that used it last. Not counted: memory of the process that communicators share (verified
 * plans, pages of doorbells, sockets), the user's buffers, and the small objects of the heap that
 * stand for a connection. The library fills the first `size` bytes. */
typedef struct tuttiCommMemStats_v1 {
  size_t size;
  uint64_t totalBytes;
  uint64_t peakBytes;           /* of the total, so far */
  uint64_t capBytes;            /* config.memoryCapBytes or TUTTI_MEMORY_CAP; 0: none */
  uint64_t connectionBytes;     /* message lines and staging slots that this rank sends through */
  uint64_t scratchBytes;        /* between the steps of operations */
  uint64_t boardBytes;          /* signals, notices of failures, the journal */
  uint64_t recordingBytes;      /* the flight recording */
  uint64_t programBytes;        /* compiled programs */
  uint64_t objectBytes;         /* the communicator itself, by number of ranks */
  uint64_t peerConnectionBytes; /* of peers, mapped here: what this rank receives through */
  uint64_t windowBytes;         /* of peers, mapped here: their parts of this rank's windows */
  uint64_t sendConnections;     /* number of connections to peers */
  uint64_t recvConnections;     /* and from them */
  uint64_t poolScratchBytes;    /* scratch of all communicators of this process */
  uint64_t poolStagingBytes;    /* connections of all communicators of this process */
  uint64_t peerBoardBytes;      /* of peers, mapped here: their boards, once they were looked at */
} tuttiCommMemStats_t;
#define TUTTI_COMM_MEM_STATS_INITIALIZER \
  { sizeof(tuttiCommMemStats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
TUTTI_API tuttiResult_t tuttiCommGetMemStats(tuttiComm_t comm, tuttiCommMemStats_t* stats);

/* What this rank has exchanged with one peer so far. Arrays: inline, staged, mapped, pulled. The
 * library fills the first `size` bytes. */
typedef struct tuttiPeerStats_v1 {
  size_t size;
  uint64_t sentMessages[4];
  uint64_t sentBytes[4];
  uint64_t receivedMessages[4];
  uint64_t receivedBytes[4];
  uint64_t retries;   /* messages that could not be sent at once: the peer had freed no line or
                         staging slot yet */
  uint64_t fallbacks; /* messages large enough to go by reference that were copied through a slot,
                         since the peer can't reach their memory (see tuttiMemAlloc) */
  uint64_t waits;     /* times that the peer let this rank wait for a millisecond or more */
  uint64_t waitedNanoseconds; /* duration of those waits */
  char transport[16];         /* that carries the messages; "" before the first */
} tuttiPeerStats_t;
#define TUTTI_PEER_STATS_INITIALIZER                                \
  {                                                                 \
    sizeof(tuttiPeerStats_t), {0}, {0}, {0}, {0}, 0, 0, 0, 0, { 0 } \
  }
/* All zero for the calling rank itself. */
TUTTI_API tuttiResult_t tuttiCommGetPeerStats(tuttiComm_t comm, int peer, tuttiPeerStats_t* stats);

/* How often one kind of call was made. The library fills the first `size` bytes. */
typedef struct tuttiCallStats_v1 {
  size_t size;
  uint64_t begun;
  uint64_t bytes;  /* of those begun, as the bandwidth programs count them */
  uint64_t failed; /* of those begun */
} tuttiCallStats_t;
#define TUTTI_CALL_STATS_INITIALIZER \
  { sizeof(tuttiCallStats_t), 0, 0, 0 }
/* `call`: the name of the collective ("AllReduce", also for its variants), or "Send", "Recv",
 * "SendRecv" (a group of several), "Signal", "PutSignal", "WaitSignal", "SetUp", "CommFinalize",
 * "MoeDispatch", "MoeCombine". */
TUTTI_API tuttiResult_t tuttiCommGetCallStats(tuttiComm_t comm, const char* call,
                                              tuttiCallStats_t* stats);

/* The counters of all communicators of this process in the text format of Prometheus (version
 * 0.0.4), with labels comm, rank, peer, protocol, direction and collective. *needed (may be NULL)
 * gets the bytes that the text takes now, the 0 at its end included; `buffer` NULL asks for just
 * that. Numbers grow, so allow for more. tuttiInvalidArgument: the text does not fit in `capacity`
 * bytes; the buffer is left alone. Any thread, at any time; `tutti metrics PID` prints the same
 * from outside, and TUTTI_METRICS_FILE leaves it in a file. */
TUTTI_API tuttiResult_t tuttiMetricsText(char* buffer, size_t capacity, size_t* needed);

/* ---- reduction operations ---- */

/* An operation that multiplies each input by *scalar (one element of `datatype`) and sums. Valid
 * for this communicator and datatype. For 8- and 16-bit floats the product may be rounded to the
 * datatype before it is summed. */
TUTTI_API tuttiResult_t tuttiRedOpCreatePreMulSum(tuttiRedOp_t* op, void* scalar,
                                                  tuttiDataType_t datatype,
                                                  tuttiScalarResidence_t residence,
                                                  tuttiComm_t comm);
/* Operations already issued with `op` are not affected. */
TUTTI_API tuttiResult_t tuttiRedOpDestroy(tuttiRedOp_t op, tuttiComm_t comm);

/* ---- collectives ---- */

/* Errors of each: tuttiRemoteError: a rank has died or made no progress before the deadline (the
 * message names it); tuttiInvalidUsage: ranks disagree on what to do, the communicator is finalized
 * or aborted, or the call is a NULL-stream call outside a group while this thread owns several
 * ranks of the communicator (it was the last to call on them, or it initialised them in a group and
 * nobody has called since). */

/* recvbuff[i] = op over ranks of sendbuff[i]; i < count. Avg: the sum divided by n, rounded once at
 * the end. */
TUTTI_API tuttiResult_t tuttiAllReduce(const void* sendbuff, void* recvbuff, size_t count,
                                       tuttiDataType_t datatype, tuttiRedOp_t op, tuttiComm_t comm,
                                       tuttiStream_t stream);
/* As AllReduce, on `root` only; recvbuff may be NULL elsewhere. */
TUTTI_API tuttiResult_t tuttiReduce(const void* sendbuff, void* recvbuff, size_t count,
                                    tuttiDataType_t datatype, tuttiRedOp_t op, int root,
                                    tuttiComm_t comm, tuttiStream_t stream);
/* recvbuff on every rank = sendbuff of `root`; sendbuff may be NULL elsewhere. */
TUTTI_API tuttiResult_t tuttiBroadcast(const void* sendbuff, void* recvbuff, size_t count,
                                       tuttiDataType_t datatype, int root, tuttiComm_t comm,
                                       tuttiStream_t stream);
/* Broadcast in place. */
TUTTI_API tuttiResult_t tuttiBcast(void* buff, size_t count, tuttiDataType_t datatype, int root,
                                   tuttiComm_t comm, tuttiStream_t stream);
/* recvbuff[r*sendcount + i] = sendbuff[i] of rank r; recvbuff holds n*sendcount elements. */
TUTTI_API tuttiResult_t tuttiAllGather(const void* sendbuff, void* recvbuff, size_t sendcount,
                                       tuttiDataType_t datatype, tuttiComm_t comm,
                                       tuttiStream_t stream);
/* recvbuff[displs[r] + i] = sendbuff[i] of rank r, i < recvcounts[r]. recvcounts and displs hold n
 * entries, equal on all ranks; sendcount must be recvcounts[rank]. displs NULL: blocks lie one
 * after the other. */
TUTTI_API tuttiResult_t tuttiAllGatherv(const void* sendbuff, size_t sendcount, void* recvbuff,
                                        const size_t* recvcounts, const size_t* displs,
                                        tuttiDataType_t datatype, tuttiComm_t comm,
                                        tuttiStream_t stream);
/* recvbuff[i] = op over ranks of sendbuff[rank*recvcount + i]; sendbuff holds n*recvcount elements.
 */
TUTTI_API tuttiResult_t tuttiReduceScatter(const void* sendbuff, void* recvbuff, size_t recvcount,
                                           tuttiDataType_t datatype, tuttiRedOp_t op,
                                           tuttiComm_t comm, tuttiStream_t stream);
/* recvbuff[i] = op over ranks of sendbuff[displs[rank] + i], i < recvcounts[rank]. Arrays as in
 * AllGatherv. */
TUTTI_API tuttiResult_t tuttiReduceScatterv(const void* sendbuff, const size_t* recvcounts,
                                            const size_t* displs, void* recvbuff,
                                            tuttiDataType_t datatype, tuttiRedOp_t op,
                                            tuttiComm_t comm, tuttiStream_t stream);
/* recvbuff[s*count + i] = sendbuff[d*count + i] of rank s, on rank d; both hold n*count elements.
 * Not in place. */
TUTTI_API tuttiResult_t tuttiAllToAll(const void* sendbuff, void* recvbuff, size_t count,
                                      tuttiDataType_t datatype, tuttiComm_t comm,
                                      tuttiStream_t stream);
/* The same, by NCCL's name. */
TUTTI_API tuttiResult_t tuttiAlltoAll(const void* sendbuff, void* recvbuff, size_t count,
                                      tuttiDataType_t datatype, tuttiComm_t comm,
                                      tuttiStream_t stream);
/* Rank s sends sendcounts[d] elements from sendbuff[sdispls[d]] to rank d, which receives them at
 * recvbuff[rdispls[s]]; recvcounts[s] of rank d must equal sendcounts[d] of rank s. Displacements
 * NULL: packed. Not in place. */
TUTTI_API tuttiResult_t tuttiAllToAllv(const void* sendbuff, const size_t* sendcounts,
                                       const size_t* sdispls, void* recvbuff,
                                       const size_t* recvcounts, const size_t* rdispls,
                                       tuttiDataType_t datatype, tuttiComm_t comm,
                                       tuttiStream_t stream);
/* As AllGather, on `root` only; recvbuff may be NULL elsewhere. */
TUTTI_API tuttiResult_t tuttiGather(const void* sendbuff, void* recvbuff, size_t sendcount,
                                    tuttiDataType_t datatype, int root, tuttiComm_t comm,
                                    tuttiStream_t stream);
/* As AllGatherv, on `root` only; recvcounts and displs are read at the root and may be NULL
 * elsewhere. */
TUTTI_API tuttiResult_t tuttiGatherv(const void* sendbuff, size_t sendcount, void* recvbuff,
                                     const size_t* recvcounts, const size_t* displs,
                                     tuttiDataType_t datatype, int root, tuttiComm_t comm,
                                     tuttiStream_t stream);
/* recvbuff[i] = sendbuff[rank*recvcount + i] of `root`; sendbuff holds n*recvcount elements there
 * and may be NULL elsewhere. */
TUTTI_API tuttiResult_t tuttiScatter(const void* sendbuff, void* recvbuff, size_t recvcount,
                                     tuttiDataType_t datatype, int root, tuttiComm_t comm,
                                     tuttiStream_t stream);
/* Uneven Scatter: sendcounts and displs are read at the root; recvcount must be sendcounts[rank] of
 * the root. */
TUTTI_API tuttiResult_t tuttiScatterv(const void* sendbuff, const size_t* sendcounts,
                                      const size_t* displs, void* recvbuff, size_t recvcount,
                                      tuttiDataType_t datatype, int root, tuttiComm_t comm,
                                      tuttiStream_t stream);
/* Returns (or completes on the stream) when every rank has entered it. */
TUTTI_API tuttiResult_t tuttiBarrier(tuttiComm_t comm, tuttiStream_t stream);

/* ---- point to point ---- */

/* The k-th send of rank a to rank b matches the k-th receive of b from a; counts and datatypes must
 * be equal. Calls that depend on each other go into one group. A send to self is legal in a group
 * that also has the receive. */
TUTTI_API tuttiResult_t tuttiSend(const void* sendbuff, size_t count, tuttiDataType_t datatype,
                                  int peer, tuttiComm_t comm, tuttiStream_t stream);
TUTTI_API tuttiResult_t tuttiRecv(void* recvbuff, size_t count, tuttiDataType_t datatype, int peer,
                                  tuttiComm_t comm, tuttiStream_t stream);

/* Operations between Start and End are posted together at the outermost End: point-to-point calls
 * run concurrently, one thread may drive several ranks, and communicators may be initialised
 * together. Initialisations, splits and window registrations of the group run first; their handles
 * are set when tuttiGroupEnd returns. Calls of one communicator may be on several streams, NULL
 * among them: as with NCCL they are one operation that is in the order of all these streams, so it
 * waits for what was queued on each and each waits for its end. tuttiGroupEnd returns the first
 * error; a group in which a call was refused does nothing and returns that refusal.
 * tuttiInvalidUsage: an End without a Start, a send to self without its receive. */
TUTTI_API tuttiResult_t tuttiGroupStart(void);
TUTTI_API tuttiResult_t tuttiGroupEnd(void);

/* ---- memory and windows ---- */

/* Zeroed, page-aligned host memory that peers on this host can map: the fastest to communicate
 * from. 0 bytes: *ptr is NULL. */
TUTTI_API tuttiResult_t tuttiMemAlloc(void** ptr, size_t bytes);
/* Memory of a GPU, by the CUDA driver's number, that peers can map; for every GPU of this process
 * that reaches it. Its contents are undefined. TUTTI_DEVICE_CURRENT: of the calling thread's GPU,
 * where it has none, and TUTTI_DEVICE_HOST: as tuttiMemAlloc. 0 bytes: *ptr is NULL.
 * tuttiInvalidArgument: there is no such GPU; tuttiUnhandledCudaError: no driver, or no memory. */
TUTTI_API tuttiResult_t tuttiMemAllocDevice(void** ptr, size_t bytes, int device);
/* Of either; NULL: nothing. No kernel may use the memory any more. tuttiInvalidArgument: other
 * memory. */
TUTTI_API tuttiResult_t tuttiMemFree(void* ptr);

/* Accepted for NCCL's sake: [buff, buff+bytes) will be used often. Local call. It changes nothing
 * on a host communicator: memory of tuttiMemAlloc is recognised by its address, and other memory
 * can't be mapped afterwards. *handle is for Deregister, also after Finalize. */
TUTTI_API tuttiResult_t tuttiCommRegister(const tuttiComm_t comm, void* buff, size_t bytes,
                                          void** handle);
TUTTI_API tuttiResult_t tuttiCommDeregister(const tuttiComm_t comm, void* handle);

#define TUTTI_WIN_DEFAULT 0x00
#define TUTTI_WIN_COLL_SYMMETRIC 0x01

/* Collective: exposes [buff, buff+bytes), memory of tuttiMemAlloc, to the communicator's ranks.
 * Sizes may differ by rank; 0 is legal. Errors as those of collectives; all ranks get that of the
 * lowest failing one. */
TUTTI_API tuttiResult_t tuttiCommWindowRegister(tuttiComm_t comm, void* buff, size_t bytes,
                                                tuttiWindow_t* win, int winFlags);
/* Collective. The window must not be in use. On a communicator that was finalized or has failed it
 * is a local call, which only frees. */
TUTTI_API tuttiResult_t tuttiCommWindowDeregister(tuttiComm_t comm, tuttiWindow_t win);

/* Copies count elements of localbuff into `peer`'s part of the window at byte offset peerWinOffset,
 * then adds 1 to the counter that the peer keeps for (this rank, sigIdx). sigIdx <
 * TUTTI_SIGNALS_PER_PEER; ctx and flags must be 0. Complete for the caller when localbuff may be
 * reused. tuttiInvalidUsage: the peer has freed its part; tuttiRemoteError: the communicator has
 * failed, or the peer ended before its part could be mapped. A put to a peer that has died since
 * may succeed. */
#define TUTTI_SIGNALS_PER_PEER 8
TUTTI_API tuttiResult_t tuttiPutSignal(const void* localbuff, size_t count,
                                       tuttiDataType_t datatype, int peer, tuttiWindow_t peerWin,
                                       size_t peerWinOffset, int sigIdx, int ctx,
                                       unsigned int flags, tuttiComm_t comm, tuttiStream_t stream);
/* Adds 1 to the peer's counter; everything put to that peer before is visible when the counter is.
 * Errors as PutSignal. */
TUTTI_API tuttiResult_t tuttiSignal(int peer, int sigIdx, int ctx, unsigned int flags,
                                    tuttiComm_t comm, tuttiStream_t stream);
typedef struct {
  int opCnt; /* signals to wait for, beyond those that earlier waits have taken */
  int peer;
  int sigIdx;
  int ctx;
} tuttiWaitSignalDesc_t;
/* Waits until each described counter has grown by opCnt, and takes that many from it.
 * tuttiRemoteError: a peer whose signals are missing has died, or sent none before the deadline. */
TUTTI_API tuttiResult_t tuttiWaitSignal(int nDesc, tuttiWaitSignalDesc_t* signalDescs,
                                        tuttiComm_t comm, tuttiStream_t stream);

/* ---- host streams ---- */

/* An ordered queue of operations with a worker thread of its own. */
TUTTI_API tuttiResult_t tuttiStreamCreate(tuttiStream_t* stream);
/* Waits until everything queued has ended; returns the first error of it since the last
 * Synchronize. */
TUTTI_API tuttiResult_t tuttiStreamSynchronize(tuttiStream_t stream);
/* tuttiInProgress while something is queued or running, else as Synchronize. */
TUTTI_API tuttiResult_t tuttiStreamQuery(tuttiStream_t stream);
/* Synchronizes, then frees, also when it returns the first error of what was queued.
 * tuttiInvalidUsage: the calling thread's open group has calls on it. */
TUTTI_API tuttiResult_t tuttiStreamDestroy(tuttiStream_t stream);

#ifdef __cplusplus
} /* extern "C" */
#endif

/* Dispatch and combine of MoE layers. */
#include "tutti/moe.h"
/* One-sided transfers between agents. */
#include "tutti/transfer.h"

#endif /* TUTTI_TUTTI_H_ */
