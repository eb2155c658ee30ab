/* The GRU behind its products, and operands of values, in vectors of LANES numbers; included once by each instruction
 * set that can do better than portable.c. Before the inclusion are defined, all for integers of docs/quantization.md:
 * TARGET; LANES; SIDE_BY_SIDE, how many vectors of units go through gru_after together, 1 or 2; v32 (int32 lanes) and
 * wide (the same lanes with 64 bits each); v_load, v_store, v_set; w_product(a, b) of int32 lanes, w_product_at(pa, pb)
 * of those in memory, w_scaled(a, b) where all lanes of b are the same; w_add; w_rounding(t) and w_round(w, rounding),
 * R'(w; t); w_clamp(w, limit); w_floor0(w), max(w, 0); w_narrow(w) to int32 lanes that hold it; v_tanh2(a, b, &ta, &tb),
 * tanh in Q15 of arguments within +-32767; v_add, v_sub, v_shift9 (times 512); v_store8 and v_store16, the low bits.
 * Vectors reach into the padding of arrays: what is there does not matter. Where it can be done better, what follows is
 * defined as well.
 */

#ifndef w_limit
#define w_limit(w, limit) w_narrow(w_clamp(w, limit))
#endif
#ifndef v_tanh
#define v_tanh(a, t) v_tanh2(a, a, t, t)
#endif
/* R(gate v; 16) of a gate in Q16, also added to w; and what h becomes, v_between(n, z, h), where |h - n| < 2^31. */
#ifndef v_gated
#define v_gated(gate, v, by) w_narrow(w_round(w_product(gate, v), by))
#define w_add_gated(w, gate, v, by) w_add(w, w_round(w_product(gate, v), by))
#endif

/* What all units of a GRU share, out of the way of the stores into h, which could change it for all a compiler knows. */
typedef struct {
    size_t size;
    uint32_t bits, candidate;
    const int32_t *m_ih, *m_hh;
    v32 h_multiplier;
    rounding rz, n, h, gate;
} shared;

TARGET EGRU_INLINE shared of(const egru_gru *g) {
    shared s = {g->size,
                g->bits,
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

/* Below, `count` (1 or 2, known when compiled) vectors of units go through each stage side by side, so that one does not
 * wait for the other. */
#define EACH EGRU_UNROLL for (uint32_t u = 0; u < count; u++)

/* r and z in Q16. */
TARGET EGRU_INLINE void gates(const shared *g, size_t i, const int32_t *ih, const int32_t *hh, v32 *r, v32 *z,
                              const uint32_t count) {
    EACH {
        size_t r_row = i + u * LANES, z_row = g->size + r_row;
        r[u] = w_limit(pair(g, r_row, ih + r_row, hh + r_row, g->rz), EGRU_ARGUMENT_LIMIT);
        z[u] = w_limit(pair(g, z_row, ih + z_row, hh + z_row, g->rz), EGRU_ARGUMENT_LIMIT);
    }
    EACH v_tanh2(r[u], z[u], &r[u], &z[u]);
    EACH {
        r[u] = v_add(r[u], v_set(32768));
        z[u] = v_add(z[u], v_set(32768));
    }
}

/* From the arguments of candidates to h' = ((2^16 - z) n + z h) / 2^16 and its operand. */
TARGET EGRU_INLINE void mix(const shared *g, size_t i, wide *argument, const v32 *z, int32_t *h, void *q,
                            const uint32_t count) {
    v32 n[2], next[2];
    if (g->candidate == EGRU_TANH) {
        EACH n[u] = w_limit(argument[u], EGRU_ARGUMENT_LIMIT);
        if (count == 1)
            v_tanh(n[0], &n[0]);
        else
            v_tanh2(n[0], n[1], &n[0], &n[1]);
        EACH n[u] = v_shift9(n[u]);
    } else {
        EACH {
            if (g->candidate == EGRU_RELU)
                argument[u] = w_floor0(argument[u]);
            n[u] = w_limit(argument[u], EGRU_VALUE_LIMIT);
        }
    }
    EACH {
        v32 old = v_load(h + i + u * LANES);
#ifdef v_between
        if (g->candidate == EGRU_TANH)
            next[u] = v_between(n[u], z[u], old);
        else
#endif
        {
            wide fresh = w_product(v_sub(v_set(65536), z[u]), n[u]);
            next[u] = w_narrow(w_round(w_add(fresh, w_product(z[u], old)), g->gate));
        }
    }
    EACH {
        v_store(h + i + u * LANES, next[u]);
        store_operand(q, i + u * LANES, g->bits, w_round(w_scaled(next[u], g->h_multiplier), g->h));
    }
}

TARGET EGRU_INLINE void after(const shared *g, size_t i, const int32_t *ih, const int32_t *hh, int32_t *h, void *q,
                              const uint32_t count) {
    int64_t limit = g->candidate == EGRU_TANH ? EGRU_OUTPUT_LIMIT : EGRU_VALUE_LIMIT;
    v32 r[2], z[2], hn[2];
    wide argument[2];
    EACH {
        size_t row = 2 * g->size + i + u * LANES;
        hn[u] = w_limit(w_round(w_product_at(hh + row, g->m_hh + row), g->n), limit);
        argument[u] = w_round(w_product_at(ih + row, g->m_ih + row), g->n);
    }
    gates(g, i, ih, hh, r, z, count);
    EACH argument[u] = w_add_gated(argument[u], r[u], hn[u], g->gate);
    mix(g, i, argument, z, h, q, count);
}

TARGET static void vector_gru_after(const egru_gru *gru, const int32_t *ih, const int32_t *hh, int32_t *h, void *q) {
    const shared g = of(gru);
    size_t i = 0;
    for (; SIDE_BY_SIDE == 2 && i + LANES < g.size; i += 2 * LANES)
        after(&g, i, ih, hh, h, q, 2);
    for (; i < g.size; i += LANES)
        after(&g, i, ih, hh, h, q, 1);
}

TARGET static void vector_gru_gates(const egru_gru *gru, const int32_t *ih, const int32_t *hh, const int32_t *h, int32_t *z,
                             void *q_rh) {
    const shared g = of(gru);
    const rounding to_operand = w_rounding(gru->rh_shift);
    const v32 multiplier = v_set(gru->rh_multiplier);
    for (size_t i = 0; i < g.size; i += LANES) {
        v32 r, update, rh;
        gates(&g, i, ih, hh, &r, &update, 1);
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
        wide argument = pair(&g, row, ih + row, hn + i, g.n);
        v32 update = v_load(z + i);
        mix(&g, i, &argument, &update, h, q, 1);
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

#undef EACH
