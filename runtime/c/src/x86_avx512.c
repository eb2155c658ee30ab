/* AVX-512 with VNNI: 16 rows to a register, 64 products an instruction. Bytes of an operand are multiplied as unsigned
 * numbers, q + 128, whose excess over the signed product the bias takes off again; sums wrap around 2^32 and end in range.
 */
#include "x86.h"

#ifdef EGRU_X86
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")))
#define LANES 16

static EGRU_RARE int runs(void) {
    return egru_x86_has(EGRU_ZMM, bit_AVX2 | bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL, bit_AVX512VNNI);
}

static int word(const void *p) {
    int value;
    memcpy(&value, p, 4);
    return value;
}

#define P_TARGET TARGET
#define P(name) q8_##name
#define P_ROWS 16
#define P_COLUMNS 4
#define P_ITEM 1
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC __m512i
#define P_OPERAND __m512i
#define P_WIDE 6
#define P_TILE 6
#define P_FILLED 0
#define P_PADDED 1
TARGET EGRU_INLINE __m512i q8_zero(void) {
    return _mm512_setzero_si512();
}
TARGET EGRU_INLINE __m512i q8_start(const int32_t *bias) {
    return _mm512_loadu_si512(bias);
}
TARGET EGRU_INLINE __m512i q8_spread(const int8_t *q) {
    return _mm512_set1_epi32(word(q) ^ (int)0x80808080u);
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
#include "x86_product.h"

/* Few rows, 4 to a register: of each 16 columns, whose sums are added up at the end. */
#define P(name) q8_thin_##name
#define P_ROWS 4
#define P_COLUMNS 16
#define P_ITEM 1
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC __m512i
#define P_OPERAND __m512i
#define P_WIDE 1
#define P_TILE 0
#define P_FILLED 0
#define P_PADDED 1
#define q8_thin_zero q8_zero
#define q8_thin_add q8_add
#define q8_thin_sum q8_sum
TARGET EGRU_INLINE __m512i q8_thin_start(const int32_t *bias) {
    return _mm512_maskz_expandloadu_epi32(0x1111, bias);
}
TARGET EGRU_INLINE __m512i q8_thin_spread(const int8_t *q) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)q);
    return _mm512_broadcast_i32x4(_mm_xor_si128(bytes, _mm_set1_epi8(-128)));
}
TARGET EGRU_INLINE void q8_thin_store(int32_t *result, __m512i acc) {
    acc = _mm512_add_epi32(acc, _mm512_shuffle_epi32(acc, _MM_PERM_CDAB));
    acc = _mm512_add_epi32(acc, _mm512_shuffle_epi32(acc, _MM_PERM_BADC));
    _mm_storeu_si128((__m128i *)(void *)result, _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, acc)));
}
#include "x86_product.h"

#if EGRU_Q16
/* Weights become 16 bits on the way. */
#define P(name) q16_##name
#define P_ROWS 16
#define P_COLUMNS 2
#define P_ITEM 1
#define P_ELEMENT int16_t
#define P_RESULT int32_t
#define P_ACC __m512i
#define P_OPERAND __m512i
#define P_WIDE 6
#define P_TILE 0
#define P_FILLED 0
#define P_PADDED 1
#define q16_zero q8_zero
#define q16_start q8_start
#define q16_sum q8_sum
#define q16_store q8_store
TARGET EGRU_INLINE __m512i q16_spread(const int16_t *q) {
    return _mm512_set1_epi32(word(q));
}
TARGET EGRU_INLINE __m512i q16_add(__m512i acc, __m512i q, const unsigned char *w) {
    return _mm512_dpwssd_epi32(acc, q, _mm512_cvtepi8_epi16(_mm256_load_si256((const __m256i *)(const void *)w)));
}
#include "x86_product.h"
#endif

typedef __m512i v32, words;
typedef struct {
    __m512i half;
    __m128i count, raise;
} rounding;

