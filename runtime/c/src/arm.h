/* What the Arm kernels share. One source for 64 and 32 bits. */
#ifndef EGRU_ARM_H
#define EGRU_ARM_H

#include <arm_neon.h>
#include <string.h>

#include "arithmetic.h"
#include "inline.h"
#include "portable.h"

#ifdef __aarch64__
#define ARM_WIDE 16u /* blocks of the widest panel, and those that four streams share: what 32 registers hold, or 16 */
#define ARM_TILE 4u
#else
#define ARM_WIDE 8u
#define ARM_TILE 2u
/* The upper half of a register is a register. */
#define vmovl_high_s8(v) vmovl_s8(vget_high_s8(v))
#define vmull_high_s32(a, b) vmull_s32(vget_high_s32(a), vget_high_s32(b))
#define vmlal_high_s8(sum, a, b) vmlal_s8(sum, vget_high_s8(a), vget_high_s8(b))
#define vmlal_high_lane_s16(sum, a, b, lane) vmlal_lane_s16(sum, vget_high_s16(a), b, lane)
#endif

/* Bytes in turn, 64 or 16 by one instruction, which moves the address as well. Compilers would rather add to an older
 * address, and load all that they can before they use any of it. */
EGRU_INLINE const uint8_t *moved(const uint8_t *place, uint32_t bytes) {
    place += bytes;
    __asm__ volatile("" : "+r"(place));
    return place;
}

/* Weights of up to four blocks; returns where the next ones are. */
#define P_LOAD 4u
#define P_WEIGHTS int8x16_t
#define P_READ read_blocks
EGRU_INLINE const unsigned char *read_blocks(int8x16_t *weights, const unsigned char *w, const uint32_t blocks) {
#ifdef __aarch64__
    if (blocks == 4) {
        int8x16x4_t four = vld1q_s8_x4((const int8_t *)w);
        EGRU_UNROLL for (int i = 0; i < 4; i++) weights[i] = four.val[i];
        return moved(w, 64);
    }
#endif
    EGRU_UNROLL for (uint32_t i = 0; i < blocks; i++) {
        weights[i] = vld1q_s8((const int8_t *)w);
        w = moved(w, 16);
    }
    return w;
}

/* Sums of 4 rows. */
EGRU_INLINE int32x4_t rows_zero(void) {
    return vdupq_n_s32(0);
}
EGRU_INLINE int32x4_t rows_start(const int32_t *bias) {
    return vld1q_s32(bias);
}
EGRU_INLINE int32x4_t rows_sum(int32x4_t a, int32x4_t b) {
    return vaddq_s32(a, b);
}
EGRU_INLINE void rows_store(int32_t *result, int32x4_t acc) {
    vst1q_s32(result, acc);
}
/* Operands of 8 bits: 16 columns, or 4 again and again. */
EGRU_INLINE int8x16_t columns_16(const int8_t *q) {
    return vld1q_s8(q);
}
EGRU_INLINE int8x16_t columns_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}
#endif
