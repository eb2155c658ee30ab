/* SSE2, which every x86-64 processor has: 4 rows to a register; weights and operands are multiplied as 16-bit numbers. */
#include "x86.h"

#ifdef EGRU_X86
#define TARGET __attribute__((target("sse2")))
#define LANES 4

static EGRU_RARE int runs(void) {
    uint32_t a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (d & bit_SSE2) != 0;
}

/* Rows in lanes, columns in the bytes of each: 0 and 2 are the even ones, 1 and 3 the odd ones. */
typedef struct {
    __m128i even, odd;
} four_columns;
TARGET EGRU_INLINE __m128i zero(void) {
    return _mm_setzero_si128();
}
TARGET EGRU_INLINE __m128i start(const int32_t *bias) {
    return _mm_loadu_si128((const __m128i *)(const void *)bias);
}
TARGET EGRU_INLINE __m128i sum(__m128i a, __m128i b) {
    return _mm_add_epi32(a, b);
}
TARGET EGRU_INLINE void store(int32_t *result, __m128i acc) {
    _mm_storeu_si128((__m128i *)(void *)result, acc);
}
TARGET EGRU_INLINE __m128i add(__m128i acc, four_columns q, const unsigned char *w) {
    __m128i weights = _mm_load_si128((const __m128i *)(const void *)w);
    __m128i even = _mm_srai_epi16(_mm_slli_epi16(weights, 8), 8), odd = _mm_srai_epi16(weights, 8);
    return _mm_add_epi32(acc, _mm_add_epi32(_mm_madd_epi16(even, q.even), _mm_madd_epi16(odd, q.odd)));
}
/* From four columns in the lowest 16-bit numbers. */
TARGET EGRU_INLINE four_columns spread(__m128i words) {
    four_columns q = {_mm_shuffle_epi32(_mm_shufflelo_epi16(words, _MM_SHUFFLE(2, 0, 2, 0)), 0),
                      _mm_shuffle_epi32(_mm_shufflelo_epi16(words, _MM_SHUFFLE(3, 1, 3, 1)), 0)};
    return q;
}

#define P_TARGET TARGET
#define P(name) q8_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_ITEM 1
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC __m128i
#define P_OPERAND four_columns
#define P_WIDE 3
#define P_TILE 0
#define P_FILLED 1
#define P_PADDED 1
#define q8_zero zero
#define q8_start start
#define q8_add add
#define q8_sum sum
#define q8_store store
TARGET EGRU_INLINE four_columns q8_spread(const int8_t *q) {
    int four;
    __m128i bytes;
    memcpy(&four, q, 4);
    bytes = _mm_cvtsi32_si128(four);
    return spread(_mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8));
}
#include "x86_product.h"

#if EGRU_Q16
#define P(name) q16_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_ITEM 1
#define P_ELEMENT int16_t
#define P_RESULT int32_t
#define P_ACC __m128i
#define P_OPERAND four_columns
#define P_WIDE 3
#define P_TILE 0
#define P_FILLED 1
#define P_PADDED 1
#define q16_zero zero
#define q16_start start
#define q16_add add
#define q16_sum sum
#define q16_store store
TARGET EGRU_INLINE four_columns q16_spread(const int16_t *q) {
    return spread(_mm_loadl_epi64((const __m128i *)(const void *)q));
}
#include "x86_product.h"
#endif

typedef __m128 f32;
TARGET EGRU_INLINE f32 f_load(const float *p) {
    return _mm_loadu_ps(p);
}
TARGET EGRU_INLINE f32 f_load_first(const float *p, size_t n) {
    f32 v = _mm_setzero_ps();
    while (n--)
        v = _mm_move_ss(_mm_shuffle_ps(v, v, _MM_SHUFFLE(2, 1, 0, 0)), _mm_load_ss(p + n));
    return v;
}
TARGET EGRU_INLINE void f_store(float *p, f32 v) {
    _mm_storeu_ps(p, v);
}
TARGET EGRU_INLINE f32 f_set(float v) {
    return _mm_set1_ps(v);
}
TARGET EGRU_INLINE f32 f_sub(f32 a, f32 b) {
    return _mm_sub_ps(a, b);
}
TARGET EGRU_INLINE f32 f_div(f32 a, f32 b) {
    return _mm_div_ps(a, b);
}
TARGET EGRU_INLINE unsigned f_beyond(f32 v, f32 limit) {
    __m128i magnitude = _mm_and_si128(_mm_castps_si128(v), _mm_set1_epi32(0x7fffffff));
    return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpgt_epi32(magnitude, _mm_castps_si128(limit))));
}
#include "x86_input.h"

#if EGRU_FLOAT
#define P(name) float_##name
#define P_ROWS 4
#define P_COLUMNS 1
#define P_ITEM 4
#define P_ELEMENT float
#define P_RESULT float
#define P_ACC __m128
#define P_OPERAND __m128
#define P_WIDE 6
#define P_TILE 0
#define P_FILLED 1
#define P_PADDED 0
TARGET EGRU_INLINE __m128 float_zero(void) {
    return _mm_setzero_ps();
}
TARGET EGRU_INLINE __m128 float_start(const float *bias) {
    return _mm_loadu_ps(bias);
}
TARGET EGRU_INLINE __m128 float_spread(const float *v) {
    return _mm_set1_ps(*v);
}
TARGET EGRU_INLINE __m128 float_add(__m128 acc, __m128 v, const unsigned char *w) {
    return _mm_add_ps(acc, _mm_mul_ps(v, _mm_load_ps((const float *)(const void *)w)));
}
TARGET EGRU_INLINE __m128 float_sum(__m128 a, __m128 b) {
    return _mm_add_ps(a, b);
}
TARGET EGRU_INLINE void float_store(float *result, __m128 acc) {
    _mm_storeu_ps(result, acc);
}
#include "x86_product.h"
#endif

#include "x86_kernel.h"

EGRU_X86_KERNEL(egru_sse2, "sse2", egru_portable_);
#endif
