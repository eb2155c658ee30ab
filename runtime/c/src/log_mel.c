#include "log_mel.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it */
#endif

#if EGRU_LOG_MEL

#include <string.h>

#include "arithmetic.h"
#include "logarithm.h"
#include "integer_log_mel.h"

void egru_log_mel(const egru_operation *op, const int16_t *samples, uint32_t in_size, int32_t *work, float *value) {
    const egru_log_mel_tables *t = &op->log_mel;
    uint32_t place = 0;
    uint64_t falls = 0, floor;
    memset(work, 0, (size_t)t->size * sizeof *work);
    egru_weigh(t->window, t->size, 0, t->frame, samples + in_size - t->frame, &place, work);
    egru_transform(t->twiddles, work, t->size);
    memcpy(&floor, t->floor, sizeof floor);
    for (uint32_t band = 0; band <= t->bands; band++) {
        int32_t before = egru_next_band(t->twiddles, work, t->size, t->edges[band], t->edges[band + 1], t->rising, floor,
                                        &falls);
        if (band)
            value[band - 1] = (float)before * (1.0f / 65536.0f);
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
            place = egru_next_reversed(place, t->size / 2);
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
