#include "logarithm.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it */
#endif

#if EGRU_LOG_MEL || EGRU_TOKENS

#include <string.h>

#include "arithmetic.h"
#include "integer_logarithm.h"

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
