/* The GRU behind its products, and operands of values, in vectors of LANES int32; for AVX2 and AVX-512. Only for numbers
 * that fit 32 bits before they are saturated (`narrow`); all others are left to the portable kernel. Vectors reach into
 * the padding of arrays: what is there does not matter. Every loop is short, so that processors overlap its turns: from
 * the arguments of r to the operand of h' there are a hundred cycles, and each waits for the one before.
 *
 * Before the inclusion are defined: TARGET; LANES; GATES_INLINE, EGRU_INLINE or not; v32; v_load, v_store, v_set, v_add,
 * v_sub; v_clamp(v, limit); v_floor0(v), max(v, 0); v_times(a, b), the low 32 bits; v_shift(v, count), arithmetic;
 * v_rounding(t) and, with one, v_scale(a, pm), R(a m; t), v_scale_all(a, M), where all lanes of M are the same, and
 * v_scale_two(a, pm, b, pn), R'(a m + b n; t), of multipliers in memory; v_gate(T, v), R((2^15 + T) v; 16) for
 * |v| < 2^26; v_blend(T, a, b), R'((2^15 + T) a + (2^15 - T) b; 16); v_store8 and v_store16, saturated to ±127 and ±32767;
 * words, twice as many numbers of 16 bits: w_pack(a, b), saturated to ±32767; w_first(w) and w_second(w), a and b in the
 * low halves of lanes; w_first24(w) and w_second24(w), a << 9 and b << 9; w_tanh(t, count), T of words in their place, 32
 * for every 16 of count.
 */

TARGET EGRU_INLINE void store_operand(void *q, uint32_t i, uint32_t bits, v32 value) {
    if (bits == 8)
        v_store8((int8_t *)q + i, value);
    else
        v_store16((int16_t *)q + i, value);
}

/* T of r and z, or what hard gates have in its place, side by side, where ih has been; behind it where they would reach into the rows of n. */
TARGET GATES_INLINE int32_t *gates(const egru_gru *gru, const int32_t *ih, const int32_t *hh) {
    const uint32_t size = gru->size;
    int32_t *t = (int32_t *)(uintptr_t)ih + (size < 8 ? 3 * size + EGRU_PAD - 16 : 0);
    const int32_t *m_ih = gru->m_ih, *m_hh = gru->m_hh;
    const rounding by = v_rounding(gru->rz_shift);
    for (uint32_t r = 0; r < size; r += LANES) {
        uint32_t z = size + r;
        v32 r_argument = v_scale_two(v_load(ih + r), m_ih + r, v_load(hh + r), m_hh + r, by);
        v32 z_argument = v_scale_two(v_load(ih + z), m_ih + z, v_load(hh + z), m_hh + z, by);
        v_store(t + r, w_pack(r_argument, z_argument));
    }
    if (gru->gates == EGRU_SIGMOID)
        w_tanh(t, size);
    return t;
}

/* From values below 2^24 to operands in 32 bits: where the multiplier is 127, or 1, times a power of two. */
typedef struct {
    int fits;
    v32 multiplier, half;
    __m128i count;
} short_scale;
TARGET EGRU_INLINE short_scale shortened(uint32_t multiplier, uint32_t shift) {
    short_scale s;
    for (; multiplier % 2 == 0 && shift > 24; multiplier /= 2) shift--;
    s.fits = multiplier <= 127 && shift <= 24;
    s.multiplier = v_set((int32_t)multiplier);
    s.half = v_set((int32_t)(1u << (shift - 1) % 32));
    s.count = _mm_cvtsi32_si128((int)shift);
    return s;
}

