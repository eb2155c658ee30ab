/* Residuals and their score (docs/deciding.md), for one model. The only part of deciding that computes with floating
 * point, in double precision, as the equations ask; it calls no function of a library but those of the compiler.
 */
#include <float.h>
#include <string.h>

#if DBL_MANT_DIG != 53 || FLT_EVAL_METHOD != 0 || defined(__FAST_MATH__)
#error "scores need double precision, each operation rounded by itself"
#endif

/* The square root, rounded to nearest: of a number of 53 bits, 54 bits of the root and whether anything is left. */
static double egru_root(double v) {
    uint64_t bits, rest, root = 0, twice = 0;
    int exponent = 0;
    if (!(v > 0.0 && v <= DBL_MAX))
        return v;
    if (v < DBL_MIN) {
        v *= 18014398509481984.0; /* 2^54 */
        exponent = -54;
    }
    memcpy(&bits, &v, sizeof bits);
    exponent += (int)(bits >> 52) - 1023;
    rest = (bits & 0xfffffffffffffu) | 0x10000000000000u;
    if (exponent & 1)
        rest *= 2;
    rest *= 2;
    for (uint64_t bit = (uint64_t)1 << 53; bit; bit >>= 1) {
        if (twice + bit <= rest) {
            rest -= twice + bit;
            twice += 2 * bit;
            root += bit;
        }
        rest *= 2;
    }
    root = (root + (root & 1)) >> 1; /* never half-way: that root's square has 107 bits */
    exponent = (exponent - (exponent & 1)) / 2;
    bits = ((uint64_t)(exponent + 1022) << 52) + root; /* the root's highest bit adds one to the exponent */
    memcpy(&v, &bits, sizeof v);
    return v;
}

#if !EGRU_FLOATS
/* What an integer of an output stands for: product and sum rounded one by one. */
static inline float egru_real(int32_t y, float scale, float offset) {
    volatile float product = (float)y * scale;
    return product + offset;
}
#endif

/* The level of the score of `count` residuals, or -1 where there is none: a number is missing (NaN), or no prediction.
 * `place`: of the measured values in `measured`, NULL: one after another. */
static int64_t egru_score(const float *measured, const uint16_t *place, const float *predicted, const double *scale,
                          uint32_t count) {
    double total = 0.0, score;
    for (uint32_t k = 0; k < count; k++) {
        float value = measured[place ? place[k] : k];
        volatile double square; /* rounded before it is added, whatever the compiler may contract */
        double residual;
        if (value != value || !(predicted[k] <= FLT_MAX && predicted[k] >= -FLT_MAX))
            return -1;
        value = value > 1152921504606846976.0f ? 1152921504606846976.0f : value; /* 2^60, as samples saturate */
        value = value < -1152921504606846976.0f ? -1152921504606846976.0f : value;
        residual = ((double)value - (double)predicted[k]) / scale[k];
        square = residual * residual;
        total += square;
    }
    score = egru_root(total / count) * 32768.0 + 0.5;
    if (!(score <= DBL_MAX))
        return 0;
    return score >= 2147483647.0 ? INT32_MAX : (int64_t)score;
}

#if EGRU_MEMORY
#define EGRU_LEAST_PEAK ((uint64_t)1 << 31)
/* What the level of a score is in units of the peak of those before it, which fades over EGRU_MEMORY steps. */
static egru_level egru_relative(uint64_t *peak, egru_level level) {
    uint64_t before = *peak, after = before - before / EGRU_MEMORY, scaled = (uint64_t)level << 16;
    after = after > scaled ? after : scaled;
    *peak = after > EGRU_LEAST_PEAK ? after : EGRU_LEAST_PEAK;
    return (egru_level)((level * EGRU_LEAST_PEAK + before / 2) / before);
}
#endif
