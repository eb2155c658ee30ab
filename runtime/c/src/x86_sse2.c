/* SSE2, which every x86-64 processor has: 4 rows to a register; weights and operands are multiplied as 16-bit numbers. */
#include "x86.h"

#ifdef EGRU_X86
#define TARGET __attribute__((target("sse2")))

static int runs(void) {
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
TARGET EGRU_INLINE four_columns spread(int c0, int c1, int c2, int c3) {
    four_columns q = {_mm_set1_epi32((c0 & 0xffff) | (int)((unsigned)c2 << 16)),
                      _mm_set1_epi32((c1 & 0xffff) | (int)((unsigned)c3 << 16))};
    return q;
}

#define P_TARGET TARGET
#define P(name) q8_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_BYTES 16
#define P_ELEMENT int8_t
#define P_RESULT int32_t
#define P_ACC __m128i
#define P_OPERAND four_columns
#define P_WIDE 4
#define P_TILE 2
#define P_QUARTER 1
#define P_EXACT 1
#define q8_zero zero
#define q8_start start
#define q8_add add
#define q8_sum sum
#define q8_store store
TARGET EGRU_INLINE four_columns q8_spread(const int8_t *q) {
    return spread(q[0], q[1], q[2], q[3]);
}
#include "product_template.h"

#define P(name) q16_##name
#define P_ROWS 4
#define P_COLUMNS 4
#define P_BYTES 16
#define P_ELEMENT int16_t
#define P_RESULT int32_t
#define P_ACC __m128i
#define P_OPERAND four_columns
#define P_WIDE 4
#define P_TILE 2
#define P_QUARTER 1
#define P_EXACT 1
#define q16_zero zero
#define q16_start start
#define q16_add add
#define q16_sum sum
#define q16_store store
TARGET EGRU_INLINE four_columns q16_spread(const int16_t *q) {
    return spread(q[0], q[1], q[2], q[3]);
}
#include "product_template.h"

#if EGRU_FLOAT
#define P(name) float_##name
#define P_ROWS 4
#define P_COLUMNS 1
#define P_BYTES 16
#define P_ELEMENT float
#define P_RESULT float
#define P_ACC __m128
#define P_OPERAND __m128
#define P_WIDE 4
#define P_TILE 2
#define P_QUARTER 1
#define P_EXACT 0
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
#include "product_template.h"
#endif

#include "kernel_template.h"

EGRU_KERNEL(egru_sse2, "sse2", egru_portable_);
#endif
