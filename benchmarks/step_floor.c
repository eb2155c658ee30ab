/* Floors of a step: reading weights from the caches and nothing else; multiplying and adding and nothing else; both and
 * nothing else. Compiled and called by step_native.py. */
#include <stddef.h>
#include <stdint.h>
#if defined __AVX2__
#include <immintrin.h>
#endif

#if defined __AVX512F__
#define WIDTH 64
#elif defined __AVX__
#define WIDTH 32
#else
#define WIDTH 16
#endif
typedef uint64_t vector __attribute__((vector_size(WIDTH))); /* one register: of wider ones GCC makes loads of words */

/* Read `weights` (`bytes`, a multiple of 512, aligned to 64) `passes` times; the exclusive or of all words read. */
uint64_t read_weights(const void *weights, size_t bytes, long passes) {
    const vector *v = weights;
    vector a = {0}, b = {0}, c = {0}, d = {0}, e = {0}, f = {0}, g = {0}, h = {0}; /* none waits for another */
    uint64_t result = 0;
    for (long pass = 0; pass < passes; pass++) {
        __asm__ volatile("" : : : "memory"); /* for all the compiler knows the weights have changed */
        for (size_t i = 0; i < bytes / sizeof(vector); i += 8) {
            a ^= v[i];
            b ^= v[i + 1];
            c ^= v[i + 2];
            d ^= v[i + 3];
            e ^= v[i + 4];
            f ^= v[i + 5];
            g ^= v[i + 6];
            h ^= v[i + 7];
        }
    }
    a ^= b ^ c ^ d ^ e ^ f ^ g ^ h;
    for (size_t i = 0; i < sizeof(vector) / sizeof result; i++)
        result ^= a[i];
    return result;
}

/* Multiply by 1 and add `products` numbers, rounded up to whole rounds, `passes` times: the sum; -1 where there is no code
 * for the processor. int8 by the instructions of the kernels. For multiply_int8 and multiply_float32 the numbers are 1,
 * in registers; read_and_multiply_int8 and read_and_multiply_float32 read them from `weights` (whole rounds, aligned to
 * 64). */
#if defined __AVX512VNNI__ || (defined __AVX2__ && defined __FMA__)
#if defined __AVX512VNNI__
typedef __m512i integers;
typedef __m512 floats;
#define ALL_BYTES(v) _mm512_set1_epi8(v)
#define ALL_FLOATS(v) _mm512_set1_ps(v)
#define MULTIPLY_BYTES(acc, q, w) _mm512_dpbusd_epi32(acc, q, w)
#define MULTIPLY_FLOATS(acc, v, w) _mm512_fmadd_ps(v, w, acc)
#else
typedef __m256i integers;
typedef __m256 floats;
#define ALL_BYTES(v) _mm256_set1_epi8(v)
#define ALL_FLOATS(v) _mm256_set1_ps(v)
#define MULTIPLY_BYTES(acc, q, w)                                                                                      \
    _mm256_add_epi32(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(q, _mm256_xor_si256(w, sign)), _mm256_set1_epi16(1)))
#define MULTIPLY_FLOATS(acc, v, w) _mm256_fmadd_ps(v, w, acc)
#endif
#define CHAINS 8 /* sums that do not wait for each other */
#define UNKNOWN(v) __asm__("" : "+v"(v)) /* for all the compiler knows it is another number now */
#define KEEP(w, at) UNKNOWN(w)
#define READ(w, at) w = *(at)
#define MULTIPLY(name, fetch, vector, number, all, multiply)                                                           \
    int64_t name(const void *weights, size_t products, long passes) {                                                  \
        const size_t round = CHAINS * sizeof(vector) / sizeof(number);                                                 \
        vector acc[CHAINS], v = all(1), w = all(1), sign = all(0);                                                     \
        int64_t sum = 0;                                                                                               \
        UNKNOWN(v);                                                                                                    \
        UNKNOWN(sign);                                                                                                 \
        _Pragma("GCC unroll 8") for (int k = 0; k < CHAINS; k++) acc[k] = all(0);                                      \
        for (long pass = 0; pass < passes; pass++) {                                                                   \
            const vector *at = weights;                                                                                \
            __asm__ volatile("" : : : "memory"); /* for all the compiler knows the weights have changed */             \
            for (size_t done = 0; done < products; done += round, at += CHAINS)                                        \
                _Pragma("GCC unroll 8") for (int k = 0; k < CHAINS; k++) {                                             \
                    fetch(w, at + k);                                                                                  \
                    acc[k] = multiply(acc[k], v, w);                                                                   \
                }                                                                                                      \
        }                                                                                                              \
        _Pragma("GCC unroll 8") for (int k = 0; k < CHAINS; k++) {                                                     \
            union {                                                                                                    \
                vector all_of_them;                                                                                    \
                int32_t bytes[sizeof(vector) / 4];                                                                     \
                float floats[sizeof(vector) / 4];                                                                      \
            } parts = {acc[k]};                                                                                        \
            for (size_t i = 0; i < sizeof(vector) / 4; i++)                                                            \
                sum += sizeof(number) == 1 ? (int64_t)parts.bytes[i] : (int64_t)parts.floats[i];                       \
        }                                                                                                              \
        return sum;                                                                                                    \
    }
#else
#define MULTIPLY(name, fetch, vector, number, all, multiply)                                                           \
    int64_t name(const void *weights, size_t products, long passes) {                                                  \
        (void)weights, (void)products, (void)passes;                                                                   \
        return -1;                                                                                                     \
    }
#endif
MULTIPLY(multiply_int8, KEEP, integers, int8_t, ALL_BYTES, MULTIPLY_BYTES)
MULTIPLY(multiply_float32, KEEP, floats, float, ALL_FLOATS, MULTIPLY_FLOATS)
MULTIPLY(read_and_multiply_int8, READ, integers, int8_t, ALL_BYTES, MULTIPLY_BYTES)
MULTIPLY(read_and_multiply_float32, READ, floats, float, ALL_FLOATS, MULTIPLY_FLOATS)
