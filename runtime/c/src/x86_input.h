/* Samples on their way in, in vectors of LANES floats; included once by each instruction set, with f32, f_load, f_store,
 * f_set, f_add, f_sub, f_mul, f_div, f_min, f_max; f_load_first(p, n), the first n numbers and zeros; f_beyond(v, limit),
 * bits of the lanes where |v| is larger or no number, compared as integers, which never traps; f_differ(a, b), of those
 * where a is not b; f_floor(v), beyond ±2^22 any such number of the same sign; f_integer(v), v32 of what is one; v_store8
 * and v_store16.
 */

TARGET static int vector_copy_within(const float *from, float *to, size_t size, float limit) {
    unsigned beyond = 0;
    for (size_t i = 0; i < size; i += LANES) {
        f32 v = size - i < LANES ? f_load_first(from + i, size - i) : f_load(from + i);
        beyond |= f_beyond(v, f_set(limit));
        if (to)
            f_store(to + i, v);
    }
    return !beyond;
}

TARGET static uint32_t vector_standardise(const float *a, const float *b, const float *x, void *q, uint32_t size,
                                          uint32_t bits) {
    const float limit = bits == 8 ? 127.0f : 32767.0f;
    uint32_t saturated = 0;
    for (uint32_t i = 0; i < size; i += LANES) {
        f32 v = f_floor(f_add(f_mul(f_load(a + i), f_load(x + i)), f_load(b + i)));
        f32 within = f_max(f_min(v, f_set(limit)), f_set(-limit));
        unsigned beyond = f_differ(v, within);
        for (uint32_t k = i; beyond && k < size; k++, beyond >>= 1)
            saturated += beyond & 1u;
        if (bits == 8)
            v_store8((int8_t *)q + i, f_integer(within));
        else
            v_store16((int16_t *)q + i, f_integer(within));
    }
    return saturated;
}

#if EGRU_FLOAT
TARGET static void vector_standardise_float(const float *mean, const float *std, const float *x, float *value,
                                            uint32_t size) {
    for (uint32_t i = 0; i < size; i += LANES)
        f_store(value + i, f_div(f_sub(f_load(x + i), f_load(mean + i)), f_load(std + i)));
}
#endif