/* Loaded once: compilers would rather load again than move, and loads are what there are most of. */
TARGET EGRU_INLINE v32 v_load(const int32_t *p) {
    v32 v = _mm512_loadu_si512(p);
    __asm__("" : "+v"(v));
    return v;
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
TARGET EGRU_INLINE v32 v_floor0(v32 v) {
    return _mm512_max_epi32(v, v_set(0));
}
TARGET EGRU_INLINE rounding v_rounding(uint32_t shift) {
    const uint32_t raised = shift < EGRU_HIGH ? EGRU_HIGH : shift;
    rounding by = {v_set(1 << (raised - EGRU_HIGH)), _mm_cvtsi32_si128((int)(raised - 32)),
                   _mm_cvtsi32_si128((int)(raised - shift))};
    return by;
}
TARGET EGRU_INLINE v32 v_raise(v32 v, rounding by) {
    return _mm512_sll_epi32(v, by.raise);
}
/* Products of even lanes, and of odd ones. */
TARGET EGRU_INLINE v32 odd(v32 v) {
    return _mm512_castps_si512(_mm512_movehdup_ps(_mm512_castsi512_ps(v)));
}
TARGET EGRU_INLINE v32 rounded(__m512i even, __m512i uneven, rounding by) {
    v32 high = _mm512_mask_shuffle_epi32(uneven, 0x5555, even, _MM_PERM_DDBB);
    return _mm512_sra_epi32(v_add(high, by.half), by.count);
}
/* Multipliers of odd lanes are loaded from one number further on: there are more shuffles than loads. */
TARGET EGRU_INLINE v32 v_scale(v32 a, const int32_t *pm, rounding by) {
    return rounded(_mm512_mul_epi32(a, v_load(pm)), _mm512_mul_epi32(odd(a), v_load(pm + 1)), by);
}
TARGET EGRU_INLINE v32 v_scale_all(v32 a, v32 m, rounding by) {
    return rounded(_mm512_mul_epi32(a, m), _mm512_mul_epi32(odd(a), m), by);
}
TARGET EGRU_INLINE v32 v_scale_two(v32 a, const int32_t *pm, v32 b, const int32_t *pn, rounding by) {
    return rounded(
        _mm512_add_epi64(_mm512_mul_epi32(a, v_load(pm)), _mm512_mul_epi32(b, v_load(pn))),
        _mm512_add_epi64(_mm512_mul_epi32(odd(a), v_load(pm + 1)), _mm512_mul_epi32(odd(b), v_load(pn + 1))), by);
}
TARGET static EGRU_NOINLINE v32 v_scale_any(v32 a, const int32_t *pm, v32 b, const int32_t *pn, uint32_t shift) {
    const __m512i half = _mm512_set1_epi64((long long)1 << (shift - 1));
    const __m128i count = _mm_cvtsi32_si128((int)shift);
    v32 even = _mm512_add_epi64(_mm512_mul_epi32(a, v_load(pm)), _mm512_mul_epi32(b, v_load(pn)));
    v32 uneven = _mm512_add_epi64(_mm512_mul_epi32(odd(a), v_load(pm + 1)), _mm512_mul_epi32(odd(b), v_load(pn + 1)));
    even = _mm512_sra_epi64(_mm512_add_epi64(even, half), count);
    uneven = _mm512_sra_epi64(_mm512_add_epi64(uneven, half), count);
    return _mm512_mask_shuffle_epi32(even, 0xaaaa, uneven, _MM_PERM_CCAA);
}
/* |v m| */
TARGET EGRU_INLINE __m512 reach(v32 v, const int32_t *pm) {
    return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_abs_epi32(v)), _mm512_cvtepi32_ps(v_load(pm)));
}
TARGET EGRU_INLINE unsigned v_beyond(v32 a, const int32_t *pm, v32 b, const int32_t *pn, float limit) {
    return _mm512_cmp_ps_mask(_mm512_add_ps(reach(a, pm), reach(b, pn)), _mm512_set1_ps(limit), _CMP_GE_OQ);
}
TARGET EGRU_INLINE v32 v_half(v32 v) {
    return _mm512_srai_epi32(v, 1);
}
TARGET EGRU_INLINE words w_pack(v32 a, v32 b) {
    return _mm512_max_epi16(_mm512_packs_epi32(a, b), _mm512_set1_epi16(-32767));
}
TARGET EGRU_INLINE words lookup(const int16_t *table, words index) {
    return _mm512_permutex2var_epi16(_mm512_loadu_si512(table), index, _mm512_loadu_si512(table + 32));
}
/* R(p c; 15) is what vpmulhrsw computes. */
TARGET EGRU_INLINE void w_tanh(int32_t *t, uint32_t count) {
    for (const int32_t *end = t + count; t < end; t += 16) {
        words v = v_load(t), u = _mm512_abs_epi16(v), k = _mm512_srli_epi16(u, 9);
        words p = _mm512_slli_epi16(_mm512_and_si512(u, _mm512_set1_epi16(511)), 6);
        words inner = _mm512_add_epi16(lookup(egru_tanh_c1, k), _mm512_mulhrs_epi16(p, lookup(egru_tanh_c2, k)));
        words value = _mm512_add_epi16(lookup(egru_tanh_c0, k), _mm512_mulhrs_epi16(p, inner));
        v_store(t, _mm512_mask_sub_epi16(value, _mm512_movepi16_mask(v), _mm512_setzero_si512(), value));
    }
}
TARGET EGRU_INLINE v32 w_first(words w) {
    return _mm512_unpacklo_epi16(w, _mm512_setzero_si512());
}
TARGET EGRU_INLINE v32 w_second(words w) {
    return _mm512_unpackhi_epi16(w, _mm512_setzero_si512());
}
TARGET EGRU_INLINE v32 w_first24(words w) {
    return _mm512_srai_epi32(_mm512_unpacklo_epi16(_mm512_setzero_si512(), w), 7);
}
TARGET EGRU_INLINE v32 w_second24(words w) {
    return _mm512_srai_epi32(_mm512_unpackhi_epi16(_mm512_setzero_si512(), w), 7);
}
/* With v = 2^15 high + low: (T high + v) 2^15 + T low + 2^15, over 2^16. */
TARGET EGRU_INLINE v32 v_gate(v32 t, v32 v) {
    v32 high = _mm512_dpwssd_epi32(v, t, _mm512_srai_epi32(v, 15));
    v32 low = _mm512_dpwssd_epi32(v_set(32768), t, _mm512_and_si512(v, v_set(32767)));
    return _mm512_srai_epi32(v_add(high, _mm512_srai_epi32(low, 15)), 1);
}
TARGET static EGRU_NOINLINE v32 v_blend(v32 t, v32 a, v32 b) {
    v32 of_a = _mm512_xor_si512(t, v_set(32768)), of_b = v_sub(v_set(65536), of_a), half = _mm512_set1_epi64(32768);
    v32 even = _mm512_add_epi64(_mm512_mul_epi32(a, of_a), _mm512_mul_epi32(b, of_b));
    v32 uneven = _mm512_add_epi64(_mm512_mul_epi32(odd(a), odd(of_a)), _mm512_mul_epi32(odd(b), odd(of_b)));
    even = _mm512_srli_epi64(_mm512_add_epi64(even, half), 16);
    return _mm512_mask_blend_epi32(0xaaaa, even, _mm512_slli_epi64(_mm512_add_epi64(uneven, half), 16));
}
TARGET EGRU_INLINE void v_store8(int8_t *p, v32 v) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtsepi32_epi8(_mm512_max_epi32(v, v_set(-127))));
}
TARGET EGRU_INLINE void v_store16(int16_t *p, v32 v) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtsepi32_epi16(_mm512_max_epi32(v, v_set(-32767))));
}
#ifndef STEPS
#define STEPS 1
#endif
#define GATES_INLINE EGRU_INLINE
#include "x86_gru.h"

