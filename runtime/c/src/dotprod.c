/* Dot products of four bytes, which 64-bit Arm processors have since Armv8.2 (Cortex-A55, A75 and newer): 4 rows to a
 * register, operands from the lanes of another. Operands of 16 bits are two of 8: q = 256 high + low + 128.
 */
#include "internal.h"

#ifdef EGRU_DOTPROD
#ifndef __ARM_FEATURE_DOTPROD /* else the whole library is compiled for it, and perhaps for more */
#define TARGET __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
#include "arm.h"

#ifdef __linux__
#include <sys/auxv.h>
#endif

static int runs(void) {
#ifdef __linux__
    return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* HWCAP_ASIMDDP */
#else
    return 0;
#endif
}

TARGET EGRU_INLINE const uint8_t *read_blocks(int8x16_t *weights, const uint8_t *w, const uint32_t blocks) {
    if (blocks == 4) { /* by one instruction */
        int8x16x4_t four = vld1q_s8_x4((const int8_t *)w);
        EGRU_UNROLL for (int i = 0; i < 4; i++) weights[i] = four.val[i];
        return moved(w, 64);
    }
    EGRU_UNROLL for (uint32_t i = 0; i < blocks; i++) weights[i] = vld1q_s8((const int8_t *)w + 16 * i);
    return w + 16 * blocks;
}

#define P_TARGET TARGET
#define P(name) q8_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_BYTES 16
#define P_TURN 4
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC int32x4_t
#define P_OPERAND int8x16_t
#define P_WIDE 16
#define P_TILE 4
#define P_EXACT 1
#define q8_zero rows_zero
#define q8_start rows_start
#define q8_sum rows_sum
#define q8_store rows_store
#define q8_spread_turn columns_16
#define q8_spread columns_4
TARGET EGRU_INLINE int32x4_t q8_add_turn(int32x4_t acc, int8x16_t q, uint32_t group, int8x16_t w) {
    switch (group) {
    case 0:
        return vdotq_laneq_s32(acc, w, q, 0);
    case 1:
        return vdotq_laneq_s32(acc, w, q, 1);
    case 2:
        return vdotq_laneq_s32(acc, w, q, 2);
    default:
        return vdotq_laneq_s32(acc, w, q, 3);
    }
}
TARGET EGRU_INLINE int32x4_t q8_add(int32x4_t acc, int8x16_t q, const unsigned char *w) {
    return q8_add_turn(acc, q, 0, vld1q_s8((const int8_t *)w));
}
#include "arm_product.h"

#if EGRU_Q16
typedef struct {
    int32x4_t high, low;
} two_sums;
typedef struct {
    int8x16_t high, low;
} two_bytes;
#define P(name) q16_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_BYTES 16
#define P_TURN 4
#define P_ELEMENT int16_t
#define P_RESULT int32_t
#define P_ACC two_sums
#define P_OPERAND two_bytes
#define P_WIDE 8
#define P_TILE 0 /* sums of two kinds for four streams would fill the registers with few blocks */
#define P_EXACT 1
TARGET EGRU_INLINE two_sums q16_zero(void) {
    two_sums sums = {rows_zero(), rows_zero()};
    return sums;
}
TARGET EGRU_INLINE two_sums q16_start(const int32_t *bias) {
    two_sums sums = {rows_zero(), rows_start(bias)};
    return sums;
}
TARGET EGRU_INLINE two_sums q16_sum(two_sums a, two_sums b) {
    two_sums sums = {rows_sum(a.high, b.high), rows_sum(a.low, b.low)};
    return sums;
}
TARGET EGRU_INLINE void q16_store(int32_t *result, two_sums acc) {
    rows_store(result, vaddq_s32(acc.low, vshlq_n_s32(acc.high, 8)));
}
TARGET EGRU_INLINE two_bytes split(int16x8_t first, int16x8_t last) {
    int8x16x2_t bytes = vuzpq_s8(vreinterpretq_s8_s16(first), vreinterpretq_s8_s16(last));
    two_bytes operand = {bytes.val[1], veorq_s8(bytes.val[0], vdupq_n_s8(-128))};
    return operand;
}
TARGET EGRU_INLINE two_bytes q16_spread_turn(const int16_t *q) {
    return split(vld1q_s16(q), vld1q_s16(q + 8));
}
TARGET EGRU_INLINE two_bytes q16_spread(const int16_t *q) {
    int16x4_t four = vld1_s16(q);
    return split(vcombine_s16(four, four), vcombine_s16(four, four));
}
TARGET EGRU_INLINE two_sums q16_add_turn(two_sums acc, two_bytes q, uint32_t group, int8x16_t w) {
    acc.high = q8_add_turn(acc.high, q.high, group, w);
    acc.low = q8_add_turn(acc.low, q.low, group, w);
    return acc;
}
TARGET EGRU_INLINE two_sums q16_add(two_sums acc, two_bytes q, const unsigned char *w) {
    return q16_add_turn(acc, q, 0, vld1q_s8((const int8_t *)w));
}
#include "arm_product.h"
#endif

/* All else is NEON's. */
static uint32_t neon_standardise(const float *a, const float *b, const float *x, void *q, uint32_t size,
                                 uint32_t bits) {
    return egru_neon.standardise(a, b, x, q, size, bits);
}
#define STANDARDISE neon_standardise
static void neon_operand(const int32_t *value, void *q, uint32_t size, uint32_t bits, const int32_t *m,
                         uint32_t multipliers, uint32_t shift) {
    egru_neon.operand(value, q, size, bits, m, multipliers, shift);
}
static void neon_gru_after(const egru_gru *g, const int32_t *ih, const int32_t *hh, int32_t *h, void *q) {
    egru_neon.gru_after(g, ih, hh, h, q);
}
static void neon_gru_gates(const egru_gru *g, const int32_t *ih, const int32_t *hh, const int32_t *h, int32_t *z,
                           void *q_rh) {
    egru_neon.gru_gates(g, ih, hh, h, z, q_rh);
}
static void neon_gru_candidate(const egru_gru *g, const int32_t *ih, const int32_t *hn, const int32_t *z, int32_t *h,
                               void *q) {
    egru_neon.gru_candidate(g, ih, hn, z, h, q);
}
#if EGRU_FLOAT
static size_t float_size(uint32_t rows, uint32_t columns) {
    return egru_neon.packed_size(EGRU_VECTOR_FLOAT, rows, columns);
}
static void float_pack(void *packed, const unsigned char *weights, uint32_t rows, uint32_t columns, size_t item) {
    (void)item;
    egru_neon.pack(EGRU_VECTOR_FLOAT, packed, NULL, weights, rows, columns);
}
static void float_product(const egru_matrix *matrix, const float *const *v, float *const *acc, size_t count) {
    egru_neon.product_float(matrix, v, acc, count);
}
static void neon_gru_after_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *next) {
    egru_neon.gru_after_float(g, ih, hh, h, next);
}
static void neon_gru_gates_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *z,
                                 float *rh) {
    egru_neon.gru_gates_float(g, ih, hh, h, z, rh);
}
static void neon_gru_candidate_float(const egru_gru *g, const float *ih, const float *hn, const float *z,
                                     const float *h, float *next) {
    egru_neon.gru_candidate_float(g, ih, hn, z, h, next);
}
#endif

#define CORRECTION(kind) ((kind) == EGRU_VECTOR_Q16 ? 0u - 128u : 0u) /* + 128 in every operand */
#include "arm_kernel.h"

EGRU_KERNEL(egru_dotprod, "dotprod", neon_);
#endif
