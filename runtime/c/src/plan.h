/* How a plan is read: by plan.c, operation after operation, into what model.c lays out. */
#ifndef EGRU_PLAN_H
#define EGRU_PLAN_H

#include "internal.h"

#define EGRU_PLAN_HEADER 72u /* bytes */
#define EGRU_PLAN_WORDS 20u  /* of an operation */
#define EGRU_LARGEST_VECTOR (1u << 24)

typedef struct {
    const unsigned char *plan;
    size_t plan_bytes;
    unsigned char *memory; /* NULL while memory is counted */
    size_t used;
    egru_model *model; /* NULL while memory is counted, then the model */
    uint32_t taps_count;
    size_t operations, data; /* where they begin in the plan */
    uint64_t read;           /* bytes of data that operations have taken so far */
    uint32_t widest; /* of rows and columns of all matrices */
    int good;
    egru_model header; /* of the model: what the plan says before its vectors, and the kernel */
} egru_builder;

static inline int egru_is_static(const egru_builder *b) {
    return !EGRU_FLOAT || b->header.scheme == EGRU_SCHEME_STATIC;
}

/* Kind and size of a vector, as the plan has them; of the first one where there is no such vector. */
uint32_t egru_kind_of(egru_builder *b, uint32_t index);
uint32_t egru_size_of(egru_builder *b, uint32_t index);
/* Room for `bytes` bytes; NULL while memory is counted. */
void *egru_take(egru_builder *b, size_t bytes);
/* Check an operation of these words, those behind its code, and fill it in. */
void egru_read_operation(egru_builder *b, egru_operation *op, const uint32_t *words);
#endif
