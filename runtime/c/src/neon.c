/* NEON, which every 64-bit Arm processor has, and most of 32 bits: 4 rows to a register. Two products of bytes fit the 16
 * bits in which they are added, 2 * 127 * 127 < 2^15, before both columns of a row go to its 32 bits.
 */
#include "internal.h"

#ifdef EGRU_NEON
#include "arm.h"

static int runs(void) {
    return 1; /* the whole library was compiled for it */
}

#define P_TARGET TARGET
#define P(name) q8_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_SIDE 2
#define P_BYTES 16
#define P_TURN 4
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC int32x4_t
#define P_OPERAND int8x16_t
#define P_WIDE 8
#define P_TILE ARM_TILE
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
/* Columns 4 group and the next, for every row; then the two behind them. */
EGRU_INLINE int8x16_t pairs(int8x16_t q, uint32_t group) {
#ifdef __aarch64__
    static const uint8_t first[16] = {0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3};
    return vqtbl1q_s8(q, vaddq_u8(vld1q_u8(first), vdupq_n_u8((uint8_t)(4 * group))));
#else
    int16x4_t words = vreinterpret_s16_s8(group < 2 ? vget_low_s8(q) : vget_high_s8(q));
    int16x4_t low = group % 2 ? vdup_lane_s16(words, 2) : vdup_lane_s16(words, 0);
    int16x4_t high = group % 2 ? vdup_lane_s16(words, 3) : vdup_lane_s16(words, 1);
    return vreinterpretq_s8_s16(vcombine_s16(low, high));
#endif
}
EGRU_INLINE int32x4_t q8_add_turn(int32x4_t acc, int8x16_t q, uint32_t group, int8x16_t w) {
    int8x16_t columns = pairs(q, group);
    int16x8_t products = vmull_s8(vget_low_s8(w), vget_low_s8(columns));
    return vpadalq_s16(acc, vmlal_s8(products, vget_high_s8(w), vget_high_s8(columns)));
}
EGRU_INLINE int32x4_t q8_add(int32x4_t acc, int8x16_t q, const unsigned char *w) {
    return q8_add_turn(acc, q, 0, vld1q_s8((const int8_t *)w));
}
#include "product_template.h"

#if EGRU_Q16
#define P(name) q16_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_SIDE 1
#define P_BYTES 16
#define P_TURN 2
#define P_ELEMENT int16_t
#define P_RESULT int32_t
#define P_ACC int32x4_t
#define P_OPERAND int16x8_t
#define P_WIDE 8
#define P_TILE ARM_TILE
#define P_QUARTER 1
#define P_EXACT 1
#define q16_zero q8_zero
#define q16_start q8_start
#define q16_sum q8_sum
#define q16_store q8_store
EGRU_INLINE int16x8_t q16_spread_turn(const int16_t *q) {
    return vld1q_s16(q);
}
EGRU_INLINE int16x8_t q16_spread(const int16_t *q) {
    int16x4_t four = vld1_s16(q);
    return vcombine_s16(four, four);
}
EGRU_INLINE int32x4_t q16_add_turn(int32x4_t acc, int16x8_t q, uint32_t group, int8x16_t w) {
    int16x4_t columns = group ? vget_high_s16(q) : vget_low_s16(q);
    int16x8_t first = vmovl_s8(vget_low_s8(w)), last = vmovl_s8(vget_high_s8(w));
    acc = vmlal_lane_s16(acc, vget_low_s16(first), columns, 0);
    acc = vmlal_lane_s16(acc, vget_high_s16(first), columns, 1);
    acc = vmlal_lane_s16(acc, vget_low_s16(last), columns, 2);
    return vmlal_lane_s16(acc, vget_high_s16(last), columns, 3);
}
EGRU_INLINE int32x4_t q16_add(int32x4_t acc, int16x8_t q, const unsigned char *w) {
    return q16_add_turn(acc, q, 0, vld1q_s8((const int8_t *)w));
}
#include "product_template.h"
#endif

#include "kernel_template.h"

EGRU_KERNEL(egru_neon, "neon", vector_);
#endif
