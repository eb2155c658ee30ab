/* acc = W q + b and the activation: a linear layer, or a convolution over the operands that egru_taps has gathered.
 * Where a rescaled number has to fit 32 bits, `up` is part of the shift.
 */
#ifndef EGRU_LINEAR_H
#define EGRU_LINEAR_H

#include "egru_product.h"
#if EGRU_BOUNDED
#include "egru_bounded.h"
#endif

typedef struct {
    const int8_t *weight; /* (rows, columns) */
    const int32_t *bias;  /* (rows); NULL: zeros */
    const int32_t *m;     /* (rows), of what becomes the argument of a tanh or a sigmoid; else NULL */
    uint16_t rows;
    uint16_t up;
    uint32_t columns;
    uint8_t shift, activation;
} egru_linear_of;

static EGRU_NOINLINE void egru_linear(const egru_linear_of *l, const int16_t *q, int32_t *value) {
    int32_t sums[3] = {0, 0, 0};
    for (uint32_t i = 0; i < l->rows; i++) {
        const uint32_t k = i % 3;
        int32_t v;
        if (k == 0) {
            for (uint32_t j = 0; j < 3; j++)
                sums[j] = l->bias && i + j < l->rows ? l->bias[i + j] : 0;
            egru_three(l->weight, l->rows, l->columns, i, q, sums);
        }
        v = sums[k];
#if EGRU_BOUNDED
        if (l->m)
            v = egru_bounded(egru_rounded((int64_t)(v * l->up) * l->m[i], l->shift), l->activation);
#endif
        value[i] = l->activation == EGRU_RELU && v < 0 ? 0 : v;
    }
}
#endif
