/* Attention over the rows that a state remembers. */
#ifndef EGRU_ATTENTION_H
#define EGRU_ATTENTION_H

#include "internal.h"

#if EGRU_ATTENTION
/* Of the query `in`, into the operand or the floats `out`, of `values` numbers. `scores` has room for as many numbers as
 * there may be rows, `work` for a key. */
void egru_attend(const egru_operation *op, const unsigned char *state, const int32_t *in, int32_t *work, int32_t *scores,
                 void *out, const egru_vector *vector);
#if EGRU_FLOAT
void egru_attend_float(const egru_operation *op, const unsigned char *state, const float *in, float *scores, float *out,
                       uint32_t values);
#endif
/* Where number `n` of a saved state is, in the order of docs/streaming.md, and its kind; *row: which row it is of, or
 * op->count for the number of rows itself. */
unsigned char *egru_remembered(const egru_model *model, const egru_operation *op, unsigned char *state, size_t n,
                               uint32_t *kind, size_t *row);
static inline size_t egru_remembered_numbers(const egru_model *model, const egru_operation *op) {
    return 1 + (size_t)op->count * ((size_t)model->vectors[op->out].size + op->attention.size);
}
#endif
#endif
