/* The GRU behind its products, and operands of values, in vectors of LANES numbers; included once by each instruction set
 * that can do better than portable.c. Before the inclusion are defined, all for integers of docs/quantization.md:
 * TARGET; LANES; v32 (int32 lanes) and wide (the same lanes with 64 bits each); v_load, v_store, v_set; w_product(a, b)
 * of int32 lanes; w_add; w_round(w, shift), R'(w; t); w_clamp(w, limit); w_floor0(w), max(w, 0); w_narrow(w) to int32
 * lanes that hold it; v_tanh2(a, b, &ta, &tb), tanh in Q15 of arguments within ±32767; v_add, v_sub, v_shift9 (times
 * 512); v_store8 and v_store16, the low bits. Vectors reach into the padding of arrays: what is there does not matter.
 */

TARGET EGRU_INLINE wide pair(const egru_gru *g, uint32_t row, v32 ih, v32 hh, uint32_t shift) {
    return w_round(w_add(w_product(ih, v_load(g->m_ih + row)), w_product(hh, v_load(g->m_hh + row))), shift);
}

TARGET EGRU_INLINE void store_operand(void *q, uint32_t i, uint32_t bits, wide value) {
    if (bits == 8)
        v_store8((int8_t *)q + i, w_narrow(w_clamp(value, 127)));
    else
        v_store16((int16_t *)q + i, w_narrow(w_clamp(value, 32767)));
}

/* r and z in Q16 of LANES units. */
TARGET EGRU_INLINE void gates(const egru_gru *g, uint32_t i, const int32_t *ih, const int32_t *hh, v32 *r, v32 *z) {
    uint32_t row = g->size + i;
    wide a = pair(g, i, v_load(ih + i), v_load(hh + i), g->rz_shift);
    wide b = pair(g, row, v_load(ih + row), v_load(hh + row), g->rz_shift);
    v_tanh2(w_narrow(w_clamp(a, EGRU_ARGUMENT_LIMIT)), w_narrow(w_clamp(b, EGRU_ARGUMENT_LIMIT)), r, z);
    *r = v_add(*r, v_set(32768));
    *z = v_add(*z, v_set(32768));
}

/* The candidate of an argument, then h' = ((2^16 - z) n + z h) / 2^16 and its operand. */
TARGET EGRU_INLINE void mix(const egru_gru *g, uint32_t i, wide argument, v32 z, int32_t *h, void *q) {
    v32 n, next;
    if (g->candidate == EGRU_TANH) {
        v32 unused;
        v_tanh2(w_narrow(w_clamp(argument, EGRU_ARGUMENT_LIMIT)), v_set(0), &n, &unused);
        n = v_shift9(n);
    } else {
        n = w_narrow(w_clamp(g->candidate == EGRU_RELU ? w_floor0(argument) : argument, EGRU_VALUE_LIMIT));
    }
    next = w_narrow(w_round(w_add(w_product(v_sub(v_set(65536), z), n), w_product(z, v_load(h + i))), 16));
    v_store(h + i, next);
    store_operand(q, i, g->bits, w_round(w_product(next, v_set(g->h_multiplier)), g->h_shift));
}

TARGET static void gru_after(const egru_gru *g, const int32_t *ih, const int32_t *hh, int32_t *h, void *q) {
    int64_t limit = g->candidate == EGRU_TANH ? EGRU_OUTPUT_LIMIT : EGRU_VALUE_LIMIT;
    for (uint32_t i = 0; i < g->size; i += LANES) {
        uint32_t row = 2 * g->size + i;
        v32 r, z;
        wide inner = w_round(w_product(v_load(hh + row), v_load(g->m_hh + row)), g->n_shift);
        wide outer = w_round(w_product(v_load(ih + row), v_load(g->m_ih + row)), g->n_shift);
        gates(g, i, ih, hh, &r, &z);
        inner = w_round(w_product(r, w_narrow(w_clamp(inner, limit))), 16);
        mix(g, i, w_add(outer, inner), z, h, q);
    }
}

TARGET static void gru_gates(const egru_gru *g, const int32_t *ih, const int32_t *hh, const int32_t *h, int32_t *z,
                             void *q_rh) {
    for (uint32_t i = 0; i < g->size; i += LANES) {
        v32 r, update, rh;
        gates(g, i, ih, hh, &r, &update);
        v_store(z + i, update);
        rh = w_narrow(w_round(w_product(r, v_load(h + i)), 16));
        store_operand(q_rh, i, g->bits, w_round(w_product(rh, v_set(g->rh_multiplier)), g->rh_shift));
    }
}

TARGET static void gru_candidate(const egru_gru *g, const int32_t *ih, const int32_t *hn, const int32_t *z, int32_t *h,
                                 void *q) {
    for (uint32_t i = 0; i < g->size; i += LANES) {
        uint32_t row = 2 * g->size + i;
        mix(g, i, pair(g, row, v_load(ih + row), v_load(hn + i), g->n_shift), v_load(z + i), h, q);
    }
}

TARGET static void operand(const int32_t *value, void *q, uint32_t size, uint32_t bits, const int32_t *m,
                           uint32_t multipliers, uint32_t shift) {
    for (uint32_t i = 0; i < size; i += LANES) {
        v32 by = multipliers == 1 ? v_set(m[0]) : v_load(m + i);
        store_operand(q, i, bits, w_round(w_product(v_load(value + i), by), shift));
    }
}
