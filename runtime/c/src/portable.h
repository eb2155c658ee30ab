/* Parts of the portable kernel, for those instruction sets that have nothing better for them. */
#ifndef EGRU_PORTABLE_H
#define EGRU_PORTABLE_H

#include "internal.h"

uint32_t egru_portable_standardise(const float *a, const float *b, const float *x, void *q, uint32_t size,
                                   uint32_t bits);
void egru_portable_operand(const int32_t *value, void *q, uint32_t size, uint32_t bits, const int32_t *m,
                           uint32_t multipliers, uint32_t shift);
void egru_portable_gru_after(const egru_gru *g, const int32_t *ih, const int32_t *hh, int32_t *h, void *q);
void egru_portable_gru_gates(const egru_gru *g, const int32_t *ih, const int32_t *hh, const int32_t *h, int32_t *z,
                             void *q_rh);
void egru_portable_gru_candidate(const egru_gru *g, const int32_t *ih, const int32_t *hn, const int32_t *z, int32_t *h,
                                 void *q);
#ifdef EGRU_X86
/* Arguments of unbounded candidates from `first` on, saturated, where W_in x has been; t: T of their r in the low 16
 * bits, for reset after the product. */
void egru_unbounded_arguments(const egru_gru *g, int32_t *argument, const int32_t *hn, const int32_t *t, uint32_t first,
                              uint32_t count);
#endif
#if EGRU_SIMD || EGRU_FLOAT
int egru_portable_copy_within(const float *from, float *to, size_t size, float limit);
#endif
#if EGRU_FLOAT
void egru_portable_gru_after_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *next);
void egru_portable_gru_gates_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *z,
                                   float *rh);
void egru_portable_gru_candidate_float(const egru_gru *g, const float *ih, const float *hn, const float *z,
                                       const float *h, float *next);
float egru_portable_quantize_float(const float *v, int8_t *q, uint32_t size);
#endif
#endif
