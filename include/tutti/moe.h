/* SPDX-License-Identifier: Apache-2.0 */
/* MoE layers: tokens to the ranks of their experts (dispatch) and back as weighted sums (combine).
 * Part of tutti/tutti.h, which says what holds for all functions.
 *
 * A *group* is what the ranks of a communicator agree on. A *handle* holds one routing at a time:
 *
 *   tuttiMoeRoute(handle, topkIdx, topkWeights, T, k)          local
 *   tuttiMoeDispatch(handle, x, &output, TUTTI_MOE_BOTH, stream)
 *   tuttiMoeGetLayout(handle, &layout)                         local: where the rows are
 *   ... the experts compute ...
 *   tuttiMoeCombine(handle, y, out, TUTTI_MOE_BOTH, stream)
 *   tuttiMoeComplete(handle)                                   local
 *
 * One routing may serve several dispatches and combines (a backward pass). All ranks call
 * tuttiMoeDispatch and tuttiMoeCombine in the same order on handles made in the same order, also
 * those with no tokens; T may differ by rank. A token goes once to each rank that has experts of
 * it. Rows are of `hidden` elements, those of x, y and out bfloat16 (tuttiBfloat16). Buffers need
 * no alignment; those of tuttiMemAlloc are not needed.
 *
 * Received rows have a fixed order, by source rank and then by source token, whatever happens on
 * the way, and so have sums: results are the same bits in every run. docs/design/moe.md has the
 * numerics, the bytes that move, and the memory that is used.
 *
 * On a communicator of GPUs (config.device) calls are put into the CUDA stream and return, also
 * while it captures; nothing is read back. Tables, tokens and buffers are memory that the GPU
 * reaches: its own, managed or page-locked. Each dispatch reads the tables when it runs, so they
 * stay until it has ended, and the replay of a graph routes by what they hold then. What depends on
 * them is found when the stream has come so far, by tuttiMoeGetLayout and in memory of the GPU:
 * too many rows (the dispatch delivers none, on all ranks, and its combine writes nothing), and
 * indices that are no expert, which are taken as -1.
 */
#ifndef TUTTI_MOE_H_
#define TUTTI_MOE_H_

#include "tutti/tutti.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tuttiMoeGroup* tuttiMoeGroup_t;
typedef struct tuttiMoeHandle* tuttiMoeHandle_t;

typedef enum {
  tuttiMoeRankMajor = 0,  /* a row for each token and rank, by source rank */
  tuttiMoeExpertMajor = 1 /* a row for each token and expert, expert by expert */
} tuttiMoeLayoutKind_t;

/* How rows travel in a dispatch, and are received. e4m3: OCP 8-bit floats, round to nearest even,
 * saturating. With amax the largest finite magnitude of a group, at least 1e-4: float32 scales are
 * amax / 448, UE8M0 scales 2^ceil(log2(amax / 448)) as an exponent of 8 bits with bias 127. An
 * element is the e4m3 number times its group's scale. */
typedef enum {
  tuttiMoeQuantNone = 0,          /* bfloat16 */
  tuttiMoeQuantE4m3G128F32 = 1,   /* e4m3 in groups of 128, float32 scales */
  tuttiMoeQuantE4m3G128Ue8m0 = 2, /* e4m3 in groups of 128, UE8M0 scales */
  tuttiMoeQuantMxfp8G32 = 3       /* e4m3 in groups of 32, UE8M0 scales */
} tuttiMoeQuantization_t;

/* Where sums are rounded to bfloat16. Between roundings they are float32, over the experts of a
 * token on one rank in the order of its top-k, then over ranks (hosts) ascending. */
typedef enum {
  tuttiMoeReducePerRank = 0, /* each rank's sum, and the sum of these */
  tuttiMoeReduceOnce = 1,    /* only the whole sum; twice the bytes */
  tuttiMoeReduceHier = 2     /* each rank's sum, each host's sum of these, and the sum of these */
} tuttiMoeReduction_t;

/* When a rank would receive more rows than maxReceiveRows. Every rank notices. */
typedef enum {
  tuttiMoeOverflowError = 0,     /* the dispatch fails on all ranks with tuttiInvalidUsage naming
                                    the rank, and writes nothing; the group goes on */
  tuttiMoeOverflowDropReport = 1 /* the last rows are dropped and count as zero */
} tuttiMoeOverflow_t;

