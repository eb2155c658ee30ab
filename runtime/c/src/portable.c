/* The kernel of processors that have no other: plain C. */
#include <string.h>

#include "arithmetic.h"
#include "portable.h"
#if EGRU_FLOAT
#include "float_nodes.h"
#endif

static int runs(void) {
    return 1;
}

#if EGRU_FLOAT
float egru_portable_quantize_float(const float *v, int8_t *q, uint32_t size) {
    float largest = 0, step;
    if (!egru_finite(v, size)) { /* 0 * infinity: not a number, and the step is not taken */
        memset(q, 0, size);
        return 3.0e38f * 10.0f;
    }
    for (uint32_t i = 0; i < size; i++) {
        float magnitude = v[i] < 0 ? -v[i] : v[i];
        largest = magnitude > largest ? magnitude : largest;
    }
    step = largest / 127.0f;
    step = step > 7.8886091e-31f ? step : 7.8886091e-31f; /* 2^-100 */
    for (uint32_t i = 0; i < size; i++) {
        float level = v[i] / step + 12582912.0f; /* 1.5 * 2^23: rounds to an integer, ties to even */
        q[i] = (int8_t)(level - 12582912.0f);
    }
    return step;
}
#endif

#if defined(__GNUC__) && !defined(__clang__)
#ifdef EGRU_X86
#pragma GCC optimize("Os") /* few processors are left that use what follows */
#elif !EGRU_SIMD
#pragma GCC optimize("no-tree-slp-vectorize") /* four sums in a vector are more bytes */
#endif
#endif

#define ROWS 4u /* stand together, number by number: an operand is read once for them, and no sum waits for another */
#if EGRU_SIMD
#define STREAMS(count) (count)
#else
#define STREAMS(count) ((void)(count), 1)
#endif
/* Sums of rows of zeros, behind the last one, are written too. */
#define PRODUCT(name, element, number, weight)                                                                         \
    static void name(const egru_matrix *matrix, const element *const *q, number *const *acc, size_t count) {           \
        const weight *w = matrix->weights, *next = w;                                                                  \
        const number *bias = matrix->bias;                                                                             \
        for (size_t i = 0; i < matrix->rows; i += ROWS, bias += ROWS, w = next)                                        \
            for (size_t s = 0; s < STREAMS(count); s++) {                                                              \
                number a = bias[0], b = bias[1], c = bias[2], d = bias[3], *to = acc[s] + i;                           \
                const element *v = q[s];                                                                               \
                next = w;                                                                                              \
                for (uint32_t j = matrix->columns; j; j--, v++, next += ROWS) {                                        \
                    a += next[0] * *v;                                                                                 \
                    b += next[1] * *v;                                                                                 \
                    c += next[2] * *v;                                                                                 \
                    d += next[3] * *v;                                                                                 \
                }                                                                                                      \
                to[0] = a;                                                                                             \
                to[1] = b;                                                                                             \
                to[2] = c;                                                                                             \
                to[3] = d;                                                                                             \
            }                                                                                                          \
    }
PRODUCT(product_q8, int8_t, int32_t, int8_t)
#if EGRU_Q16
PRODUCT(product_q16, int16_t, int32_t, int8_t)
#endif
#if EGRU_FLOAT
#if defined(__clang__) && defined(__arm__) && defined(__ARM_NEON)
__attribute__((target("no-neon"))) /* clang would multiply four at a time, and take denormals for zeros */
#endif
PRODUCT(product_float, float, float, float)
#endif

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold what follows; the products take the time */
#endif

static size_t packed_size(uint32_t kind, uint32_t rows, uint32_t columns) {
    size_t numbers = (size_t)((rows + ROWS - 1) & ~(ROWS - 1)) * columns;
    return (numbers * (EGRU_FLOAT && kind == EGRU_VECTOR_FLOAT ? 4 : 1) + EGRU_ALIGN - 1) & ~(size_t)(EGRU_ALIGN - 1);
}

static void pack(uint32_t kind, void *packed, void *bias, const unsigned char *weights, uint32_t rows,
                 uint32_t columns) {
    const size_t item = EGRU_FLOAT && kind == EGRU_VECTOR_FLOAT ? 4 : 1;
    (void)bias;
    memset(packed, 0, packed_size(kind, rows, columns));
    for (size_t row = 0; row < rows; row++) {
        unsigned char *to = (unsigned char *)packed + (row / ROWS * ROWS * columns + row % ROWS) * item;
        for (uint32_t j = 0; j < columns; j++, to += ROWS * item, weights += item)
            memcpy(to, weights, item);
    }
}

