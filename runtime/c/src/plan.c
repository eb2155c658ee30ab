/* The operations of a plan: everything in them is checked, then weights are packed. The same code runs twice, first
 * without memory, to find out how much it takes. */
#include "plan.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* loading is rare, and small devices have to hold it */
#endif

#include <string.h>

#define LARGEST_SPECTRUM 16384u

static void read_table(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t columns) {
    uint32_t rows = a[1], item = egru_is_static(b) || a[3] != EGRU_NONE ? 1 : 4;
    const unsigned char *table = egru_data_of(b, a[2], (uint64_t)rows * columns, item);
    if (!table || rows == 0 || rows > EGRU_LARGEST_VECTOR || b->header.input_size != 1) {
        b->good = 0;
        return;
    }
    op->count = rows;
    if (egru_is_static(b)) {
        op->b = egru_multipliers(b, a[3], rows);
        op->shift = egru_checked_shift(b, a[4]);
    } else if (a[3] != EGRU_NONE) {
        op->b = egru_floats(b, a[3], rows, 0);
    }
    if (item == 1)
        egru_check_rows(b, table, NULL, rows, columns, 0);
    else
        egru_check_floats(b, table, (size_t)rows * columns, 0);
    op->a = egru_copied(b, table, (size_t)rows * columns * item);
}

/* See egru_gru. Multipliers are below 2^29. */
static uint32_t narrow(const egru_gru *g) {
    int bounded = g->candidate >= EGRU_TANH;
    uint32_t shift = bounded && g->n_shift < g->rz_shift ? g->n_shift : g->rz_shift;
    int64_t pair = g->ih.reach + (g->hn.reach > g->hh.reach ? g->hn.reach : g->hh.reach);
    return pair * 4 < (int64_t)1 << shift && (!bounded || g->before || g->hh.reach << 5 <= (int64_t)1 << g->n_shift) &&
           g->h_shift >= EGRU_HIGH && (!g->before || g->rh_shift >= EGRU_HIGH);
}

/* h0: a state that a stream can reach. */
static void read_initial_state(egru_builder *b, egru_operation *op, uint32_t offset) {
    const unsigned char *h = egru_data_of(b, offset, op->gru.size, 4);
    for (size_t i = 0; h && i < op->gru.size; i++)
        if (!egru_reachable(op, egru_is_static(b) ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, egru_read_u32(h + 4 * i)))
            b->good = 0;
    op->a = egru_copied(b, h, (size_t)op->gru.size * 4);
}

static void read_gru(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t size) {
    egru_gru *g = &op->gru;
    uint32_t kind = egru_factor(b, op->in), own = EGRU_VECTOR_FLOAT;
    op->q = a[2];
    g->size = size;
    g->before = a[3] & 1;
    g->candidate = a[4] % 8;
    g->gates = EGRU_SIGMOID + a[4] / 8;
    if (a[3] > 3 || g->candidate > EGRU_HARD_SIGMOID_6 || g->gates > EGRU_HARD_SIGMOID_6 ||
        size > EGRU_LARGEST_VECTOR / 4) {
        b->good = 0;
        return;
    }
    if (a[3] & 2)
        read_initial_state(b, op, a[17]);
    if (egru_is_static(b))
        own = egru_factor(b, op->q);
    g->bits = own == EGRU_VECTOR_Q16 ? 16 : 8;
    egru_read_matrix(b, &g->ih, kind, a + 5, 2, 0, 3 * size, egru_reads(b, op->in, kind));
    egru_read_matrix(b, &g->hh, own, a + 6, 2, 0, (3 - g->before) * size, size);
    if (g->before)
        egru_read_matrix(b, &g->hn, own, a + 6, 2, 2 * size, size, size);
    if (!egru_is_static(b)) {
        if (g->ih.kind != g->hh.kind) /* scales of both or of none */
            b->good = 0;
        return;
    }
    g->m_ih = egru_multipliers(b, a[9], 3 * size);
    g->m_hh = egru_multipliers(b, a[10], 3 * size);
    g->rz_shift = egru_checked_shift(b, a[11]);
    g->n_shift = egru_checked_shift(b, a[12]);
    g->h_shift = egru_checked_shift(b, a[14]);
    g->rh_shift = egru_checked_shift(b, a[16]);
    g->h_multiplier = (int32_t)a[13];
    g->rh_multiplier = (int32_t)a[15];
    if ((a[13] | a[15]) >= EGRU_MULTIPLIER_LIMIT)
        b->good = 0;
    g->narrow = EGRU_SIMD && b->good && narrow(g);
    egru_writes(b, op->q, own, size);
}