/* What all ranks must pass alike, but for `rank`. Initialise with TUTTI_MOE_CONFIG_INITIALIZER; the
 * library reads only the first `size` bytes. Nothing is kept that the pointers name. */
typedef struct tuttiMoeConfig_v1 {
  size_t size;
  int numExperts;
  int maxTopK;           /* at most 128 */
  size_t maxTokens;      /* of one rank in one routing */
  size_t hidden;         /* elements of a row; quantised: a multiple of the group */
  size_t alignment;      /* expert-major: the rows of each expert begin at a multiple of it */
  size_t maxReceiveRows; /* of one rank, gaps included; 0: as many as any routing can need */
  tuttiMoeLayoutKind_t layout;
  tuttiMoeQuantization_t quantization;
  tuttiMoeReduction_t reduction;
  tuttiMoeOverflow_t overflow;
  int maxHandles; /* at a time; at most 16 */
  /* Which rank has which experts. expertsPerRank: a number for each rank; experts: the experts of
   * rank 0, of rank 1, and so on. An expert may be on several ranks: tokens go to the source rank
   * itself, else to one of its host, else to one that follows from the source rank's number. Both
   * NULL: experts in their order, evenly, the first ranks having one more where n does not divide
   * numExperts. */
  const int* expertsPerRank;
  const int* experts;
  int rank; /* this rank's number in the group; -1: that in the communicator */
} tuttiMoeConfig_t;
#define TUTTI_MOE_CONFIG_INITIALIZER                                                    \
  {                                                                                     \
    sizeof(tuttiMoeConfig_t), 0, 0, 0, 0, 1, 0, tuttiMoeExpertMajor, tuttiMoeQuantNone, \
        tuttiMoeReducePerRank, tuttiMoeOverflowError, 2, TUTTI_CONFIG_UNDEF_PTR,        \
        TUTTI_CONFIG_UNDEF_PTR, -1                                                      \
  }

/* What buffers must hold on one rank, in bytes unless the name says rows. */
typedef struct tuttiMoeSizes_v1 {
  size_t size;
  size_t receiveRows;   /* rows of the receive buffers */
  size_t rowBytes;      /* of one received row */
  size_t rowScaleBytes; /* of its scales; 0: none */
  size_t rowsBytes;     /* receiveRows * rowBytes */
  size_t scalesBytes;   /* receiveRows * rowScaleBytes */
  size_t combineBytes;  /* of y: receiveRows * hidden bfloat16 */
  size_t numExperts;    /* on this rank */
} tuttiMoeSizes_t;
#define TUTTI_MOE_SIZES_INITIALIZER \
  { sizeof(tuttiMoeSizes_t), 0, 0, 0, 0, 0, 0, 0 }
/* Without communication: what rank `rank` of a group of nRanks needs. */
TUTTI_API tuttiResult_t tuttiMoeGetSizes(const tuttiMoeConfig_t* config, int nRanks, int rank,
                                         tuttiMoeSizes_t* sizes);

/* Collective over `comm`: one of host ranks, or one of GPUs of one host (see above). The
 * communicator's timeout holds for all calls. Errors as those of collectives; all ranks get that of
 * the lowest failing one, also when their configurations differ. */
TUTTI_API tuttiResult_t tuttiMoeGroupCreate(tuttiMoeGroup_t* group, tuttiComm_t comm,
                                            const tuttiMoeConfig_t* config);
/* Collective; on a communicator that has failed or was finalized it is a local call. Before the
 * communicator is destroyed. tuttiInvalidUsage: the group has handles. */
TUTTI_API tuttiResult_t tuttiMoeGroupDestroy(tuttiMoeGroup_t group);

/* Local. All ranks make and destroy their handles in the same order. tuttiInvalidUsage: there are
 * config.maxHandles already. */
TUTTI_API tuttiResult_t tuttiMoeHandleCreate(tuttiMoeHandle_t* handle, tuttiMoeGroup_t group);
/* tuttiInvalidUsage: the handle is in flight; after a failure it may be destroyed nevertheless. */
TUTTI_API tuttiResult_t tuttiMoeHandleDestroy(tuttiMoeHandle_t handle);

