/* Logarithms to the base 2, of energies and of sums of probabilities. */
#ifndef EGRU_LOGARITHM_H
#define EGRU_LOGARITHM_H

#include "internal.h"

#if EGRU_LOG_MEL || EGRU_TOKENS
/* Of an integer from 1 on, below 2^63, with 16 fractional bits: the highest bit, and a polynomial for what is behind it. */
int32_t egru_log2_q16(uint64_t v);
#if EGRU_FLOAT
/* Of a positive number v = 2^e m, m about 1: 2 / ln 2 (s + s^3 / 3 + ...), s = (m - 1) / (m + 1). */
float egru_log2_float(float v);
#endif
#endif
#endif
