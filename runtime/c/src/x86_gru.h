/* The GRU behind its products, and operands of values, in vectors of LANES int32; for AVX2 and AVX-512. Only for numbers
 * that fit 32 bits before they are saturated (`narrow`); all others are left to the portable kernel. Vectors reach into
 * the padding of arrays: what is there does not matter. Every loop is short, so that processors overlap its turns: from
 * the arguments of r to the operand of h' there are a hundred cycles, and each waits for the one before.
 *
 * Before the inclusion are defined: TARGET; LANES; GATES_INLINE, EGRU_INLINE or not; v32; v_load, v_store, v_set,
 * v_add, v_sub; v_floor0(v), max(v, 0); v_half(v), v / 2 rounded down; v_rounding(t) and, with one, v_scale(a, pm),
 * R(a m; t), v_scale_all(a, M), where all lanes of M are the same, and v_scale_two(a, pm, b, pn), R'(a m + b n; t), of
 * multipliers in memory and of accumulators that v_raise made 2^(EGRU_HIGH - t) times as large where t is less: so the
 * low words of products decide nothing; v_scale_any(a, pm, b, pn, t), the last of these of any accumulators and any t;
 * v_beyond(a, pm, b, pn, limit), bits of the lanes where |a m| + |b n| reaches the limit, about; v_gate(T, v),
 * R((2^15 + T) v; 16) for |v| < 2^26; v_blend(T, a, b), R'((2^15 + T) a + (2^15 - T) b; 16); v_store8 and v_store16,
 * saturated to ±127 and ±32767; words, twice as many numbers of 16 bits: w_pack(a, b), saturated to ±32767; w_first(w) and
 * w_second(w), a and b in the low halves of lanes; w_first24(w) and w_second24(w), a << 9 and b << 9; w_tanh(t, count), T
 * of words in their place, 32 for every 16 of count.
 */

TARGET EGRU_INLINE void store_operand(void *q, uint32_t i, uint32_t bits, v32 value) {
    if (bits == 8)
        v_store8((int8_t *)q + i, value);
    else
        v_store16((int16_t *)q + i, value);
}

/* Of both products. */
TARGET EGRU_INLINE v32 argument_of(const int32_t *ih, const int32_t *m_ih, const int32_t *hh, const int32_t *m_hh,
                                   uint32_t row, rounding by) {
    return v_scale_two(v_raise(v_load(ih + row), by), m_ih + row, v_raise(v_load(hh + row), by), m_hh + row, by);
}

/* T of r and z, or what hard gates have in its place, side by side, where ih has been; behind it where they would reach
 * into the rows of n. */
TARGET GATES_INLINE int32_t *gates(const egru_gru *gru, const int32_t *ih, const int32_t *hh) {
    const uint32_t size = gru->size;
    int32_t *t = (int32_t *)(uintptr_t)ih + (size < 8 ? 3 * size + EGRU_PAD - 32 : 0);
    const int32_t *m_ih = gru->m_ih, *m_hh = gru->m_hh;
    const rounding by = v_rounding(gru->rz_shift);
    for (uint32_t r = 0; r < size; r += LANES) {
        uint32_t z = size + r;
        v32 r_argument = argument_of(ih, m_ih, hh, m_hh, r, by), z_argument = argument_of(ih, m_ih, hh, m_hh, z, by);
        v_store(t + r, w_pack(r_argument, z_argument));
    }
    if (gru->gates == EGRU_SIGMOID)
        w_tanh(t, size);
    return t;
}

/* Whether the second of two vectors, at i + k, is padding and so wide that it is worth asking. */
TARGET EGRU_INLINE int only_padding(uint32_t i, uint32_t k, uint32_t size) {
    return LANES > 8 && k > 0 && i + k >= size;
}

