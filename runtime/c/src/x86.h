/* What the x86 kernels share. */
#ifndef EGRU_X86_H
#define EGRU_X86_H

#include "inline.h"
#include "internal.h"
#ifdef EGRU_X86
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#include "arithmetic.h"
#include "portable.h"

enum { EGRU_YMM = 0x06, EGRU_ZMM = 0xe6 }; /* registers that the system keeps: bits of XCR0 */

/* Whether processor and system have FMA, these registers and these bits of leaf 7. Asked here because what
 * __builtin_cpu_supports reads is in libgcc, which not every compiler brings: zig's stand-in knows no processor. */
static inline int egru_x86_has(uint32_t registers, uint32_t leaf7_b, uint32_t leaf7_c) {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (a & registers) == registers && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & leaf7_b) == leaf7_b &&
           (c & leaf7_c) == leaf7_c;
}
#endif

#define EGRU_PASTE(a, b) EGRU_PASTE_(a, b)
#define EGRU_PASTE_(a, b) a##b
#endif
