/* What the parts of the library share. The arithmetic is that of docs/quantization.md, the plan that of docs/plan.md. */
#ifndef EGRU_INTERNAL_H
#define EGRU_INTERNAL_H

#include "egru.h"

#ifndef EGRU_FLOAT
#define EGRU_FLOAT 1 /* 0: no float32 and dynamic-w8 models */
#endif
#ifndef EGRU_Q16
#define EGRU_Q16 1 /* 0: no operands of 16 bits */
#endif
#ifndef EGRU_LOG_MEL
#define EGRU_LOG_MEL 1 /* 0: no models that take sound */
#endif
#ifndef EGRU_TOKENS
#define EGRU_TOKENS 1 /* 0: no models that give the next token */
#endif
#ifndef EGRU_ATTENTION
#define EGRU_ATTENTION EGRU_Q16 /* 0: no models whose streams remember rows; their keys have 16 bits */
#endif
#ifndef EGRU_SIMD
#define EGRU_SIMD 1 /* 0: portable C alone */
#endif

#if defined(__GNUC__)
#define EGRU_NOINLINE __attribute__((noinline)) /* where a copy at every use would cost more than a call */
#else
#define EGRU_NOINLINE
#endif
#if defined(__GNUC__) && EGRU_SIMD
#define EGRU_RARE __attribute__((noinline, cold)) /* for size: what few models need, or none while they step */
#else
#define EGRU_RARE
#endif

#define EGRU_NONE UINT32_MAX
#define EGRU_HIGH 33u  /* the least shift with which the low word of a product decides nothing */
#define EGRU_ALIGN 64u /* bytes, of everything that kernels read and write */
#define EGRU_TILE (EGRU_SIMD ? 4u : 1u) /* streams that step together */
#define EGRU_PAD 64u   /* numbers behind the last one of a vector that kernels may read, and of most write */

enum { EGRU_VECTOR_FLOAT, EGRU_VECTOR_VALUE, EGRU_VECTOR_Q8, EGRU_VECTOR_Q16, EGRU_VECTOR_KINDS };
enum { EGRU_IH, EGRU_HH, EGRU_Z, EGRU_RH, EGRU_Q, EGRU_BUFFERS }; /* what an operation needs while it runs */
enum { EGRU_IN_SCRATCH, EGRU_IN_STATE, EGRU_MEMORIES }; /* where a vector is, of each stream */
enum { EGRU_SCHEME_FLOAT, EGRU_SCHEME_STATIC, EGRU_SCHEME_DYNAMIC };
enum { EGRU_LINEAR, EGRU_RELU, EGRU_TANH, EGRU_SIGMOID, EGRU_HARD_SIGMOID_5, EGRU_HARD_SIGMOID_6 };
enum {
    EGRU_OP_STANDARDISE = 1,
    EGRU_OP_EMBEDDING,
    EGRU_OP_OPERAND,
    EGRU_OP_LINEAR,
    EGRU_OP_TAPS,
    EGRU_OP_GRU,
    EGRU_OP_ADD,
    EGRU_OP_MULTIPLY,
    EGRU_OP_COPY,
    EGRU_OP_SOFTMAX,
    EGRU_OP_SIGMOID,
    EGRU_OP_IDENTITY,
    EGRU_OP_LAYER_NORMALISATION,
    EGRU_OP_LOG_MEL,
    EGRU_OP_LOG_SOFTMAX,
    EGRU_OP_ATTENTION
};

/* W v + b with the weights as a kernel packed them. What it multiplies with is Q8, Q16 or FLOAT. */
typedef struct {
    uint32_t rows, columns;
    uint32_t kind;
    int64_t reach;      /* of int8 weights: the largest magnitude of an accumulator */
    const void *weights;
    const void *bias;   /* int32 or float, (rows + EGRU_PAD); zero where there is none, kernels may have added to it */
    const float *scale, *offset; /* dynamic-w8: of every row; the bias, which is not in the product. NULL otherwise */
} egru_matrix;

/* One GRU. Rows of r, z, n; multipliers and biases have EGRU_PAD numbers more. */
typedef struct {
    uint32_t size;
    uint32_t before;    /* reset before the product */
    uint32_t gates;     /* EGRU_SIGMOID or a hard one */
    uint32_t candidate; /* from EGRU_TANH on the state is bounded */
    uint32_t bits;      /* 8 or 16, of the operands of h and r * h */
    uint32_t narrow;    /* static: arguments are below 2^27 before they are saturated, hn is within its limit, and
                         * accumulators, 2^(EGRU_HIGH - t) times as large, fit 32 bits, all but for unbounded candidates;
                         * shifts of operands are at least EGRU_HIGH */
    egru_matrix ih;
    egru_matrix hh; /* of r and z alone where `before` */
    egru_matrix hn; /* of n where `before` */
    const int32_t *m_ih, *m_hh; /* (3 size) */
    uint32_t rz_shift, n_shift;
    int32_t h_multiplier, rh_multiplier;
    uint32_t h_shift, rh_shift;
} egru_gru;

