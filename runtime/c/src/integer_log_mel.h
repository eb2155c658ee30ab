/* Logarithms of energies in mel bands, in integers (docs/front-ends.md).
 *
 * Shared with generated C, which takes a copy of this file (export/edgegru_export/c_kernel/egru_log_mel.h, which a test
 * compares). Whoever includes it has egru_round and egru_log2_q16.
 */
#ifndef EGRU_INTEGER_LOG_MEL_H
#define EGRU_INTEGER_LOG_MEL_H

#define EGRU_FULL_SCALE 1073741824 /* 2^30: a cosine of 1, a sample of full scale in a window of 1 */

/* Where number `place` goes before the butterflies: its bits in reversed order, counted on from one number to the next. */
static inline uint32_t egru_next_reversed(uint32_t reversed, uint32_t size) {
    uint32_t bit = size >> 1;
    while (reversed & bit) {
        reversed ^= bit;
        bit >>= 1;
    }
    return reversed | bit;
}

/* Samples `first` to `end` of a frame, the first of which is samples[0], saturated to +-32767, times their weights, where
 * the transform of `size` numbers takes them from. `place`: 0 at the beginning of a frame. */
static void egru_weigh(const int32_t *window, uint32_t size, uint32_t first, uint32_t end, const int16_t *samples,
                       uint32_t *place, int32_t *work) {
    for (uint32_t i = first; i < end; i++) {
        int64_t sample = samples[i - first] < -32767 ? -32767 : samples[i - first];
        work[2 * (size_t)*place + i % 2] = (int32_t)egru_round(sample * window[i], 15);
        if (i % 2)
            *place = egru_next_reversed(*place, size / 2);
    }
}

/* cos and sin of 2 pi k / size, k to size / 2, of a table of the first quarter. */
static inline void egru_twiddle(const int32_t *table, uint32_t size, uint32_t k, int64_t *cosine, int64_t *sine) {
    uint32_t quarter = size / 4;
    *cosine = k <= quarter ? table[k] : -table[2 * quarter - k];
    *sine = k <= quarter ? table[quarter - k] : table[k - quarter];
}

/* Complex numbers z (size / 2) in reversed order to their transform over size / 2: every stage halves. */
static void egru_transform(const int32_t *table, int32_t *z, uint32_t size) {
    uint32_t count = size / 2;
    for (uint32_t half = 1; half < count; half *= 2)
        for (uint32_t k = 0; k < half; k++) {
            int64_t cosine, sine;
            egru_twiddle(table, size, k * (count / half), &cosine, &sine);
            for (uint32_t i = k; i < count; i += 2 * half) {
                int32_t *a = z + 2 * (size_t)i, *b = a + 2 * (size_t)half;
                int64_t re = b[0] * cosine + b[1] * sine, im = b[1] * cosine - b[0] * sine;
                int64_t a_re = (int64_t)a[0] * EGRU_FULL_SCALE, a_im = (int64_t)a[1] * EGRU_FULL_SCALE;
                a[0] = (int32_t)egru_round(a_re + re, 31);
                a[1] = (int32_t)egru_round(a_im + im, 31);
                b[0] = (int32_t)egru_round(a_re - re, 31);
                b[1] = (int32_t)egru_round(a_im - im, 31);
            }
        }
}

/* |X_k / size|^2 with 60 fractional bits, X the transform of size real numbers. */
static uint64_t egru_energy(const int32_t *table, const int32_t *z, uint32_t size, uint32_t k) {
    uint32_t last = size / 2 - 1; /* of the numbers, a power of two of them */
    const int32_t *p = z + 2 * (size_t)(k & last), *m = z + 2 * (size_t)((0 - k) & last);
    int64_t b_re = (int64_t)p[0] - m[0], b_im = (int64_t)p[1] + m[1], cosine, sine, re, im;
    egru_twiddle(table, size, k, &cosine, &sine);
    re = egru_round(((int64_t)p[0] + m[0]) * EGRU_FULL_SCALE + (b_im * cosine - b_re * sine), 32);
    im = egru_round(((int64_t)p[1] - m[1]) * EGRU_FULL_SCALE - (b_re * cosine + b_im * sine), 32);
    return (uint64_t)(re * re + im * im);
}

/* Bins `first` to `end`, where a band rises and the one before falls: the value of the one before, with 16 fractional
 * bits. `falls`: energy of a band so far, 0 before the first. */
static int32_t egru_next_band(const int32_t *table, const int32_t *z, uint32_t size, uint32_t first, uint32_t end,
                              const int16_t *rising, uint64_t floor, uint64_t *falls) {
    int32_t unit = -60; /* log2 of one unit of an energy */
    uint64_t rises = 0, fallen = *falls;
    for (uint32_t k = first; k < end; k++) {
        uint64_t energy = egru_energy(table, z, size, k), weight = (uint64_t)rising[k];
        uint64_t share = (energy >> 15) * weight + ((energy & 32767) * weight >> 15);
        rises += share;
        fallen += energy - share;
    }
    for (uint32_t n = size; n > 1; n /= 2)
        unit += 2;
    *falls = rises;
    return egru_log2_q16(fallen + floor) + unit * 65536;
}
#endif
