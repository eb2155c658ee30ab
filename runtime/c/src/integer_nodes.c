#include "integer_nodes.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it; the products, in portable.c, take the time */
#endif

#include "arithmetic.h"
#include "logarithm.h"
#include "portable.h"

uint32_t *egru_position(unsigned char *state, const egru_operation *op) {
    return (uint32_t *)(void *)(state + sizeof(egru_counts)) + op->position;
}

/* The largest integer <= v, for |v| < 2^31. */
static int32_t floor_of(float v) {
    int32_t i = (int32_t)v;
    return i - ((float)i > v);
}

uint32_t egru_portable_standardise(const float *a, const float *b, const float *x, void *q, uint32_t size,
                                   uint32_t bits) {
    int32_t limit = (int32_t)egru_limit(bits);
    uint32_t saturated = 0;
    for (uint32_t i = 0; i < size; i++) {
        float product = a[i] * x[i], v = product + b[i];
        int32_t integer;
        if (v >= (float)limit + 1.0f) {
            integer = limit;
            saturated++;
        } else if (v < -(float)limit) {
            integer = -limit;
            saturated++;
        } else {
            integer = floor_of(v);
        }
        egru_store(q, i, bits, integer);
    }
    return saturated;
}

static EGRU_RARE uint32_t read_row(const egru_operation *op, const float *x, void *q, uint32_t size, uint32_t bits) {
    float sum = x[0] + 0.5f, last = (float)(op->count - 1);
    uint32_t row = 0;
    if (sum >= last + 1.0f)
        row = op->count - 1;
    else if (sum >= 0.0f)
        row = (uint32_t)sum;
    const int8_t *w = (const int8_t *)op->a + (size_t)row * size;
    int64_t m = ((const int32_t *)op->b)[row];
    for (uint32_t i = 0; i < size; i++)
        egru_store(q, i, bits, egru_round(w[i] * m, op->shift));
    return sum < 0.0f || sum >= last + 1.0f;
}

uint32_t egru_read_input(const egru_kernel *kernel, const egru_operation *op, const float *x, void *q,
                         const egru_vector *out) {
    uint32_t bits = out->kind == EGRU_VECTOR_Q8 ? 8 : 16;
    if (op->code == EGRU_OP_EMBEDDING)
        return read_row(op, x, q, out->size, bits);
    return kernel->standardise(op->a, op->b, x, q, out->size, bits);
}

void egru_activate(const egru_operation *op, int32_t *acc) {
    const int32_t *m = op->a;
    for (uint32_t i = 0; i < op->matrix.rows; i++) {
        if (op->activation == EGRU_RELU)
            acc[i] = acc[i] > 0 ? acc[i] : 0;
        else
            acc[i] = egru_bounded(egru_round((int64_t)acc[i] * m[i], op->shift), op->activation);
    }
}

int32_t egru_operand_at(const void *q, uint32_t kind, uint32_t i) {
    return kind == EGRU_VECTOR_Q8 || !EGRU_Q16 ? ((const int8_t *)q)[i] : ((const int16_t *)q)[i];
}

void egru_widen(const void *q, uint32_t kind, uint32_t size, int32_t *value) {
    for (uint32_t i = 0; i < size; i++)
        value[i] = egru_operand_at(q, kind, i);
}

void egru_combine(const egru_operation *op, const void *a, uint32_t kind_a, const void *b, uint32_t kind_b,
                  int32_t *value, uint32_t size) {
    const int32_t *m_a = op->a, *m_b = op->b;
    for (uint32_t i = 0; i < size; i++) {
        int64_t sum;
        if (op->code == EGRU_OP_ADD)
            sum = (int64_t)((const int32_t *)a)[i] * m_a[i] + (int64_t)((const int32_t *)b)[i] * m_b[i];
        else
            sum = (int64_t)egru_operand_at(a, kind_a, i) * egru_operand_at(b, kind_b, i) * m_a[i];
        value[i] = (int32_t)egru_clamp(egru_round(sum, op->shift), EGRU_VALUE_LIMIT);
    }
}

