/* What operations take of a plan: numbers of its data, checked and copied into the model, vectors, matrices. */
#include "plan.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* loading is rare, and small devices have to hold it */
#endif

#include <string.h>

#define LARGEST_MODEL ((size_t)1 << 30)

uint32_t egru_read_u32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static EGRU_NOINLINE uint32_t of_vector(egru_builder *b, uint32_t index, size_t which) {
    if (index >= b->header.vector_count) {
        b->good = 0;
        index = 0;
    }
    return egru_read_u32(b->plan + EGRU_PLAN_HEADER + 8 * (size_t)index + 4 * which);
}

uint32_t egru_kind_of(egru_builder *b, uint32_t index) {
    return of_vector(b, index, 0);
}

uint32_t egru_size_of(egru_builder *b, uint32_t index) {
    return of_vector(b, index, 1);
}

void *egru_take(egru_builder *b, size_t bytes) {
    void *place = b->memory ? b->memory + b->used : NULL;
    bytes = (bytes + EGRU_ALIGN - 1) & ~(size_t)(EGRU_ALIGN - 1);
    if (bytes > LARGEST_MODEL || b->used > LARGEST_MODEL - bytes) {
        b->good = 0;
        return NULL;
    }
    b->used += bytes;
    return place;
}

const unsigned char *egru_data_of(egru_builder *b, uint64_t offset, uint64_t count, uint32_t item) {
    uint64_t bytes = b->plan_bytes - b->data;
    count *= item;
    if (offset > bytes || count > bytes - offset || count > bytes - b->read) {
        b->good = 0;
        return NULL;
    }
    b->read += count;
    return b->plan + b->data + offset;
}

/* Integers or floats (count), padded by EGRU_PAD zeros; all are zero where there are no bytes. NULL while memory is
 * counted. */
static EGRU_NOINLINE void *padded(egru_builder *b, const unsigned char *bytes, uint32_t count) {
    size_t room = ((size_t)count + EGRU_PAD) * 4;
    unsigned char *result = egru_take(b, room);
    if (!result || !b->good)
        return NULL;
    memset(result, 0, room);
    for (size_t i = 0; bytes && i < count; i++) {
        uint32_t bits = egru_read_u32(bytes + 4 * i);
        memcpy(result + 4 * i, &bits, 4);
    }
    return result;
}

void egru_check_floats(egru_builder *b, const unsigned char *bytes, size_t count, int positive) {
    for (size_t i = 0; bytes && i < count; i++) {
        uint32_t bits = egru_read_u32(bytes + 4 * i);
        if ((bits & 0x7f800000u) == 0x7f800000u || (positive && bits - 0x00800000u >= 0x7f000000u))
            b->good = 0;
    }
}

const float *egru_floats(egru_builder *b, uint32_t offset, uint32_t count, int positive) {
    const unsigned char *bytes = egru_data_of(b, offset, count, 4);
    egru_check_floats(b, bytes, count, positive);
    return padded(b, bytes, count);
}

const int32_t *egru_multipliers(egru_builder *b, uint32_t offset, uint32_t count) {
    const unsigned char *bytes = egru_data_of(b, offset, count, 4);
    for (uint32_t i = 0; bytes && i < count; i++)
        if (egru_read_u32(bytes + 4 * (size_t)i) >= EGRU_MULTIPLIER_LIMIT)
            b->good = 0;
    return padded(b, bytes, count);
}

uint32_t egru_checked_shift(egru_builder *b, uint32_t shift) {
    if (shift < 1 || shift > 61)
        b->good = 0;
    return shift;
}

int64_t egru_check_rows(egru_builder *b, const unsigned char *weights, const unsigned char *bias, uint32_t rows,
                        uint32_t columns, int32_t limit) {
    const signed char *w = (const signed char *)weights;
    int64_t largest = 0;
    for (uint32_t row = 0; row < rows; row++) {
        int64_t reach = 0, added = 0;
        for (uint32_t j = 0; j < columns; j++, w++) {
            if (*w == -128)
                b->good = 0;
            reach += *w < 0 ? -*w : *w;
        }
        if (bias)
            added = (int32_t)egru_read_u32(bias + 4 * (size_t)row);
        reach = reach * limit + (added < 0 ? -added : added);
        if (reach >= (int64_t)1 << 31)
            b->good = 0;
        if (EGRU_SIMD && reach > largest)
            largest = reach;
    }
    return largest;
}

