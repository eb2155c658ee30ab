/* Samples on their way in, in vectors of LANES floats; included once by each instruction set, with f32, f_load, f_store,
 * f_set, f_sub, f_div; f_load_first(p, n), the first n numbers and zeros; f_beyond(v, limit), bits of the lanes where |v|
 * is larger or no number, compared as integers, which never traps.
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

#if EGRU_FLOAT
TARGET static void vector_standardise_float(const float *mean, const float *std, const float *x, float *value,
                                            uint32_t size) {
    for (uint32_t i = 0; i < size; i += LANES)
        f_store(value + i, f_div(f_sub(f_load(x + i), f_load(mean + i)), f_load(std + i)));
}
#endif
