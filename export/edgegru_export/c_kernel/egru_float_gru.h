/* One step of a GRU in float32, unit by unit; rows in the order r, z, n.
 *
 *   EGRU_AFTER, EGRU_BEFORE  1 where a GRU resets after the recurrent product, or before it
 */
#ifndef EGRU_FLOAT_GRU_H
#define EGRU_FLOAT_GRU_H

#include "egru_float_math.h"
#include "egru_float_product.h"

typedef struct {
    const float *weight_ih, *weight_hh; /* (3 size, columns), (3 size, size) */
    const float *bias_ih, *bias_hh;     /* (3 size); NULL: zeros */
    uint32_t size, columns;
    uint8_t gates, candidate;
} egru_gru;

static inline float egru_from_input(const egru_gru *g, uint32_t row, const float *x) {
    return egru_row_product(g->weight_ih + row * g->columns, x, g->columns, g->bias_ih ? g->bias_ih[row] : 0.0f);
}

static inline float egru_from_state(const egru_gru *g, uint32_t row, const float *h) {
    return egru_row_product(g->weight_hh + row * g->size, h, g->size, g->bias_hh ? g->bias_hh[row] : 0.0f);
}

static inline float egru_gate(const egru_gru *g, uint32_t row, const float *x, const float *h) {
    return egru_activated(egru_from_input(g, row, x) + egru_from_state(g, row, h), g->gates);
}

#if EGRU_AFTER
static inline void egru_gru_after(const egru_gru *g, const float *x, const float *h, float *next) {
    const uint32_t size = g->size;
    for (uint32_t i = 0; i < size; i++) {
        const float r = egru_gate(g, i, x, h), z = egru_gate(g, size + i, x, h);
        float n = egru_from_input(g, 2 * size + i, x) + r * egru_from_state(g, 2 * size + i, h);
        n = egru_activated(n, g->candidate);
        next[i] = (1.0f - z) * n + z * h[i];
    }
}
#endif

#if EGRU_BEFORE
static inline void egru_gru_before(const egru_gru *g, const float *x, const float *h, float *next, float *rh) {
    const uint32_t size = g->size;
    for (uint32_t i = 0; i < size; i++)
        rh[i] = egru_gate(g, i, x, h) * h[i];
    for (uint32_t i = 0; i < size; i++) {
        const float z = egru_gate(g, size + i, x, h);
        float n = egru_from_input(g, 2 * size + i, x) + egru_from_state(g, 2 * size + i, rh);
        n = egru_activated(n, g->candidate);
        next[i] = (1.0f - z) * n + z * h[i];
    }
}
#endif
#endif
