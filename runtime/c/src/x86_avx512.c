/* AVX-512 with VNNI: 16 rows to a register, 64 products an instruction. Bytes of an operand are multiplied as unsigned
 * numbers, q + 128, whose excess over the signed product the bias takes off again; sums wrap around 2^32 and end in range.
 */
#include "x86.h"

#ifdef EGRU_X86
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,bmi2,popcnt")))
#define SIDE_BY_SIDE 2
#define LANES 16

static int runs(void) {
    return egru_x86_has(EGRU_ZMM, bit_AVX2 | bit_BMI2 | bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL,
                        bit_AVX512VNNI);
}

static uint32_t read_u32(const void *p) {
    uint32_t value;
    memcpy(&value, p, 4);
    return value;
}


#define P_TARGET TARGET
#define P(name) q8_##name
#define P_ROWS 16
#define P_COLUMNS 4
#define P_BYTES 64
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC __m512i
#define P_OPERAND __m512i
#define P_WIDE 12
#define P_TILE 6
#define P_QUARTER 2
#define P_EXACT 1
TARGET EGRU_INLINE __m512i q8_zero(void) {
    return _mm512_setzero_si512();
}
TARGET EGRU_INLINE __m512i q8_start(const int32_t *bias) {
    return _mm512_loadu_si512(bias);
}
TARGET EGRU_INLINE __m512i q8_spread(const int8_t *q) {
    return _mm512_set1_epi32((int)(read_u32(q) ^ 0x80808080u));
}
TARGET EGRU_INLINE __m512i q8_add(__m512i acc, __m512i q, const unsigned char *w) {
    return _mm512_dpbusd_epi32(acc, q, _mm512_load_si512(w));
}
TARGET EGRU_INLINE __m512i q8_sum(__m512i a, __m512i b) {
    return _mm512_add_epi32(a, b);
}
TARGET EGRU_INLINE void q8_store(int32_t *result, __m512i acc) {
    _mm512_storeu_si512(result, acc);
}
#include "product_template.h"

/* 16 bits are two bytes: 256 (high - 128) + low, with high and low from 0 to 255. */
typedef struct {
    __m512i high, low;
} bytes512;
#define P(name) q16_##name
#define P_ROWS 16
#define P_COLUMNS 4
#define P_BYTES 64
#define P_ELEMENT int16_t
#define P_RESULT int32_t
#define P_ACC bytes512
#define P_OPERAND bytes512
#define P_WIDE 12
#define P_TILE 3
#define P_QUARTER 1
#define P_EXACT 1
TARGET EGRU_INLINE bytes512 q16_zero(void) {
    bytes512 acc = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    return acc;
}
TARGET EGRU_INLINE bytes512 q16_start(const int32_t *bias) {
    bytes512 acc = {_mm512_setzero_si512(), _mm512_loadu_si512(bias)};
    return acc;
}
TARGET EGRU_INLINE bytes512 q16_spread(const int16_t *q) {
    const __m128i order = _mm_setr_epi8(1, 3, 5, 7, 0, 2, 4, 6, -1, -1, -1, -1, -1, -1, -1, -1);
    __m128i bytes = _mm_shuffle_epi8(_mm_loadl_epi64((const __m128i *)(const void *)q), order);
    bytes512 operand;
    bytes = _mm_xor_si128(bytes, _mm_setr_epi32((int)0x80808080u, 0, 0, 0));
    operand.high = _mm512_broadcastd_epi32(bytes);
    operand.low = _mm512_broadcastd_epi32(_mm_srli_epi64(bytes, 32));
    return operand;
}
TARGET EGRU_INLINE bytes512 q16_add(bytes512 acc, bytes512 q, const unsigned char *w) {
    __m512i weights = _mm512_load_si512(w);
    acc.high = _mm512_dpbusd_epi32(acc.high, q.high, weights);
    acc.low = _mm512_dpbusd_epi32(acc.low, q.low, weights);
    return acc;
}
TARGET EGRU_INLINE bytes512 q16_sum(bytes512 a, bytes512 b) {
    bytes512 total = {_mm512_add_epi32(a.high, b.high), _mm512_add_epi32(a.low, b.low)};
    return total;
}
TARGET EGRU_INLINE void q16_store(int32_t *result, bytes512 acc) {
    _mm512_storeu_si512(result, _mm512_add_epi32(_mm512_slli_epi32(acc.high, 8), acc.low));
}
#include "product_template.h"

typedef __m512i v32;
typedef struct {
    __m512i even, odd; /* of the lanes' numbers, 64 bits each */
} wide;

