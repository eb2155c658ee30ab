/* What the x86 kernels share. */
#ifndef EGRU_X86_H
#define EGRU_X86_H

#include "internal.h"
#ifdef EGRU_X86
#include <immintrin.h>
#include <string.h>

#include "arithmetic.h"
#include "portable.h"
#endif

#define EGRU_INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define EGRU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EGRU_UNROLL _Pragma("GCC unroll 16")
#endif
#define EGRU_PASTE(a, b) EGRU_PASTE_(a, b)
#define EGRU_PASTE_(a, b) a##b
#endif
