/*===- kernels.c - stand-ins for generated kernels
 * ---------------------------===
 *
 * Part of r1c, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
 *
 *===-------------------------------------------------------------------------===
 * Kernels with the ABI of docs/levels.md, small enough that a test can say what
 * they must have computed. The "model" is a hash of all tokens of a sequence:
 * any wrong cache row, position or noise shows in the next token.
 *
 * kernels.cu makes GPU kernels of them, hence the casts; there, a block is a
 * worker. R1C_KERNEL also says how many bytes of parameters a GPU's kernel
 * takes, for the driver that the tests put in the place of CUDA's.
 *===-------------------------------------------------------------------------===*/

#include <stdint.h>

#ifndef R1C_KERNEL
#define R1C_DEVICE static
#define R1C_KERNEL(name, bytes)                                                \
  const int64_t name##_parameters = bytes;                                     \
  void name(void *const *args, int64_t worker, int64_t workers)
#endif

R1C_DEVICE void share(int64_t n, int64_t worker, int64_t workers, int64_t *from,
                      int64_t *to) {
  *from = n * worker / workers;
  *to = n * (worker + 1) / workers;
}

/* y[i] = 2 * x[i] + 1: x f32[n], y f32[n], n */
R1C_KERNEL(affine, 24) {
  const float *x = (const float *)args[0];
  float *y = (float *)args[1];
  int64_t from, to;
  share(*(const int64_t *)args[2], worker, workers, &from, &to);
  for (int64_t i = from; i < to; ++i)
    y[i] = 2 * x[i] + 1;
}

/* seen[worker] = workers: seen i64[64] */
R1C_KERNEL(count_workers, 8) {
  int64_t *seen = (int64_t *)args[0];
  seen[worker] = workers;
}

/* id = token of the row, or where that is below 0, what the call before drew:
   tokens, previous i32[rows], drawn i32[slots], ids i32[rows], rows */
R1C_KERNEL(choose_ids, 40) {
  const int32_t *tokens = (const int32_t *)args[0],
                *previous = (const int32_t *)args[1],
                *drawn = (const int32_t *)args[2];
  int32_t *ids = (int32_t *)args[3];
  int64_t from, to;
  share(*(const int64_t *)args[4], worker, workers, &from, &to);
  for (int64_t r = from; r < to; ++r)
    ids[r] = tokens[r] < 0 ? drawn[previous[r]] : tokens[r];
}

/* cache[base + position] = token: tokens, positions, bases i32[rows], cache
   i32[slots * capacity], rows */
R1C_KERNEL(store_rows, 40) {
  const int32_t *tokens = (const int32_t *)args[0],
                *positions = (const int32_t *)args[1],
                *bases = (const int32_t *)args[2];
  int32_t *cache = (int32_t *)args[3];
  int64_t from, to;
  share(*(const int64_t *)args[4], worker, workers, &from, &to);
  for (int64_t r = from; r < to; ++r)
    cache[bases[r] + positions[r]] = tokens[r];
}

/* token, logp from a hash of the sequence, the noise, the key, the weights and
   the temperature: cache, positions, bases, sample_rows, noise, key,
   temperature f32[1], weights f32[16], token i32, logp f32, samples */
R1C_KERNEL(draw, 88) {
  const int32_t *cache = (const int32_t *)args[0],
                *positions = (const int32_t *)args[1],
                *bases = (const int32_t *)args[2],
                *rows = (const int32_t *)args[3],
                *noise = (const int32_t *)args[4],
                *key = (const int32_t *)args[5];
  const float *temperature = (const float *)args[6],
              *weights = (const float *)args[7];
  int32_t *token = (int32_t *)args[8];
  float *logp = (float *)args[9];
  int64_t from, to;
  share(*(const int64_t *)args[10], worker, workers, &from, &to);
  for (int64_t s = from; s < to; ++s) {
    uint64_t hash = 1469598103934665603u;
    int32_t r = rows[s];
    for (int32_t p = 0; p <= positions[r]; ++p)
      hash = (hash ^ (uint32_t)cache[bases[r] + p]) * 1099511628211u;
    for (int i = 0; i < 4; ++i)
      hash = (hash ^ (uint32_t)noise[4 * s + i]) * 1099511628211u;
    for (int i = 0; i < 2; ++i)
      hash = (hash ^ (uint32_t)key[i]) * 1099511628211u;
    union {
      float f;
      uint32_t u;
    } bits;
    bits.f = temperature[0];
    hash = (hash ^ bits.u) * 1099511628211u;
    for (int i = 0; i < 16; ++i) {
      bits.f = weights[i];
      hash = (hash ^ bits.u) * 1099511628211u;
    }
    hash ^= hash >> 29;
    token[s] = (int32_t)(hash % 12);
    logp[s] = -(float)(hash % 1000) / 1000;
  }
}

