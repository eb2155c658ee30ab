/* AVX2 and FMA: 8 rows to a register. Bytes are multiplied as |q| * (w with the sign of q), whose sums of two fit the 16
 * bits that vpmaddubsw saturates at: 2 * 127 * 127 < 2^15.
 */
#include "x86.h"

#ifdef EGRU_X86
#define TARGET __attribute__((target("avx2,fma,popcnt")))
#define SIDE_BY_SIDE 1
#define LANES 8

static int runs(void) {
    return egru_x86_has(EGRU_YMM, bit_AVX2, 0);
}

static int read_word(const void *p) {
    int value;
    memcpy(&value, p, 4);
    return value;
}

typedef struct {
    __m256i value, magnitude;
} signed_bytes;
#define P_TARGET TARGET
#define P(name) q8_##name
#define P_ROWS 8
#define P_COLUMNS 4
#define P_BYTES 32
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC __m256i
#define P_OPERAND signed_bytes
#define P_WIDE 8
#define P_TILE 2
#define P_QUARTER 1
#define P_EXACT 1
TARGET EGRU_INLINE __m256i q8_zero(void) {
    return _mm256_setzero_si256();
}
TARGET EGRU_INLINE __m256i q8_start(const int32_t *bias) {
    return _mm256_loadu_si256((const __m256i *)(const void *)bias);
}
TARGET EGRU_INLINE signed_bytes q8_spread(const int8_t *q) {
    signed_bytes operand;
    operand.value = _mm256_set1_epi32(read_word(q));
    operand.magnitude = _mm256_abs_epi8(operand.value);
    return operand;
}
TARGET EGRU_INLINE __m256i q8_add(__m256i acc, signed_bytes q, const unsigned char *w) {
    __m256i weights = _mm256_load_si256((const __m256i *)(const void *)w);
    __m256i pairs = _mm256_maddubs_epi16(q.magnitude, _mm256_sign_epi8(weights, q.value));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
TARGET EGRU_INLINE __m256i q8_sum(__m256i a, __m256i b) {
    return _mm256_add_epi32(a, b);
}
TARGET EGRU_INLINE void q8_store(int32_t *result, __m256i acc) {
    _mm256_storeu_si256((__m256i *)(void *)result, acc);
}
#include "product_template.h"

#define P(name) q16_##name
#define P_ROWS 8
#define P_COLUMNS 2
#define P_BYTES 16
#define P_ELEMENT int16_t
#define P_RESULT int32_t
#define P_ACC __m256i
#define P_OPERAND __m256i
#define P_WIDE 8
#define P_TILE 2
#define P_QUARTER 1
#define P_EXACT 1
#define q16_zero q8_zero
#define q16_start q8_start
#define q16_sum q8_sum
#define q16_store q8_store
TARGET EGRU_INLINE __m256i q16_spread(const int16_t *q) {
    return _mm256_set1_epi32(read_word(q));
}
TARGET EGRU_INLINE __m256i q16_add(__m256i acc, __m256i q, const unsigned char *w) {
    __m256i weights = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)w));
    return _mm256_add_epi32(acc, _mm256_madd_epi16(weights, q));
}
#include "product_template.h"

typedef __m256i v32;
typedef struct {
    __m256i even, odd; /* of the lanes' numbers, 64 bits each */
} wide;
typedef struct {
    __m256i half, bias; /* bias: what 2^62 becomes */
    __m128i count;
} rounding;

