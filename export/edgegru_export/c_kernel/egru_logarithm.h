/* log2 in Q16 of an integer from 1 to 2^63 - 1: the place of its highest bit, and a polynomial for what is behind it. */
#ifndef EGRU_LOGARITHM_H
#define EGRU_LOGARITHM_H

#include "egru_arithmetic.h"

static int32_t egru_log2_q16(uint64_t v) {
    static const int32_t c[] = {1548920839, -771102598, 491289709, -298398591, 130779510, -27747045};
    int32_t highest = 62;
    int64_t fraction, sum = c[5];
    while (!(v >> 62)) {
        v <<= 1;
        highest--;
    }
    fraction = (int64_t)(v >> 32) - ((int64_t)1 << 30);
    for (int i = 4; i >= 0; i--)
        sum = c[i] + egru_floor64(sum * fraction + ((int64_t)1 << 29), 30);
    return highest * 65536 + (int32_t)egru_floor64(sum * fraction + ((int64_t)1 << 43), 44);
}
#endif
