/* Numbers side by side. */
#ifndef EGRU_COPY_H
#define EGRU_COPY_H

#include <stdint.h>

static inline void egru_copy_operand(const int16_t *from, uint32_t size, int16_t *to) {
    for (uint32_t i = 0; i < size; i++)
        to[i] = from[i];
}

static inline void egru_copy_value(const int32_t *from, uint32_t size, int32_t *to) {
    for (uint32_t i = 0; i < size; i++)
        to[i] = from[i];
}

/* What is an operand at once is read as a value too. */
static inline void egru_widen(const int16_t *from, uint32_t size, int32_t *to) {
    for (uint32_t i = 0; i < size; i++)
        to[i] = from[i];
}

#ifndef EGRU_FLOAT_IO /* which integer models choose */
static inline void egru_copy_real(const float *from, uint32_t size, float *to) {
    for (uint32_t i = 0; i < size; i++)
        to[i] = from[i];
}
#endif
#endif
