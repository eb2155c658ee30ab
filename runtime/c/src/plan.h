/* How a plan is read: by plan.c, operation after operation, with what plan_data.c finds, into what model.c lays out. */
#ifndef EGRU_PLAN_H
#define EGRU_PLAN_H

#include "internal.h"

#define EGRU_PLAN_HEADER 72u /* bytes */
#define EGRU_PLAN_WORDS 20u  /* of an operation */
#define EGRU_LARGEST_VECTOR (1u << 24)
#define EGRU_MULTIPLIER_LIMIT (1u << 29)
#define EGRU_LARGEST_ROWS 16384u        /* that attention remembers */
#define EGRU_LARGEST_MEMORY (1u << 22)  /* numbers in all of them */
#define EGRU_LARGEST_ARGUMENT 32767     /* of tanh, which is what its weights are multiplied with */

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

/* A row or column of so many numbers is worked on. */
static inline void egru_widen(egru_builder *b, uint32_t size) {
    b->widest = size > b->widest ? size : b->widest;
}

static inline int egru_is_operand(uint32_t kind) {
    return kind == EGRU_VECTOR_Q8 || (EGRU_Q16 && kind == EGRU_VECTOR_Q16);
}

/* Kind and size of a vector, as the plan has them; of the first one where there is no such vector. */
uint32_t egru_kind_of(egru_builder *b, uint32_t index);
uint32_t egru_size_of(egru_builder *b, uint32_t index);
/* Room for `bytes` bytes; NULL while memory is counted. */
void *egru_take(egru_builder *b, size_t bytes);
/* In plan_data.c, each with b->good = 0 where the plan does not allow it. */
/* `count` numbers of `item` bytes at `offset` of the data; NULL where they are not there. No plan takes more than it
 * has, the same bytes again and again: what a model takes grows with its plan. */
const unsigned char *egru_data_of(egru_builder *b, uint64_t offset, uint64_t count, uint32_t item);
/* Bytes of the data, as they are. NULL while memory is counted. */
const void *egru_copied(egru_builder *b, const unsigned char *bytes, size_t count);
/* Floats are finite, and where `positive` normal numbers above zero, which can be divided by. */
void egru_check_floats(egru_builder *b, const unsigned char *bytes, size_t count, int positive);
/* Checked, and padded by EGRU_PAD zeros. NULL while memory is counted. */
const float *egru_floats(egru_builder *b, uint32_t offset, uint32_t count, int positive);
const int32_t *egru_multipliers(egru_builder *b, uint32_t offset, uint32_t count);
uint32_t egru_checked_shift(egru_builder *b, uint32_t shift);
/* Multipliers and their shift, of an operation. */
void egru_read_scaling(egru_builder *b, egru_operation *op, uint32_t offset, uint32_t count, uint32_t shift);
/* Weights are -127 to 127, and no accumulator can leave 32 bits: sum |w| L + |b| < 2^31 in every row. Returns the
 * largest of these sums. */
int64_t egru_check_rows(egru_builder *b, const unsigned char *weights, const unsigned char *bias, uint32_t rows,
                        uint32_t columns, int32_t limit);
/* A matrix over a vector of `kind`: `rows` rows from `first` on of the weights, the bias and the scales at words[0],
 * words[stride] and words[2 stride]. */
void egru_read_matrix(egru_builder *b, egru_matrix *m, uint32_t kind, const uint32_t *words, uint32_t stride,
                      uint32_t first, uint32_t rows, uint32_t columns);
/* What an operation reads: whole by now, of that kind. Returns its size. */
uint32_t egru_reads(egru_builder *b, uint32_t index, uint32_t kind);
/* A piece that a copy writes, of that kind: pieces come in order, so that nothing is left open or written twice. */
void egru_writes_piece(egru_builder *b, uint32_t index, uint32_t kind, uint32_t at, uint32_t numbers);
/* What any other operation writes: all of a vector. */
void egru_writes(egru_builder *b, uint32_t index, uint32_t kind, uint32_t numbers);
/* The kind of a vector that is multiplied with weights: an operand, or floats. */
uint32_t egru_factor(egru_builder *b, uint32_t index);

/* Check an operation of these words, those behind its code, and fill it in. */
void egru_read_operation(egru_builder *b, egru_operation *op, const uint32_t *words);
#endif