static void read_elementwise(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t value, uint32_t size) {
    int multiplies = op->code == EGRU_OP_MULTIPLY;
    if (egru_reads(b, op->in, multiplies ? egru_factor(b, op->in) : value) != size ||
        egru_reads(b, op->in2, multiplies ? egru_factor(b, op->in2) : value) != size)
        b->good = 0;
    if (!egru_is_static(b))
        return;
    egru_read_scaling(b, op, a[3], size, a[5]);
    if (!multiplies)
        op->b = egru_multipliers(b, a[4], size);
}

static void read_head(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t size) {
    op->count = op->out;
    op->out = op->in;
    if (op->count > b->header.output_size || size > b->header.output_size - op->count)
        b->good = 0;
    egru_widen(b, size);
    if (!egru_is_static(b))
        return;
    if (a[2] != EGRU_NONE)
        egru_read_scaling(b, op, a[2], size, a[3]);
    else if (op->code != EGRU_OP_IDENTITY)
        b->good = 0;
    op->b = egru_floats(b, a[4], size, 0);
    if (a[5] != EGRU_NONE)
        op->matrix.offset = egru_floats(b, a[5], size, 0);
}

static void read_taps(egru_builder *b, egru_operation *op, uint32_t size) {
    uint64_t numbers = (uint64_t)op->count * size; /* of the result */
    if (op->count < 2 || op->dilation < 1 || op->count > EGRU_LARGEST_VECTOR || op->dilation > EGRU_LARGEST_VECTOR ||
        numbers > EGRU_LARGEST_VECTOR || (numbers - size) * op->dilation > EGRU_LARGEST_VECTOR) {
        b->good = 0;
        return;
    }
    op->frames = (op->count - 1) * op->dilation;
    op->position = b->taps_count++;
    egru_writes(b, op->out, egru_factor(b, op->in), (uint32_t)numbers);
}

#if EGRU_LOG_MEL
/* A weight, a share and a pair of a cosine and a sine are at most 1: no sum of a spectrum leaves its range, nor does an
 * energy with its floor. */
static void check_integers(egru_builder *b, const unsigned char *window, const unsigned char *twiddles,
                           const unsigned char *rising, const unsigned char *floor, uint32_t frame, uint32_t size) {
    uint32_t high = egru_read_u32(floor + 4), one = 1u << 30;
    for (size_t i = 0; i < frame; i++)
        if (egru_read_u32(window + 4 * i) + one > 2 * one)
            b->good = 0;
    for (size_t i = 0; i <= size / 4; i++) {
        int64_t cosine = (int32_t)egru_read_u32(twiddles + 4 * i);
        int64_t sine = (int32_t)egru_read_u32(twiddles + size - 4 * i);
        if ((uint64_t)(cosine * cosine) + (uint64_t)(sine * sine) > ((uint64_t)1 << 60) + ((uint64_t)1 << 39))
            b->good = 0;
    }
    for (size_t i = 0; i <= size / 2; i++)
        if (rising[2 * i + 1] & 0x80)
            b->good = 0;
    if (high > 1u << 29 || (high == 1u << 29 && egru_read_u32(floor)) || !(high | egru_read_u32(floor)))
        b->good = 0;
}