int32_t egru_bounded(int64_t argument, uint32_t activation) {
    int32_t t = (int32_t)egru_clamp(argument, EGRU_ARGUMENT_LIMIT), u = t < 0 ? -t : t;
    int32_t k = u >> 9, p = (u & 511) << 6;
    if (activation <= EGRU_SIGMOID) {
        int32_t inner = egru_tanh_c1[k] + (int32_t)egru_round(p * egru_tanh_c2[k], 15);
        u = egru_tanh_c0[k] + (int32_t)egru_round(p * inner, 15);
        t = t < 0 ? -u : u;
    }
    return activation == EGRU_TANH ? t : 32768 + t;
}

void egru_portable_operand(const int32_t *value, void *q, uint32_t size, uint32_t bits, const int32_t *m,
                           uint32_t multipliers, uint32_t shift) {
    for (uint32_t i = 0; i < size; i++)
        egru_store(q, i, bits, egru_round((int64_t)value[i] * m[multipliers == 1 ? 0 : i], shift));
}

/* R'(acc_ih M_ih + acc_hh M_hh; t) of a row. */
static int64_t pair(const egru_gru *g, uint32_t row, int32_t ih, int32_t hh, uint32_t shift) {
    return egru_round((int64_t)ih * g->m_ih[row] + (int64_t)hh * g->m_hh[row], shift);
}

static int32_t gate(const egru_gru *g, uint32_t row, int32_t ih, int32_t hh) {
    return egru_bounded(pair(g, row, ih, hh, g->rz_shift), g->gates);
}

/* From the argument of the candidate to the new h and its operand. */
static void mix(const egru_gru *g, uint32_t i, int64_t argument, int64_t z, int32_t *h, void *q) {
    int64_t n;
    if (g->candidate >= EGRU_TANH)
        n = (int64_t)egru_bounded(argument, g->candidate) * (g->candidate == EGRU_TANH ? 512 : 256);
    else
        n = egru_clamp(g->candidate == EGRU_RELU && argument < 0 ? 0 : argument, EGRU_VALUE_LIMIT);
    h[i] = (int32_t)egru_round((65536 - z) * n + z * h[i], 16);
    egru_store(q, i, g->bits, egru_round((int64_t)h[i] * g->h_multiplier, g->h_shift));
}

/* The argument of a candidate, reset after the product. */
static int64_t after(const egru_gru *g, uint32_t row, int32_t ih, int32_t hn, int64_t r, int64_t limit) {
    int64_t of_h = egru_clamp(egru_round((int64_t)hn * g->m_hh[row], g->n_shift), limit);
    return egru_round((int64_t)ih * g->m_ih[row], g->n_shift) + egru_round(r * of_h, 16);
}

#ifdef EGRU_X86
void egru_unbounded_arguments(const egru_gru *g, int32_t *argument, const int32_t *hn, const int32_t *t, uint32_t first,
                              uint32_t count) {
    for (uint32_t i = first; i < first + count && i < g->size; i++) {
        uint32_t row = 2 * g->size + i;
        int64_t sum = g->before ? pair(g, row, argument[i], hn[i], g->n_shift)
                                : after(g, row, argument[i], hn[i], 32768 + (int16_t)t[i - first], EGRU_VALUE_LIMIT);
        argument[i] = (int32_t)egru_clamp(sum, EGRU_VALUE_LIMIT);
    }
}
#endif

void egru_portable_gru_after(const egru_gru *g, const int32_t *ih, const int32_t *hh, int32_t *h, void *q) {
    uint32_t size = g->size;
    int64_t limit = g->candidate >= EGRU_TANH ? EGRU_OUTPUT_LIMIT : EGRU_VALUE_LIMIT;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t row_z = size + i, row_n = 2 * size + i;
        int64_t r = gate(g, i, ih[i], hh[i]);
        int64_t z = gate(g, row_z, ih[row_z], hh[row_z]);
        mix(g, i, after(g, row_n, ih[row_n], hh[row_n], r, limit), z, h, q);
    }
}

