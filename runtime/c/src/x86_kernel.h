/* The end of an instruction set's file: packing, and the table of what it does. Before the inclusion are defined: EXCESS,
 * what is added to int8 operands, if anything; EGRU_SHAPE_OF, where the file has its own shape_of, multiply_q8 and
 * multiply_float, because matrices of one kind are packed in several ways.
 */
#ifndef EGRU_SHAPE_OF
static const egru_blocks *shape_of(uint32_t kind, uint32_t rows, uint32_t columns) {
    (void)rows;
    (void)columns;
#if EGRU_FLOAT
    if (kind == EGRU_VECTOR_FLOAT)
        return &float_shape;
#endif
#if EGRU_Q16
    if (kind == EGRU_VECTOR_Q16)
        return &q16_shape;
#endif
    return &q8_shape;
}
#define multiply_q8 q8_product
#define multiply_float float_product
#endif
#ifndef EXCESS
#define EXCESS 0u
#endif

static EGRU_RARE size_t packed_size(uint32_t kind, uint32_t rows, uint32_t columns) {
    return egru_packed_size(shape_of(kind, rows, columns), rows, columns);
}

static EGRU_RARE void pack(uint32_t kind, void *packed, void *bias, const unsigned char *weights, uint32_t rows,
                 uint32_t columns) {
    egru_pack(shape_of(kind, rows, columns), packed, bias, weights, rows, columns,
              kind == EGRU_VECTOR_Q8 ? EXCESS : 0u);
}

#if EGRU_Q16
#define KERNEL_Q16 .product_q16 = q16_product,
#else
#define KERNEL_Q16
#endif
/* `elements`: what the names of the functions behind the products begin with. */
#ifdef EGRU_ELEMENTS
#define EGRU_ACTIVATE .activate_float = vector_activate_float,
#else
#define EGRU_ACTIVATE
#endif
#if EGRU_FLOAT
#define KERNEL_FLOAT(elements)                                                                                         \
    .product_float = multiply_float, .gru_after_float = elements##gru_after_float,                                     \
    .gru_gates_float = elements##gru_gates_float, .gru_candidate_float = elements##gru_candidate_float,                \
    .quantize_float = egru_portable_quantize_float, .standardise_float = vector_standardise_float, EGRU_ACTIVATE
#else
#define KERNEL_FLOAT(elements)
#endif
#define EGRU_X86_KERNEL(kernel, its_name, elements)                                                                    \
    const egru_kernel kernel = {.name = its_name,                                                                      \
                                .runs = runs,                                                                          \
                                .packed_size = packed_size,                                                            \
                                .pack = pack,                                                                          \
                                .standardise = elements##standardise,                                                  \
                                .product_q8 = multiply_q8,                                                             \
                                .operand = elements##operand,                                                          \
                                .gru_after = elements##gru_after,                                                      \
                                .gru_gates = elements##gru_gates,                                                      \
                                .gru_candidate = elements##gru_candidate,                                              \
                                KERNEL_Q16 KERNEL_FLOAT(elements).turns = 1, .copy_within = vector_copy_within}
