/* What the Arm kernels share: the GRU behind its products in vectors of 8 units, and products of floats. One source for
 * 64 and 32 bits. Included once by each kernel.
 */
#ifndef EGRU_ARM_H
#define EGRU_ARM_H

#include <arm_neon.h>
#include <string.h>

#include "arithmetic.h"
#include "inline.h"
#include "portable.h"

#define TARGET
#define SIDE_BY_SIDE 1
#define LANES 8

typedef struct {
    int32x4_t half[2];
} v32;
typedef struct {
    int64x2_t part[4];
} wide;
typedef int64x2_t rounding; /* a shift to the left by -t, which NEON rounds half up */

#define HALVES EGRU_UNROLL for (int i = 0; i < 2; i++)
#define PARTS EGRU_UNROLL for (int i = 0; i < 4; i++)

EGRU_INLINE v32 v_load(const int32_t *p) {
    v32 v = {{vld1q_s32(p), vld1q_s32(p + 4)}};
    return v;
}
EGRU_INLINE void v_store(int32_t *p, v32 v) {
    vst1q_s32(p, v.half[0]);
    vst1q_s32(p + 4, v.half[1]);
}
EGRU_INLINE v32 v_set(int32_t value) {
    v32 v = {{vdupq_n_s32(value), vdupq_n_s32(value)}};
    return v;
}
EGRU_INLINE v32 v_add(v32 a, v32 b) {
    HALVES a.half[i] = vaddq_s32(a.half[i], b.half[i]);
    return a;
}
EGRU_INLINE v32 v_sub(v32 a, v32 b) {
    HALVES a.half[i] = vsubq_s32(a.half[i], b.half[i]);
    return a;
}
EGRU_INLINE v32 v_shift9(v32 v) {
    HALVES v.half[i] = vshlq_n_s32(v.half[i], 9);
    return v;
}

EGRU_INLINE wide w_product(v32 a, v32 b) {
    wide w;
    HALVES {
        w.part[2 * i] = vmull_s32(vget_low_s32(a.half[i]), vget_low_s32(b.half[i]));
        w.part[2 * i + 1] = vmull_s32(vget_high_s32(a.half[i]), vget_high_s32(b.half[i]));
    }
    return w;
}
#define w_scaled w_product
EGRU_INLINE wide w_product_at(const int32_t *a, const int32_t *b) {
    return w_product(v_load(a), v_load(b));
}
EGRU_INLINE wide w_add(wide a, wide b) {
    PARTS a.part[i] = vaddq_s64(a.part[i], b.part[i]);
    return a;
}
EGRU_INLINE rounding w_rounding(uint32_t shift) {
    return vdupq_n_s64(-(int64_t)shift);
}
EGRU_INLINE wide w_round(wide w, rounding by) {
    PARTS w.part[i] = vrshlq_s64(w.part[i], by);
    return w;
}
EGRU_INLINE wide w_floor0(wide w) { /* there is no maximum of 64 bits */
    PARTS w.part[i] = vreinterpretq_s64_u64(
        vbicq_u64(vreinterpretq_u64_s64(w.part[i]), vreinterpretq_u64_s64(vshrq_n_s64(w.part[i], 63))));
    return w;
}
EGRU_INLINE v32 w_narrow(wide w) {
    v32 v;
    HALVES v.half[i] = vcombine_s32(vqmovn_s64(w.part[2 * i]), vqmovn_s64(w.part[2 * i + 1]));
    return v;
}
/* Numbers of 16 and 8 bits saturate where they are made: in v_tanh2, v_store16 and v_store8. */
EGRU_INLINE v32 saturated(wide w, int64_t limit) {
    v32 v = w_narrow(w);
    if (limit > INT16_MAX) {
        int32x4_t highest = vdupq_n_s32((int32_t)limit);
        HALVES v.half[i] = vminq_s32(vmaxq_s32(v.half[i], vnegq_s32(highest)), highest);
    }
    return v;
}
#define w_limit saturated

EGRU_INLINE int16x8_t to_words(v32 v) {
    return vcombine_s16(vqmovn_s32(v.half[0]), vqmovn_s32(v.half[1]));
}
EGRU_INLINE void v_store16(int16_t *p, v32 v) {
    vst1q_s16(p, vmaxq_s16(to_words(v), vdupq_n_s16(-32767)));
}
EGRU_INLINE void v_store8(int8_t *p, v32 v) {
    vst1_s8(p, vmax_s8(vqmovn_s16(to_words(v)), vdup_n_s8(-127)));
}

