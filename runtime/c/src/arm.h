/* What the Arm kernels share. One source for 64 and 32 bits. */
#ifndef EGRU_ARM_H
#define EGRU_ARM_H

#include <arm_neon.h>
#include <string.h>

#include "arithmetic.h"
#include "inline.h"
#include "portable.h"

#ifndef TARGET
#define TARGET
#endif

#ifndef __aarch64__ /* there the upper half of a register is a register */
#define vmovl_high_s8(v) vmovl_s8(vget_high_s8(v))
#define vmull_high_s32(a, b) vmull_s32(vget_high_s32(a), vget_high_s32(b))
#define vmlal_high_s8(sum, a, b) vmlal_s8(sum, vget_high_s8(a), vget_high_s8(b))
#define vmlal_high_lane_s16(sum, a, b, lane) vmlal_lane_s16(sum, vget_high_s16(a), b, lane)
#endif

/* `place` + bytes as an address of its own: compilers would rather add to an older one than let a load move it. */
TARGET EGRU_INLINE const uint8_t *moved(const uint8_t *place, uint32_t bytes) {
    place += bytes;
    __asm__("" : "+r"(place));
    return place;
}

/* Weights of neighbouring blocks; returns where the next ones are. */
#define P_WEIGHTS int8x16_t
#define P_LOAD 4u
#define P_READ read_blocks

/* Sums of 4 rows. */
TARGET EGRU_INLINE int32x4_t rows_zero(void) {
    return vdupq_n_s32(0);
}
TARGET EGRU_INLINE int32x4_t rows_start(const int32_t *bias) {
    return vld1q_s32(bias);
}
TARGET EGRU_INLINE int32x4_t rows_sum(int32x4_t a, int32x4_t b) {
    return vaddq_s32(a, b);
}
TARGET EGRU_INLINE void rows_store(int32_t *result, int32x4_t acc) {
    vst1q_s32(result, acc);
}
/* Operands of 8 bits: 16 columns, or 4 again and again. */
TARGET EGRU_INLINE int8x16_t columns_16(const int8_t *q) {
    return vld1q_s8(q);
}
TARGET EGRU_INLINE int8x16_t columns_4(const int8_t *q) {
    int32_t word;
    memcpy(&word, q, 4);
    return vreinterpretq_s8_s32(vdupq_n_s32(word));
}
#endif
