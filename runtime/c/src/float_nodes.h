/* Nodes of float32 and dynamic-w8 models that are portable C in every build. */
#ifndef EGRU_FLOAT_NODES_H
#define EGRU_FLOAT_NODES_H

#include "internal.h"

/* Whether all of v (size) are finite. */
int egru_finite(const float *v, size_t size);
void egru_read_input_float(const egru_operation *op, const float *x, float *value, const egru_vector *out);
/* Accumulators of a dynamic product (int32, in place) to floats: acc * (row scale * step) + bias. */
void egru_scale_accumulators(const egru_matrix *m, void *acc, float step);
/* As in egru_kernel. */
void egru_activate_float(const egru_kernel *kernel, const float *v, float *to, uint32_t size, uint32_t activation,
                         float most);
void egru_combine_float(const egru_operation *op, const float *a, const float *b, float *value, uint32_t size);
/* (v - mean) / sqrt(variance + epsilon) * weight + bias. */
void egru_normalise(const egru_operation *op, const float *v, float *value, uint32_t size);
void egru_give_out_float(const egru_kernel *kernel, const egru_operation *op, const float *value, float *work, float *y,
                         uint32_t size);

float egru_exp_float(float v);  /* relative error below 2e-7; 0 from -87.3 down, finite everywhere */
float egru_tanh_float(float v); /* absolute error below 2e-7 */
float egru_gate_float(float v, uint32_t activation); /* EGRU_SIGMOID, as exact, or a hard one */
#endif
