/* The GRU behind its products, and operands of values, in vectors of LANES numbers (neon_vectors.h), all of them the
 * integers of docs/quantization.md: v32, int32 lanes, and wide, the same lanes with 64 bits each; v_load, v_store, v_set,
 * v_add, v_sub, v_shift(v, bits), to the left; w_product(a, b) of int32 lanes, w_product_at(pa, pb) of those in memory,
 * w_scaled(a, b) where all lanes of b are the same; w_add; w_rounding(t) and w_round(w, rounding), R'(w; t);
 * w_limit(w, limit), saturated int32 lanes; w_floor0(w), max(w, 0); w_narrow(w) to int32 lanes that hold it; v_tanh(a, &t)
 * and v_tanh2(a, b, &ta, &tb), tanh in Q15 of arguments within +-32767; v_within(v), saturated to that; v_gated(gate, v),
 * R(gate v; 16) of a gate in Q16, and w_add_gated, which adds that to w; v_between(n, z, h), what h becomes, where
 * |h - n| < 2^31; v_store8 and v_store16, saturated. Vectors reach into the padding of arrays: what is there does not
 * matter.
 */

/* What all units of a GRU share, out of the way of the stores into h, which could change it for all a compiler knows. */
typedef struct {
    size_t size;
    uint32_t bits, gates, candidate;
    const int32_t *m_ih, *m_hh;
    v32 h_multiplier;
    rounding rz, n, h, gate;
} shared;

TARGET EGRU_INLINE shared of(const egru_gru *g) {
    shared s = {g->size,
                g->bits,
                g->gates,
                g->candidate,
                g->m_ih,
                g->m_hh,
                v_set(g->h_multiplier),
                w_rounding(g->rz_shift),
                w_rounding(g->n_shift),
                w_rounding(g->h_shift),
                w_rounding(16)};
    return s;
}

/* Of rows from `row` on: the sum of both products, rounded once. */
TARGET EGRU_INLINE wide pair(const shared *g, size_t row, const int32_t *ih, const int32_t *hh, rounding by) {
    return w_round(w_add(w_product_at(ih, g->m_ih + row), w_product_at(hh, g->m_hh + row)), by);
}

TARGET EGRU_INLINE void store_operand(void *q, size_t i, uint32_t bits, wide value) {
    if (bits == 8)
        v_store8((int8_t *)q + i, w_limit(value, 127));
    else
        v_store16((int16_t *)q + i, w_limit(value, 32767));
}

/* r and z in Q16. */
TARGET EGRU_INLINE void gates(const shared *g, size_t i, const int32_t *ih, const int32_t *hh, v32 *r, v32 *z) {
    size_t row = g->size + i;
    *r = w_limit(pair(g, i, ih + i, hh + i, g->rz), EGRU_ARGUMENT_LIMIT);
    *z = w_limit(pair(g, row, ih + row, hh + row, g->rz), EGRU_ARGUMENT_LIMIT);
    if (g->gates == EGRU_SIGMOID) {
        v_tanh2(*r, *z, r, z);
    } else {
        *r = v_within(*r);
        *z = v_within(*z);
    }
    *r = v_add(*r, v_set(32768));
    *z = v_add(*z, v_set(32768));
}

/* From the arguments of candidates to h' = ((2^16 - z) n + z h) / 2^16 and its operand. */
TARGET EGRU_INLINE void mix(const shared *g, size_t i, wide argument, v32 z, int32_t *h, void *q) {
    v32 next, old = v_load(h + i);
    if (g->candidate >= EGRU_TANH) {
        v32 t = w_limit(argument, EGRU_ARGUMENT_LIMIT);
        if (g->candidate <= EGRU_SIGMOID)
            v_tanh(t, &t);
        else
            t = v_within(t);
        t = g->candidate == EGRU_TANH ? v_shift(t, 9) : v_shift(v_add(t, v_set(32768)), 8);
        next = v_between(t, z, old);
    } else {
        v32 n = w_limit(g->candidate == EGRU_RELU ? w_floor0(argument) : argument, EGRU_VALUE_LIMIT);
        wide fresh = w_product(v_sub(v_set(65536), z), n);
        next = w_narrow(w_round(w_add(fresh, w_product(z, old)), g->gate));
    }
    v_store(h + i, next);
    store_operand(q, i, g->bits, w_round(w_scaled(next, g->h_multiplier), g->h));
}

TARGET static void vector_gru_after(const egru_gru *gru, const int32_t *ih, const int32_t *hh, int32_t *h, void *q) {
    const shared g = of(gru);
    const int64_t limit = g.candidate >= EGRU_TANH ? EGRU_OUTPUT_LIMIT : EGRU_VALUE_LIMIT;
    for (size_t i = 0; i < g.size; i += LANES) {
        size_t row = 2 * g.size + i;
        v32 r, z, hn = w_limit(w_round(w_product_at(hh + row, g.m_hh + row), g.n), limit);
        wide argument = w_round(w_product_at(ih + row, g.m_ih + row), g.n);
        gates(&g, i, ih, hh, &r, &z);
        mix(&g, i, w_add_gated(argument, r, hn, g.gate), z, h, q);
    }
}

TARGET static void vector_gru_gates(const egru_gru *gru, const int32_t *ih, const int32_t *hh, const int32_t *h,
                                    int32_t *z, void *q_rh) {
    const shared g = of(gru);
    const rounding to_operand = w_rounding(gru->rh_shift);
    const v32 multiplier = v_set(gru->rh_multiplier);
    for (size_t i = 0; i < g.size; i += LANES) {
        v32 r, update, rh;
        gates(&g, i, ih, hh, &r, &update);
        v_store(z + i, update);
        rh = v_gated(r, v_load(h + i), g.gate);
        store_operand(q_rh, i, g.bits, w_round(w_scaled(rh, multiplier), to_operand));
    }
}

TARGET static void vector_gru_candidate(const egru_gru *gru, const int32_t *ih, const int32_t *hn, const int32_t *z,
                                        int32_t *h, void *q) {
    const shared g = of(gru);
    for (size_t i = 0; i < g.size; i += LANES) {
        size_t row = 2 * g.size + i;
        mix(&g, i, pair(&g, row, ih + row, hn + i, g.n), v_load(z + i), h, q);
    }
}

TARGET static void vector_operand(const int32_t *value, void *q, uint32_t size, uint32_t bits, const int32_t *m,
                           uint32_t multipliers, uint32_t shift) {
    const rounding by = w_rounding(shift);
    for (size_t i = 0; i < size; i += LANES) {
        wide scaled = multipliers == 1 ? w_scaled(v_load(value + i), v_set(m[0])) : w_product_at(value + i, m + i);
        store_operand(q, i, bits, w_round(scaled, by));
    }
}
