/* What kernels of processors with vectors need from compilers. Which vector operations are used depends on what is left
 * out of the library, and clang warns of unused ones. */
#ifndef EGRU_INLINE_H
#define EGRU_INLINE_H

#define EGRU_INLINE static inline __attribute__((always_inline, unused))
#if defined(__clang__)
#define EGRU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EGRU_UNROLL _Pragma("GCC unroll 16")
#endif
#endif