/* Added to the number of streams of a product: read the weights from the other end, since what was read last is still in
 * the cache. The results are the same. */
#define EGRU_BACKWARDS 16u

/* Of a hard sigmoid. */
static inline float egru_slope(uint32_t activation) {
    return activation == EGRU_HARD_SIGMOID_5 ? 1.0f / 5.0f : 1.0f / 6.0f;
}

/* Bytes of a number of a vector. */
static inline size_t egru_item_size(uint32_t kind) {
    return kind == EGRU_VECTOR_Q8 ? 1 : EGRU_Q16 && kind == EGRU_VECTOR_Q16 ? 2 : 4;
}

#if EGRU_SIMD && (defined(__x86_64__) || defined(__i386__))
#define EGRU_X86 1
#endif

/* Everything that instruction sets do differently. Vectors are aligned to EGRU_ALIGN and padded by EGRU_PAD. Products
 * are of `count` streams, 1 to EGRU_TILE; all results are the same however many they are. The integer functions of all
 * kernels are equal in every bit.
 */
typedef struct {
    const char *name;
    int (*runs)(void);
    size_t (*packed_size)(uint32_t kind, uint32_t rows, uint32_t columns); /* a multiple of EGRU_ALIGN */
    /* `weights`: int8 or float, row-major, any alignment. May add a correction to the int32 `bias` (rows). */
    void (*pack)(uint32_t kind, void *packed, void *bias, const unsigned char *weights, uint32_t rows, uint32_t columns);
    /* Operands floor(a x + b) of a sample, saturated; returns how many were. */
    uint32_t (*standardise)(const float *a, const float *b, const float *x, void *q, uint32_t size, uint32_t bits);
    void (*product_q8)(const egru_matrix *matrix, const int8_t *const *q, int32_t *const *acc, size_t count);
#if EGRU_Q16
    void (*product_q16)(const egru_matrix *matrix, const int16_t *const *q, int32_t *const *acc, size_t count);
#endif
    /* Value to operand: m has `multipliers` numbers, 1 or size. */
    void (*operand)(const int32_t *value, void *q, uint32_t size, uint32_t bits, const int32_t *m, uint32_t multipliers,
                    uint32_t shift);
    /* One GRU step behind the products. h is overwritten, q is the operand of the new h. ih may be overwritten too, here
     * and below. */
    void (*gru_after)(const egru_gru *gru, const int32_t *ih, const int32_t *hh, int32_t *h, void *q);
    /* Reset before: z in Q16 and the operand of r * h; then, with `hn` = W_hn q_rh, the rest. */
    void (*gru_gates)(const egru_gru *gru, const int32_t *ih, const int32_t *hh, const int32_t *h, int32_t *z, void *q_rh);
    void (*gru_candidate)(const egru_gru *gru, const int32_t *ih, const int32_t *hn, const int32_t *z, int32_t *h,
                          void *q);
#if EGRU_FLOAT
    void (*product_float)(const egru_matrix *matrix, const float *const *v, float *const *acc, size_t count);
    void (*gru_after_float)(const egru_gru *gru, const float *ih, const float *hh, const float *h, float *next);
    void (*gru_gates_float)(const egru_gru *gru, const float *ih, const float *hh, const float *h, float *z, float *rh);
    void (*gru_candidate_float)(const egru_gru *gru, const float *ih, const float *hn, const float *z, const float *h,
                                float *next);
    /* v (size) to int8 by step = max(max|v| / 127, 2^-100); returns the step. */
    float (*quantize_float)(const float *v, int8_t *q, uint32_t size);
#endif
#if EGRU_SIMD || EGRU_FLOAT
    /* Whether all numbers, of any alignment, are within ±limit, a finite one; `to` becomes a copy unless it is NULL. */
    int (*copy_within)(const float *from, float *to, size_t size, float limit);
#endif
#ifdef EGRU_X86
    int turns; /* products know EGRU_BACKWARDS */
#endif
#if EGRU_SIMD && EGRU_FLOAT
    /* Those below may be missing, for what step.c does instead. */
    void (*standardise_float)(const float *mean, const float *std, const float *x, float *value, uint32_t size);
    /* The activation (EGRU_RELU, …) of v, or with EGRU_LINEAR e^(v - most). */
    void (*activate_float)(const float *v, float *to, uint32_t size, uint32_t activation, float most);
#endif
} egru_kernel;

