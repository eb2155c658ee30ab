/* AVX2 and FMA: 8 rows to a register. Bytes are multiplied as |q| * (w with the sign of q), whose sums of two fit the 16
 * bits that vpmaddubsw saturates at. Where q < 0, panels take ~w = -w - 1 for -w, since more ports can invert bits than
 * change signs: sums lack |q| then, the same in every row; 2 * 127 * 128 < 2^15.
 */
#include "x86.h"

#ifdef EGRU_X86
#define TARGET __attribute__((target("avx2,fma")))
#define LANES 8

static EGRU_RARE int runs(void) {
    return egru_x86_has(EGRU_YMM, bit_AVX2, 0);
}

static int word(const void *p) {
    int value;
    memcpy(&value, p, 4);
    return value;
}

TARGET EGRU_INLINE __m256i load256(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

static const uint32_t low_15 = 32767, half_16 = 32768;
static const uint32_t least_16 = 0x80018001u, least_8 = 0xff81ff81u; /* two words of -32767, of -127 */
/* A number in all lanes, with one instruction: GCC would rather make it from others, with three or four. */
TARGET EGRU_INLINE __m256i all(const uint32_t *number) {
    __m256i lanes;
    __asm__("vpbroadcastd %1, %0" : "=x"(lanes) : "m"(*number));
    return lanes;
}

typedef struct {
    __m256i value, sign, magnitude;
} signed_bytes;
#define P_TARGET TARGET
#define P(name) q8_##name
#define P_ROWS 8
#define P_COLUMNS 4
#define P_ITEM 1
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC __m256i
#define P_OPERAND signed_bytes
#define P_WIDE 6
#define P_TILE 0
#define P_FILLED 0
#define P_PADDED 1
TARGET EGRU_INLINE __m256i q8_zero(void) {
    return _mm256_setzero_si256();
}
TARGET EGRU_INLINE __m256i q8_start(const int32_t *bias) {
    return load256(bias);
}
TARGET EGRU_INLINE signed_bytes q8_spread(const int8_t *q) {
    signed_bytes operand;
    operand.value = _mm256_set1_epi32(word(q));
    operand.sign = _mm256_cmpgt_epi8(_mm256_setzero_si256(), operand.value);
    operand.magnitude = _mm256_abs_epi8(operand.value);
    return operand;
}
/* In its place: GCC would rather move sums to another register and back. */
TARGET EGRU_INLINE __m256i added(__m256i acc, __m256i products) {
    __asm__("vpaddd %1, %0, %0" : "+x"(acc) : "x"(products));
    return acc;
}
TARGET EGRU_INLINE __m256i q8_add(__m256i acc, signed_bytes q, const unsigned char *w) {
    __m256i pairs = _mm256_maddubs_epi16(q.magnitude, _mm256_xor_si256(load256(w), q.sign));
    return added(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
TARGET EGRU_INLINE __m256i q8_add_exactly(__m256i acc, signed_bytes q, const unsigned char *w) {
    __m256i pairs = _mm256_maddubs_epi16(q.magnitude, _mm256_sign_epi8(load256(w), q.value));
    return added(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
TARGET EGRU_INLINE __m256i q8_sum(__m256i a, __m256i b) {
    return _mm256_add_epi32(a, b);
}
TARGET EGRU_INLINE void q8_store(int32_t *result, __m256i acc) {
    _mm256_storeu_si256((__m256i *)(void *)result, acc);
}
/* The sum of |q| where q < 0. */
TARGET EGRU_INLINE __m128i below_0(__m128i q) {
    __m128i zero = _mm_setzero_si128();
    return _mm_sad_epu8(_mm_sub_epi8(zero, _mm_min_epi8(q, zero)), zero);
}
TARGET static EGRU_NOINLINE __m256i q8_lack(const int8_t *q, uint32_t groups) {
    __m128i sum = _mm_setzero_si128();
    for (; groups >= 4; groups -= 4, q += 16)
        sum = _mm_add_epi32(sum, below_0(_mm_loadu_si128((const __m128i *)(const void *)q)));
    for (; groups; groups--, q += 4)
        sum = _mm_add_epi32(sum, below_0(_mm_cvtsi32_si128(word(q))));
    return _mm256_broadcastd_epi32(_mm_add_epi32(sum, _mm_srli_si128(sum, 8)));
}
#define P_LACKS 1
#include "x86_product.h"

#if EGRU_Q16
/* Weights become 16 bits on the way. */
#define P(name) q16_##name
#define P_ROWS 8
#define P_COLUMNS 2
#define P_ITEM 1
#define P_ELEMENT int16_t
#define P_RESULT int32_t
#define P_ACC __m256i
#define P_OPERAND __m256i
#define P_WIDE 6
#define P_TILE 0
#define P_FILLED 0
#define P_PADDED 1
#define q16_zero q8_zero
#define q16_start q8_start
#define q16_sum q8_sum
#define q16_store q8_store
TARGET EGRU_INLINE __m256i q16_spread(const int16_t *q) {
    return _mm256_set1_epi32(word(q));
}
TARGET EGRU_INLINE __m256i q16_add(__m256i acc, __m256i q, const unsigned char *w) {
    __m256i weights = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(const void *)w));
    return added(acc, _mm256_madd_epi16(weights, q));
}
#include "x86_product.h"
#endif

typedef __m256i v32, words;
typedef struct {
    __m256i half;
    __m128i count, raise;
} rounding;

TARGET EGRU_INLINE v32 v_load(const int32_t *p) {
    return load256(p);
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
TARGET EGRU_INLINE v32 v_floor0(v32 v) {
    return _mm256_max_epi32(v, v_set(0));
}
TARGET EGRU_INLINE rounding v_rounding(uint32_t shift) {
    const uint32_t raised = shift < EGRU_HIGH ? EGRU_HIGH : shift;
    rounding by;
    by.half = v_set(1 << (raised - EGRU_HIGH));
    by.count = _mm_cvtsi32_si128((int)(raised - 32));
    by.raise = _mm_cvtsi32_si128((int)(raised - shift));
    return by;
}
TARGET EGRU_INLINE v32 v_raise(v32 v, rounding by) {
    return _mm256_sll_epi32(v, by.raise);
}
TARGET EGRU_INLINE v32 odd(v32 v) {
    return _mm256_srli_epi64(v, 32);
}
/* From the products of even lanes, and of odd ones. */
TARGET EGRU_INLINE v32 rounded(__m256i even, __m256i uneven, rounding by) {
    v32 high = _mm256_blend_epi32(odd(even), uneven, 0xaa);
    return _mm256_sra_epi32(v_add(high, by.half), by.count);
}
TARGET EGRU_INLINE v32 v_scale_all(v32 a, v32 m, rounding by) {
    return rounded(_mm256_mul_epi32(a, m), _mm256_mul_epi32(odd(a), m), by);
}
TARGET EGRU_INLINE v32 v_scale(v32 a, const int32_t *pm, rounding by) {
    return rounded(_mm256_mul_epi32(a, v_load(pm)), _mm256_mul_epi32(odd(a), v_load(pm + 1)), by);
}
TARGET EGRU_INLINE v32 v_scale_two(v32 a, const int32_t *pm, v32 b, const int32_t *pn, rounding by) {
    return rounded(
        _mm256_add_epi64(_mm256_mul_epi32(a, v_load(pm)), _mm256_mul_epi32(b, v_load(pn))),
        _mm256_add_epi64(_mm256_mul_epi32(odd(a), v_load(pm + 1)), _mm256_mul_epi32(odd(b), v_load(pn + 1))), by);
}
/* There is no arithmetic shift of 64 bits: 2^62 makes the number positive, and is taken off behind the shift. */
TARGET static EGRU_NOINLINE v32 v_scale_any(v32 a, const int32_t *pm, v32 b, const int32_t *pn, uint32_t shift) {
    const __m256i lift = _mm256_set1_epi64x((int64_t)1 << 62);
    const __m128i count = _mm_cvtsi32_si128((int)shift);
    const __m256i half = _mm256_add_epi64(lift, _mm256_srl_epi64(lift, _mm_cvtsi32_si128((int)(63 - shift))));
    const v32 bias = _mm256_shuffle_epi32(_mm256_srl_epi64(lift, count), 0xa0);
    v32 even = _mm256_add_epi64(_mm256_mul_epi32(a, v_load(pm)), _mm256_mul_epi32(b, v_load(pn)));
    v32 uneven = _mm256_add_epi64(_mm256_mul_epi32(odd(a), v_load(pm + 1)), _mm256_mul_epi32(odd(b), v_load(pn + 1)));
    even = _mm256_srl_epi64(_mm256_add_epi64(even, half), count);
    uneven = _mm256_srl_epi64(_mm256_add_epi64(uneven, half), count);
    return v_sub(_mm256_blend_epi32(even, _mm256_slli_epi64(uneven, 32), 0xaa), bias);
}
/* |v m| */
TARGET EGRU_INLINE __m256 reach(v32 v, const int32_t *pm) {
    return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_abs_epi32(v)), _mm256_cvtepi32_ps(v_load(pm)));
}
TARGET EGRU_INLINE unsigned v_beyond(v32 a, const int32_t *pm, v32 b, const int32_t *pn, float limit) {
    __m256 both = _mm256_add_ps(reach(a, pm), reach(b, pn));
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(both, _mm256_set1_ps(limit), _CMP_GE_OQ));
}
TARGET EGRU_INLINE v32 v_half(v32 v) {
    return _mm256_srai_epi32(v, 1);
}
TARGET EGRU_INLINE words w_pack(v32 a, v32 b) {
    return _mm256_max_epi16(_mm256_packs_epi32(a, b), all(&least_16));
}

/* egru_tanh_c0 to c2 as bytes (tests/runtime/test_c_library.py compares them): c2 + 198; the low bytes of c1 + 1 and its
 * high ones, as far as there are any; the low bytes of c0, and 127 minus its high ones, as far as that is not 0. */
static const uint8_t tanh_bytes[256] = {
    169, 108, 57, 25, 5, 0, 13, 27, 45, 67, 88, 106, 124, 138, 149, 159, 169, 173, 180, 183, 186, 187, 190, 193,
    195, 196, 195, 194, 198, 198, 198, 198, 198, 198, 199, 198, 197, 199, 197, 197, 200, 198, 200, 198, 198,
    198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198, 198,
    10, 202, 20, 246, 152, 22, 135, 14, 181, 128, 120, 155, 225, 74, 209, 111, 30, 228, 177, 139, 110, 87, 68,
    52, 40, 31, 25, 22, 15, 11, 9, 7, 6, 5, 3, 3, 3, 1, 3, 3, 0, 1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
    1, 1, 1, 1, 1, 1, 1,
    16, 15, 15, 13, 12, 11, 9, 8, 6, 5, 4, 3, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 235, 89, 223, 39, 253, 77, 26, 124, 152, 149, 158, 220, 114, 127, 30, 102, 102, 48, 206, 73, 170, 245,
    48, 94, 130, 158, 179, 196, 210, 220, 228, 234, 239, 243, 246, 248, 250, 251, 252, 253, 254, 254, 255, 255,
    255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    127, 112, 96, 82, 68, 57, 46, 37, 30, 24, 19, 15, 12, 9, 7, 5, 4, 3, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0,
    0,
};
enum { C2 = 0, C1 = 64, C1_HIGH = 128, C0 = 160, C0_HIGH = 224 };
#define LANES_OF(v) {v, v, v, v, v, v, v, v}
/* 16, 32, 48, 112 and 127 as bytes, 511 and 198 as words; in memory, since there are few registers. */
static const uint32_t tanh_numbers[7][8] = {
    LANES_OF(0x10101010u), LANES_OF(0x20202020u), LANES_OF(0x30303030u), LANES_OF(0x70707070u),
    LANES_OF(0x7f7f7f7fu), LANES_OF(0x01ff01ffu), LANES_OF(0x00c600c6u)};
enum { N_112 = 3, N_127, N_511, N_198 };

/* Bytes of a table for 32 numbers, 16 segments at a time: where an index has its highest bit set, vpshufb gives 0. */
TARGET EGRU_INLINE __m256i lookup(const uint8_t *table, const __m256i *index, const int parts) {
    __m256i found = _mm256_setzero_si256();
    EGRU_UNROLL for (int i = 0; i < parts; i++) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(table + 16 * i));
        found = _mm256_or_si256(found, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes), index[i]));
    }
    return found;
}
/* Of 16 words, from c2 + 198, c1 + 1 and c0. R(p c; 15) is what vpmulhrsw computes. */
TARGET EGRU_INLINE void tanh_of_16(int32_t *t, const uint32_t (*n)[8], __m256i c2, __m256i c1, __m256i c0) {
    words v = v_load(t), u = _mm256_abs_epi16(v);
    words p = _mm256_slli_epi16(_mm256_and_si256(u, load256(n[N_511])), 6);
    c2 = _mm256_sub_epi16(c2, load256(n[N_198]));
    c1 = _mm256_sub_epi16(_mm256_add_epi16(c1, _mm256_mulhrs_epi16(p, c2)), _mm256_set1_epi16(1));
    c0 = _mm256_add_epi16(c0, _mm256_mulhrs_epi16(p, c1));
    v_store(t, _mm256_sign_epi16(c0, v));
}
TARGET static EGRU_NOINLINE void w_tanh(int32_t *t, uint32_t count) {
    const uint8_t *tables = tanh_bytes;
    const uint32_t (*n)[8] = tanh_numbers;
    const int32_t *end = t + count;
    __asm__("" : "+r"(tables), "+r"(n)); /* or GCC makes constants of its own of them, which it has to spread */
    for (; t < end; t += 16) {
        __m256i index[4], c2, c1, c1_high, c0, c0_high, zero = _mm256_setzero_si256();
        __m256i k = _mm256_packus_epi16(_mm256_srli_epi16(_mm256_abs_epi16(v_load(t)), 9),
                                        _mm256_srli_epi16(_mm256_abs_epi16(v_load(t + 8)), 9));
        EGRU_UNROLL for (int i = 0; i < 4; i++) /* segments from 16 i on become 112 to 127, the others 128 and more */
            index[i] = _mm256_add_epi8(i ? _mm256_xor_si256(k, load256(n[i - 1])) : k, load256(n[N_112]));
        c2 = lookup(tables + C2, index, 4);
        c1 = lookup(tables + C1, index, 4);
        c1_high = lookup(tables + C1_HIGH, index, 2);
        c0 = lookup(tables + C0, index, 4);
        c0_high = _mm256_sub_epi8(load256(n[N_127]), lookup(tables + C0_HIGH, index, 2));
        tanh_of_16(t, n, _mm256_unpacklo_epi8(c2, zero), _mm256_unpacklo_epi8(c1, c1_high),
                   _mm256_unpacklo_epi8(c0, c0_high));
        tanh_of_16(t + 8, n, _mm256_unpackhi_epi8(c2, zero), _mm256_unpackhi_epi8(c1, c1_high),
                   _mm256_unpackhi_epi8(c0, c0_high));
    }
}
TARGET EGRU_INLINE v32 w_first(words w) {
    return _mm256_unpacklo_epi16(w, _mm256_setzero_si256());
}
TARGET EGRU_INLINE v32 w_second(words w) {
    return _mm256_unpackhi_epi16(w, _mm256_setzero_si256());
}
TARGET EGRU_INLINE v32 w_first24(words w) {
    return _mm256_srai_epi32(_mm256_unpacklo_epi16(_mm256_setzero_si256(), w), 7);
}
TARGET EGRU_INLINE v32 w_second24(words w) {
    return _mm256_srai_epi32(_mm256_unpackhi_epi16(_mm256_setzero_si256(), w), 7);
}
/* With v = 2^15 high + low: (T high + v) 2^15 + T low + 2^15, over 2^16. */
TARGET EGRU_INLINE v32 v_gate(v32 t, v32 v) {
    v32 high = v_add(v, _mm256_madd_epi16(t, _mm256_srai_epi32(v, 15)));
    v32 low = v_add(all(&half_16), _mm256_madd_epi16(t, _mm256_and_si256(v, all(&low_15))));
    return _mm256_srai_epi32(v_add(high, _mm256_srai_epi32(low, 15)), 1);
}
TARGET static EGRU_NOINLINE v32 v_blend(v32 t, v32 a, v32 b) {
    v32 of_a = _mm256_xor_si256(t, v_set(32768)), of_b = v_sub(v_set(65536), of_a), half = _mm256_set1_epi64x(32768);
    v32 even = _mm256_add_epi64(_mm256_mul_epi32(a, of_a), _mm256_mul_epi32(b, of_b));
    v32 uneven = _mm256_add_epi64(_mm256_mul_epi32(odd(a), odd(of_a)), _mm256_mul_epi32(odd(b), odd(of_b)));
    even = _mm256_srli_epi64(_mm256_add_epi64(even, half), 16);
    return _mm256_blend_epi32(even, _mm256_slli_epi64(_mm256_add_epi64(uneven, half), 16), 0xaa);
}
TARGET EGRU_INLINE __m128i narrowed(v32 v) {
    return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
TARGET EGRU_INLINE void v_store8(int8_t *p, v32 v) {
    __m128i eight = _mm_max_epi16(narrowed(v), _mm256_castsi256_si128(all(&least_8)));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(eight, _mm_setzero_si128()));
}
TARGET EGRU_INLINE void v_store16(int16_t *p, v32 v) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm_max_epi16(narrowed(v), _mm256_castsi256_si128(all(&least_16))));
}
#define GATES_INLINE static EGRU_NOINLINE
#include "x86_gru.h"