/* From the arguments of candidates and T of z to h' = n + z (h - n) and its operand. */
TARGET static EGRU_NOINLINE void mix(const egru_gru *gru, int32_t *argument, const int32_t *z, int32_t *h, void *q) {
    const uint32_t size = gru->size, bits = gru->bits, candidate = gru->candidate;
    const short_scale brief = shortened((uint32_t)gru->h_multiplier, gru->h_shift);
    const v32 multiplier = v_set(gru->h_multiplier);
    const rounding by = v_rounding(gru->h_shift);
    for (uint32_t i = 0; candidate >= EGRU_TANH && i < size; i += 32) {
        int32_t *n = argument + i; /* 32 numbers, or as many words in the first half of their place */
        EGRU_UNROLL for (uint32_t k = 0; k < 16; k += LANES)
            v_store(n + k, w_pack(v_load(n + 2 * k), v_load(n + 2 * k + LANES)));
        if (candidate <= EGRU_SIGMOID)
            w_tanh(n, 16);
        EGRU_UNROLL for (uint32_t k = 16; k > 0; k -= LANES) {
            words two = v_load(n + k - LANES);
            v_store(n + 2 * (k - LANES), w_first24(two));
            v_store(n + 2 * k - LANES, w_second24(two));
        }
    }
    for (uint32_t i = 0; i < size; i += LANES) {
        v32 n = v_load(argument + i), t = v_load(z + i), old = v_load(h + i);
        if (candidate > EGRU_TANH)
            n = v_add(v_shift(n, _mm_cvtsi32_si128(1)), v_set(1 << 23)); /* (2^15 + T) << 8 of T << 9 */
        if (candidate >= EGRU_TANH)
            n = v_add(n, v_gate(t, v_sub(old, n)));
        else
            n = v_blend(t, old, v_clamp(candidate == EGRU_RELU ? v_floor0(n) : n, EGRU_VALUE_LIMIT));
        v_store(h + i, n);
        if (brief.fits && candidate >= EGRU_TANH)
            n = v_shift(v_add(v_times(n, brief.multiplier), brief.half), brief.count);
        else
            n = v_scale_all(n, multiplier, by);
        store_operand(q, i, bits, n);
    }
}

/* ih is used up: T of r and z, then of z alone, and arguments of candidates stand in it. */
TARGET static void vector_gru_after(const egru_gru *gru, const int32_t *ih, const int32_t *hh, int32_t *h, void *q) {
    const uint32_t size = gru->size, candidate = gru->candidate;
    const int32_t *m_ih = gru->m_ih + 2 * size, *m_hh = gru->m_hh + 2 * size;
    const rounding by = v_rounding(gru->n_shift);
    int32_t *z, *argument = (int32_t *)(uintptr_t)ih + 2 * size;
    if (!gru->narrow) {
        egru_portable_gru_after(gru, ih, hh, h, q);
        return;
    }
    z = gates(gru, ih, hh);
    hh += 2 * size;
    for (uint32_t i = 0; i < size; i += LANES) {
        words rz = v_load(z + i);
        v32 n = v_scale(v_load(hh + i), m_hh + i, by), in = v_scale(v_load(argument + i), m_ih + i, by);
        if (candidate >= EGRU_TANH)
            n = v_gate(w_first(rz), n);
        else
            n = v_blend(w_first(rz), v_clamp(n, EGRU_VALUE_LIMIT), v_set(0));
        v_store(z + i, w_second(rz));
        v_store(argument + i, v_add(in, n));
    }
    mix(gru, argument, z, h, q);
}

/* z is kept as T. */
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
        v_store(z + i, w_second(rz));
        store_operand(q_rh, i, gru->bits, v_scale_all(old, v_set(gru->rh_multiplier), by));
    }
}

TARGET static void vector_gru_candidate(const egru_gru *gru, const int32_t *ih, const int32_t *hn, const int32_t *z,
                                        int32_t *h, void *q) {
    const uint32_t size = gru->size;
    const int32_t *m_ih = gru->m_ih + 2 * size, *m_hh = gru->m_hh + 2 * size;
    const rounding by = v_rounding(gru->n_shift);
    int32_t *argument = (int32_t *)(uintptr_t)ih + 2 * size;
    if (!gru->narrow) {
        egru_portable_gru_candidate(gru, ih, hn, z, h, q);
        return;
    }
    for (uint32_t i = 0; i < size; i += LANES)
        v_store(argument + i, v_scale_two(v_load(argument + i), m_ih + i, v_load(hn + i), m_hh + i, by));
    mix(gru, argument, z, h, q);
}

TARGET static void vector_operand(const int32_t *value, void *q, uint32_t size, uint32_t bits, const int32_t *m,
                                  uint32_t multipliers, uint32_t shift) {
    const rounding by = v_rounding(shift);
    if (shift < 31) { /* values fit 32 bits, multipliers 29 */
        egru_portable_operand(value, q, size, bits, m, multipliers, shift);
        return;
    }
    for (uint32_t i = 0; i < size; i += LANES) {
        v32 v = v_load(value + i);
        store_operand(q, i, bits, multipliers == 1 ? v_scale_all(v, v_set(m[0]), by) : v_scale(v, m + i, by));
    }
}
