#include "logarithm.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it */
#endif

#if EGRU_LOG_MEL || EGRU_TOKENS

#include <string.h>

#include "arithmetic.h"

int32_t egru_log2_q16(uint64_t v) {
    static const int32_t c[] = {1548920839, -771102598, 491289709, -298398591, 130779510, -27747045};
    int32_t highest = 62;
    int64_t fraction, sum = c[5];
    for (int32_t shift = 32; shift; shift /= 2)
        if (v < (uint64_t)1 << (63 - shift)) {
            v <<= shift;
            highest -= shift;
        }
    fraction = (int64_t)(v >> 32) - ((int64_t)1 << 30);
    for (int i = 4; i >= 0; i--)
        sum = c[i] + egru_round(sum * fraction, 30);
    return highest * 65536 + (int32_t)egru_round(sum * fraction, 44);
}

#if EGRU_FLOAT
float egru_log2_float(float v) {
    uint32_t bits;
    int32_t exponent;
    float s, squared, sum = 0.320598896f;
    memcpy(&bits, &v, 4);
    if (bits >= 0x7f800000u)
        return v; /* what is not finite stays so, and the step is not taken */
    exponent = (int32_t)(bits >> 23) - 127;
    bits = (bits & 0x007fffffu) | 0x3f800000u;
    memcpy(&v, &bits, 4);
    if (v >= 1.41421356f) {
        v = 0.5f * v;
        exponent++;
    }
    s = (v - 1.0f) / (v + 1.0f);
    squared = s * s;
    sum = sum * squared + 0.412198583f;
    sum = sum * squared + 0.577078016f;
    sum = sum * squared + 0.961796694f;
    sum = sum * squared + 2.88539008f;
    return (float)exponent + s * sum;
}
#endif
#endif