void egru_portable_gru_gates(const egru_gru *g, const int32_t *ih, const int32_t *hh, const int32_t *h, int32_t *z,
                             void *q_rh) {
    for (uint32_t i = 0; i < g->size; i++) {
        int64_t r = gate(g, i, ih[i], hh[i]);
        z[i] = gate(g, g->size + i, ih[g->size + i], hh[g->size + i]);
        egru_store(q_rh, i, g->bits, egru_round(egru_round(r * h[i], 16) * g->rh_multiplier, g->rh_shift));
    }
}

void egru_portable_gru_candidate(const egru_gru *g, const int32_t *ih, const int32_t *hn, const int32_t *z, int32_t *h,
                                 void *q) {
    for (uint32_t i = 0; i < g->size; i++) {
        uint32_t row = 2 * g->size + i;
        mix(g, i, pair(g, row, ih[row], hn[i], g->n_shift), z[i], h, q);
    }
}

#if EGRU_SIMD || EGRU_FLOAT
/* Two at a time: what is added carries larger magnitudes into the bit of the sign. */
int egru_portable_copy_within(const float *from, float *to, size_t size, float limit) {
    uint64_t beyond = 0, two, added;
    uint32_t bits;
    memcpy(&bits, &limit, 4);
    added = (0x7fffffffu - bits) * 0x100000001u;
    if (to)
        memcpy(to, from, size * sizeof *from);
    for (; size >= 2; size -= 2, from += 2) {
        memcpy(&two, from, 8);
        beyond |= (two & 0x7fffffff7fffffffu) + added;
    }
    if (size) {
        memcpy(&bits, from, 4);
        beyond |= (bits & 0x7fffffffu) + (added >> 32);
    }
    return !(beyond & 0x8000000080000000u);
}
#endif

#if EGRU_FLOAT
static float candidate_float(const egru_gru *g, float argument) {
    if (g->candidate == EGRU_TANH)
        return egru_tanh_float(argument);
    if (g->candidate > EGRU_TANH)
        return egru_gate_float(argument, g->candidate);
    return g->candidate == EGRU_RELU && argument < 0 ? 0 : argument;
}

void egru_portable_gru_after_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *next) {
    uint32_t size = g->size;
    for (uint32_t i = 0; i < size; i++) {
        float r = egru_gate_float(ih[i] + hh[i], g->gates), z = egru_gate_float(ih[size + i] + hh[size + i], g->gates);
        float n = candidate_float(g, ih[2 * size + i] + r * hh[2 * size + i]);
        next[i] = (1.0f - z) * n + z * h[i];
    }
}

void egru_portable_gru_gates_float(const egru_gru *g, const float *ih, const float *hh, const float *h, float *z,
                                   float *rh) {
    for (uint32_t i = 0; i < g->size; i++) {
        rh[i] = egru_gate_float(ih[i] + hh[i], g->gates) * h[i];
        z[i] = egru_gate_float(ih[g->size + i] + hh[g->size + i], g->gates);
    }
}

void egru_portable_gru_candidate_float(const egru_gru *g, const float *ih, const float *hn, const float *z,
                                       const float *h, float *next) {
    for (uint32_t i = 0; i < g->size; i++)
        next[i] = (1.0f - z[i]) * candidate_float(g, ih[2 * g->size + i] + hn[i]) + z[i] * h[i];
}
#endif

const egru_kernel egru_portable = {
    .name = "portable",
    .runs = runs,
    .packed_size = packed_size,
    .pack = pack,
    .product_q8 = product_q8,
#if EGRU_Q16
    .product_q16 = product_q16,
#endif
    .standardise = egru_portable_standardise,
    .operand = egru_portable_operand,
    .gru_after = egru_portable_gru_after,
    .gru_gates = egru_portable_gru_gates,
    .gru_candidate = egru_portable_gru_candidate,
#if EGRU_SIMD || EGRU_FLOAT
    .copy_within = egru_portable_copy_within,
#endif
#if EGRU_FLOAT
    .product_float = product_float,
    .gru_after_float = egru_portable_gru_after_float,
    .gru_gates_float = egru_portable_gru_gates_float,
    .gru_candidate_float = egru_portable_gru_candidate_float,
    .quantize_float = egru_portable_quantize_float,
#endif
};
