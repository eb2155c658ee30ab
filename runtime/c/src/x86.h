/* What the x86 kernels share: how weights are packed. A block is `rows` rows by `columns` columns. Blocks stand side by
 * side in panels of `wide` blocks; what is left stands one by one. A panel holds all its blocks for the first columns,
 * then for the next: weights are read from front to back, and each operand is spread over a register once for the whole
 * panel. Six blocks are enough for sums not to wait for each other, and few enough for the panel that was read last to be
 * in the first cache still when the next step begins with it. Single blocks have four accumulators, for every fourth
 * group of columns.
 */
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

typedef struct {
    uint32_t rows, columns;
    uint32_t wide;
    uint32_t filled; /* the last panel is filled up with zeros: there are no single blocks */
    uint32_t padded; /* whole groups of zeros may fill up the columns: what they are multiplied with is finite */
    uint32_t item;   /* bytes of a weight */
} egru_blocks;

static inline uint32_t egru_panel(const egru_blocks *shape, uint32_t blocks) {
    return blocks >= shape->wide || shape->filled ? shape->wide : 1;
}

static inline uint32_t egru_split(uint32_t width) {
    return width == 1 ? 4 : 1;
}

/* Groups of columns in a panel. */
static inline uint32_t egru_groups(const egru_blocks *shape, uint32_t width, uint32_t columns) {
    uint32_t groups = (columns + shape->columns - 1) / shape->columns, split = shape->padded ? egru_split(width) : 1;
    return (groups + split - 1) & ~(split - 1);
}

size_t egru_packed_size(const egru_blocks *shape, uint32_t rows, uint32_t columns);
/* `excess`: what is added to operands before they are multiplied, and the bias takes off again. */
void egru_pack(const egru_blocks *shape, unsigned char *packed, uint32_t *bias, const unsigned char *weights,
               uint32_t rows, uint32_t columns, uint32_t excess);
#endif
#endif
