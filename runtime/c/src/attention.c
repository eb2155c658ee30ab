#include "attention.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it */
#endif

#if EGRU_ATTENTION

#include <string.h>

#include "arithmetic.h"
#include "float_nodes.h"
#include "floating_point.h"
#include "integer_nodes.h"
#include "portable.h"

static uint32_t rows_of(const egru_operation *op, const unsigned char *state) {
    return *(const uint32_t *)(const void *)(state + op->ring);
}

void egru_attend(const egru_operation *op, const unsigned char *state, const int32_t *in, int32_t *work, int32_t *scores,
                 void *out, const egru_vector *vector) {
    const egru_attention *attention = &op->attention;
    const int16_t *key = (const int16_t *)(const void *)(state + attention->keys);
    const int8_t *weight = op->a;
    const int32_t *m = op->b;
    uint32_t rows = rows_of(op, state), size = attention->size, bits = vector->kind == EGRU_VECTOR_Q8 ? 8 : 16;
    for (uint32_t i = 0; i < size; i++)
        work[i] = (int32_t)egru_clamp(egru_round((int64_t)in[i] * m[i], op->shift), EGRU_ARGUMENT_LIMIT);
    for (uint32_t row = 0; row < rows; row++, key += size) {
        int32_t sum = 0;
        for (uint32_t i = 0; i < size; i++)
            sum += weight[i] * egru_bounded(work[i] + key[i], EGRU_TANH);
        scores[row] = (int32_t)egru_clamp(
            egru_round((int64_t)sum * attention->score_multiplier, attention->score_shift), EGRU_VALUE_LIMIT);
    }
    if (rows)
        egru_softmax(scores, rows);
    for (uint32_t i = 0; i < vector->size; i++) {
        const unsigned char *values = state + attention->values;
        int32_t sum = 0;
        for (uint32_t row = 0; row < rows; row++, values += vector->size * egru_item_size(vector->kind))
            sum += scores[row] * egru_operand_at(values, vector->kind, i);
        egru_store(out, i, bits, egru_round(sum, 15));
    }
}

#if EGRU_FLOAT
void egru_attend_float(const egru_operation *op, const unsigned char *state, const float *in, float *scores, float *out,
                       uint32_t values) {
    const float *key = (const float *)(const void *)(state + op->attention.keys), *weight = op->a;
    const float *value = (const float *)(const void *)(state + op->attention.values);
    uint32_t rows = rows_of(op, state), size = op->attention.size;
    float largest = 0, total = 0;
    for (uint32_t row = 0; row < rows; row++, key += size) {
        float sum = 0;
        for (uint32_t i = 0; i < size; i++)
            sum += weight[i] * egru_tanh_float(in[i] + key[i]);
        scores[row] = sum;
        largest = row == 0 || sum > largest ? sum : largest;
    }
    for (uint32_t row = 0; row < rows; row++) {
        scores[row] = egru_exp_float(scores[row] - largest);
        total += scores[row];
    }
    memset(out, 0, values * sizeof *out);
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t i = 0; i < values; i++)
            out[i] += scores[row] / total * *value++;
}
#endif

unsigned char *egru_remembered(const egru_model *model, const egru_operation *op, unsigned char *state, size_t n,
                               uint32_t *kind, size_t *row) {
    const egru_vector *out = &model->vectors[op->out];
    size_t size = op->attention.size, place;
    *kind = EGRU_VECTOR_VALUE;
    *row = op->count;
    if (n == 0)
        return state + op->ring;
    *row = (n - 1) / (out->size + size);
    place = (n - 1) % (out->size + size);
    *kind = out->kind;
    if (place < out->size)
        return state + op->attention.values + (*row * out->size + place) * egru_item_size(out->kind);
    place += *row * size - out->size;
    *kind = op->attention.kind;
    return state + op->attention.keys + place * egru_item_size(*kind);
}

size_t egru_row_size(const egru_model *model) {
    const egru_operation *op = model->attention;
    return op ? (size_t)model->vectors[op->out].size + op->attention.size : 0;
}

egru_status egru_remember(const egru_model *model, void *state, const float *row) {
    const egru_operation *op = model->attention;
    unsigned char *to = egru_aligned(state), *value, *key;
    const egru_vector *out;
    uint32_t rows, size, saturated = 0;
    if (!op || rows_of(op, to) == op->count)
        return EGRU_MEMORY;
    if (!egru_finite(row, egru_row_size(model)))
        return EGRU_INPUT;
    out = &model->vectors[op->out];
    size = op->attention.size;
    rows = rows_of(op, to);
    value = to + op->attention.values + (size_t)rows * out->size * egru_item_size(out->kind);
    key = to + op->attention.keys + (size_t)rows * size * egru_item_size(op->attention.kind);
    if (EGRU_FLOAT && out->kind == EGRU_VECTOR_FLOAT) {
        memcpy(value, row, out->size * sizeof *row);
        memcpy(key, row + out->size, size * sizeof *row);
    } else {
        const float *a = op->attention.row_a, *b = op->attention.row_b;
        egru_float_mode mode = egru_enter(0);
        saturated = egru_portable_standardise(a, b, row, value, out->size, out->kind == EGRU_VECTOR_Q8 ? 8 : 16);
        saturated += egru_portable_standardise(a + out->size, b + out->size, row + out->size, key, size, 16);
        egru_leave(mode);
    }
    ((egru_counts *)(void *)to)->clipped += saturated;
    *(uint32_t *)(void *)(to + op->ring) = rows + 1;
    return EGRU_OK;
}
#endif