/* Values to operands, where what is scaled fits 32 bits. */
TARGET static EGRU_NOINLINE void to_operands(const int32_t *value, void *q, uint32_t size, uint32_t bits,
                                             const int32_t *m, uint32_t multipliers, uint32_t shift) {
    const rounding by = v_rounding(shift);
    for (uint32_t i = 0; i < size; i += LANES) {
        v32 v = v_load(value + i);
        store_operand(q, i, bits, multipliers == 1 ? v_scale_all(v, v_set(m[0]), by) : v_scale(v, m + i, by));
    }
}

/* From arguments of candidates, words where they are bounded, and T of z beside that of r, to h' = n + z (h - n) and its
 * operand. */
TARGET static EGRU_NOINLINE void mix(const egru_gru *gru, int32_t *argument, const int32_t *rz, int32_t *h, void *q) {
    const uint32_t size = gru->size, bits = gru->bits, candidate = gru->candidate, shift = gru->h_shift;
    v32 multiplier;
    rounding by;
    if (candidate < EGRU_TANH) {
        for (uint32_t i = 0; i < size; i += LANES) {
            v32 n = v_load(argument + i);
            n = candidate == EGRU_RELU ? v_floor0(n) : n;
            v_store(h + i, v_blend(w_second(v_load(rz + i)), v_load(h + i), n));
        }
        to_operands(h, q, size, bits, &gru->h_multiplier, 1, shift);
        return;
    }
    if (candidate <= EGRU_SIGMOID)
        w_tanh(argument, (size + 1) / 2);
    multiplier = v_set(gru->h_multiplier);
    by = v_rounding(shift);
    for (uint32_t i = 0; i < size; i += 2 * LANES) {
        words two = v_load(argument + i / 2);
        EGRU_UNROLL for (uint32_t k = 0; k < 2 * LANES; k += LANES) {
            v32 t, n = k ? w_second24(two) : w_first24(two);
            if (only_padding(i, k, size))
                continue;
            t = w_second(v_load(rz + i + k));
            if (candidate > EGRU_TANH)
                n = v_add(v_half(n), v_set(1 << 23)); /* (2^15 + T) << 8 of T << 9 */
            n = v_add(n, v_gate(t, v_sub(v_load(h + i + k), n)));
            v_store(h + i + k, n);
            store_operand(q, i + k, bits, v_scale_all(n, multiplier, by));
        }
    }
}

/* Arguments of unbounded candidates, saturated, where W_in x has been; rz: T of r, or NULL for reset before the product.
 * Nothing bounds them: a vector in which one reaches 2^29 is left to portable code. */
TARGET static EGRU_NOINLINE void unbounded(const egru_gru *gru, int32_t *argument, const int32_t *hn,
                                           const int32_t *rz) {
    const uint32_t size = gru->size, shift = gru->n_shift;
    const int32_t *m_ih = gru->m_ih + 2 * size, *m_hh = gru->m_hh + 2 * size;
    const float limit = 536870912.0f * (float)((int64_t)1 << shift);
    for (uint32_t i = 0; i < size; i += LANES) {
        v32 of_x = v_load(argument + i), of_h = v_load(hn + i), of_r = v_set(0);
        if (v_beyond(of_x, m_ih + i, of_h, m_hh + i, limit)) {
            int32_t t[LANES];
            v_store(t, rz ? w_first(v_load(rz + i)) : of_r);
            egru_unbounded_arguments(gru, argument, hn, t, i, LANES);
            continue;
        }
        if (rz) {
            of_r = v_blend(w_first(v_load(rz + i)), v_scale_any(of_r, m_ih + i, of_h, m_hh + i, shift), of_r);
            of_h = v_set(0);
        }
        v_store(argument + i, v_add(of_r, v_scale_any(of_x, m_ih + i, of_h, m_hh + i, shift)));
    }
}