typedef __m512 f32;
TARGET EGRU_INLINE f32 f_load(const float *p) {
    return _mm512_loadu_ps(p);
}
TARGET EGRU_INLINE f32 f_load_first(const float *p, size_t n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
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
TARGET EGRU_INLINE f32 f_min(f32 a, f32 b) {
    return _mm512_min_ps(a, b);
}
TARGET EGRU_INLINE f32 f_max(f32 a, f32 b) {
    return _mm512_max_ps(a, b);
}
TARGET EGRU_INLINE unsigned f_beyond(f32 v, f32 limit) {
    v32 magnitude = _mm512_and_si512(_mm512_castps_si512(v), v_set(0x7fffffff));
    return _mm512_cmpgt_epi32_mask(magnitude, _mm512_castps_si512(limit));
}
TARGET EGRU_INLINE f32 f_floor(f32 v) {
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
TARGET EGRU_INLINE unsigned f_differ(f32 a, f32 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ);
}
TARGET EGRU_INLINE v32 f_integer(f32 v) {
    return _mm512_cvtps_epi32(v);
}
#include "x86_input.h"
#include "x86_operand.h"

#if EGRU_FLOAT
TARGET EGRU_INLINE f32 f_fma(f32 a, f32 b, f32 c) {
    return _mm512_fmadd_ps(a, b, c);
}
TARGET EGRU_INLINE f32 f_inverse(f32 v) { /* a step of Newton from 14 bits */
    f32 guess = _mm512_rcp14_ps(v);
    return _mm512_mul_ps(guess, _mm512_fnmadd_ps(v, guess, f_set(2.0f)));
}
TARGET EGRU_INLINE f32 f_scale(f32 v, f32 k) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_castps_si512(v), _mm512_slli_epi32(_mm512_castps_si512(k), 23)));
}
#include "x86_float.h"

