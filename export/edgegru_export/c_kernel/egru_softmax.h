/* softmax in Q15 and its logarithm: powers of two by 16 segments of second order, largest error 1.2 / 2^14. Nothing is
 * kept from number to number; what is needed again is computed again.
 */
#ifndef EGRU_SOFTMAX_H
#define EGRU_SOFTMAX_H

#include "egru_head.h"

static const int16_t egru_power_segments[16][3] = {
    {16384, -708, 13}, {15689, -677, 12}, {15024, -649, 12}, {14387, -621, 11}, {13777, -595, 11}, {13193, -572, 13},
    {12634, -547, 11}, {12098, -522, 9}, {11585, -501, 10}, {11094, -480, 10}, {10623, -457, 7}, {10173, -440, 9},
    {9742, -422, 9}, {9329, -402, 6}, {8933, -387, 9}, {8555, -371, 8},
};

/* 2^-octaves in Q30 of octaves in Q16, from 0 on. */
static inline int32_t egru_power(int64_t octaves) {
    const int32_t fraction = (int32_t)(octaves & 65535), p = (fraction & 4095) * 8;
    const int16_t *c = egru_power_segments[fraction >> 12];
    int32_t v = c[1] + egru_floor32(p * c[2] + 16384, 15);
    v = c[0] + egru_floor32(p * v + 16384, 15);
    return octaves >> 16 < 31 ? (v * 65536) >> (octaves >> 16) : 0;
}

/* How far a number is below the largest, in powers of two in Q16. */
static EGRU_NOINLINE int64_t egru_octaves(const egru_head_of *head, const int32_t *value, uint32_t i, int32_t largest) {
    const int64_t below = (int64_t)largest - egru_argument(head, value, i, EGRU_VALUE_LIMIT);
    return (below * 1549082005 + ((int64_t)1 << 29)) >> 30;
}

static inline int32_t egru_largest(const egru_head_of *head, const int32_t *value) {
    int32_t largest = -EGRU_VALUE_LIMIT;
    for (uint32_t i = 0; i < head->size; i++) {
        int32_t v = egru_argument(head, value, i, EGRU_VALUE_LIMIT);
        largest = v > largest ? v : largest;
    }
    return largest;
}

static inline uint64_t egru_power_sum(const egru_head_of *head, const int32_t *value, int32_t largest) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < head->size; i++)
        total += (uint64_t)egru_power(egru_octaves(head, value, i, largest));
    return total;
}

#if EGRU_SOFTMAX_HEAD
static inline void egru_softmax(const egru_head_of *head, const int32_t *value, egru_output *y) {
    const int32_t largest = egru_largest(head, value);
    const uint64_t total = egru_power_sum(head, value, largest);
    for (uint32_t i = 0; i < head->size; i++) {
        uint64_t rest = ((uint64_t)egru_power(egru_octaves(head, value, i, largest)) << 15) + (total >> 1);
        int32_t quotient = 0;
        for (uint64_t part = total << 15; part >= total; part >>= 1) { /* 16 bits of it: no division is as small */
            quotient *= 2;
            if (rest >= part) {
                rest -= part;
                quotient++;
            }
        }
        y[i] = egru_given(head, i, quotient);
    }
}
#endif

#if EGRU_LOG_SOFTMAX_HEAD
#include "egru_logarithm.h"

static inline void egru_log_softmax(const egru_head_of *head, const int32_t *value, egru_output *y) {
    const int32_t largest = egru_largest(head, value);
    const int32_t whole = egru_log2_q16(egru_power_sum(head, value, largest)) - 30 * 65536;
    for (uint32_t i = 0; i < head->size; i++)
        y[i] = egru_given(head, i, -(egru_octaves(head, value, i, largest) + whole));
}
#endif
#endif
