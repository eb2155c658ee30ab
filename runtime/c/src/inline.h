/* What kernels of processors with vectors need from compilers. */
#ifndef EGRU_INLINE_H
#define EGRU_INLINE_H

#define EGRU_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define EGRU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EGRU_UNROLL _Pragma("GCC unroll 16")
#endif
#endif