TARGET EGRU_INLINE v32 v_load(const int32_t *p) {
    return _mm512_loadu_si512(p);
}
TARGET EGRU_INLINE void v_store(int32_t *p, v32 v) {
    _mm512_storeu_si512(p, v);
}
TARGET EGRU_INLINE v32 v_set(int32_t v) {
    return _mm512_set1_epi32(v);
}
TARGET EGRU_INLINE v32 v_add(v32 a, v32 b) {
    return _mm512_add_epi32(a, b);
}
TARGET EGRU_INLINE v32 v_sub(v32 a, v32 b) {
    return _mm512_sub_epi32(a, b);
}
TARGET EGRU_INLINE v32 v_shift9(v32 v) {
    return _mm512_slli_epi32(v, 9);
}
TARGET EGRU_INLINE wide w_product(v32 a, v32 b) {
    wide w = {_mm512_mul_epi32(a, b), _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32))};
    return w;
}
/* Odd lanes of b are loaded from one number further on: there are more shifts than anything else. Not those of a, which
 * has just been stored: a load across two stores waits for both. */
TARGET EGRU_INLINE wide w_product_at(const int32_t *pa, const int32_t *pb) {
    v32 a = v_load(pa);
    wide w = {_mm512_mul_epi32(a, v_load(pb)), _mm512_mul_epi32(_mm512_srli_epi64(a, 32), v_load(pb + 1))};
    return w;
}
TARGET EGRU_INLINE wide w_scaled(v32 a, v32 b) {
    wide w = {_mm512_mul_epi32(a, b), _mm512_mul_epi32(_mm512_srli_epi64(a, 32), b)};
    return w;
}
TARGET EGRU_INLINE wide w_add(wide a, wide b) {
    wide w = {_mm512_add_epi64(a.even, b.even), _mm512_add_epi64(a.odd, b.odd)};
    return w;
}
typedef struct {
    __m512i half;
    __m128i count;
} rounding;
TARGET EGRU_INLINE rounding w_rounding(uint32_t shift) {
    rounding by = {_mm512_set1_epi64(1LL << (shift - 1)), _mm_cvtsi32_si128((int)shift)};
    return by;
}
TARGET EGRU_INLINE wide w_round(wide v, rounding by) {
    wide w = {_mm512_sra_epi64(_mm512_add_epi64(v.even, by.half), by.count),
              _mm512_sra_epi64(_mm512_add_epi64(v.odd, by.half), by.count)};
    return w;
}
TARGET EGRU_INLINE wide w_clamp(wide v, int64_t limit) {
    __m512i most = _mm512_set1_epi64(limit), least = _mm512_set1_epi64(-limit);
    wide w = {_mm512_max_epi64(_mm512_min_epi64(v.even, most), least),
              _mm512_max_epi64(_mm512_min_epi64(v.odd, most), least)};
    return w;
}
TARGET EGRU_INLINE wide w_floor0(wide v) {
    wide w = {_mm512_max_epi64(v.even, _mm512_setzero_si512()), _mm512_max_epi64(v.odd, _mm512_setzero_si512())};
    return w;
}
TARGET EGRU_INLINE v32 w_narrow(wide v) {
    return _mm512_mask_shuffle_epi32(v.even, 0xaaaa, v.odd, _MM_PERM_CCAA);
}
TARGET EGRU_INLINE __m512i lookup(const int16_t *table, __m512i index) {
    return _mm512_permutex2var_epi16(_mm512_loadu_si512(table), index, _mm512_loadu_si512(table + 32));
}
/* 32 numbers of 16 bits; R(p c; 15) is what vpmulhrsw computes. */
TARGET EGRU_INLINE __m512i tanh32(__m512i v) {
    __m512i u = _mm512_abs_epi16(v), k = _mm512_srli_epi16(u, 9);
    __m512i p = _mm512_slli_epi16(_mm512_and_si512(u, _mm512_set1_epi16(511)), 6);
    __m512i inner = _mm512_add_epi16(lookup(egru_tanh_c1, k), _mm512_mulhrs_epi16(p, lookup(egru_tanh_c2, k)));
    __m512i t = _mm512_add_epi16(lookup(egru_tanh_c0, k), _mm512_mulhrs_epi16(p, inner));
    return _mm512_mask_sub_epi16(t, _mm512_movepi16_mask(v), _mm512_setzero_si512(), t);
}
TARGET EGRU_INLINE void v_tanh2(v32 a, v32 b, v32 *ta, v32 *tb) {
    /* a in the low half of each lane, b in the high one: their order is that of the lanes */
    __m512i t = tanh32(_mm512_mask_blend_epi16(0xaaaaaaaa, a, _mm512_slli_epi32(b, 16)));
    *ta = _mm512_srai_epi32(_mm512_slli_epi32(t, 16), 16);
    *tb = _mm512_srai_epi32(t, 16);
}
TARGET EGRU_INLINE void v_store8(int8_t *p, v32 v) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(v));
}
TARGET EGRU_INLINE void v_store16(int16_t *p, v32 v) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16(v));
}
#include "gru_template.h"

