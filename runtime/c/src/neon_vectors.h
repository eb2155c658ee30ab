/* Vectors of NEON for the GRU behind its products (arm_gru.h, arm_gru_float.h). */
#ifndef EGRU_NEON_VECTORS_H
#define EGRU_NEON_VECTORS_H

#include "arm.h"

#ifdef __aarch64__
#define LANES 8
#else
#define LANES 4
#endif
#define QUADS (LANES / 4)
#define EACH_QUAD EGRU_UNROLL for (int i = 0; i < QUADS; i++)
#define EACH_PAIR EGRU_UNROLL for (int i = 0; i < 2 * QUADS; i++)

typedef struct {
    int32x4_t quad[QUADS];
} v32;
typedef struct {
    int64x2_t pair[2 * QUADS];
} wide;
typedef int64x2_t rounding; /* a shift to the left by -t, which NEON rounds half up */

EGRU_INLINE v32 v_load(const int32_t *p) {
    v32 v;
#ifdef __aarch64__
    int32x4x2_t two = vld1q_s32_x2(p);
    EACH_QUAD v.quad[i] = two.val[i];
#else
    v.quad[0] = vld1q_s32(p);
#endif
    return v;
}
EGRU_INLINE void v_store(int32_t *p, v32 v) {
    EACH_QUAD vst1q_s32(p + 4 * i, v.quad[i]);
}
EGRU_INLINE v32 v_set(int32_t value) {
    v32 v;
    EACH_QUAD v.quad[i] = vdupq_n_s32(value);
    return v;
}
EGRU_INLINE v32 v_add(v32 a, v32 b) {
    EACH_QUAD a.quad[i] = vaddq_s32(a.quad[i], b.quad[i]);
    return a;
}
EGRU_INLINE v32 v_sub(v32 a, v32 b) {
    EACH_QUAD a.quad[i] = vsubq_s32(a.quad[i], b.quad[i]);
    return a;
}
EGRU_INLINE v32 v_shift(v32 v, int32_t bits) {
    EACH_QUAD v.quad[i] = vshlq_s32(v.quad[i], vdupq_n_s32(bits));
    return v;
}

EGRU_INLINE wide w_product(v32 a, v32 b) {
    wide w;
    EACH_QUAD {
        w.pair[2 * i] = vmull_s32(vget_low_s32(a.quad[i]), vget_low_s32(b.quad[i]));
        w.pair[2 * i + 1] = vmull_high_s32(a.quad[i], b.quad[i]);
    }
    return w;
}
#define w_scaled w_product
EGRU_INLINE wide w_product_at(const int32_t *a, const int32_t *b) {
    return w_product(v_load(a), v_load(b));
}
EGRU_INLINE wide w_add(wide a, wide b) {
    EACH_PAIR a.pair[i] = vaddq_s64(a.pair[i], b.pair[i]);
    return a;
}
EGRU_INLINE rounding w_rounding(uint32_t shift) {
    return vdupq_n_s64(-(int64_t)shift);
}
EGRU_INLINE wide w_round(wide w, rounding by) {
    EACH_PAIR w.pair[i] = vrshlq_s64(w.pair[i], by);
    return w;
}
EGRU_INLINE wide w_floor0(wide w) { /* there is no maximum of 64 bits */
    EACH_PAIR w.pair[i] = vreinterpretq_s64_u64(
        vbicq_u64(vreinterpretq_u64_s64(w.pair[i]), vreinterpretq_u64_s64(vshrq_n_s64(w.pair[i], 63))));
    return w;
}
EGRU_INLINE v32 w_narrow(wide w) {
    v32 v;
    EACH_QUAD v.quad[i] = vcombine_s32(vqmovn_s64(w.pair[2 * i]), vqmovn_s64(w.pair[2 * i + 1]));
    return v;
}
EGRU_INLINE v32 v_limit(v32 v, int32_t limit) {
    int32x4_t highest = vdupq_n_s32(limit);
    EACH_QUAD v.quad[i] = vminq_s32(vmaxq_s32(v.quad[i], vnegq_s32(highest)), highest);
    return v;
}
/* Numbers of 16 and 8 bits saturate where they are made: in v_tanh2, v_within, v_store16 and v_store8. */
EGRU_INLINE v32 saturated(wide w, int64_t limit) {
    v32 v = w_narrow(w);
    return limit > INT16_MAX ? v_limit(v, (int32_t)limit) : v;
}
#define v_within(v) v_limit(v, EGRU_ARGUMENT_LIMIT)
#define w_limit saturated

