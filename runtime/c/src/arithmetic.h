/* The operations of docs/quantization.md on single numbers. */
#ifndef EGRU_ARITHMETIC_H
#define EGRU_ARITHMETIC_H

#include "internal.h"

#define EGRU_VALUE_LIMIT ((int64_t)1 << 30)
#define EGRU_OUTPUT_LIMIT ((int64_t)1 << 24)
#define EGRU_ARGUMENT_LIMIT 32767

extern const int16_t egru_tanh_c0[66], egru_tanh_c1[66], egru_tanh_c2[66];
extern const int16_t egru_exp2_c0[16], egru_exp2_c1[16], egru_exp2_c2[16];

/* v / 2^shift towards minus infinity; compilers make one instruction of it. */
static inline int64_t egru_shift_right(int64_t v, uint32_t shift) {
    return v < 0 ? ~(~v >> shift) : v >> shift;
}

/* R'(v; t): divide by 2^t, round half up. */
static inline int64_t egru_round(int64_t v, uint32_t shift) {
    return egru_shift_right(v + ((int64_t)1 << (shift - 1)), shift);
}

static inline int64_t egru_clamp(int64_t v, int64_t limit) {
    return v > limit ? limit : v < -limit ? -limit : v;
}

/* tanh in Q15 of an argument in Q12; sigmoid in Q16 of one in Q11; a hard sigmoid in Q16 of one that its multiplier has
 * brought to Q16. */
int32_t egru_bounded(int64_t argument, uint32_t activation);

/* 2^-octaves in Q30 of octaves in Q16, from 0 on. */
int32_t egru_power(int64_t octaves);

static inline int64_t egru_limit(uint32_t bits) {
    return bits == 8 || !EGRU_Q16 ? 127 : 32767;
}

static inline void egru_store(void *q, uint32_t i, uint32_t bits, int64_t value) {
    int64_t v = egru_clamp(value, egru_limit(bits));
    if (bits == 8 || !EGRU_Q16)
        ((int8_t *)q)[i] = (int8_t)v;
    else
        ((int16_t *)q)[i] = (int16_t)v;
}
#endif
