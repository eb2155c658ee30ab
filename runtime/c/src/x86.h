/* What the x86 kernels share. */
#ifndef EGRU_X86_H
#define EGRU_X86_H

#include "inline.h"
#include "internal.h"
#ifdef EGRU_X86
#include <immintrin.h>
#include <string.h>

#include "arithmetic.h"
#include "portable.h"
#endif

#define EGRU_PASTE(a, b) EGRU_PASTE_(a, b)
#define EGRU_PASTE_(a, b) a##b
#endif
