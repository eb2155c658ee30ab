/* What a model gives out of a value.
 *
 *   EGRU_FLOAT_IO  1: integers times a scale, perhaps plus an offset, in float32; 0: the integers themselves
 */
#ifndef EGRU_HEAD_H
#define EGRU_HEAD_H

#include "egru_arithmetic.h"

#if EGRU_FLOAT_IO
typedef float egru_output;
#else
typedef int32_t egru_output;
#endif

typedef struct {
    const int32_t *m; /* (size); NULL: the value as it is */
#if EGRU_FLOAT_IO
    const float *scale, *offset; /* (size) or one; (size), NULL: none */
    uint8_t scales;              /* 1: one for each; 0: one for all */
#endif
    uint8_t shift;
    uint16_t size, up;
} egru_head_of;

/* clamp(R(value; M, t)) */
static EGRU_NOINLINE int32_t egru_argument(const egru_head_of *head, const int32_t *value, uint32_t i, int32_t limit) {
    egru_number v = value[i];
    if (head->m)
        v = egru_rounded((int64_t)(value[i] * head->up) * head->m[i], head->shift);
    return (int32_t)egru_clamp(v, limit);
}

static inline egru_output egru_given(const egru_head_of *head, uint32_t i, int64_t v) {
#if EGRU_FLOAT_IO
    volatile float real = (float)v * head->scale[head->scales ? i : 0]; /* rounded before anything is added */
    return head->offset ? real + head->offset[i] : real;
#else
    (void)head, (void)i;
    return (int32_t)(v < -INT32_MAX ? -INT32_MAX : v);
#endif
}

#if EGRU_IDENTITY_HEAD
static inline void egru_identity(const egru_head_of *head, const int32_t *value, egru_output *y) {
    for (uint32_t i = 0; i < head->size; i++)
        y[i] = egru_given(head, i, egru_argument(head, value, i, EGRU_OUTPUT_LIMIT));
}
#endif

#if EGRU_SIGMOID_HEAD
#include "egru_bounded.h"

static inline void egru_sigmoid(const egru_head_of *head, const int32_t *value, egru_output *y) {
    for (uint32_t i = 0; i < head->size; i++)
        y[i] = egru_given(head, i, egru_bounded(egru_argument(head, value, i, EGRU_VALUE_LIMIT), EGRU_SIGMOID));
}
#endif
#endif