/* ih is used up: T of r and z, and arguments of candidates stand in it. */
TARGET static void vector_gru_after(const egru_gru *gru, const int32_t *ih, const int32_t *hh, int32_t *h, void *q) {
    const uint32_t size = gru->size, candidate = gru->candidate;
    const int32_t *m_ih = gru->m_ih + 2 * size, *m_hh = gru->m_hh + 2 * size;
    const rounding by = v_rounding(gru->n_shift);
    int32_t *rz, *argument = (int32_t *)(uintptr_t)ih + 2 * size;
    if (!gru->narrow) {
        egru_portable_gru_after(gru, ih, hh, h, q);
        return;
    }
    rz = gates(gru, ih, hh);
    hh += 2 * size;
    if (candidate < EGRU_TANH)
        unbounded(gru, argument, hh, rz);
    for (uint32_t i = 0; candidate >= EGRU_TANH && i < size; i += 2 * LANES) {
        v32 a[2] = {v_set(0)};
        EGRU_UNROLL for (uint32_t k = 0; k < 2; k++) {
            uint32_t j = i + k * LANES;
            v32 n;
            a[k] = a[0];
            if (only_padding(i, k * LANES, size))
                continue;
            n = v_scale(v_raise(v_load(hh + j), by), m_hh + j, by);
            a[k] = v_scale(v_raise(v_load(argument + j), by), m_ih + j, by);
            a[k] = v_add(a[k], v_gate(w_first(v_load(rz + j)), n));
        }
        v_store(argument + i / 2, w_pack(a[0], a[1]));
    }
    mix(gru, argument, rz, h, q);
}

/* z is kept as T, beside that of r. */
TARGET static void vector_gru_gates(const egru_gru *gru, const int32_t *ih, const int32_t *hh, const int32_t *h,
                                    int32_t *z, void *q_rh) {
    const rounding by = v_rounding(gru->rh_shift);
    const int32_t *t;
    if (!gru->narrow) {
        egru_portable_gru_gates(gru, ih, hh, h, z, q_rh);
        return;
    }
    t = gates(gru, ih, hh);
    for (uint32_t i = 0; i < gru->size; i += LANES) {
        words rz = v_load(t + i);
        v32 old = v_load(h + i);
        old = gru->candidate >= EGRU_TANH ? v_gate(w_first(rz), old) : v_blend(w_first(rz), old, v_set(0));
        v_store(z + i, rz);
        store_operand(q_rh, i, gru->bits, v_scale_all(old, v_set(gru->rh_multiplier), by));
    }
}

TARGET static void vector_gru_candidate(const egru_gru *gru, const int32_t *ih, const int32_t *hn, const int32_t *z,
                                        int32_t *h, void *q) {
    const uint32_t size = gru->size;
    const int32_t *m_ih = gru->m_ih + 2 * size, *m_hh = gru->m_hh + 2 * size;
    const rounding by = v_rounding(gru->n_shift);
    int32_t *argument = (int32_t *)(uintptr_t)ih + 2 * size;
    const int bounded = gru->candidate >= EGRU_TANH;
    if (!gru->narrow) {
        egru_portable_gru_candidate(gru, ih, hn, z, h, q);
        return;
    }
    if (!bounded)
        unbounded(gru, argument, hn, NULL);
    for (uint32_t i = 0; bounded && i < size; i += LANES)
        v_store(argument + i, argument_of(argument, m_ih, hn, m_hh, i, by));
    for (uint32_t i = 0; bounded && i < size; i += 2 * LANES)
        v_store(argument + i / 2, w_pack(v_load(argument + i), v_load(argument + i + LANES)));
    mix(gru, argument, z, h, q);
}

TARGET static void vector_operand(const int32_t *value, void *q, uint32_t size, uint32_t bits, const int32_t *m,
                                  uint32_t multipliers, uint32_t shift) {
    if (shift < EGRU_HIGH)
        egru_portable_operand(value, q, size, bits, m, multipliers, shift);
    else
        to_operands(value, q, size, bits, m, multipliers, shift);
}
