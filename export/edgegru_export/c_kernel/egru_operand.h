/* A value becomes an operand: q = clamp(R(value; M, t)). */
#ifndef EGRU_OPERAND_H
#define EGRU_OPERAND_H

#include "egru_product.h"

typedef struct {
    const int32_t *m;
    uint16_t size, up; /* up: a factor of the value, part of the shift */
    int16_t limit;
    uint8_t shift;
    uint8_t each; /* 1: a multiplier for each number; 0: one for all */
} egru_operand_of;

static EGRU_NOINLINE void egru_operand(const egru_operand_of *by, const int32_t *value, int16_t *q) {
    const int32_t *m = by->m;
    for (uint32_t i = 0; i < by->size; i++, m += by->each)
        q[i] = (int16_t)egru_clamp(egru_rounded((int64_t)(value[i] * by->up) * *m, by->shift), by->limit);
    egru_pad(q, by->size);
}
#endif