#if EGRU_FLOAT
#define P(name) float_##name
#define P_ROWS 16
#define P_COLUMNS 1
#define P_BYTES 64
#define P_ELEMENT float
#define P_RESULT float
#define P_ACC __m512
#define P_OPERAND __m512
#define P_WIDE 12
#define P_TILE 6
#define P_QUARTER 2
#define P_EXACT 0
TARGET EGRU_INLINE __m512 float_zero(void) {
    return _mm512_setzero_ps();
}
TARGET EGRU_INLINE __m512 float_start(const float *bias) {
    return _mm512_loadu_ps(bias);
}
TARGET EGRU_INLINE __m512 float_spread(const float *v) {
    return _mm512_set1_ps(*v);
}
TARGET EGRU_INLINE __m512 float_add(__m512 acc, __m512 v, const unsigned char *w) {
    return _mm512_fmadd_ps(v, _mm512_load_ps(w), acc);
}
TARGET EGRU_INLINE __m512 float_sum(__m512 a, __m512 b) {
    return _mm512_add_ps(a, b);
}
TARGET EGRU_INLINE void float_store(float *result, __m512 acc) {
    _mm512_storeu_ps(result, acc);
}
#include "product_template.h"

typedef __m512 f32;
TARGET EGRU_INLINE f32 f_load(const float *p) {
    return _mm512_loadu_ps(p);
}
TARGET EGRU_INLINE void f_store(float *p, f32 v) {
    _mm512_storeu_ps(p, v);
}
TARGET EGRU_INLINE f32 f_set(float v) {
    return _mm512_set1_ps(v);
}
TARGET EGRU_INLINE f32 f_add(f32 a, f32 b) {
    return _mm512_add_ps(a, b);
}
TARGET EGRU_INLINE f32 f_sub(f32 a, f32 b) {
    return _mm512_sub_ps(a, b);
}
TARGET EGRU_INLINE f32 f_mul(f32 a, f32 b) {
    return _mm512_mul_ps(a, b);
}
TARGET EGRU_INLINE f32 f_div(f32 a, f32 b) {
    return _mm512_div_ps(a, b);
}
TARGET EGRU_INLINE f32 f_fma(f32 a, f32 b, f32 c) {
    return _mm512_fmadd_ps(a, b, c);
}
TARGET EGRU_INLINE f32 f_min(f32 a, f32 b) {
    return _mm512_min_ps(a, b);
}
TARGET EGRU_INLINE f32 f_max(f32 a, f32 b) {
    return _mm512_max_ps(a, b);
}
TARGET EGRU_INLINE f32 f_abs(f32 v) {
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), v);
}
TARGET EGRU_INLINE f32 f_with_sign(f32 v, f32 sign) {
    return _mm512_or_ps(v, _mm512_and_ps(_mm512_set1_ps(-0.0f), sign));
}
TARGET EGRU_INLINE f32 f_round(f32 v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
TARGET EGRU_INLINE f32 f_power2(f32 k) {
    __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(k), _mm512_set1_epi32(127));
    return _mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23));
}
#include "gru_float_template.h"
#endif

/* q = clamp(floor(a x + b)), product and sum rounded one by one. */
TARGET static uint32_t standardise(const float *a, const float *b, const float *x, void *q, uint32_t size,
                                   uint32_t bits) {
    const __m512 high = _mm512_set1_ps((float)egru_limit(bits)), low = _mm512_set1_ps(-(float)egru_limit(bits));
    uint32_t saturated = 0;
    for (uint32_t i = 0; i < size; i += LANES) {
        __mmask16 inside = (__mmask16)(size - i < LANES ? (1u << (size - i)) - 1u : 0xffffu);
        __m512 v = _mm512_add_ps(_mm512_mul_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(x + i)), _mm512_loadu_ps(b + i));
        __m512 whole = _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
        __m512 clamped = _mm512_max_ps(_mm512_min_ps(whole, high), low);
        saturated += (uint32_t)_mm_popcnt_u32(_mm512_mask_cmp_ps_mask(inside, whole, clamped, _CMP_NEQ_UQ));
        if (bits == 8)
            v_store8((int8_t *)q + i, _mm512_cvtps_epi32(clamped));
        else
            v_store16((int16_t *)q + i, _mm512_cvtps_epi32(clamped));
    }
    return saturated;
}
#define STANDARDISE standardise

#define CORRECTION(kind) ((kind) == EGRU_VECTOR_Q8 ? 128u : 32768u)
#include "kernel_template.h"

EGRU_KERNEL(egru_avx512, "avx512", vector_);
#endif
