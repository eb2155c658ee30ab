#include "log_mel.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it */
#endif

#if EGRU_LOG_MEL

#include <string.h>

#include "arithmetic.h"
#include "logarithm.h"

#define ONE 1073741824 /* 2^30: a cosine of 1, a sample of full scale in a window of 1 */

/* Where number `place` goes before the butterflies: its bits in reversed order, counted on from one number to the next. */
static uint32_t next_reversed(uint32_t reversed, uint32_t size) {
    uint32_t bit = size >> 1;
    while (reversed & bit) {
        reversed ^= bit;
        bit >>= 1;
    }
    return reversed | bit;
}

/* v / 2^shift, rounded half up, of what fits 32 bits then. */
static int32_t rounded(int64_t v, uint32_t shift) {
    return (int32_t)egru_round(v, shift);
}

/* cos and sin of 2 pi k / size, k to size / 2, of a table of the first quarter. */
static void twiddle(const int32_t *table, uint32_t size, uint32_t k, int64_t *cosine, int64_t *sine) {
    uint32_t quarter = size / 4;
    *cosine = k <= quarter ? table[k] : -table[2 * quarter - k];
    *sine = k <= quarter ? table[quarter - k] : table[k - quarter];
}

/* Complex numbers z (size / 2) in reversed order to their transform over size / 2: every stage halves. */
static void transform(const int32_t *table, int32_t *z, uint32_t size) {
    uint32_t count = size / 2;
    for (uint32_t half = 1; half < count; half *= 2)
        for (uint32_t k = 0; k < half; k++) {
            int64_t cosine, sine;
            twiddle(table, size, k * (count / half), &cosine, &sine);
            for (uint32_t i = k; i < count; i += 2 * half) {
                int32_t *a = z + 2 * (size_t)i, *b = a + 2 * (size_t)half;
                int64_t re = b[0] * cosine + b[1] * sine, im = b[1] * cosine - b[0] * sine;
                int64_t a_re = (int64_t)a[0] * ONE, a_im = (int64_t)a[1] * ONE;
                a[0] = rounded(a_re + re, 31);
                a[1] = rounded(a_im + im, 31);
                b[0] = rounded(a_re - re, 31);
                b[1] = rounded(a_im - im, 31);
            }
        }
}

/* |X_k / size|^2 with 60 fractional bits, X the transform of size real numbers. */
static uint64_t power_of(const int32_t *table, const int32_t *z, uint32_t size, uint32_t k) {
    uint32_t last = size / 2 - 1; /* of the numbers, a power of two of them */
    const int32_t *p = z + 2 * (size_t)(k & last), *m = z + 2 * (size_t)((0 - k) & last);
    int64_t b_re = (int64_t)p[0] - m[0], b_im = (int64_t)p[1] + m[1], cosine, sine, re, im;
    twiddle(table, size, k, &cosine, &sine);
    re = egru_round(((int64_t)p[0] + m[0]) * ONE + (b_im * cosine - b_re * sine), 32);
    im = egru_round(((int64_t)p[1] - m[1]) * ONE - (b_re * cosine + b_im * sine), 32);
    return (uint64_t)(re * re + im * im);
}

void egru_log_mel(const egru_operation *op, const int16_t *samples, uint32_t in_size, int32_t *work, float *value) {
    const egru_log_mel_tables *t = &op->log_mel;
    const int32_t *window = t->window;
    const int16_t *rising = t->rising;
    uint32_t place = 0;
    int32_t unit = -60; /* log2 of one unit of an energy */
    uint64_t falls = 0, floor;
    memset(work, 0, (size_t)t->size * sizeof *work);
    samples += in_size - t->frame;
    for (uint32_t i = 0; i < t->frame; i++) {
        work[2 * (size_t)place + i % 2] = rounded((int64_t)samples[i] * window[i], 15);
        if (i % 2)
            place = next_reversed(place, t->size / 2);
    }
    transform(t->twiddles, work, t->size);
    for (uint32_t size = t->size; size > 1; size /= 2)
        unit += 2;
    memcpy(&floor, t->floor, sizeof floor);
    for (uint32_t band = 0; band <= t->bands; band++) { /* here it rises, and the one before falls */
        uint64_t rises = 0;
        for (uint32_t k = t->edges[band]; k < t->edges[band + 1]; k++) {
            uint64_t power = power_of(t->twiddles, work, t->size, k), weight = (uint64_t)rising[k];
            uint64_t share = (power >> 15) * weight + ((power & 32767) * weight >> 15);
            rises += share;
            falls += power - share;
        }
        if (band)
            value[band - 1] = (float)(egru_log2_q16(falls + floor) + unit * 65536) * (1.0f / 65536.0f);
        falls = rises;
    }
}

#if EGRU_FLOAT
static void twiddle_float(const float *table, uint32_t size, uint32_t k, float *cosine, float *sine) {
    uint32_t quarter = size / 4;
    *cosine = k <= quarter ? table[k] : -table[2 * quarter - k];
    *sine = k <= quarter ? table[quarter - k] : table[k - quarter];
}

static void transform_float(const float *table, float *z, uint32_t size) {
    uint32_t count = size / 2;
    for (uint32_t half = 1; half < count; half *= 2)
        for (uint32_t k = 0; k < half; k++) {
            float cosine, sine;
            twiddle_float(table, size, k * (count / half), &cosine, &sine);
            for (uint32_t i = k; i < count; i += 2 * half) {
                float *a = z + 2 * (size_t)i, *b = a + 2 * (size_t)half;
                float re = b[0] * cosine + b[1] * sine, im = b[1] * cosine - b[0] * sine;
                b[0] = a[0] - re;
                b[1] = a[1] - im;
                a[0] = a[0] + re;
                a[1] = a[1] + im;
            }
        }
}

static float power_of_float(const float *table, const float *z, uint32_t size, uint32_t k) {
    uint32_t last = size / 2 - 1;
    const float *p = z + 2 * (size_t)(k & last), *m = z + 2 * (size_t)((0 - k) & last);
    float b_re = p[0] - m[0], b_im = p[1] + m[1], cosine, sine, re, im;
    twiddle_float(table, size, k, &cosine, &sine);
    re = 0.5f * ((p[0] + m[0]) + (b_im * cosine - b_re * sine));
    im = 0.5f * ((p[1] - m[1]) - (b_re * cosine + b_im * sine));
    return re * re + im * im;
}

void egru_log_mel_float(const egru_operation *op, const float *samples, uint32_t in_size, float *work, float *value) {
    const egru_log_mel_tables *t = &op->log_mel;
    const float *window = t->window, *rising = t->rising, *floor = t->floor;
    uint32_t place = 0;
    double falls = 0;
    memset(work, 0, (size_t)t->size * sizeof *work);
    samples += in_size - t->frame;
    for (uint32_t i = 0; i < t->frame; i++) {
        work[2 * (size_t)place + i % 2] = samples[i] * window[i];
        if (i % 2)
            place = next_reversed(place, t->size / 2);
    }
    transform_float(t->twiddles, work, t->size);
    for (uint32_t band = 0; band <= t->bands; band++) {
        double rises = 0; /* energies are rounded once: nothing is left to the order of the sum */
        for (uint32_t k = t->edges[band]; k < t->edges[band + 1]; k++) {
            double power = (double)power_of_float(t->twiddles, work, t->size, k), weight = (double)rising[k];
            rises += power * weight;
            falls += power * (1.0 - weight);
        }
        if (band)
            value[band - 1] = egru_log2_float((float)falls + *floor);
        falls = rises;
    }
}
#endif
#endif
