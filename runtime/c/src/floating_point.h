/* How floats are rounded while a step runs, whatever the caller has set: to nearest; denormals are 0 in float models, so
 * that silence is never slow, and kept in integer models, whose input is their only float. */
#ifndef EGRU_FLOATING_POINT_H
#define EGRU_FLOATING_POINT_H

#include "internal.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
typedef unsigned egru_float_mode;
/* What is right already is not set again: that waits for all that came before, and takes as long as a small layer. */
static inline egru_float_mode egru_enter(int flush) {
    const egru_float_mode before = _mm_getcsr(), wanted = flush ? 0x9fc0u : 0x1f80u; /* no traps; denormals are zero */
    if (!EGRU_SIMD || (before & 0xffc0u) != wanted)
        _mm_setcsr(wanted);
    return before;
}
static inline void egru_leave(egru_float_mode before) {
    if (!EGRU_SIMD || _mm_getcsr() != before)
        _mm_setcsr(before);
}
#elif defined(__aarch64__)
typedef uint64_t egru_float_mode;
static inline egru_float_mode egru_enter(int flush) {
    uint64_t before, mode = flush ? (uint64_t)1 << 24 : 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
    return before;
}
static inline void egru_leave(egru_float_mode before) {
    __asm__ volatile("msr fpcr, %0" : : "r"(before));
}
#elif defined(__arm__) && defined(__ARM_FP) && !defined(__SOFTFP__)
typedef uint32_t egru_float_mode;
static inline egru_float_mode egru_enter(int flush) {
    uint32_t before, mode = flush ? (uint32_t)1 << 24 : 0;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(before));
    __asm__ volatile("vmsr fpscr, %0" : : "r"(mode));
    return before;
}
static inline void egru_leave(egru_float_mode before) {
    __asm__ volatile("vmsr fpscr, %0" : : "r"(before));
}
#else
typedef int egru_float_mode;
static inline egru_float_mode egru_enter(int flush) {
    return flush;
}
static inline void egru_leave(egru_float_mode before) {
    (void)before;
}
#endif
#endif