/* 2^-f / 2 in Q15 for f in Q16. */
static int64_t half_power(uint32_t fraction) {
    uint32_t k = fraction >> 12;
    int32_t p = (int32_t)(fraction & 4095) << 3;
    int32_t inner = egru_exp2_c1[k] + (int32_t)egru_round(p * egru_exp2_c2[k], 15);
    return egru_exp2_c0[k] + egru_round(p * inner, 15);
}

int32_t egru_power(int64_t octaves) {
    int64_t halvings = octaves >> 16 < 62 ? octaves >> 16 : 62;
    return (int32_t)(half_power((uint32_t)(octaves & 65535)) * 65536 >> halvings);
}

/* How far v is below the largest, in powers of two in Q16. */
static int64_t octaves(int64_t largest, int32_t v) {
    return egru_round((largest - v) * 1549082005, 30);
}

static int32_t largest_of(const int32_t *v, uint32_t size) {
    int32_t largest = v[0];
    for (uint32_t i = 1; i < size; i++)
        largest = v[i] > largest ? v[i] : largest;
    return largest;
}

void egru_softmax(int32_t *v, uint32_t size) {
    int64_t largest = largest_of(v, size);
    uint64_t total = 0, inverse;
    for (uint32_t i = 0; i < size; i++) {
        v[i] = egru_power(octaves(largest, v[i]));
        total += (uint64_t)v[i];
    }
    /* One division for all: what is multiplied with the inverse is the quotient or one less. */
    inverse = ((uint64_t)1 << 61) / total; /* of a total of 2^30 at least: that is the largest number's share */
    for (uint32_t i = 0; i < size; i++) {
        uint64_t divided = (uint64_t)v[i] * 32768 + total / 2, quotient = (divided >> 15) * inverse >> 46;
        quotient += (quotient + 1) * total <= divided;
        v[i] = (int32_t)quotient;
    }
}

#if EGRU_TOKENS
/* A head of logarithms of probabilities. */
static void log_softmax(const int32_t *v, const float *scale, float *y, uint32_t size) {
    int64_t largest = largest_of(v, size), whole;
    uint64_t total = 0;
    for (uint32_t i = 0; i < size; i++)
        total += (uint64_t)egru_power(octaves(largest, v[i]));
    whole = (int64_t)egru_log2_q16(total) - 30 * 65536;
    for (uint32_t i = 0; i < size; i++)
        y[i] = (float)-(octaves(largest, v[i]) + whole) * scale[i];
}
#endif

void egru_give_out(const egru_operation *op, const int32_t *value, int32_t *work, float *y, uint32_t size) {
    const int32_t *m = op->a;
    const float *scale = op->b, *offset = op->matrix.offset;
    const uint32_t code = op->code, shift = op->shift;
    const int64_t limit = code == EGRU_OP_IDENTITY ? EGRU_OUTPUT_LIMIT : EGRU_VALUE_LIMIT;
    if (code == EGRU_OP_IDENTITY || code == EGRU_OP_SIGMOID) {
        for (uint32_t i = 0; i < size; i++) {
            int64_t v = egru_clamp(m ? egru_round((int64_t)value[i] * m[i], shift) : value[i], limit);
            float real = (float)(code == EGRU_OP_SIGMOID ? egru_bounded(v, EGRU_SIGMOID) : (int32_t)v) * scale[i];
            y[i] = offset ? real + offset[i] : real;
        }
        return;
    }
    for (uint32_t i = 0; i < size; i++)
        work[i] = (int32_t)egru_clamp(egru_round((int64_t)value[i] * m[i], shift), limit);
#if EGRU_TOKENS
    if (code == EGRU_OP_LOG_SOFTMAX) {
        log_softmax(work, scale, y, size);
        return;
    }
#endif
    egru_softmax(work, size);
    for (uint32_t i = 0; i < size; i++)
        y[i] = (float)work[i] * scale[i];
}
