/* log2 of an integer from 1 on, below 2^63, with 16 fractional bits: the highest bit, and a polynomial for the rest. Shared
 * with generated C as integer_log_mel.h is (c_kernel/egru_logarithm.h). Whoever includes it has egru_round. */
int32_t egru_log2_q16(uint64_t v) {
    static const int32_t c[] = {1548920839, -771102598, 491289709, -298398591, 130779510, -27747045};
    int32_t highest = 62;
    int64_t fraction, sum = c[5];
    for (int32_t shift = 32; shift; shift /= 2)
        if (v < (uint64_t)1 << (63 - shift)) {
            v <<= shift;
            highest -= shift;
        }
    fraction = (int64_t)(v >> 32) - ((int64_t)1 << 30);
    for (int i = 4; i >= 0; i--)
        sum = c[i] + egru_round(sum * fraction, 30);
    return highest * 65536 + (int32_t)egru_round(sum * fraction, 44);
}
