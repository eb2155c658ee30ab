/* Dot products of four bytes, which 64-bit Arm processors have since Armv8.2 (Cortex-A55, A75 and newer): 4 rows to a
 * register, operands from the lanes of another. Operands of 16 bits are two of 8: q = 256 high + low + 128.
 */
#include "internal.h"

#ifdef EGRU_DOTPROD
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

#define DOT_TARGET __attribute__((target("arch=armv8.2-a+dotprod")))

#define P_TARGET DOT_TARGET
#define P(name) q8_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_BYTES 16
#define P_TURN 4
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC int32x4_t
#define P_OPERAND int8x16_t
#define P_WIDE 8
#define P_TILE 4
#define P_QUARTER 1
#define P_EXACT 1
EGRU_INLINE int32x4_t q8_zero(void) {
    return vdupq_n_s32(0);
}
EGRU_INLINE int32x4_t q8_start(const int32_t *bias) {
    return vld1q_s32(bias);
}
EGRU_INLINE int32x4_t q8_sum(int32x4_t a, int32x4_t b) {
    return vaddq_s32(a, b);
}
EGRU_INLINE void q8_store(int32_t *result, int32x4_t acc) {
    vst1q_s32(result, acc);
}
EGRU_INLINE int8x16_t q8_spread_turn(const int8_t *q) {
    return vld1q_s8(q);
}
EGRU_INLINE int8x16_t q8_spread(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}
DOT_TARGET EGRU_INLINE int32x4_t q8_add_turn(int32x4_t acc, int8x16_t q, uint32_t group, int8x16_t w) {
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
DOT_TARGET EGRU_INLINE int32x4_t q8_add(int32x4_t acc, int8x16_t q, const unsigned char *w) {
    return q8_add_turn(acc, q, 0, vld1q_s8((const int8_t *)w));
}
#include "product_template.h"

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
#define P_TILE 2
#define P_QUARTER 1
#define P_EXACT 1
EGRU_INLINE two_sums q16_zero(void) {
    two_sums sums = {q8_zero(), q8_zero()};
    return sums;
}
EGRU_INLINE two_sums q16_start(const int32_t *bias) {
    two_sums sums = {q8_zero(), q8_start(bias)};
    return sums;
}
EGRU_INLINE two_sums q16_sum(two_sums a, two_sums b) {
    two_sums sums = {q8_sum(a.high, b.high), q8_sum(a.low, b.low)};
    return sums;
}
EGRU_INLINE void q16_store(int32_t *result, two_sums acc) {
    q8_store(result, vaddq_s32(acc.low, vshlq_n_s32(acc.high, 8)));
}
EGRU_INLINE two_bytes split(int16x8_t first, int16x8_t last) {
    int8x16x2_t bytes = vuzpq_s8(vreinterpretq_s8_s16(first), vreinterpretq_s8_s16(last));
    two_bytes operand = {bytes.val[1], veorq_s8(bytes.val[0], vdupq_n_s8(-128))};
    return operand;
}
EGRU_INLINE two_bytes q16_spread_turn(const int16_t *q) {
    return split(vld1q_s16(q), vld1q_s16(q + 8));
}
EGRU_INLINE two_bytes q16_spread(const int16_t *q) {
    int16x4_t four = vld1_s16(q);
    return split(vcombine_s16(four, four), vcombine_s16(four, four));
}
DOT_TARGET EGRU_INLINE two_sums q16_add_turn(two_sums acc, two_bytes q, uint32_t group, int8x16_t w) {
    acc.high = q8_add_turn(acc.high, q.high, group, w);
    acc.low = q8_add_turn(acc.low, q.low, group, w);
    return acc;
}
DOT_TARGET EGRU_INLINE two_sums q16_add(two_sums acc, two_bytes q, const unsigned char *w) {
    return q16_add_turn(acc, q, 0, vld1q_s8((const int8_t *)w));
}
#include "product_template.h"
#endif

#define CORRECTION(kind) ((kind) == EGRU_VECTOR_Q16 ? 0u - 128u : 0u)
#include "kernel_template.h"

EGRU_KERNEL(egru_dotprod, "dotprod", vector_);
#endif