void egru_read_matrix(egru_builder *b, egru_matrix *m, uint32_t kind, const uint32_t *words, uint32_t stride,
                                      uint32_t first, uint32_t rows, uint32_t columns) {
    uint32_t scale = egru_is_static(b) ? EGRU_NONE : words[2 * stride];
    const unsigned char *source, *bias = NULL;
    void *packed, *packed_bias;
    uint32_t item;
    int64_t reach = 0;
    if (scale != EGRU_NONE) {
        if (b->header.scheme == EGRU_SCHEME_FLOAT)
            b->good = 0;
        kind = EGRU_VECTOR_Q8;
    }
    m->kind = kind;
    m->rows = rows;
    m->columns = columns;
    item = EGRU_FLOAT && kind == EGRU_VECTOR_FLOAT ? 4 : 1;
    source = egru_data_of(b, words[0] + (uint64_t)first * columns * item, (uint64_t)rows * columns, item);
    if (words[stride] != EGRU_NONE)
        bias = egru_data_of(b, words[stride] + 4 * (uint64_t)first, rows, 4);
    if (!source || ((uint64_t)rows + 16) * (columns + 64) * item > LARGEST_MODEL) { /* blocks are filled up to these */
        b->good = 0;
        return;
    }
    if (!egru_is_static(b))
        egru_check_floats(b, bias, rows, 0);
    if (scale != EGRU_NONE) {
        m->scale = egru_floats(b, scale + 4 * first, rows, 0);
        m->offset = padded(b, bias, rows);
        bias = NULL;
    }
    if (item == 4)
        egru_check_floats(b, source, (size_t)rows * columns, 0);
    else
        reach = egru_check_rows(b, source, bias, rows, columns, kind == EGRU_VECTOR_Q8 ? 127 : 32767);
    if (EGRU_SIMD)
        m->reach = reach;
    egru_widen(b, rows);
    egru_widen(b, columns);
    m->bias = packed_bias = padded(b, bias, rows);
    m->weights = packed = egru_take(b, b->header.kernel->packed_size(kind, rows, columns));
    if (packed && b->good)
        b->header.kernel->pack(kind, packed, packed_bias, source, rows, columns);
}

uint32_t egru_reads(egru_builder *b, uint32_t index, uint32_t kind) {
    uint32_t size = egru_size_of(b, index);
    if (egru_kind_of(b, index) != kind || (b->model && b->good && b->model->vectors[index].filled != size))
        b->good = 0;
    return size;
}

void egru_writes_piece(egru_builder *b, uint32_t index, uint32_t kind, uint32_t at, uint32_t numbers) {
    uint32_t size = egru_size_of(b, index);
    if (egru_kind_of(b, index) != kind || at > size || numbers > size - at || index == 0)
        b->good = 0;
    if (!b->model || !b->good)
        return;
    if (b->model->vectors[index].filled != at)
        b->good = 0;
    b->model->vectors[index].filled = at + numbers;
}

void egru_writes(egru_builder *b, uint32_t index, uint32_t kind, uint32_t numbers) {
    if (egru_size_of(b, index) != numbers)
        b->good = 0;
    egru_writes_piece(b, index, kind, 0, numbers);
}

uint32_t egru_factor(egru_builder *b, uint32_t index) {
    uint32_t kind = egru_kind_of(b, index);
    if (egru_is_static(b) ? !egru_is_operand(kind) : kind != EGRU_VECTOR_FLOAT)
        b->good = 0;
    return kind;
}

void egru_read_scaling(egru_builder *b, egru_operation *op, uint32_t offset, uint32_t count, uint32_t shift) {
    op->a = egru_multipliers(b, offset, count);
    op->shift = egru_checked_shift(b, shift);
}

const void *egru_copied(egru_builder *b, const unsigned char *bytes, size_t count) {
    void *copy = egru_take(b, count);
    if (copy && b->good)
        memcpy(copy, bytes, count); /* floats are little-endian here and there */
    return copy;
}