/* A training pass: gradient[token] += reward of each target, in order.
   targets i32[n], token_index i32[n], token_sequence i32[], reward f64[],
   gradient f64[16], n */
R1C_KERNEL(accumulate, 48) {
  const int32_t *targets = (const int32_t *)args[0],
                *index = (const int32_t *)args[1],
                *sequence = (const int32_t *)args[2];
  const double *reward = (const double *)args[3];
  double *gradient = (double *)args[4];
  int64_t n = *(const int64_t *)args[5];
  if (worker)
    return;
  for (int64_t i = 0; i < n; ++i)
    gradient[targets[i] % 16] += 1 + reward[sequence[index[i]]];
}

/* weights -= lr * gradient / (1 + updates), and moments keep the last gradient:
   gradient f64[16], lr f64, updates f64, weights f32[16], moments f32[16] */
R1C_KERNEL(step, 40) {
  const double *gradient = (const double *)args[0],
               *lr = (const double *)args[1],
               *updates = (const double *)args[2];
  float *weights = (float *)args[3], *moments = (float *)args[4];
  if (worker)
    return;
  for (int i = 0; i < 16; ++i) {
    moments[i] = 0.5f * moments[i] + (float)gradient[i];
    weights[i] -= (float)(lr[0] * moments[i] / (1 + updates[0]));
  }
}

/* packed = 3 * weights: weights f32[16], packed f32[16] */
R1C_KERNEL(pack, 16) {
  const float *weights = (const float *)args[0];
  float *packed = (float *)args[1];
  int64_t from, to;
  share(16, worker, workers, &from, &to);
  for (int64_t i = from; i < to; ++i)
    packed[i] = 3 * weights[i];
}

/* mean of x: x f64[n], mean f64, n */
R1C_KERNEL(mean, 24) {
  const double *x = (const double *)args[0];
  int64_t n = *(const int64_t *)args[2];
  double sum = 0;
  if (worker)
    return;
  for (int64_t i = 0; i < n; ++i)
    sum += x[i];
  *(double *)args[1] = n ? sum / (double)n : 0;
}

/* g[target % 16] += 1 + index % 7: targets, indices i32[n], g f32[16], n */
R1C_KERNEL(count_targets, 32) {
  const int32_t *targets = (const int32_t *)args[0],
                *index = (const int32_t *)args[1];
  float *g = (float *)args[2];
  int64_t n = *(const int64_t *)args[3];
  if (worker)
    return;
  for (int64_t i = 0; i < n; ++i)
    g[targets[i] % 16] += (float)(1 + index[i] % 7);
}

/* y[i] = x[i]: x f32[16], y f64[16] */
R1C_KERNEL(widen, 16) {
  const float *x = (const float *)args[0];
  double *y = (double *)args[1];
  if (worker)
    return;
  for (int64_t i = 0; i < 16; ++i)
    y[i] = x[i];
}

/* flags[g] = any reward of the group differs from its first: reward f64[S],
   group_offsets i32[G+1], flags f64[G], groups */
R1C_KERNEL(informative, 32) {
  const double *reward = (const double *)args[0];
  const int32_t *offsets = (const int32_t *)args[1];
  double *flags = (double *)args[2];
  int64_t groups = *(const int64_t *)args[3];
  if (worker)
    return;
  for (int64_t g = 0; g < groups; ++g) {
    flags[g] = 0;
    for (int32_t s = offsets[g]; s < offsets[g + 1]; ++s)
      if (reward[s] != reward[offsets[g]])
        flags[g] = 1;
  }
}

#ifndef __CUDACC__
#include "FakeTensorMap.h"

/* y[4][16] = the box of 16 x 4 elements of a bf16 matrix at column 8 and at row
   `row`, zeros outside: x, y, row i64; and the tensor map of x. kernels.cu has
   it with the hardware's tensor copy. */
R1C_KERNEL(tensor_copy, 64 + 128) {
  uint16_t *y = (uint16_t *)args[1];
  int64_t row = *(const int64_t *)args[2];
  const FakeTensorMap *map = (const FakeTensorMap *)((const char *)args + 64);
  if (worker)
    return;
  for (int64_t i = 0; i < map->box[1]; ++i)
    for (int64_t j = 0; j < map->box[0]; ++j) {
      uint64_t at = (uint64_t)(row + i), column = (uint64_t)(8 + j);
      const uint16_t *line =
          (const uint16_t *)(map->address + at * map->strides[0]);
      y[i * map->box[0] + j] =
          at < map->sizes[1] && column < map->sizes[0] ? line[column] : 0;
    }
}
#endif