/* R(gate v; 16) of a gate in Q16, which is below 2^16: vqrdmulh divides by 2^31. */
EGRU_INLINE v32 gated(v32 gate, v32 v) {
    EACH_QUAD v.quad[i] = vqrdmulhq_s32(vshlq_n_s32(gate.quad[i], 15), v.quad[i]);
    return v;
}
#define v_gated(gate, v, by) gated(gate, v)
#define v_between(n, z, h) v_add(n, gated(z, v_sub(h, n))) /* 2^16 n is no matter of rounding */
EGRU_INLINE wide add_gated(wide w, v32 gate, v32 v) {
    v = gated(gate, v);
    EACH_QUAD {
        w.pair[2 * i] = vaddw_s32(w.pair[2 * i], vget_low_s32(v.quad[i]));
        w.pair[2 * i + 1] = vaddw_s32(w.pair[2 * i + 1], vget_high_s32(v.quad[i]));
    }
    return w;
}
#define w_add_gated(w, gate, v, by) add_gated(w, gate, v)

EGRU_INLINE int16x8_t words(int32x4_t low, int32x4_t high) {
    return vcombine_s16(vqmovn_s32(low), vqmovn_s32(high));
}
EGRU_INLINE void v_store16(int16_t *p, v32 v) {
    vst1q_s16(p, vmaxq_s16(words(v.quad[0], v.quad[QUADS - 1]), vdupq_n_s16(-32767)));
}
EGRU_INLINE void v_store8(int8_t *p, v32 v) {
    vst1_s8(p, vmax_s8(vqmovn_s16(words(v.quad[0], v.quad[QUADS - 1])), vdup_n_s8(-127)));
}

