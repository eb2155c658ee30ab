/* The operations of the integer arithmetic on single numbers (docs/quantization.md of EdgeGRU). The model that includes
 * this has said before:
 *
 *   EGRU_WIDE  1 where a rescaled number may need more than 32 bits before it is saturated
 */
#ifndef EGRU_ARITHMETIC_H
#define EGRU_ARITHMETIC_H

#include <stdint.h>

#if defined(__GNUC__)
#define EGRU_NOINLINE __attribute__((noinline)) /* a copy at every use would cost more flash than the call */
#else
#define EGRU_NOINLINE
#endif

#define EGRU_VALUE_LIMIT ((int32_t)1 << 30)
#define EGRU_OUTPUT_LIMIT ((int32_t)1 << 24)

/* Activations. */
#define EGRU_LINEAR 0
#define EGRU_RELU 1
#define EGRU_TANH 2
#define EGRU_SIGMOID 3
#define EGRU_HARD_SIGMOID 4

#if EGRU_WIDE
typedef int64_t egru_number;
#else
typedef int32_t egru_number;
#endif

/* v / 2^shift towards minus infinity; compilers make one instruction of it. */
static inline int32_t egru_floor32(int32_t v, unsigned shift) {
    return v < 0 ? ~(~v >> shift) : v >> shift;
}

static inline int64_t egru_floor64(int64_t v, unsigned shift) {
    return v < 0 ? ~(~v >> shift) : v >> shift;
}

static inline egru_number egru_clamp(egru_number v, int32_t limit) {
    return v > limit ? limit : v < -limit ? -limit : v;
}

/* R'(v; t): divided by 2^t, rounded half up. Where 32 bits do (t from 33 on), the low word decides nothing. */
static inline egru_number egru_rounded(int64_t v, unsigned shift) {
#if EGRU_WIDE
    return egru_floor64(v + ((int64_t)1 << (shift - 1)), shift);
#else
    return egru_floor32((int32_t)egru_floor64(v, 32) + ((int32_t)1 << (shift - 33)), shift - 32);
#endif
}
#endif