#define P(name) float_##name
#define P_ROWS 16
#define P_COLUMNS 1
#define P_ITEM 4
#define P_ELEMENT float
#define P_RESULT float
#define P_ACC __m512
#define P_OPERAND __m512
#define P_WIDE 6
#define P_TILE 6
#define P_FILLED 0
#define P_PADDED 0
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
#include "x86_product.h"


#define P(name) float_thin_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_ITEM 4
#define P_ELEMENT float
#define P_RESULT float
#define P_ACC __m512
#define P_OPERAND __m512
#define P_WIDE 1
#define P_TILE 0
#define P_FILLED 0
#define P_PADDED 0
#define float_thin_zero float_zero
#define float_thin_add float_add
#define float_thin_sum float_sum
TARGET EGRU_INLINE __m512 float_thin_start(const float *bias) {
    return _mm512_maskz_expandloadu_ps(0x1111, bias);
}
TARGET EGRU_INLINE __m512 float_thin_spread(const float *v) {
    return _mm512_broadcast_f32x4(_mm_loadu_ps(v));
}
TARGET EGRU_INLINE void float_thin_store(float *result, __m512 acc) {
    acc = _mm512_add_ps(acc, _mm512_shuffle_ps(acc, acc, _MM_SHUFFLE(2, 3, 0, 1)));
    acc = _mm512_add_ps(acc, _mm512_shuffle_ps(acc, acc, _MM_SHUFFLE(1, 0, 3, 2)));
    _mm_storeu_ps(result, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, acc)));
}
#include "x86_product.h"
#endif

/* How a matrix is packed: `thin` where few rows would leave most of a register empty, and columns come in fours, since
 * floats behind the last one are not known to be finite. */
static int thin(uint32_t rows, uint32_t columns) {
    return rows <= 8 && columns % 4 == 0;
}

static const egru_blocks *shape_of(uint32_t kind, uint32_t rows, uint32_t columns) {
#if EGRU_FLOAT
    if (kind == EGRU_VECTOR_FLOAT)
        return thin(rows, columns) ? &float_thin_shape : &float_shape;
#endif
#if EGRU_Q16
    if (kind == EGRU_VECTOR_Q16)
        return &q16_shape;
#endif
    return thin(rows, columns) ? &q8_thin_shape : &q8_shape;
}

TARGET static void multiply_q8(const egru_matrix *m, const int8_t *const *q, int32_t *const *acc, size_t count) {
    if (thin(m->rows, m->columns))
        q8_thin_product(m, q, acc, count);
    else
        q8_product(m, q, acc, count);
}

#if EGRU_FLOAT
TARGET static void multiply_float(const egru_matrix *m, const float *const *v, float *const *acc, size_t count) {
    if (thin(m->rows, m->columns))
        float_thin_product(m, v, acc, count);
    else
        float_product(m, v, acc, count);
}
#endif

#define EGRU_SHAPE_OF
#define EXCESS 128u
#include "x86_kernel.h"

EGRU_X86_KERNEL(egru_avx512, "avx512", vector_);
#endif