TARGET EGRU_INLINE v32 v_load(const int32_t *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}
TARGET EGRU_INLINE void v_store(int32_t *p, v32 v) {
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}
TARGET EGRU_INLINE v32 v_set(int32_t v) {
    return _mm256_set1_epi32(v);
}
TARGET EGRU_INLINE v32 v_add(v32 a, v32 b) {
    return _mm256_add_epi32(a, b);
}
TARGET EGRU_INLINE v32 v_sub(v32 a, v32 b) {
    return _mm256_sub_epi32(a, b);
}
TARGET EGRU_INLINE v32 v_shift9(v32 v) {
    return _mm256_slli_epi32(v, 9);
}
TARGET EGRU_INLINE wide w_product(v32 a, v32 b) {
    wide w = {_mm256_mul_epi32(a, b), _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32))};
    return w;
}
TARGET EGRU_INLINE wide w_product_at(const int32_t *a, const int32_t *b) {
    return w_product(v_load(a), v_load(b));
}
TARGET EGRU_INLINE wide w_scaled(v32 a, v32 b) {
    wide w = {_mm256_mul_epi32(a, b), _mm256_mul_epi32(_mm256_srli_epi64(a, 32), b)};
    return w;
}
TARGET EGRU_INLINE wide w_add(wide a, wide b) {
    wide w = {_mm256_add_epi64(a.even, b.even), _mm256_add_epi64(a.odd, b.odd)};
    return w;
}
/* There is no arithmetic shift of 64 bits: 2^62 makes the number positive, and is taken off behind the shift. */
TARGET EGRU_INLINE rounding w_rounding(uint32_t shift) {
    rounding by = {_mm256_set1_epi64x((1LL << 62) + (1LL << (shift - 1))),
                   _mm256_set1_epi64x(1LL << (62 - shift)), _mm_cvtsi32_si128((int)shift)};
    return by;
}
TARGET EGRU_INLINE wide w_round(wide v, rounding by) {
    wide w = {_mm256_sub_epi64(_mm256_srl_epi64(_mm256_add_epi64(v.even, by.half), by.count), by.bias),
              _mm256_sub_epi64(_mm256_srl_epi64(_mm256_add_epi64(v.odd, by.half), by.count), by.bias)};
    return w;
}
TARGET EGRU_INLINE __m256i least(__m256i a, __m256i b) {
    return _mm256_blendv_epi8(a, b, _mm256_cmpgt_epi64(a, b));
}
TARGET EGRU_INLINE __m256i most(__m256i a, __m256i b) {
    return _mm256_blendv_epi8(b, a, _mm256_cmpgt_epi64(a, b));
}
TARGET EGRU_INLINE wide w_clamp(wide v, int64_t limit) {
    __m256i high = _mm256_set1_epi64x(limit), low = _mm256_set1_epi64x(-limit);
    wide w = {most(least(v.even, high), low), most(least(v.odd, high), low)};
    return w;
}
TARGET EGRU_INLINE wide w_floor0(wide v) {
    wide w = {most(v.even, _mm256_setzero_si256()), most(v.odd, _mm256_setzero_si256())};
    return w;
}
TARGET EGRU_INLINE v32 w_narrow(wide v) {
    return _mm256_blend_epi32(v.even, _mm256_slli_epi64(v.odd, 32), 0xaa);
}
/* The low 16 bits of each lane are those of the table; R(p c; 15) is what vpmulhrsw computes. */
TARGET EGRU_INLINE __m256i lookup(const int16_t *table, __m256i index) {
    return _mm256_i32gather_epi32((const int *)(const void *)table, index, 2);
}
TARGET EGRU_INLINE v32 tanh8(v32 a) {
    __m256i u = _mm256_abs_epi32(a), k = _mm256_srli_epi32(u, 9);
    __m256i p = _mm256_slli_epi32(_mm256_and_si256(u, _mm256_set1_epi32(511)), 6);
    __m256i inner = _mm256_add_epi16(lookup(egru_tanh_c1, k), _mm256_mulhrs_epi16(p, lookup(egru_tanh_c2, k)));
    __m256i t = _mm256_add_epi16(lookup(egru_tanh_c0, k), _mm256_mulhrs_epi16(p, inner));
    return _mm256_sign_epi32(_mm256_srai_epi32(_mm256_slli_epi32(t, 16), 16), a);
}
TARGET EGRU_INLINE void v_tanh2(v32 a, v32 b, v32 *ta, v32 *tb) {
    *ta = tanh8(a);
    *tb = tanh8(b);
}
TARGET EGRU_INLINE void v_store16(int16_t *p, v32 v) {
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v, v), 0x08);
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(words));
}
TARGET EGRU_INLINE void v_store8(int8_t *p, v32 v) {
    __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v, v), 0x08);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm_setzero_si128());
    _mm_storel_epi64((__m128i *)(void *)p, bytes);
}
#include "gru_template.h"

