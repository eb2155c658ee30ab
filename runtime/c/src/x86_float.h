/* The GRU of floats behind its products, and activations, in vectors of LANES; for AVX2 and AVX-512, with what x86_input.h
 * needs and f_fma(a, b, c), a b + c; f_inverse(v), 1 / v, exactly 1 of 1; f_scale(v, k), v 2^k, where k is an integer
 * plus 1.5 * 2^23. What is not a number remains so: f_min and f_max give the second of two where one is none.
 */
#define EGRU_ELEMENTS 1

/* 2^x: 2^k 2^f, |f| <= 1/2, by a polynomial with a relative error below 1e-8. */
TARGET EGRU_INLINE f32 f_power(f32 x) {
    const float rounder = 12582912.0f; /* 1.5 * 2^23 */
    f32 k, f, p;
    x = f_max(f_set(-125.0f), f_min(f_set(125.0f), x));
    k = f_add(x, f_set(rounder));
    f = f_sub(x, f_sub(k, f_set(rounder)));
    p = f_fma(f_set(1.54498703e-4f), f, f_set(1.34179357e-3f));
    p = f_fma(p, f, f_set(9.61803645e-3f));
    p = f_fma(p, f, f_set(5.55026345e-2f));
    p = f_fma(p, f, f_set(2.40226522e-1f));
    p = f_fma(p, f, f_set(6.93147242e-1f));
    return f_scale(f_fma(p, f, f_set(1.0f)), k);
}

#define LOG2_E 1.44269504f

/* 1 / (1 + 2^x) */
TARGET EGRU_INLINE f32 f_fall(f32 x) {
    return f_inverse(f_add(f_set(1.0f), f_power(x)));
}

TARGET EGRU_INLINE f32 f_sigmoid(f32 v) {
    return f_fall(f_mul(v, f_set(-LOG2_E)));
}

TARGET EGRU_INLINE f32 f_hard_sigmoid(f32 v, uint32_t activation) {
    return f_min(f_set(1.0f), f_max(f_set(0.0f), f_fma(v, f_set(egru_slope(activation)), f_set(0.5f))));
}

TARGET static void vector_activate_float(const float *v, float *to, uint32_t size, uint32_t activation, float most) {
    const float factor = activation == EGRU_LINEAR ? LOG2_E : activation == EGRU_TANH ? -2.0f * LOG2_E : -LOG2_E;
    for (uint32_t i = 0; i < size; i += LANES) {
        f32 value = f_load(v + i), power = f_power(f_mul(f_sub(value, f_set(most)), f_set(factor)));
        f32 fall = f_inverse(f_add(f_set(1.0f), power));
        if (activation == EGRU_LINEAR)
            fall = power;
        else if (activation == EGRU_RELU)
            fall = f_max(f_set(0.0f), value);
        else if (activation == EGRU_TANH)
            fall = f_fma(f_set(2.0f), fall, f_set(-1.0f));
        else if (activation != EGRU_SIGMOID)
            fall = f_hard_sigmoid(value, activation);
        f_store(to + i, fall);
    }
}

/* From the arguments of candidates, which are used up, and z to h'. */
TARGET static EGRU_NOINLINE void mix_float(const egru_gru *g, float *argument, const float *z, const float *h,
                                           float *next) {
    if (g->candidate > EGRU_TANH)
        vector_activate_float(argument, argument, g->size, g->candidate, 0.0f);
    for (uint32_t i = 0; i < g->size; i += LANES) {
        f32 update = f_load(z + i), n = f_load(argument + i);
        if (g->candidate == EGRU_TANH)
            n = f_fma(f_set(2.0f), f_fall(f_mul(n, f_set(-2.0f * LOG2_E))), f_set(-1.0f));
        else if (g->candidate == EGRU_RELU)
            n = f_max(f_set(0.0f), n);
        f_store(next + i, f_fma(f_sub(f_set(1.0f), update), n, f_mul(update, f_load(h + i))));
    }
}

/* z, and r times `factors`; reset after the product adds the arguments of candidates, in ih, to that. */
TARGET static EGRU_NOINLINE void gates_float(const egru_gru *g, const float *ih, const float *hh, const float *factors,
                                             float *z, float *products) {
    for (uint32_t i = 0; i < g->size; i += LANES) {
        uint32_t z_row = g->size + i;
        f32 r = f_add(f_load(ih + i), f_load(hh + i)), update = f_add(f_load(ih + z_row), f_load(hh + z_row));
        f32 added = g->before ? f_set(0.0f) : f_load(ih + 2 * g->size + i);
        if (g->gates == EGRU_SIGMOID) {
            r = f_sigmoid(r);
            update = f_sigmoid(update);
        } else {
            r = f_hard_sigmoid(r, g->gates);
            update = f_hard_sigmoid(update, g->gates);
        }
        r = f_fma(r, f_load(factors + i), added);
        f_store(z + i, update); /* first: the vector may reach into the arguments */
        f_store(products + i, r);
    }
}

/* ih is used up: arguments of candidates and z stand in it then. */
TARGET static void vector_gru_after_float(const egru_gru *g, const float *ih, const float *hh, const float *h,
                                          float *next) {
    float *z = (float *)(uintptr_t)ih, *argument = z + 2 * g->size;
    gates_float(g, ih, hh, hh + 2 * g->size, z, argument);
    mix_float(g, argument, z, h, next);
}

TARGET static void vector_gru_gates_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *z,
                                          float *rh) {
    gates_float(g, ih, hh, h, z, rh);
}

TARGET static void vector_gru_candidate_float(const egru_gru *g, const float *ih, const float *hn, const float *z,
                                              const float *h, float *next) {
    float *argument = (float *)(uintptr_t)ih;
    for (uint32_t i = 0; i < g->size; i += LANES)
        f_store(argument + i, f_add(f_load(ih + 2 * g->size + i), f_load(hn + i)));
    mix_float(g, argument, z, h, next);
}
