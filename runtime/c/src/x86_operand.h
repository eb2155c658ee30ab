/* Operands of samples, in vectors of LANES; for AVX2 and AVX-512, with what x86_input.h needs and f_mul, f_add, f_min,
 * f_max; f_floor(v); f_differ(a, b), bits of the lanes where a is not b; f_integer(v), v32 of what is one; v_store8 and
 * v_store16.
 */
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
