/* Nodes of static schemes that are portable C in every build: small beside the products. */
#ifndef EGRU_INTEGER_NODES_H
#define EGRU_INTEGER_NODES_H

#include "internal.h"

/* Where the oldest past step of a TAPS operation is. */
uint32_t *egru_position(unsigned char *state, const egru_operation *op);
/* x to the operand of a standardise or embedding node; returns how many numbers were saturated. */
uint32_t egru_read_input(const egru_kernel *kernel, const egru_operation *op, const float *x, void *q,
                         const egru_vector *out);
/* The activation of a linear node, in place. */
void egru_activate(const egru_operation *op, int32_t *acc);
/* One number of an operand. */
int32_t egru_operand_at(const void *q, uint32_t kind, uint32_t i);
/* Arguments in Q16 (size), within 2^30, become shares in Q15. */
void egru_softmax(int32_t *v, uint32_t size);
/* Operands as values. */
void egru_widen(const void *q, uint32_t kind, uint32_t size, int32_t *value);
/* Add (values) or multiply (operands). */
void egru_combine(const egru_operation *op, const void *a, uint32_t kind_a, const void *b, uint32_t kind_b,
                  int32_t *value, uint32_t size);
/* A head: value to floats. `work` has room for size numbers. */
void egru_give_out(const egru_operation *op, const int32_t *value, int32_t *work, float *y, uint32_t size);
#endif
