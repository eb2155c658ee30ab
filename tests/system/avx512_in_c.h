/* The intrinsics of x86_avx512.c in plain C: those of SIMDe, and here what SIMDe 0.7.4 lacks. For test_avx512_in_c.py. */
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <math.h>
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#include <string.h>

/* An array of what is in a vector, and a vector of what is in an array. */
#define NUMBERS(v, type, name)                                                                                         \
    type name[64 / sizeof(type)];                                                                                      \
    memcpy(name, &v, 64)
#define GIVE(name, type)                                                                                               \
    type result;                                                                                                       \
    memcpy(&result, name, 64);                                                                                         \
    return result

static inline __m512i expand_32(unsigned mask, const void *from) {
    int32_t numbers[16] = {0};
    size_t taken = 0;
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            memcpy(&numbers[i], (const char *)from + 4 * taken++, 4);
    GIVE(numbers, __m512i);
}
static inline __m512 expand_floats(unsigned mask, const void *from) {
    __m512i all = expand_32(mask, from);
    GIVE(&all, __m512);
}
static inline __m512i integers(__m512 v) {
    int32_t numbers[16];
    NUMBERS(v, float, all);
    for (int i = 0; i < 16; i++)
        numbers[i] = fabsf(all[i]) < 2147483648.0f ? (int32_t)rintf(all[i]) : INT32_MIN;
    GIVE(numbers, __m512i);
}
static inline __m512 floats(__m512i v) {
    float numbers[16];
    NUMBERS(v, int32_t, all);
    for (int i = 0; i < 16; i++)
        numbers[i] = (float)all[i];
    GIVE(numbers, __m512);
}
static inline __m512i shuffle_32(__m512i v, int order) {
    int32_t numbers[16];
    NUMBERS(v, int32_t, all);
    for (int i = 0; i < 16; i++)
        numbers[i] = all[(i & ~3) | (order >> (2 * (i & 3)) & 3)];
    GIVE(numbers, __m512i);
}
static inline __m512i shuffle_some_32(__m512i others, unsigned mask, __m512i v, int order) {
    __m512i shuffled = shuffle_32(v, order);
    NUMBERS(others, int32_t, numbers);
    NUMBERS(shuffled, int32_t, all);
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            numbers[i] = all[i];
    GIVE(numbers, __m512i);
}
static inline __m512i subtract_some_16(__m512i others, unsigned mask, __m512i a, __m512i b) {
    NUMBERS(others, int16_t, numbers);
    NUMBERS(a, int16_t, left);
    NUMBERS(b, int16_t, right);
    for (int i = 0; i < 32; i++)
        if (mask >> i & 1)
            numbers[i] = (int16_t)(left[i] - right[i]);
    GIVE(numbers, __m512i);
}
static inline __m512 load_some(unsigned mask, const float *from) {
    float numbers[16] = {0};
    for (int i = 0; i < 16; i++)
        if (mask >> i & 1)
            numbers[i] = from[i];
    GIVE(numbers, __m512);
}
static inline __m512 odd_numbers(__m512 v) {
    int32_t numbers[16];
    NUMBERS(v, int32_t, all);
    for (int i = 0; i < 16; i++)
        numbers[i] = all[i | 1];
    GIVE(numbers, __m512);
}
static inline __m512 inverse_14_bits(__m512 v) {
    NUMBERS(v, float, all);
    for (int i = 0; i < 16; i++) {
        float inverse = 1.0f / all[i];
        uint32_t bits;
        memcpy(&bits, &inverse, 4);
        bits &= ~0x1ffu;
        memcpy(&all[i], &bits, 4);
    }
    GIVE(all, __m512);
}
static inline __m512i shift_32(__m512i v, int count) {
    NUMBERS(v, int32_t, all);
    for (int i = 0; i < 16; i++)
        all[i] >>= count > 31 ? 31 : count;
    GIVE(all, __m512i);
}
static inline __m512i shift_64(__m512i v, int count) {
    NUMBERS(v, int64_t, all);
    for (int i = 0; i < 8; i++)
        all[i] >>= count > 63 ? 63 : count;
    GIVE(all, __m512i);
}

#define _mm512_maskz_expandloadu_epi32 expand_32
#define _mm512_maskz_expandloadu_ps expand_floats
#define _mm512_cvtps_epi32 integers
#define _mm512_cvtepi32_ps floats
#define _mm512_shuffle_epi32(v, order) shuffle_32(v, (int)(order))
#define _mm512_mask_shuffle_epi32(others, mask, v, order) shuffle_some_32(others, mask, v, (int)(order))
#define _mm512_mask_sub_epi16 subtract_some_16
#define _mm512_maskz_loadu_ps load_some
#define _mm512_movehdup_ps odd_numbers
#define _mm512_rcp14_ps inverse_14_bits
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps(v, mode) simde_mm512_roundscale_ps(v, (mode)) /* SIMDe's lacks the parentheses */
#define _mm512_sra_epi32(v, count) shift_32(v, _mm_cvtsi128_si32(count))
#define _mm512_srai_epi32(v, count) shift_32(v, (int)(count))
#define _mm512_sra_epi64(v, count) shift_64(v, _mm_cvtsi128_si32(count))
