/* Sums of two values, products of two operands: 24 fractional bits of a full scale. */
#ifndef EGRU_ELEMENTWISE_H
#define EGRU_ELEMENTWISE_H

#include "egru_arithmetic.h"

typedef struct {
    const int32_t *m_a, *m_b; /* (size); m_b only of a sum */
    uint16_t size;
    uint8_t shift;
} egru_elementwise_of;

/* clamp(R'(v; t)) with all 64 bits: the scales of two values may lie far apart. */
static inline int32_t egru_combined(int64_t v, unsigned shift) {
    v = egru_floor64(v + ((int64_t)1 << (shift - 1)), shift);
    return v > EGRU_VALUE_LIMIT ? EGRU_VALUE_LIMIT : v < -EGRU_VALUE_LIMIT ? -EGRU_VALUE_LIMIT : (int32_t)v;
}

static inline void egru_add(const egru_elementwise_of *by, const int32_t *a, const int32_t *b, int32_t *value) {
    for (uint32_t i = 0; i < by->size; i++)
        value[i] = egru_combined((int64_t)a[i] * by->m_a[i] + (int64_t)b[i] * by->m_b[i], by->shift);
}

static inline void egru_multiply(const egru_elementwise_of *by, const int16_t *a, const int16_t *b, int32_t *value) {
    for (uint32_t i = 0; i < by->size; i++)
        value[i] = egru_combined((int64_t)((int32_t)a[i] * b[i]) * by->m_a[i], by->shift);
}
#endif
