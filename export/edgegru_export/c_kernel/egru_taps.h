/* What a convolution multiplies: values of past steps from a ring, `dilation` apart, the oldest first, then those of this
 * step, which replace the oldest of the ring once the step is good.
 *
 *   EGRU_KEEPS_INT8_T, EGRU_KEEPS_INT16_T, EGRU_KEEPS_FLOAT  1 where a ring is of this type
 */
#ifndef EGRU_TAPS_H
#define EGRU_TAPS_H

#include <stdint.h>

typedef struct {
    uint32_t size, kernel_size, dilation, frames; /* frames = (kernel_size - 1) * dilation */
} egru_taps_of;

/* For what is kept as `kept` and multiplied as `taken`. */
#define EGRU_TAPS(kept, taken)                                                                                        \
    static inline void egru_taps_##kept(const egru_taps_of *by, const kept *ring, uint32_t oldest, const taken *now,   \
                                        taken *taps) {                                                                \
        for (uint32_t k = 0; k + 1 < by->kernel_size; k++) {                                                          \
            const kept *from = ring + (oldest + k * by->dilation) % by->frames * by->size;                            \
            for (uint32_t i = 0; i < by->size; i++)                                                                   \
                *taps++ = from[i];                                                                                    \
        }                                                                                                             \
        for (uint32_t i = 0; i < by->size; i++)                                                                       \
            *taps++ = now[i];                                                                                         \
    }                                                                                                                 \
    static inline void egru_keep_##kept(const egru_taps_of *by, kept *ring, uint32_t *oldest, const taken *now) {      \
        for (uint32_t i = 0; i < by->size; i++)                                                                       \
            ring[*oldest * by->size + i] = (kept)now[i];                                                              \
        *oldest = *oldest + 1 == by->frames ? 0 : *oldest + 1;                                                        \
    }

#if EGRU_KEEPS_INT8_T
EGRU_TAPS(int8_t, int16_t)
#endif
#if EGRU_KEEPS_INT16_T
EGRU_TAPS(int16_t, int16_t)
#endif
#if EGRU_KEEPS_FLOAT
EGRU_TAPS(float, float)
#endif
#endif
