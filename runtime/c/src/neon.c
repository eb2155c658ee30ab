/* NEON, which every 64-bit Arm processor has, and most of 32 bits: 4 rows to a register. Two products of bytes fit the
 * 16 bits in which they are added, 2 * 127 * 127 < 2^15, before both columns of a row go to its 32 bits.
 */
#include "internal.h"

#ifdef EGRU_NEON
#include "arm.h"
#include "neon_vectors.h"

static int runs(void) {
    return 1; /* the whole library was compiled for it */
}

#ifdef __aarch64__ /* 32 registers, and loads at any distance; or 16, and loads that move their address */
#define TILE 4u
#else
#define TILE 2u
#endif
EGRU_INLINE const uint8_t *read_blocks(int8x16_t *weights, const uint8_t *w, const uint32_t blocks) {
    EGRU_UNROLL for (uint32_t i = 0; i < blocks; i++) {
        weights[i] = vld1q_s8((const int8_t *)w);
#ifdef __aarch64__
        w += 16;
#else
        w = moved(w, 16);
#endif
    }
    return w;
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
#define P_TILE 0 /* spreading operands for few blocks costs more than reading weights again */
#define P_EXACT 1
#define q8_zero rows_zero
#define q8_start rows_start
#define q8_sum rows_sum
#define q8_store rows_store
#define q8_spread_turn columns_16
#define q8_spread columns_4
/* Of four columns the first two for every row, then the others. */
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
    return vpadalq_s16(acc, vmlal_high_s8(products, w, columns));
}
EGRU_INLINE int32x4_t q8_add(int32x4_t acc, int8x16_t q, const unsigned char *w) {
    return q8_add_turn(acc, q, 0, vld1q_s8((const int8_t *)w));
}
#include "arm_product.h"

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
#define P_TILE TILE
#define P_EXACT 1
#define q16_zero rows_zero
#define q16_start rows_start
#define q16_sum rows_sum
#define q16_store rows_store
EGRU_INLINE int16x8_t q16_spread_turn(const int16_t *q) {
    return vld1q_s16(q);
}
EGRU_INLINE int16x8_t q16_spread(const int16_t *q) {
    int16x4_t four = vld1_s16(q);
    return vcombine_s16(four, four);
}
EGRU_INLINE int32x4_t q16_add_turn(int32x4_t acc, int16x8_t q, uint32_t group, int8x16_t w) {
    int16x4_t columns = group ? vget_high_s16(q) : vget_low_s16(q);
    int16x8_t first = vmovl_s8(vget_low_s8(w)), last = vmovl_high_s8(w);
    acc = vmlal_lane_s16(acc, vget_low_s16(first), columns, 0);
    acc = vmlal_high_lane_s16(acc, first, columns, 1);
    acc = vmlal_lane_s16(acc, vget_low_s16(last), columns, 2);
    return vmlal_high_lane_s16(acc, last, columns, 3);
}
EGRU_INLINE int32x4_t q16_add(int32x4_t acc, int16x8_t q, const unsigned char *w) {
    return q16_add_turn(acc, q, 0, vld1q_s8((const int8_t *)w));
}
#include "arm_product.h"
#endif

#if EGRU_FLOAT
#define P(name) float_##name
#define P_ROWS 4
#define P_COLUMNS 1
#define P_BYTES 16
#define P_TURN 4
#define P_ELEMENT float
#define P_RESULT float
#define P_ACC float32x4_t
#define P_OPERAND float32x4_t
#define P_WIDE 8
#define P_TILE TILE
#define P_EXACT 0
#ifdef __aarch64__
#define add_lane(acc, w, v, lane) vfmaq_laneq_f32(acc, w, v, lane)
#else
#define add_lane(acc, w, v, lane) vmlaq_lane_f32(acc, w, (lane) < 2 ? vget_low_f32(v) : vget_high_f32(v), (lane) % 2)
#endif
EGRU_INLINE float32x4_t float_zero(void) {
    return vdupq_n_f32(0.0f);
}
EGRU_INLINE float32x4_t float_start(const float *bias) {
    return vld1q_f32(bias);
}
EGRU_INLINE float32x4_t float_spread_turn(const float *v) {
    return vld1q_f32(v);
}
EGRU_INLINE float32x4_t float_spread(const float *v) {
    return vdupq_n_f32(*v);
}
EGRU_INLINE float32x4_t float_add_turn(float32x4_t acc, float32x4_t v, uint32_t lane, int8x16_t w) {
    float32x4_t weights = vreinterpretq_f32_s8(w);
    switch (lane) {
    case 0:
        return add_lane(acc, weights, v, 0);
    case 1:
        return add_lane(acc, weights, v, 1);
    case 2:
        return add_lane(acc, weights, v, 2);
    default:
        return add_lane(acc, weights, v, 3);
    }
}
EGRU_INLINE float32x4_t float_add(float32x4_t acc, float32x4_t v, const unsigned char *w) {
    return float_add_turn(acc, v, 0, vld1q_s8((const int8_t *)w));
}
EGRU_INLINE float32x4_t float_sum(float32x4_t a, float32x4_t b) {
    return vaddq_f32(a, b);
}
EGRU_INLINE void float_store(float *result, float32x4_t acc) {
    vst1q_f32(result, acc);
}
#include "arm_product.h"
#endif

#include "arm_gru.h"
#if EGRU_FLOAT
#undef LANES
#define LANES 4
#include "arm_gru_float.h"
#endif

#ifdef __aarch64__ /* with 32 bits vectors know no denormal numbers, and all bits count */
static uint32_t standardise(const float *a, const float *b, const float *x, void *q, uint32_t size, uint32_t bits) {
    const int32x4_t high = vdupq_n_s32((int32_t)egru_limit(bits)), low = vnegq_s32(high);
    int32x4_t within = vdupq_n_s32(0);
    uint32_t i = 0;
    for (; i < size; i += 8) { /* behind the end a and b are 0, and so is the operand, whatever x may be */
        v32 level;
        EGRU_UNROLL for (uint32_t k = 0; k < 2; k++) {
            float32x4_t product = vmulq_f32(vld1q_f32(a + i + 4 * k), vld1q_f32(x + i + 4 * k));
            int32x4_t integer = vcvtmq_s32_f32(vaddq_f32(product, vld1q_f32(b + i + 4 * k)));
            level.quad[k] = vminq_s32(vmaxq_s32(integer, low), high);
            within = vsubq_s32(within, vreinterpretq_s32_u32(vceqq_s32(level.quad[k], integer)));
        }
        if (bits == 8)
            v_store8((int8_t *)q + i, level);
        else
            v_store16((int16_t *)q + i, level);
    }
    return i - (uint32_t)vaddvq_s32(within);
}
#define STANDARDISE standardise
#endif

#include "arm_kernel.h"

EGRU_KERNEL(egru_neon, "neon", vector_);
#endif
