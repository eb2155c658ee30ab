/* The same for floats, in vectors of LANES: f32, f_load, f_store, f_set, f_add, f_sub, f_mul, f_div, f_fma(a, b, c) =
 * a b + c (rounded once or twice), f_min and f_max (the second of two where one is not a number), f_abs,
 * f_with_sign(v, sign), f_round (to an integer), f_power2(k), 2^k for integers k. The exponential is that of
 * float_nodes.c.
 */

TARGET EGRU_INLINE f32 f_exp(f32 v) {
    f32 k, r, p;
    v = f_max(f_set(-87.3f), f_min(f_set(88.0f), v));
    k = f_round(f_mul(v, f_set(1.44269504f)));
    r = f_fma(k, f_set(-0.693359375f), v);
    r = f_fma(k, f_set(2.12194440e-4f), r);
    p = f_fma(f_set(1.0f / 720.0f), r, f_set(1.0f / 120.0f));
    p = f_fma(p, r, f_set(1.0f / 24.0f));
    p = f_fma(p, r, f_set(1.0f / 6.0f));
    p = f_fma(p, r, f_set(0.5f));
    p = f_fma(f_mul(p, r), r, r);
    return f_mul(f_add(p, f_set(1.0f)), f_power2(k));
}

TARGET EGRU_INLINE f32 f_sigmoid(f32 v) {
    return f_div(f_set(1.0f), f_add(f_set(1.0f), f_exp(f_sub(f_set(0.0f), v))));
}

TARGET EGRU_INLINE f32 f_gate(f32 v, uint32_t activation) {
    if (activation == EGRU_SIGMOID)
        return f_sigmoid(v);
    v = f_fma(v, f_set(egru_slope(activation)), f_set(0.5f));
    return f_min(f_set(1.0f), f_max(f_set(0.0f), v));
}

/* (1 - e^-2|v|) / (1 + e^-2|v|), with the sign of v. */
TARGET EGRU_INLINE f32 f_tanh(f32 v) {
    f32 e = f_exp(f_mul(f_abs(v), f_set(-2.0f)));
    return f_with_sign(f_div(f_sub(f_set(1.0f), e), f_add(f_set(1.0f), e)), v);
}

TARGET EGRU_INLINE f32 f_candidate(const egru_gru *g, f32 argument) {
    if (g->candidate == EGRU_TANH)
        return f_tanh(argument);
    if (g->candidate > EGRU_TANH)
        return f_gate(argument, g->candidate);
    return g->candidate == EGRU_RELU ? f_max(f_set(0.0f), argument) : argument;
}

TARGET EGRU_INLINE f32 f_mix(f32 n, f32 z, f32 h) {
    return f_fma(f_sub(f_set(1.0f), z), n, f_mul(z, h));
}

TARGET static void vector_gru_after_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *next) {
    for (uint32_t i = 0; i < g->size; i += LANES) {
        uint32_t z_row = g->size + i, n_row = 2 * g->size + i;
        f32 r = f_gate(f_add(f_load(ih + i), f_load(hh + i)), g->gates);
        f32 z = f_gate(f_add(f_load(ih + z_row), f_load(hh + z_row)), g->gates);
        f32 n = f_candidate(g, f_fma(r, f_load(hh + n_row), f_load(ih + n_row)));
        f_store(next + i, f_mix(n, z, f_load(h + i)));
    }
}

TARGET static void vector_gru_gates_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *z,
                                   float *rh) {
    for (uint32_t i = 0; i < g->size; i += LANES) {
        uint32_t z_row = g->size + i;
        f_store(rh + i, f_mul(f_gate(f_add(f_load(ih + i), f_load(hh + i)), g->gates), f_load(h + i)));
        f_store(z + i, f_gate(f_add(f_load(ih + z_row), f_load(hh + z_row)), g->gates));
    }
}

TARGET static void vector_gru_candidate_float(const egru_gru *g, const float *ih, const float *hn, const float *z,
                                       const float *h, float *next) {
    for (uint32_t i = 0; i < g->size; i += LANES) {
        f32 n = f_candidate(g, f_add(f_load(ih + 2 * g->size + i), f_load(hn + i)));
        f_store(next + i, f_mix(n, f_load(z + i), f_load(h + i)));
    }
}