extern const egru_kernel egru_portable;
#ifdef EGRU_X86
extern const egru_kernel egru_sse2, egru_avx2, egru_avx512;
#endif
#if EGRU_SIMD && (defined(__ARM_NEON) || defined(__aarch64__))
#define EGRU_NEON 1
extern const egru_kernel egru_neon;
#if defined(__aarch64__)
#define EGRU_DOTPROD 1
extern const egru_kernel egru_dotprod;
#endif
#endif
const egru_kernel *egru_find_kernel(const char *name); /* NULL where there is none that runs */

typedef struct {
    uint32_t kind, size;
    uint32_t memory; /* EGRU_IN_SCRATCH or EGRU_IN_STATE */
    uint32_t filled;   /* numbers that operations have given it: all, once the plan is checked */
    size_t offset;
} egru_vector;

/* LOG_MEL: of a static model int32 weights and cosines, int16 shares, an int64 floor; else floats. */
typedef struct {
    uint32_t frame, size, bands; /* samples in the window, numbers of the spectrum, numbers of the value */
    uint32_t work;               /* a vector of `size` numbers */
    const void *window, *twiddles, *rising, *floor; /* (frame), (size / 4 + 1), (size / 2 + 1), one */
    const uint32_t *edges;                          /* (bands + 2) */
} egru_log_mel_tables;

/* ATTENTION: how many rows there are is at `ring` in the state, their values are at `values`, their keys at `keys`. */
typedef struct {
    uint32_t size, kind; /* of a key; a value has those of the result */
    size_t values, keys;
    const float *row_a, *row_b; /* static: operands and keys floor(a x + b) of a row (value, key) */
    int32_t score_multiplier;
    uint32_t score_shift;
} egru_attention;

typedef struct {
    uint32_t code;
    uint32_t in, in2, out; /* vectors; in a head `out` is `in` */
    uint32_t q;            /* GRU: the operand of h */
    uint32_t activation;
    uint32_t count, shift; /* multipliers and their shift; COPY, heads: the place; EMBEDDING, ATTENTION: rows; TAPS:
                            * kernel_size */
    uint32_t dilation;
    uint32_t frames, position; /* TAPS: past steps that are kept, and which counter says where the oldest is */
    size_t ring;               /* TAPS, ATTENTION, GRU of floats: where what they keep is in the state */
    uint32_t next_keeping;     /* TAPS, GRU of floats: the next of them */
    const float *epsilon;      /* LAYER_NORMALISATION */
    const void *a, *b;         /* multipliers, coefficients, scales, offsets; GRU: h0 as in a plan, NULL for zeros */
    egru_matrix matrix;
    egru_gru gru;
#if EGRU_LOG_MEL
    egru_log_mel_tables log_mel;
#endif
#if EGRU_ATTENTION
    egru_attention attention;
#endif
} egru_operation;

static inline int egru_is_head(const egru_operation *op) {
    return op->code - EGRU_OP_SOFTMAX <= EGRU_OP_IDENTITY - EGRU_OP_SOFTMAX ||
           (EGRU_TOKENS && op->code == EGRU_OP_LOG_SOFTMAX);
}

typedef struct {
    uint64_t steps, clipped;
} egru_counts; /* the beginning of a state; then a uint32_t for each TAPS operation */

struct egru_model {
    const egru_kernel *kernel;
    unsigned char identity[32];
    uint32_t scheme, input_size, output_size;
    uint32_t vector_count, operation_count;
    uint32_t keeping; /* the first operation whose state is kept behind the step, operation_count where there is none */
    egru_vector *vectors;
    egru_operation *operations;
    size_t buffer[EGRU_BUFFERS]; /* places in the scratch memory, as long as the longest row or column */
    size_t state_bytes, scratch_bytes; /* of one stream, without room for alignment */
    size_t saved_numbers;
#if EGRU_ATTENTION
    const egru_operation *attention; /* NULL where streams remember no rows */
#endif
};

/* The streams of a tile, at aligned addresses. */
typedef struct {
    size_t count;
#ifdef EGRU_X86
    size_t backwards; /* 0 or EGRU_BACKWARDS, in this step */
#endif
    unsigned char *memory[EGRU_MEMORIES][EGRU_TILE];
} egru_tile;

static inline void *egru_aligned(const void *memory) {
    return (void *)(((uintptr_t)memory + EGRU_ALIGN - 1u) & ~(uintptr_t)(EGRU_ALIGN - 1u));
}

static inline void *egru_at(const egru_model *model, const egru_tile *tile, uint32_t vector, size_t stream) {
    const egru_vector *v = &model->vectors[vector];
    return tile->memory[v->memory][stream] + v->offset;
}

uint32_t egru_read_u32(const unsigned char *bytes);

/* Whether a saved number is one that a stream can reach: of a GRU's h, or of the operands that TAPS keep. */
int egru_reachable(const egru_operation *op, uint32_t kind, uint32_t bits);
#endif
