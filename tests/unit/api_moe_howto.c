/* SPDX-License-Identifier: Apache-2.0 */
/* The program of docs/howto/moe.md, as C99: a MoE layer of small experts on CPU ranks, with a loss
 * that falls while it is trained. Alone it is rank 0 of 1. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tutti/tutti.h>

enum { kHidden = 64, kExperts = 8, kTopK = 2, kTokens = 96, kSteps = 40 };

/* Ends the program when a call has failed. */
static void check(tuttiResult_t result) {
  if (result == tuttiSuccess) return;
  fprintf(stderr, "%s\n", tuttiGetLastError(NULL));
  exit(1);
}

static uint16_t to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static float from_bf16(uint16_t code) {
  const uint32_t bits = (uint32_t)code << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* A number in [-1, 1) from a counter. */
static float noise(uint32_t i) {
  i = (i ^ 61) ^ (i >> 16);
  i *= 9;
  i ^= i >> 4;
  i *= 0x27d4eb2d;
  i ^= i >> 15;
  return (float)(i & 0xffffff) / 0x800000 - 1;
}

/* An expert scales and shifts each element; what it has learnt, and the gradients of one step. */
struct expert {
  float scale[kHidden], shift[kHidden], scale_gradient[kHidden], shift_gradient[kHidden];
};

static uint16_t x[kTokens][kHidden], out[kTokens][kHidden], grad[kTokens][kHidden];
static int64_t topk[kTokens][kTopK];
static float weights[kTokens][kTopK];
static struct expert experts[kExperts];

/* Each token wants its experts to double it and to add 1/2. Returns this rank's loss, and leaves its
 * gradient by `out` in `grad`. */
static float loss(void) {
  float sum = 0;
  for (int t = 0; t < kTokens; ++t) {
    for (int i = 0; i < kHidden; ++i) {
      const float error = from_bf16(out[t][i]) - (2 * from_bf16(x[t][i]) + 0.5f);
      sum += error * error / (kTokens * kHidden);
      grad[t][i] = to_bf16(error);
    }
  }
  return sum;
}

int main(void) {
  int rank, size;
  tuttiUniqueId id;
  tuttiComm_t comm;
  check(tuttiLaunchInfo(&rank, &size, NULL, NULL));
  check(tuttiGetLaunchUniqueId(&id));
  check(tuttiCommInitRank(&comm, size, id, rank));

  /* 1. What the ranks agree on, and the buffers that follow from it. */
  tuttiMoeConfig_t config = TUTTI_MOE_CONFIG_INITIALIZER;
  config.numExperts = kExperts;
  config.maxTopK = kTopK;
  config.maxTokens = kTokens;
  config.hidden = kHidden;
  tuttiMoeSizes_t sizes = TUTTI_MOE_SIZES_INITIALIZER;
  check(tuttiMoeGetSizes(&config, size, rank, &sizes));
  uint16_t(*rows)[kHidden] = malloc(sizes.rowsBytes + 1);       /* received tokens */
  uint16_t(*results)[kHidden] = malloc(sizes.combineBytes + 1); /* what experts return for them */
  uint16_t(*errors)[kHidden] = malloc(sizes.rowsBytes + 1);     /* received gradients */
  tuttiMoeGroup_t group;
  tuttiMoeHandle_t handle;
  check(tuttiMoeGroupCreate(&group, comm, &config));
  check(tuttiMoeHandleCreate(&handle, group));
  tuttiMoeOutput_t tokens = TUTTI_MOE_OUTPUT_INITIALIZER, gradients = TUTTI_MOE_OUTPUT_INITIALIZER;
  tokens.rows = rows;
  gradients.rows = errors;

  for (int t = 0; t < kTokens; ++t) {
    for (int i = 0; i < kHidden; ++i)
      x[t][i] = to_bf16(noise((uint32_t)((rank * kTokens + t) * kHidden + i)));
    for (int j = 0; j < kTopK; ++j) {
      topk[t][j] = (t * 5 + rank + j * 3) % kExperts;
      weights[t][j] = 1.0f / kTopK;
    }
  }

  float first = 0, last = 0;
  for (int step = 0; step < kSteps; ++step) {
    /* 2. Forward: tokens to their experts, results back as weighted sums. */
    tuttiMoeLayout_t layout = TUTTI_MOE_LAYOUT_INITIALIZER;
    check(tuttiMoeRoute(handle, &topk[0][0], &weights[0][0], kTokens, kTopK));
    check(tuttiMoeDispatch(handle, x, &tokens, TUTTI_MOE_BOTH, NULL));
    check(tuttiMoeGetLayout(handle, &layout));
    for (size_t e = 0; e < layout.numBlocks; ++e) { /* the experts of this rank, one by one */
      for (uint32_t r = layout.offsets[e]; r < layout.offsets[e] + layout.received[e]; ++r) {
        for (int i = 0; i < kHidden; ++i)
          results[r][i] =
              to_bf16(experts[e].scale[i] * from_bf16(rows[r][i]) + experts[e].shift[i]);
      }
    }
    check(tuttiMoeCombine(handle, results, out, TUTTI_MOE_BOTH, NULL));

    /* 3. Backward: the gradient of a token goes the way that the token went, by the same routing. */
    last = loss();
    check(tuttiMoeDispatch(handle, grad, &gradients, TUTTI_MOE_BOTH, NULL));
    for (size_t e = 0; e < layout.numBlocks; ++e) {
      struct expert* const expert = &experts[e];
      const float rate = 1.0f / (float)(layout.received[e] != 0 ? layout.received[e] : 1);
      memset(expert->scale_gradient, 0, sizeof expert->scale_gradient);
      memset(expert->shift_gradient, 0, sizeof expert->shift_gradient);
      for (uint32_t r = layout.offsets[e]; r < layout.offsets[e] + layout.received[e]; ++r) {
        for (int i = 0; i < kHidden; ++i) {
          expert->scale_gradient[i] += from_bf16(errors[r][i]) * from_bf16(rows[r][i]);
          expert->shift_gradient[i] += from_bf16(errors[r][i]);
        }
      }
      for (int i = 0; i < kHidden; ++i) {
        expert->scale[i] -= rate * expert->scale_gradient[i];
        expert->shift[i] -= rate * expert->shift_gradient[i];
      }
    }
    check(tuttiMoeComplete(handle));
    check(tuttiAllReduce(&last, &last, 1, tuttiFloat32, tuttiAvg, comm, NULL));
    if (step == 0) first = last;
  }
  if (rank == 0)
    printf("loss %.4f -> %.4f: %s\n", first, last, last < first / 50 ? "learnt" : "did not learn");

  check(tuttiMoeHandleDestroy(handle));
  check(tuttiMoeGroupDestroy(group));
  check(tuttiCommDestroy(comm));
  free(rows);
  free(results);
  free(errors);
  return last < first / 50 ? 0 : 1;
}
