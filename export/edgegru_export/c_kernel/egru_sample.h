/* Floats that come in: finite or refused, and saturated to 2^60. */
#ifndef EGRU_SAMPLE_H
#define EGRU_SAMPLE_H

#include <stdint.h>
#include <string.h>

/* Whether all numbers are finite, said by their bits: a compiler's fast mathematics cannot leave it out. */
static inline int egru_finite(const float *v, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        if ((bits & 0x7f800000u) == 0x7f800000u)
            return 0;
    }
    return 1;
}

static inline float egru_saturated(float x, uint32_t *clipped) {
    const float limit = 1152921504606846976.0f;
    if (x >= -limit && x <= limit)
        return x;
    ++*clipped;
    return x > 0.0f ? limit : -limit;
}
#endif