static void read_log_mel(egru_builder *b, egru_operation *op, const uint32_t *a) {
    egru_log_mel_tables *t = &op->log_mel;
    int integer = egru_is_static(b);
    uint32_t item = integer ? 2 : 4, last = 0;
    uint32_t given = egru_reads(b, op->in, integer ? EGRU_VECTOR_Q16 : EGRU_VECTOR_FLOAT);
    const unsigned char *window, *twiddles, *edges, *rising, *floor;
    t->work = a[2];
    t->size = egru_size_of(b, t->work);
    t->frame = a[3];
    t->bands = egru_size_of(b, op->out);
    if (t->size < 8 || t->size > LARGEST_SPECTRUM || (t->size & (t->size - 1)) || t->frame - 1 >= t->size ||
        t->frame > given) {
        b->good = 0;
        return;
    }
    window = egru_data_of(b, a[4], t->frame, 4);
    twiddles = egru_data_of(b, a[5], t->size / 4 + 1, 4);
    edges = egru_data_of(b, a[6], t->bands + 2, 4);
    rising = egru_data_of(b, a[7], t->size / 2 + 1, item);
    floor = egru_data_of(b, a[8], 1, integer ? 8 : 4);
    if (!b->good)
        return;
    for (size_t i = 0; i < t->bands + 2; i++) {
        uint32_t edge = egru_read_u32(edges + 4 * i);
        if (edge < last || edge > t->size / 2 + 1)
            b->good = 0;
        last = edge;
    }
    if (integer) {
        check_integers(b, window, twiddles, rising, floor, t->frame, t->size);
    } else {
        egru_check_floats(b, window, t->frame, 0);
        egru_check_floats(b, twiddles, t->size / 4 + 1, 0);
        egru_check_floats(b, rising, t->size / 2 + 1, 0);
        egru_check_floats(b, floor, 1, 1);
    }
    t->window = egru_copied(b, window, (size_t)t->frame * 4);
    t->twiddles = egru_copied(b, twiddles, t->size + 4);
    t->edges = egru_copied(b, edges, ((size_t)t->bands + 2) * 4);
    t->rising = egru_copied(b, rising, (t->size / 2 + 1) * item);
    t->floor = egru_copied(b, floor, integer ? 8 : 4);
    egru_writes(b, t->work, integer ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, t->size);
    egru_writes(b, op->out, EGRU_VECTOR_FLOAT, t->bands);
}
#endif

#if EGRU_ATTENTION
static void read_attention(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t value) {
    egru_attention *attention = &op->attention;
    uint32_t size = egru_reads(b, op->in, value), values = egru_size_of(b, op->out), rows = a[2];
    uint32_t item = egru_is_static(b) ? 1 : 4;
    const unsigned char *weight = egru_data_of(b, a[3], size, item);
    if (!weight || rows - 1 >= EGRU_LARGEST_ROWS || ((uint64_t)size + values) * rows > EGRU_LARGEST_MEMORY) {
        b->good = 0;
        return;
    }
    op->count = rows;
    attention->size = size;
    attention->kind = egru_is_static(b) ? EGRU_VECTOR_Q16 : EGRU_VECTOR_FLOAT;
    op->a = egru_copied(b, weight, (size_t)size * item);
    if (egru_is_static(b)) {
        egru_check_rows(b, weight, NULL, 1, size, EGRU_LARGEST_ARGUMENT);
        attention->row_a = egru_floats(b, a[4], values + size, 1);
        attention->row_b = egru_floats(b, a[5], values + size, 0);
        op->b = egru_multipliers(b, a[6], size);
        op->shift = egru_checked_shift(b, a[7]);
        attention->score_multiplier = (int32_t)a[8];
        attention->score_shift = egru_checked_shift(b, a[9]);
        if (a[8] >= EGRU_MULTIPLIER_LIMIT)
            b->good = 0;
    } else {
        egru_check_floats(b, weight, size, 0);
    }
    egru_widen(b, rows);
    egru_widen(b, size);
    egru_writes(b, op->out, egru_factor(b, op->out), values);
}
#endif