typedef __m256 f32;
TARGET EGRU_INLINE f32 f_load(const float *p) {
    return _mm256_loadu_ps(p);
}
TARGET EGRU_INLINE f32 f_load_first(const float *p, size_t n) {
    return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(v_set((int32_t)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)));
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
TARGET EGRU_INLINE f32 f_min(f32 a, f32 b) {
    return _mm256_min_ps(a, b);
}
TARGET EGRU_INLINE f32 f_max(f32 a, f32 b) {
    return _mm256_max_ps(a, b);
}
TARGET EGRU_INLINE unsigned f_beyond(f32 v, f32 limit) {
    v32 magnitude = _mm256_and_si256(_mm256_castps_si256(v), v_set(0x7fffffff));
    v32 larger = _mm256_cmpgt_epi32(magnitude, _mm256_castps_si256(limit));
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(larger));
}
TARGET EGRU_INLINE f32 f_floor(f32 v) {
    return _mm256_floor_ps(v);
}
TARGET EGRU_INLINE unsigned f_differ(f32 a, f32 b) {
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NEQ_UQ));
}
TARGET EGRU_INLINE v32 f_integer(f32 v) {
    return _mm256_cvtps_epi32(v);
}
#include "x86_input.h"
#include "x86_operand.h"

#if EGRU_FLOAT
TARGET EGRU_INLINE f32 f_fma(f32 a, f32 b, f32 c) {
    return _mm256_fmadd_ps(a, b, c);
}
TARGET EGRU_INLINE f32 f_inverse(f32 v) {
    return _mm256_div_ps(f_set(1.0f), v);
}
TARGET EGRU_INLINE f32 f_scale(f32 v, f32 k) {
    return _mm256_castsi256_ps(v_add(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_castps_si256(k), 23)));
}
#include "x86_float.h"

#define P(name) float_##name
#define P_ROWS 8
#define P_COLUMNS 1
#define P_ITEM 4
#define P_ELEMENT float
#define P_RESULT float
#define P_ACC __m256
#define P_OPERAND __m256
#define P_WIDE 6
#define P_TILE 3
#define P_FILLED 0
#define P_PADDED 0
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
#include "x86_product.h"
#endif

#include "x86_kernel.h"

EGRU_X86_KERNEL(egru_avx2, "avx2", vector_);
#endif
