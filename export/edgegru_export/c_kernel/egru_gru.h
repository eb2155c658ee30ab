/* One step of a GRU, unit by unit, so that no product has to be kept: h (size) is overwritten. Rows of all tables come
 * in the order r, z, n.
 *
 *   EGRU_AFTER, EGRU_BEFORE  1 where a GRU resets after the recurrent product, or before it
 *   EGRU_UNBOUNDED           1 where a candidate is relu or linear
 */
#ifndef EGRU_GRU_H
#define EGRU_GRU_H

#include "egru_bounded.h"
#include "egru_operand.h"

typedef struct {
    const int8_t *weight_ih, *weight_hh; /* (3 size, columns) */
    const int32_t *bias_ih, *bias_hn;    /* (3 size), (size); NULL: zeros */
    const int32_t *m_ih, *m_hh;          /* (3 size) */
    egru_operand_of h, rh;
    uint16_t size, x_columns, h_columns;
    uint16_t rz_up, n_up; /* accumulators times this, so that 32 bits do: part of both shifts */
    uint8_t rz_shift, n_shift;
    uint8_t gates, candidate;
} egru_gru;

/* R'(ih M_ih + hh M_hh; t) of a row. */
static inline egru_number egru_pair(const egru_gru *g, uint32_t row, int32_t ih, int32_t hh, int32_t up, unsigned shift) {
    return egru_rounded((int64_t)(ih * up) * g->m_ih[row] + (int64_t)(hh * up) * g->m_hh[row], shift);
}

static inline int32_t egru_gate(const egru_gru *g, uint32_t row, int32_t ih, int32_t hh) {
    return egru_bounded(egru_pair(g, row, ih, hh, g->rz_up, g->rz_shift), g->gates);
}

/* h' = R'((2^16 - z) n + z h; 16), which is n + R'(z (h - n); 16). */
static inline int32_t egru_mix(const egru_gru *g, egru_number argument, int32_t z, int32_t h) {
    int32_t n;
#if EGRU_UNBOUNDED
    if (g->candidate < EGRU_TANH) {
        n = (int32_t)egru_clamp(g->candidate == EGRU_RELU && argument < 0 ? 0 : argument, EGRU_VALUE_LIMIT);
        return (int32_t)(n + egru_floor64(z * ((int64_t)h - n) + 32768, 16));
    }
#endif
    n = egru_bounded(argument, g->candidate) * (g->candidate == EGRU_TANH ? 512 : 256);
    return n + (int32_t)egru_floor64((int64_t)z * (h - n) + 32768, 16);
}

#if EGRU_AFTER
/* x: operands; q: room for those of h. */
static void egru_gru_after(const egru_gru *g, const int16_t *x, int32_t *h, int16_t *q) {
    const uint32_t size = g->size, x_rows = size * g->x_columns, h_rows = size * g->h_columns;
    const int32_t limit = EGRU_UNBOUNDED && g->candidate < EGRU_TANH ? EGRU_VALUE_LIMIT : EGRU_OUTPUT_LIMIT;
    const int8_t *ih = g->weight_ih, *hh = g->weight_hh;
    egru_operand(&g->h, h, q);
    for (uint32_t i = 0; i < size; i++, ih += g->x_columns, hh += g->h_columns) {
        const uint32_t z_row = size + i, n_row = z_row + size;
        int32_t a[3] = {0, 0, 0}, b[3] = {0, 0, 0}, r, z;
        egru_number argument;
        if (g->bias_ih)
            a[0] = g->bias_ih[i], a[1] = g->bias_ih[z_row], a[2] = g->bias_ih[n_row];
        if (g->bias_hn)
            b[2] = g->bias_hn[i];
        egru_rows(ih, x_rows, 2 * x_rows, x, g->x_columns, a);
        egru_rows(hh, h_rows, 2 * h_rows, q, g->h_columns, b);
        r = egru_gate(g, i, a[0], b[0]);
        z = egru_gate(g, z_row, a[1], b[1]);
        argument = egru_clamp(egru_rounded((int64_t)(b[2] * g->n_up) * g->m_hh[n_row], g->n_shift), limit);
        argument = (egru_number)egru_floor64((int64_t)r * argument + 32768, 16);
        argument += egru_rounded((int64_t)(a[2] * g->n_up) * g->m_ih[n_row], g->n_shift);
        h[i] = egru_mix(g, argument, z, h[i]);
    }
}
#endif

#if EGRU_BEFORE
/* Rows of one gate, or of the candidate, for three units from `first` on. */
static void egru_both(const egru_gru *g, uint32_t gate, uint32_t first, const int16_t *x, const int16_t *q,
                      int32_t a[3], int32_t b[3]) {
    const uint32_t size = g->size, rows = gate * size;
    for (uint32_t k = 0; k < 3; k++) {
        a[k] = g->bias_ih && first + k < size ? g->bias_ih[rows + first + k] : 0;
        b[k] = 0;
    }
    egru_three(g->weight_ih + rows * g->x_columns, size, g->x_columns, first, x, a);
    egru_three(g->weight_hh + rows * g->h_columns, size, g->h_columns, first, q, b);
}

/* x: operands; q, rh: room for those of h and of r * h. */
static void egru_gru_before(const egru_gru *g, const int16_t *x, int32_t *h, int16_t *q, int16_t *rh) {
    const uint32_t size = g->size;
    int32_t a[3], b[3], c[3], d[3];
    egru_operand(&g->h, h, q);
    for (uint32_t i = 0; i < size; i++) {
        int64_t product;
        if (i % 3 == 0)
            egru_both(g, 0, i, x, q, a, b);
        product = (int64_t)egru_gate(g, i, a[i % 3], b[i % 3]) * h[i];
        product = egru_floor64(product + 32768, 16) * g->rh.up * *g->rh.m;
        rh[i] = (int16_t)egru_clamp(egru_rounded(product, g->rh.shift), g->rh.limit);
    }
    egru_pad(rh, size);
    for (uint32_t i = 0; i < size; i++) {
        const uint32_t k = i % 3;
        if (k == 0) {
            egru_both(g, 1, i, x, q, a, b);
            egru_both(g, 2, i, x, rh, c, d);
        }
        h[i] = egru_mix(g, egru_pair(g, 2 * size + i, c[k], d[k], g->n_up, g->n_shift),
                        egru_gate(g, size + i, a[k], b[k]), h[i]);
    }
}
#endif
#endif