#if EGRU_FLOAT
#define P(name) float_##name
#define P_ROWS 8
#define P_COLUMNS 1
#define P_BYTES 32
#define P_ELEMENT float
#define P_RESULT float
#define P_ACC __m256
#define P_OPERAND __m256
#define P_WIDE 8
#define P_TILE 2
#define P_QUARTER 1
#define P_EXACT 0
TARGET EGRU_INLINE __m256 float_zero(void) {
    return _mm256_setzero_ps();
}
TARGET EGRU_INLINE __m256 float_start(const float *bias) {
    return _mm256_loadu_ps(bias);
}
TARGET EGRU_INLINE __m256 float_spread(const float *v) {
    return _mm256_set1_ps(*v);
}
TARGET EGRU_INLINE __m256 float_add(__m256 acc, __m256 v, const unsigned char *w) {
    return _mm256_fmadd_ps(v, _mm256_load_ps((const float *)(const void *)w), acc);
}
TARGET EGRU_INLINE __m256 float_sum(__m256 a, __m256 b) {
    return _mm256_add_ps(a, b);
}
TARGET EGRU_INLINE void float_store(float *result, __m256 acc) {
    _mm256_storeu_ps(result, acc);
}
#include "product_template.h"

typedef __m256 f32;
TARGET EGRU_INLINE f32 f_load(const float *p) {
    return _mm256_loadu_ps(p);
}
TARGET EGRU_INLINE void f_store(float *p, f32 v) {
    _mm256_storeu_ps(p, v);
}
TARGET EGRU_INLINE f32 f_set(float v) {
    return _mm256_set1_ps(v);
}
TARGET EGRU_INLINE f32 f_add(f32 a, f32 b) {
    return _mm256_add_ps(a, b);
}
TARGET EGRU_INLINE f32 f_sub(f32 a, f32 b) {
    return _mm256_sub_ps(a, b);
}
TARGET EGRU_INLINE f32 f_mul(f32 a, f32 b) {
    return _mm256_mul_ps(a, b);
}
TARGET EGRU_INLINE f32 f_div(f32 a, f32 b) {
    return _mm256_div_ps(a, b);
}
TARGET EGRU_INLINE f32 f_fma(f32 a, f32 b, f32 c) {
    return _mm256_fmadd_ps(a, b, c);
}
TARGET EGRU_INLINE f32 f_min(f32 a, f32 b) {
    return _mm256_min_ps(a, b);
}
TARGET EGRU_INLINE f32 f_max(f32 a, f32 b) {
    return _mm256_max_ps(a, b);
}
TARGET EGRU_INLINE f32 f_abs(f32 v) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
}
TARGET EGRU_INLINE f32 f_with_sign(f32 v, f32 sign) {
    return _mm256_or_ps(v, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}
TARGET EGRU_INLINE f32 f_round(f32 v) {
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
TARGET EGRU_INLINE f32 f_power2(f32 k) {
    __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(k), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
}
#include "gru_float_template.h"
#endif

/* q = clamp(floor(a x + b)), product and sum rounded one by one. */
TARGET static uint32_t standardise(const float *a, const float *b, const float *x, void *q, uint32_t size,
                                   uint32_t bits) {
    const __m256 high = _mm256_set1_ps((float)egru_limit(bits)), low = _mm256_set1_ps(-(float)egru_limit(bits));
    uint32_t saturated = 0;
    for (uint32_t i = 0; i < size; i += LANES) {
        uint32_t inside = size - i < LANES ? (1u << (size - i)) - 1u : 0xffu;
        __m256 v = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(x + i)), _mm256_loadu_ps(b + i));
        __m256 whole = _mm256_round_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
        __m256 clamped = _mm256_max_ps(_mm256_min_ps(whole, high), low);
        uint32_t beyond = (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(whole, clamped, _CMP_NEQ_UQ));
        saturated += (uint32_t)_mm_popcnt_u32(beyond & inside);
        if (bits == 8)
            v_store8((int8_t *)q + i, _mm256_cvtps_epi32(clamped));
        else
            v_store16((int16_t *)q + i, _mm256_cvtps_epi32(clamped));
    }
    return saturated;
}
#define STANDARDISE standardise

#include "kernel_template.h"

EGRU_KERNEL(egru_avx2, "avx2", vector_);
#endif
