/* The end of an instruction set's file: packing by kind of operand, and the table of what it does. CORRECTION(kind): what
 * every weight takes off its row's bias, where operands are multiplied with an excess.
 */

static size_t packed_size(uint32_t kind, uint32_t rows, uint32_t columns) {
#if EGRU_FLOAT
    if (kind == EGRU_VECTOR_FLOAT)
        return float_size(rows, columns);
#endif
    return kind == EGRU_VECTOR_Q8 ? q8_size(rows, columns) : q16_size(rows, columns);
}

static void pack(uint32_t kind, void *packed, void *bias, const unsigned char *weights, uint32_t rows,
                 uint32_t columns) {
#if EGRU_FLOAT
    if (kind == EGRU_VECTOR_FLOAT) {
        float_pack(packed, weights, rows, columns, 4);
        return;
    }
#endif
    if (kind == EGRU_VECTOR_Q8)
        q8_pack(packed, weights, rows, columns, 1);
    else
        q16_pack(packed, weights, rows, columns, 1);
#ifdef CORRECTION
    for (uint32_t row = 0; row < rows; row++) {
        int32_t total = 0;
        for (uint32_t j = 0; j < columns; j++)
            total += ((const int8_t *)weights)[(size_t)row * columns + j];
        ((uint32_t *)bias)[row] -= (uint32_t)total * CORRECTION(kind);
    }
#else
    (void)bias;
#endif
}

#ifndef STANDARDISE
#define STANDARDISE egru_portable_standardise
#endif
#if EGRU_Q16
#define EGRU_KERNEL_Q16 .product_q16 = q16_product,
#else
#define EGRU_KERNEL_Q16
#endif
#if EGRU_FLOAT
#define EGRU_KERNEL_FLOAT(elements)                                                                                    \
    .product_float = float_product, .gru_after_float = elements##gru_after_float,                                      \
    .gru_gates_float = elements##gru_gates_float, .gru_candidate_float = elements##gru_candidate_float,                \
    .quantize_float = egru_portable_quantize_float,
#else
#define EGRU_KERNEL_FLOAT(elements)
#endif
/* `elements`: what the names of the functions behind the products begin with. */
#define EGRU_KERNEL(kernel, its_name, elements)                                                                        \
    const egru_kernel kernel = {.name = its_name,                                                                      \
                                .runs = runs,                                                                          \
                                .packed_size = packed_size,                                                            \
                                .pack = pack,                                                                          \
                                .standardise = STANDARDISE,                                                            \
                                .product_q8 = q8_product,                                                              \
                                .operand = elements##operand,                                                          \
                                .gru_after = elements##gru_after,                                                      \
                                .gru_gates = elements##gru_gates,                                                      \
                                .gru_candidate = elements##gru_candidate,                                              \
                                .copy_within = egru_portable_copy_within,                                              \
                                EGRU_KERNEL_Q16 EGRU_KERNEL_FLOAT(elements)}