void egru_read_operation(egru_builder *b, egru_operation *op, const uint32_t *a) {
    uint32_t value = egru_is_static(b) ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, kind, size;
    op->in = a[0];
    op->out = a[1];
    switch (op->code) {
    case EGRU_OP_STANDARDISE:
    case EGRU_OP_EMBEDDING:
        op->in = op->code == EGRU_OP_STANDARDISE ? a[3] : 0;
        op->out = a[0];
        size = egru_size_of(b, op->out);
        if (op->code == EGRU_OP_EMBEDDING) {
            read_table(b, op, a, size);
        } else {
            op->a = egru_floats(b, a[1], size, 0);
            op->b = egru_floats(b, a[2], size, !egru_is_static(b));
            if (size != egru_reads(b, op->in, EGRU_VECTOR_FLOAT))
                b->good = 0;
        }
        egru_writes(b, op->out, egru_factor(b, op->out), size);
        return;
    case EGRU_OP_OPERAND:
        size = egru_reads(b, op->in, EGRU_VECTOR_VALUE);
        op->count = a[2];
        if (op->count != 1 && op->count != size) {
            b->good = 0;
            return;
        }
        egru_read_scaling(b, op, a[3], op->count, a[4]);
        egru_writes(b, op->out, egru_factor(b, op->out), size);
        return;
    case EGRU_OP_TAPS:
        op->count = a[2];
        op->dilation = a[3];
        read_taps(b, op, egru_reads(b, op->in, egru_factor(b, op->in)));
        return;
    case EGRU_OP_COPY:
        kind = egru_kind_of(b, op->out);
        size = egru_reads(b, op->in, egru_kind_of(b, op->in));
        op->count = a[2];
        if (egru_kind_of(b, op->in) != kind && !(egru_is_operand(egru_kind_of(b, op->in)) && kind == EGRU_VECTOR_VALUE))
            b->good = 0;
        egru_writes_piece(b, op->out, kind, op->count, size);
        return;
    case EGRU_OP_SOFTMAX:
    case EGRU_OP_SIGMOID:
    case EGRU_OP_IDENTITY:
#if EGRU_TOKENS
    case EGRU_OP_LOG_SOFTMAX:
#endif
        read_head(b, op, a, egru_reads(b, op->in, value));
        return;
    case EGRU_OP_ADD:
    case EGRU_OP_MULTIPLY:
        op->in2 = a[1];
        op->out = a[2];
        size = egru_size_of(b, op->out);
        read_elementwise(b, op, a, value, size);
        break;
    case EGRU_OP_LINEAR:
        size = egru_size_of(b, op->out);
        kind = egru_factor(b, op->in);
        op->activation = a[2];
        if (op->activation > EGRU_HARD_SIGMOID_6)
            b->good = 0;
        egru_read_matrix(b, &op->matrix, kind, a + 3, 1, 0, size, egru_reads(b, op->in, kind));
        if (egru_is_static(b) && op->activation >= EGRU_TANH)
            egru_read_scaling(b, op, a[5], size, a[6]);
        break;
#if EGRU_FLOAT
    case EGRU_OP_LAYER_NORMALISATION:
        size = egru_reads(b, op->in, EGRU_VECTOR_FLOAT);
        if (egru_is_static(b)) /* which may have floats behind a front end */
            b->good = 0;
        op->a = egru_floats(b, a[2], size, 0);
        op->b = egru_floats(b, a[3], size, 0);
        op->epsilon = egru_floats(b, a[4], 1, 1);
        break;
#endif
#if EGRU_LOG_MEL
    case EGRU_OP_LOG_MEL:
        read_log_mel(b, op, a);
        return;
#endif
#if EGRU_ATTENTION
    case EGRU_OP_ATTENTION:
        read_attention(b, op, a, value);
        return;
#endif
    case EGRU_OP_GRU:
        size = egru_size_of(b, op->out);
        read_gru(b, op, a, size);
        break;
    default:
        b->good = 0;
        return;
    }
    egru_writes(b, op->out, value, size);
}
