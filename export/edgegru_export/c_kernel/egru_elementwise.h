/* Sums of two values, products of two operands: 24 fractional bits of a full scale. */
#ifndef EGRU_ELEMENTWISE_H
#define EGRU_ELEMENTWISE_H

#include "egru_arithmetic.h"

typedef struct {
    const int32_t *m_a, *m_b; /* (size); m_b only of a sum */
    uint16_t size, up;
    uint8_t shift;
} egru_elementwise_of;

static inline void egru_add(const egru_elementwise_of *by, const int32_t *a, const int32_t *b, int32_t *value) {
    for (uint32_t i = 0; i < by->size; i++) {
        int64_t sum = (int64_t)(a[i] * by->up) * by->m_a[i] + (int64_t)(b[i] * by->up) * by->m_b[i];
        value[i] = (int32_t)egru_clamp(egru_rounded(sum, by->shift), EGRU_VALUE_LIMIT);
    }
}

static inline void egru_multiply(const egru_elementwise_of *by, const int16_t *a, const int16_t *b, int32_t *value) {
    for (uint32_t i = 0; i < by->size; i++) {
        int64_t product = (int64_t)((int32_t)a[i] * b[i] * by->up) * by->m_a[i];
        value[i] = (int32_t)egru_clamp(egru_rounded(product, by->shift), EGRU_VALUE_LIMIT);
    }
}
#endif
