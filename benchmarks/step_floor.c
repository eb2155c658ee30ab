/* The floor of a step: reading weights from the caches and nothing else. Compiled and called by step_native.py. */
#include <stddef.h>
#include <stdint.h>

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
