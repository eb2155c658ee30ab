/* Three rows of int8 weights (at w, w + second, w + third) times one vector of operands, added to sums. Columns are padded by zeros as the packing asks:
 *
 *   EGRU_PACKING  1: row-major; 4: in fours, the two in the middle exchanged, for the dual multiply of Cortex-M4 and up;
 *                 8: in eights, for SSE2 and NEON
 *
 * Sums never leave 32 bits, whatever the operands and the order: a model whose weights would allow it is refused. So all
 * ways to add up give the same bits.
 */
#ifndef EGRU_PRODUCT_H
#define EGRU_PRODUCT_H

#include "egru_arithmetic.h"

#if EGRU_PACKING == 4 && defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
#include <string.h>

static inline int32_t egru_word(const void *bytes) {
    int32_t word;
    memcpy(&word, bytes, 4);
    return word;
}

/* Bytes 0 and 2, then 1 and 3, of w times two pairs of operands. */
static inline int32_t egru_four(int32_t w, int32_t q01, int32_t q23, int32_t sum) {
    int32_t even, odd;
    __asm__("sxtb16 %0, %1" : "=r"(even) : "r"(w));
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(odd) : "r"(w));
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(even), "r"(q01), "r"(sum));
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(odd), "r"(q23), "r"(sum));
    return sum;
}

static EGRU_NOINLINE void egru_rows(const int8_t *w, uint32_t second, uint32_t third, const int16_t *q,
                                    uint32_t columns, int32_t sums[3]) {
    const int8_t *w1 = w + second, *w2 = w + third, *end = w + columns;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2];
    do {
        int32_t q01 = egru_word(q), q23 = egru_word(q + 2);
        s0 = egru_four(egru_word(w), q01, q23, s0);
        s1 = egru_four(egru_word(w1), q01, q23, s1);
        s2 = egru_four(egru_word(w2), q01, q23, s2);
        q += 4, w += 4, w1 += 4, w2 += 4;
    } while (w != end);
    sums[0] = s0, sums[1] = s1, sums[2] = s2;
}

#elif EGRU_PACKING == 4
static inline int32_t egru_four(const int8_t *w, const int16_t *q) {
    return w[0] * q[0] + w[2] * q[1] + w[1] * q[2] + w[3] * q[3];
}

static EGRU_NOINLINE void egru_rows(const int8_t *w, uint32_t second, uint32_t third, const int16_t *q,
                                    uint32_t columns, int32_t sums[3]) {
    const int8_t *w1 = w + second, *w2 = w + third;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2];
    for (uint32_t j = 0; j < columns; j += 4) {
        s0 += egru_four(w + j, q + j);
        s1 += egru_four(w1 + j, q + j);
        s2 += egru_four(w2 + j, q + j);
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2;
}

#elif EGRU_PACKING == 8 && defined(__SSE2__)
#include <emmintrin.h>

static inline __m128i egru_eight(const int8_t *w, __m128i q, __m128i sum) {
    __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)w);
    __m128i words = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    return _mm_add_epi32(sum, _mm_madd_epi16(words, q));
}

static inline int32_t egru_total(__m128i sum) {
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

static EGRU_NOINLINE void egru_rows(const int8_t *w, uint32_t second, uint32_t third, const int16_t *q,
                                    uint32_t columns, int32_t sums[3]) {
    __m128i s0 = _mm_setzero_si128(), s1 = s0, s2 = s0;
    for (uint32_t j = 0; j < columns; j += 8) {
        __m128i eight = _mm_loadu_si128((const __m128i *)(const void *)(q + j));
        s0 = egru_eight(w + j, eight, s0);
        s1 = egru_eight(w + second + j, eight, s1);
        s2 = egru_eight(w + third + j, eight, s2);
    }
    sums[0] += egru_total(s0);
    sums[1] += egru_total(s1);
    sums[2] += egru_total(s2);
}

#elif EGRU_PACKING == 8 && (defined(__ARM_NEON) || defined(__aarch64__))
#include <arm_neon.h>

static inline int32x4_t egru_eight(const int8_t *w, int16x8_t q, int32x4_t sum) {
    int16x8_t words = vmovl_s8(vld1_s8(w));
    return vmlal_s16(vmlal_s16(sum, vget_low_s16(words), vget_low_s16(q)), vget_high_s16(words), vget_high_s16(q));
}

static inline int32_t egru_total(int32x4_t sum) {
    int32x2_t half = vadd_s32(vget_low_s32(sum), vget_high_s32(sum));
    return vget_lane_s32(vpadd_s32(half, half), 0);
}

static EGRU_NOINLINE void egru_rows(const int8_t *w, uint32_t second, uint32_t third, const int16_t *q,
                                    uint32_t columns, int32_t sums[3]) {
    int32x4_t s0 = vdupq_n_s32(0), s1 = s0, s2 = s0;
    for (uint32_t j = 0; j < columns; j += 8) {
        int16x8_t eight = vld1q_s16(q + j);
        s0 = egru_eight(w + j, eight, s0);
        s1 = egru_eight(w + second + j, eight, s1);
        s2 = egru_eight(w + third + j, eight, s2);
    }
    sums[0] += egru_total(s0);
    sums[1] += egru_total(s1);
    sums[2] += egru_total(s2);
}

#else
static EGRU_NOINLINE void egru_rows(const int8_t *w, uint32_t second, uint32_t third, const int16_t *q,
                                    uint32_t columns, int32_t sums[3]) {
    const int8_t *w1 = w + second, *w2 = w + third;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2];
    for (uint32_t j = 0; j < columns; j++) {
        int32_t operand = q[j];
        s0 += w[j] * operand;
        s1 += w1[j] * operand;
        s2 += w2[j] * operand;
    }
    sums[0] = s0, sums[1] = s1, sums[2] = s2;
}
#endif

/* Rows `first` and the two behind it, as far as there are so many: what is behind the last one is nothing of use. */
static inline void egru_three(const int8_t *w, uint32_t rows, uint32_t columns, uint32_t first, const int16_t *q,
                              int32_t sums[3]) {
    const uint32_t left = rows - first;
    egru_rows(w + first * columns, left > 1 ? columns : 0, left > 2 ? 2 * columns : 0, q, columns, sums);
}

/* Behind `size` operands: zeros up to whole groups of columns. */
static inline void egru_pad(int16_t *q, uint32_t size) {
    while (size % EGRU_PACKING)
        q[size++] = 0;
}
#endif