/* Local: topkIdx[t*topK + j] is the j-th expert of token t, or -1 for none; topkWeights has the
 * same shape (NULL: all 1). t < nTokens <= maxTokens, topK <= maxTopK. An expert that a token names
 * twice gets the token once, with the sum of its weights. Both tables are read before this returns;
 * by ranks of GPUs, when a dispatch runs. tuttiInvalidArgument: an index is no expert, or kernels
 * can't reach a table; tuttiInvalidUsage: the handle is in flight. */
TUTTI_API tuttiResult_t tuttiMoeRoute(tuttiMoeHandle_t handle, const int64_t* topkIdx,
                                      const float* topkWeights, size_t nTokens, int topK);

/* The parts of a dispatch or combine. SEND: puts what fits into connections to the peers, without
 * waiting for anybody; small calls go whole. RECV: completes it. What was passed to SEND must stay
 * until then. Between the two, calls on other handles and other operations may run. */
#define TUTTI_MOE_SEND 1
#define TUTTI_MOE_RECV 2
#define TUTTI_MOE_BOTH 3

/* Where received rows go; arrays of receiveRows (see tuttiMoeGetSizes). All but rows, and scales
 * where rows are quantised, may be NULL. Places where no row lies are left as they are. */
typedef struct tuttiMoeOutput_v1 {
  size_t size;
  void* rows;           /* [receiveRows][hidden] bfloat16, or e4m3 */
  void* scales;         /* [receiveRows][hidden / group] float32, or 8-bit exponents */
  int64_t* topkIdx;     /* rank-major: [receiveRows][maxTopK], experts of the row by their place on
                           this rank, then -1 */
  float* topkWeights;   /* rank-major: their weights, then 0 */
  int32_t* sourceRank;  /* [receiveRows] */
  int32_t* sourceToken; /* [receiveRows] */
} tuttiMoeOutput_t;
#define TUTTI_MOE_OUTPUT_INITIALIZER                                            \
  {                                                                             \
    sizeof(tuttiMoeOutput_t), TUTTI_CONFIG_UNDEF_PTR, TUTTI_CONFIG_UNDEF_PTR,   \
        TUTTI_CONFIG_UNDEF_PTR, TUTTI_CONFIG_UNDEF_PTR, TUTTI_CONFIG_UNDEF_PTR, \
        TUTTI_CONFIG_UNDEF_PTR                                                  \
  }

/* Sends rows x[nTokens][hidden] as they were routed, and receives what others send here. `x` is for
 * SEND, `output` for RECV. Errors as those of collectives, and tuttiInvalidUsage: it is not this
 * call's turn on the handle, or some rank would receive too many rows (tuttiMoeOverflowError). */
TUTTI_API tuttiResult_t tuttiMoeDispatch(tuttiMoeHandle_t handle, const void* x,
                                         const tuttiMoeOutput_t* output, int phases,
                                         tuttiStream_t stream);

/* Where the rows of the last dispatch are. The pointers are the library's and last until the next
 * dispatch is called. A block is the rows of one expert of this rank (expert-major) or of one
 * source rank (rank-major). Of ranks of GPUs the arrays and `totals` are in memory of the GPU, at
 * the same place for all dispatches of a handle, and hold what the last one has found when the
 * stream comes to their reader; the numbers here are UINT64_MAX while a dispatch is under way. */
typedef struct tuttiMoeLayout_v1 {
  size_t size;
  size_t numBlocks;
  const uint32_t* counts;   /* by block: rows that were sent, before any drop */
  const uint32_t* received; /* rows that are there */
  const uint32_t* aligned;  /* rows that the block takes, a multiple of config.alignment */
  const uint32_t* offsets;  /* its first row */
  uint64_t rows;            /* that all blocks take */
  uint64_t demand;          /* that they would take without any drop */
  uint64_t dropped;         /* rows that were dropped here */
  uint64_t droppedOfMine;   /* rows of this rank's tokens that were dropped, on any rank */
  uint64_t droppedByAll;    /* on all ranks */
  const uint64_t* totals;   /* ranks of GPUs: these five numbers, `rows` first */
} tuttiMoeLayout_t;
#define TUTTI_MOE_LAYOUT_INITIALIZER                                                          \
  {                                                                                           \
    sizeof(tuttiMoeLayout_t), 0, TUTTI_CONFIG_UNDEF_PTR, TUTTI_CONFIG_UNDEF_PTR,              \
        TUTTI_CONFIG_UNDEF_PTR, TUTTI_CONFIG_UNDEF_PTR, 0, 0, 0, 0, 0, TUTTI_CONFIG_UNDEF_PTR \
  }