/* egru_tanh_c0, c1 and c2 (a test compares them): the low byte of every number, then the high ones. */
static const uint8_t tanh_bytes[3][2][64] = {
    {{0, 235, 89, 223, 39, 253, 77, 26, 124, 152, 149, 158, 220, 114, 127, 30, 102, 102, 48, 206, 73, 170, 245, 48,
      94, 130, 158, 179, 196, 210, 220, 228, 234, 239, 243, 246, 248, 250, 251, 252, 253, 254, 254, 255, 255, 255,
      255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
     {0, 15, 31, 45, 59, 70, 81, 90, 97, 103, 108, 112, 115, 118, 120, 122, 123, 124, 125, 125, 126, 126, 126, 127,
      127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127,
      127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127}},
    {{9, 201, 19, 245, 151, 21, 134, 13, 180, 127, 119, 154, 224, 73, 208, 110, 29, 227, 176, 138, 109, 86, 67, 51,
      39, 30, 24, 21, 14, 10, 8, 6, 5, 4, 2, 2, 2, 0, 2, 2, 255, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0},
     {16, 15, 15, 13, 12, 11, 9, 8, 6, 5, 4, 3, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 255, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {{227, 166, 115, 83, 63, 58, 71, 85, 103, 125, 146, 164, 182, 196, 207, 217, 227, 231, 238, 241, 244, 245, 248,
      251, 253, 254, 253, 252, 0, 0, 0, 0, 0, 0, 1, 0, 255, 1, 255, 255, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
     {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
      255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
};

/* Of a coefficient (0 to 2): those of the segments `k` (0 to 63). */
EGRU_INLINE int16x8x2_t coefficients(int which, uint8x16_t k) {
    uint8x16_t plane[2];
    uint8x16x2_t words;
    HALVES {
        const uint8_t *bytes = tanh_bytes[which][i];
#ifdef __aarch64__
        plane[i] = vqtbl4q_u8(vld1q_u8_x4(bytes), k);
#else
        uint8x8x4_t low, high;
        uint8x8_t part[2] = {vget_low_u8(k), vget_high_u8(k)};
        for (int j = 0; j < 4; j++) {
            low.val[j] = vld1_u8(bytes + 8 * j);
            high.val[j] = vld1_u8(bytes + 32 + 8 * j);
        }
        for (int j = 0; j < 2; j++) /* an index beyond a half leaves what is there */
            part[j] = vtbx4_u8(vtbl4_u8(low, part[j]), high, vsub_u8(part[j], vdup_n_u8(32)));
        plane[i] = vcombine_u8(part[0], part[1]);
#endif
    }
    words = vzipq_u8(plane[0], plane[1]);
    int16x8x2_t result = {{vreinterpretq_s16_u8(words.val[0]), vreinterpretq_s16_u8(words.val[1])}};
    return result;
}

/* Q15 of arguments in Q12, saturated here; R(p c; 15) is what vqrdmulh computes. */
EGRU_INLINE void v_tanh2(v32 a, v32 b, v32 *ta, v32 *tb) {
    int16x8_t argument[2] = {to_words(a), to_words(b)}, t[2];
    uint16x8_t u[2];
    v32 *result[2] = {ta, tb};
    HALVES u[i] = vreinterpretq_u16_s16(vqabsq_s16(argument[i])); /* 32767 of -32768 */
    uint8x16_t k = vshrq_n_u8(vuzpq_u8(vreinterpretq_u8_u16(u[0]), vreinterpretq_u8_u16(u[1])).val[1], 1);
    const int16x8x2_t c0 = coefficients(0, k), c1 = coefficients(1, k), c2 = coefficients(2, k);
    HALVES {
        int16x8_t p = vreinterpretq_s16_u16(vshrq_n_u16(vshlq_n_u16(u[i], 7), 1)); /* the low 9 bits, times 64 */
        int16x8_t inner = vaddq_s16(c1.val[i], vqrdmulhq_s16(p, c2.val[i])), sign = vshrq_n_s16(argument[i], 15);
        t[i] = vaddq_s16(c0.val[i], vqrdmulhq_s16(p, inner));
        t[i] = vsubq_s16(veorq_s16(t[i], sign), sign);
        result[i]->half[0] = vmovl_s16(vget_low_s16(t[i]));
        result[i]->half[1] = vmovl_s16(vget_high_s16(t[i]));
    }
}
#include "gru_template.h"

#ifdef __aarch64__ /* blocks that four streams share at a time: there are 32 registers, or 16 */
#define ARM_TILE 4u
#else
#define ARM_TILE 2u
#endif

/* Weights of up to four blocks; returns where the next ones are. */
#define P_LOAD 4u
#define P_WEIGHTS int8x16_t
#define P_READ read_blocks
EGRU_INLINE const unsigned char *read_blocks(int8x16_t *weights, const unsigned char *w, const uint32_t blocks) {
#ifdef __aarch64__
    if (blocks == 4) { /* one instruction, which moves the address too; compilers would rather add to an older one */
        int8x16x4_t four = vld1q_s8_x4((const int8_t *)w);
        EGRU_UNROLL for (int i = 0; i < 4; i++) weights[i] = four.val[i];
        w += 64;
        __asm__("" : "+r"(w));
        return w;
    }
#endif
    EGRU_UNROLL for (uint32_t i = 0; i < blocks; i++) weights[i] = vld1q_s8((const int8_t *)w + 16 * i);
    return w + 16 * blocks;
}

#if EGRU_FLOAT
#undef LANES
#define LANES 4

#define P_TARGET TARGET
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
#define P_TILE ARM_TILE
#define P_QUARTER 1
#ifdef __aarch64__
#define fused_lane(acc, w, v, lane) vfmaq_laneq_f32(acc, w, v, lane)
#else
#define fused_lane(acc, w, v, lane) \
    vmlaq_lane_f32(acc, w, (lane) < 2 ? vget_low_f32(v) : vget_high_f32(v), (lane) % 2)
#endif
#define P_EXACT 0
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
        return fused_lane(acc, weights, v, 0);
    case 1:
        return fused_lane(acc, weights, v, 1);
    case 2:
        return fused_lane(acc, weights, v, 2);
    default:
        return fused_lane(acc, weights, v, 3);
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
#include "product_template.h"
#undef P_TARGET

typedef float32x4_t f32;
EGRU_INLINE f32 f_load(const float *p) {
    return vld1q_f32(p);
}
EGRU_INLINE void f_store(float *p, f32 v) {
    vst1q_f32(p, v);
}
EGRU_INLINE f32 f_set(float v) {
    return vdupq_n_f32(v);
}
EGRU_INLINE f32 f_add(f32 a, f32 b) {
    return vaddq_f32(a, b);
}
EGRU_INLINE f32 f_sub(f32 a, f32 b) {
    return vsubq_f32(a, b);
}
EGRU_INLINE f32 f_mul(f32 a, f32 b) {
    return vmulq_f32(a, b);
}
EGRU_INLINE f32 f_min(f32 a, f32 b) {
    return vminq_f32(a, b);
}
EGRU_INLINE f32 f_max(f32 a, f32 b) {
    return vmaxq_f32(a, b);
}
EGRU_INLINE f32 f_abs(f32 v) {
    return vabsq_f32(v);
}
EGRU_INLINE f32 f_with_sign(f32 v, f32 sign) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), sign, v);
}
EGRU_INLINE f32 f_power2(f32 k) {
    return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(k), vdupq_n_s32(127)), 23));
}
#ifdef __aarch64__
EGRU_INLINE f32 f_fma(f32 a, f32 b, f32 c) {
    return vfmaq_f32(c, a, b);
}
EGRU_INLINE f32 f_round(f32 v) {
    return vrndnq_f32(v);
}
EGRU_INLINE f32 f_div(f32 a, f32 b) {
    return vdivq_f32(a, b);
}
#else
EGRU_INLINE f32 f_fma(f32 a, f32 b, f32 c) {
    return vmlaq_f32(c, a, b);
}
EGRU_INLINE f32 f_round(f32 v) { /* 1.5 * 2^23 leaves no room behind the point */
    return vsubq_f32(vaddq_f32(v, vdupq_n_f32(12582912.0f)), vdupq_n_f32(12582912.0f));
}
EGRU_INLINE f32 f_div(f32 a, f32 b) { /* two steps of Newton: within 2 units in the last place */
    f32 inverse = vrecpeq_f32(b);
    inverse = vmulq_f32(inverse, vrecpsq_f32(b, inverse));
    inverse = vmulq_f32(inverse, vrecpsq_f32(b, inverse));
    return vmulq_f32(a, inverse);
}
#endif
#include "gru_float_template.h"
#endif
#endif
