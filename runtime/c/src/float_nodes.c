#include "float_nodes.h"

#include <string.h>

#include "logarithm.h"

int egru_finite(const float *v, size_t size) {
    uint32_t bad = 0;
    for (size_t i = 0; i < size; i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], 4);
        bad |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    return !bad;
}

#if EGRU_FLOAT
/* 2^k e^r, k = round(v log2 e): log 2 in two parts, Taylor's polynomial of degree 6 for |r| <= log(2) / 2. */
float egru_exp_float(float v) {
    float k, r, p;
    uint32_t bits;
    int32_t whole;
    if (!(v == v))
        return v; /* not a number stays none, and the step is not taken */
    v = v > 88.0f ? 88.0f : v < -87.3f ? -87.3f : v;
    k = v * 1.44269504f;
    whole = (int32_t)(k < 0 ? k - 0.5f : k + 0.5f);
    r = v - (float)whole * 0.693359375f;
    r = r + (float)whole * 2.12194440e-4f;
    p = 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = (p * r) * r + r;
    p = p + 1.0f;
    bits = (uint32_t)(whole + 127) << 23;
    memcpy(&k, &bits, 4);
    return p * k;
}

float egru_gate_float(float v, uint32_t activation) {
    if (activation == EGRU_SIGMOID)
        return 1.0f / (1.0f + egru_exp_float(-v));
    v = v * egru_slope(activation) + 0.5f;
    return v > 1.0f ? 1.0f : v < 0.0f ? 0.0f : v;
}

float egru_tanh_float(float v) {
    float e = egru_exp_float(v < 0 ? 2.0f * v : -2.0f * v), t = (1.0f - e) / (1.0f + e);
    return v < 0 ? -t : t;
}

static EGRU_RARE void read_row(const egru_operation *op, const float *x, float *value, const egru_vector *out) {
    float sum = x[0] + 0.5f;
    uint32_t row = sum >= (float)op->count ? op->count - 1 : sum >= 0.0f ? (uint32_t)sum : 0;
    if (!op->b) {
        memcpy(value, (const float *)op->a + (size_t)row * out->size, (size_t)out->size * 4);
        return;
    }
    for (uint32_t i = 0; i < out->size; i++)
        value[i] = (float)((const int8_t *)op->a)[(size_t)row * out->size + i] * ((const float *)op->b)[row];
}

void egru_read_input_float(const egru_operation *op, const float *x, float *value, const egru_vector *out) {
    const float *mean = op->a, *std = op->b;
    if (op->code == EGRU_OP_EMBEDDING) {
        read_row(op, x, value, out);
        return;
    }
    for (uint32_t i = 0; i < out->size; i++)
        value[i] = (x[i] - mean[i]) / std[i];
}

void egru_scale_accumulators(const egru_matrix *m, void *acc, float step) {
    for (uint32_t i = 0; i < m->rows; i++) {
        int32_t integer;
        float real;
        memcpy(&integer, (unsigned char *)acc + 4 * (size_t)i, 4);
        real = (float)integer * (m->scale[i] * step) + m->offset[i];
        memcpy((unsigned char *)acc + 4 * (size_t)i, &real, 4);
    }
}

void egru_activate_float(const egru_kernel *kernel, const float *v, float *to, uint32_t size, uint32_t activation,
                         float most) {
#if EGRU_SIMD
    if (kernel->activate_float) {
        kernel->activate_float(v, to, size, activation, most);
        return;
    }
#endif
    (void)kernel;
    for (uint32_t i = 0; i < size; i++) {
        if (activation == EGRU_LINEAR)
            to[i] = egru_exp_float(v[i] - most);
        else if (activation == EGRU_RELU)
            to[i] = v[i] > 0 ? v[i] : 0;
        else
            to[i] = activation == EGRU_TANH ? egru_tanh_float(v[i]) : egru_gate_float(v[i], activation);
    }
}

void egru_combine_float(const egru_operation *op, const float *a, const float *b, float *value, uint32_t size) {
    for (uint32_t i = 0; i < size; i++)
        value[i] = op->code == EGRU_OP_ADD ? a[i] + b[i] : a[i] * b[i];
}

/* 1 / sqrt(v) for v > 0: a guess from its bits, and Newton's steps, each of which doubles the digits that are right. */
static double inverse_root(double v) {
    uint64_t bits;
    double root;
    memcpy(&bits, &v, 8);
    bits = 0x5fe6eb50c7b537a9u - (bits >> 1);
    memcpy(&root, &bits, 8);
    for (int i = 0; i < 3; i++)
        root *= 1.5 - 0.5 * v * root * root;
    return root;
}

EGRU_RARE void egru_normalise(const egru_operation *op, const float *v, float *value, uint32_t size) {
    const float *weight = op->a, *bias = op->b;
    double mean = 0, squares = 0;
    for (uint32_t i = 0; i < size; i++)
        mean += (double)v[i];
    mean /= size;
    for (uint32_t i = 0; i < size; i++)
        squares += ((double)v[i] - mean) * ((double)v[i] - mean);
    squares = inverse_root(squares / size + (double)*op->epsilon);
    for (uint32_t i = 0; i < size; i++)
        value[i] = (float)(((double)v[i] - mean) * squares) * weight[i] + bias[i];
}

void egru_give_out_float(const egru_kernel *kernel, const egru_operation *op, const float *value, float *work, float *y,
                         uint32_t size) {
    float largest = value[0], total = 0;
    if (op->code == EGRU_OP_IDENTITY) {
        memcpy(y, value, size * sizeof *y);
        return;
    }
    if (op->code == EGRU_OP_SIGMOID) {
        egru_activate_float(kernel, value, work, size, EGRU_SIGMOID, 0);
        memcpy(y, work, size * sizeof *y);
        return;
    }
    for (uint32_t i = 1; i < size; i++)
        largest = value[i] > largest ? value[i] : largest;
    egru_activate_float(kernel, value, work, size, EGRU_LINEAR, largest);
#if EGRU_TOKENS
    if (op->code == EGRU_OP_LOG_SOFTMAX) {
        double sum = 0; /* rounded once: nothing is left to its order */
        for (uint32_t i = 0; i < size; i++)
            sum += (double)work[i];
        total = egru_log2_float((float)sum) * 0.693147181f;
        for (uint32_t i = 0; i < size; i++)
            y[i] = (value[i] - largest) - total;
        return;
    }
#endif
    for (uint32_t i = 0; i < size; i++)
        total += work[i];
    for (uint32_t i = 0; i < size; i++)
        y[i] = work[i] / total;
}
#endif