/* Local. tuttiInvalidUsage: no dispatch has been received. Of ranks of GPUs, about a dispatch that
 * has ended, also: tuttiInvalidUsage, some rank would have received too many rows;
 * tuttiInvalidArgument, an index was no expert. */
TUTTI_API tuttiResult_t tuttiMoeGetLayout(tuttiMoeHandle_t handle, tuttiMoeLayout_t* layout);

/* out[t] = sum over the experts j of token t of weight[t][j] * y[row of (t, j)], [nTokens][hidden];
 * rank-major: sum over the ranks of t of y[row of t], as the experts of a rank have been summed
 * with their weights by the caller. Zeros where a token has no expert. `y` lies as the received
 * rows do, and is for SEND, `out` for RECV. Errors as those of tuttiMoeDispatch. */
TUTTI_API tuttiResult_t tuttiMoeCombine(tuttiMoeHandle_t handle, const void* y, void* out,
                                        int phases, tuttiStream_t stream);
/* Local: the routing is done with. tuttiInvalidUsage: the handle is in flight. */
TUTTI_API tuttiResult_t tuttiMoeComplete(tuttiMoeHandle_t handle);

/* Ranks that take part: active[r] is 1, else 0, for each rank r of the group. */
TUTTI_API tuttiResult_t tuttiMoeGroupGetMask(tuttiMoeGroup_t group, uint8_t* active);
/* Leaves ranks out, which is how a group goes on after a failure: tokens go to the replicas of
 * their experts, and experts that nobody has any more count as -1. Called by all ranks that stay,
 * with the same mask; it waits for them. The group's communicator may have failed. Ranks can't come
 * back by it. Handles must be routed again. tuttiRemoteError: one of the ranks that stay has died
 * or does not call (the message names it, by its number in the communicator at work);
 * tuttiInvalidUsage: the masks differ, or a rank that has left is to be back. */
TUTTI_API tuttiResult_t tuttiMoeGroupSetMask(tuttiMoeGroup_t group, const uint8_t* active);
/* The group goes on over `comm`, which has as many ranks as the group had at first: those that were
 * there keep their numbers, and new processes, which call tuttiMoeGroupCreate with config.rank
 * meanwhile, take those that are free. tuttiCommGrow makes such a communicator. Collective over it.
 * Errors as tuttiMoeGroupCreate. */
TUTTI_API tuttiResult_t tuttiMoeGroupRejoin(tuttiMoeGroup_t group, tuttiComm_t comm);
/* The first error of the communicator at work; tuttiGetLastError has its text. */
TUTTI_API tuttiResult_t tuttiMoeGroupGetAsyncError(tuttiMoeGroup_t group,
                                                   tuttiResult_t* asyncError);

/* What this rank has moved so far. Arrays: to itself, to ranks of its host, to other hosts; what
 * stays on a rank is in neither. The library fills the first `size` bytes. */
typedef struct tuttiMoeStats_v1 {
  size_t size;
  uint64_t dispatches; /* received whole */
  uint64_t combines;
  uint64_t dispatchRows[3];          /* sent */
  uint64_t dispatchPayloadBytes[3];  /* rows with their scales */
  uint64_t dispatchMetadataBytes[3]; /* what else messages held */
  uint64_t combineRows[3];
  uint64_t combinePayloadBytes[3];
  uint64_t combineMetadataBytes[3];
  uint64_t dispatchCopyBytes; /* of rows, read from memory and written to it */
  uint64_t combineCopyBytes;
  uint64_t receivedRows;
  uint64_t droppedRows; /* here */
  uint64_t maskedPairs; /* of a token and an expert that no active rank has */
} tuttiMoeStats_t;
#define TUTTI_MOE_STATS_INITIALIZER \
  { sizeof(tuttiMoeStats_t), 0, 0, {0}, {0}, {0}, {0}, {0}, {0}, 0, 0, 0, 0, 0 }
TUTTI_API tuttiResult_t tuttiMoeGroupGetStats(tuttiMoeGroup_t group, tuttiMoeStats_t* stats);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* TUTTI_MOE_H_ */