/* egru_tanh_c2, c1 and c0 (a test compares them): the low byte of every number, then the high ones. */
static const union {
    uint8_t bytes[3][2][64];
#ifndef __aarch64__
    uint8x8x4_t halves[3][2][2];
#endif
} tanh_table = {{
    {{227, 166, 115, 83, 63, 58, 71, 85, 103, 125, 146, 164, 182, 196, 207, 217, 227, 231, 238, 241, 244, 245, 248,
      251, 253, 254, 253, 252, 0, 0, 0, 0, 0, 0, 1, 0, 255, 1, 255, 255, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
     {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
      255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {{9, 201, 19, 245, 151, 21, 134, 13, 180, 127, 119, 154, 224, 73, 208, 110, 29, 227, 176, 138, 109, 86, 67, 51,
      39, 30, 24, 21, 14, 10, 8, 6, 5, 4, 2, 2, 2, 0, 2, 2, 255, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 0, 0},
     {16, 15, 15, 13, 12, 11, 9, 8, 6, 5, 4, 3, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
      0, 0, 0, 0, 0, 255, 0, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
    {{0, 235, 89, 223, 39, 253, 77, 26, 124, 152, 149, 158, 220, 114, 127, 30, 102, 102, 48, 206, 73, 170, 245, 48,
      94, 130, 158, 179, 196, 210, 220, 228, 234, 239, 243, 246, 248, 250, 251, 252, 253, 254, 254, 255, 255, 255,
      255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255},
     {0, 15, 31, 45, 59, 70, 81, 90, 97, 103, 108, 112, 115, 118, 120, 122, 123, 124, 125, 125, 126, 126, 126, 127,
      127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127,
      127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127}},
}};

#ifdef __aarch64__
typedef uint8x16_t segments; /* of two vectors of words */
EGRU_INLINE segments segments_of(uint16x8_t a, uint16x8_t b) {
    return vshrq_n_u8(vuzpq_u8(vreinterpretq_u8_u16(a), vreinterpretq_u8_u16(b)).val[1], 1);
}
EGRU_INLINE int16x8x2_t coefficients(const uint8_t **bytes, segments k) {
    uint8x16_t low = vqtbl4q_u8(vld1q_u8_x4(*bytes), k), high;
    *bytes = moved(*bytes, 64);
    high = vqtbl4q_u8(vld1q_u8_x4(*bytes), k);
    *bytes = moved(*bytes, 64);
    int16x8x2_t result = {{vreinterpretq_s16_u8(vzip1q_u8(low, high)), vreinterpretq_s16_u8(vzip2q_u8(low, high))}};
    return result;
}
#else
typedef uint8x8_t segments; /* of one */
EGRU_INLINE segments segments_of(uint16x8_t a, uint16x8_t b) {
    (void)b;
    return vshr_n_u8(vshrn_n_u16(a, 8), 1);
}
EGRU_INLINE uint8x8_t look_up(const uint8_t **bytes, segments k) {
    const uint8x8x4_t *half = (const void *)*bytes;
    *bytes = moved(*bytes, 64);
    return vtbx4_u8(vtbl4_u8(half[0], k), half[1], vsub_u8(k, vdup_n_u8(32))); /* vtbx: what its table has */
}
EGRU_INLINE int16x8x2_t coefficients(const uint8_t **bytes, segments k) {
    uint8x8_t low = look_up(bytes, k), high = look_up(bytes, k);
    uint8x8x2_t both = vzip_u8(low, high);
    int16x8_t numbers = vreinterpretq_s16_u8(vcombine_u8(both.val[0], both.val[1]));
    int16x8x2_t result = {{numbers, numbers}};
    return result;
}
#endif

/* Arguments in Q12 become numbers in Q15, in `count` vectors; R(p c; 15) is what vqrdmulh computes. */
EGRU_INLINE void tanh_of(int16x8_t *t, const uint32_t count) {
#define EACH EGRU_UNROLL for (uint32_t i = 0; i < count; i++)
    const uint8_t *bytes = &tanh_table.bytes[0][0][0];
    int16x8_t sign[2], p[2], sum[2] = {vdupq_n_s16(0), vdupq_n_s16(0)};
    uint16x8_t u[2];
    EACH {
        sign[i] = vshrq_n_s16(t[i], 15);
        u[i] = vreinterpretq_u16_s16(vqabsq_s16(t[i]));                        /* 32767 of -32768 */
        p[i] = vreinterpretq_s16_u16(vshrq_n_u16(vshlq_n_u16(u[i], 7), 1)); /* the low 9 bits, times 64 */
    }
    const segments k = segments_of(u[0], u[count - 1]);
    EGRU_UNROLL for (int c = 0; c < 3; c++) {
        int16x8x2_t coefficient = coefficients(&bytes, k);
        EACH sum[i] = c ? vaddq_s16(coefficient.val[i], vqrdmulhq_s16(p[i], sum[i])) : coefficient.val[i];
    }
    EACH t[i] = vsubq_s16(veorq_s16(sum[i], sign[i]), sign[i]);
#undef EACH
}
EGRU_INLINE void v_tanh2(v32 a, v32 b, v32 *ta, v32 *tb) {
    int16x8_t t[2] = {words(a.quad[0], QUADS == 1 ? b.quad[0] : a.quad[QUADS - 1]),
                      words(b.quad[0], b.quad[QUADS - 1])};
    tanh_of(t, QUADS);
    ta->quad[0] = vmovl_s16(vget_low_s16(t[0]));
    ta->quad[QUADS - 1] = vmovl_s16(QUADS == 1 ? vget_low_s16(t[0]) : vget_high_s16(t[0]));
    tb->quad[0] = vmovl_s16(QUADS == 1 ? vget_high_s16(t[0]) : vget_low_s16(t[1]));
    tb->quad[QUADS - 1] = vmovl_s16(vget_high_s16(t[QUADS - 1]));
}
EGRU_INLINE void v_tanh(v32 a, v32 *t) {
    int16x8_t both = words(a.quad[0], a.quad[QUADS - 1]);
    tanh_of(&both, 1);
    t->quad[0] = vmovl_s16(vget_low_s16(both));
    t->quad[QUADS - 1] = vmovl_s16(QUADS == 1 ? vget_low_s16(both) : vget_high_s16(both));
}

#if EGRU_FLOAT
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
EGRU_INLINE f32 f_div(f32 a, f32 b) {
    return a / b; /* with 32 bits number by number: estimates would be off by two units in the last place */
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
#else
EGRU_INLINE f32 f_fma(f32 a, f32 b, f32 c) {
    return vmlaq_f32(c, a, b);
}
EGRU_INLINE f32 f_round(f32 v) { /* 1.5 * 2^23 leaves no room behind the point */
    return vsubq_f32(vaddq_f32(v, vdupq_n_f32(12582912.0f)), vdupq_n_f32(12582912.0f));
}
#endif
#endif
#endif
