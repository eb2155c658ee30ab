/* The operations of a plan: everything in them is checked, then weights are packed. The same code runs twice, first
 * without memory, to find out how much it takes. */
#include "plan.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* loading is rare, and small devices have to hold it */
#endif

#include <string.h>

#define LARGEST_MODEL ((size_t)1 << 30)
#define MULTIPLIER_LIMIT (1u << 29)
#define LARGEST_SPECTRUM 16384u

uint32_t egru_read_u32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static void widen(egru_builder *b, uint32_t size) {
    b->widest = size > b->widest ? size : b->widest;
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

/* `count` numbers of `item` bytes at `offset` of the data; NULL where they are not there. No plan takes more than it has,
 * the same bytes again and again: what a model takes grows with its plan. */
static EGRU_NOINLINE const unsigned char *data(egru_builder *b, uint64_t offset, uint64_t count, uint32_t item) {
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

/* Floats are finite, and where `positive` normal numbers above zero, which can be divided by. */
static EGRU_NOINLINE void check_floats(egru_builder *b, const unsigned char *bytes, size_t count, int positive) {
    for (size_t i = 0; bytes && i < count; i++) {
        uint32_t bits = egru_read_u32(bytes + 4 * i);
        if ((bits & 0x7f800000u) == 0x7f800000u || (positive && bits - 0x00800000u >= 0x7f000000u))
            b->good = 0;
    }
}

static EGRU_NOINLINE const float *floats(egru_builder *b, uint32_t offset, uint32_t count, int positive) {
    const unsigned char *bytes = data(b, offset, count, 4);
    check_floats(b, bytes, count, positive);
    return padded(b, bytes, count);
}

static EGRU_NOINLINE const int32_t *multipliers(egru_builder *b, uint32_t offset, uint32_t count) {
    const unsigned char *bytes = data(b, offset, count, 4);
    for (uint32_t i = 0; bytes && i < count; i++)
        if (egru_read_u32(bytes + 4 * (size_t)i) >= MULTIPLIER_LIMIT)
            b->good = 0;
    return padded(b, bytes, count);
}

static EGRU_NOINLINE uint32_t checked_shift(egru_builder *b, uint32_t shift) {
    if (shift < 1 || shift > 61)
        b->good = 0;
    return shift;
}

/* Weights are -127 to 127, and no accumulator can leave 32 bits: sum |w| L + |b| < 2^31 in every row. Returns the
 * largest of these sums. */
static EGRU_NOINLINE int64_t check_rows(egru_builder *b, const unsigned char *weights, const unsigned char *bias, uint32_t rows,
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

/* A matrix over a vector of `kind`: `rows` rows from `first` on of the weights, the bias and the scales at words[0],
 * words[stride] and words[2 stride]. */
static EGRU_NOINLINE void read_matrix(egru_builder *b, egru_matrix *m, uint32_t kind, const uint32_t *words, uint32_t stride,
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
    source = data(b, words[0] + (uint64_t)first * columns * item, (uint64_t)rows * columns, item);
    if (words[stride] != EGRU_NONE)
        bias = data(b, words[stride] + 4 * (uint64_t)first, rows, 4);
    if (!source || ((uint64_t)rows + 16) * (columns + 64) * item > LARGEST_MODEL) { /* blocks are filled up to these */
        b->good = 0;
        return;
    }
    if (!egru_is_static(b))
        check_floats(b, bias, rows, 0);
    if (scale != EGRU_NONE) {
        m->scale = floats(b, scale + 4 * first, rows, 0);
        m->offset = padded(b, bias, rows);
        bias = NULL;
    }
    if (item == 4)
        check_floats(b, source, (size_t)rows * columns, 0);
    else
        reach = check_rows(b, source, bias, rows, columns, kind == EGRU_VECTOR_Q8 ? 127 : 32767);
    if (EGRU_SIMD)
        m->reach = reach;
    widen(b, rows);
    widen(b, columns);
    m->bias = packed_bias = padded(b, bias, rows);
    m->weights = packed = egru_take(b, b->header.kernel->packed_size(kind, rows, columns));
    if (packed && b->good)
        b->header.kernel->pack(kind, packed, packed_bias, source, rows, columns);
}

/* What an operation reads: whole by now, of that kind. Returns its size. */
static EGRU_NOINLINE uint32_t reads(egru_builder *b, uint32_t index, uint32_t kind) {
    uint32_t size = egru_size_of(b, index);
    if (egru_kind_of(b, index) != kind || (b->model && b->good && b->model->vectors[index].filled != size))
        b->good = 0;
    return size;
}

/* A piece that a copy writes, of that kind: pieces come in order, so that nothing is left open or written twice. */
static EGRU_NOINLINE void writes_piece(egru_builder *b, uint32_t index, uint32_t kind, uint32_t at, uint32_t numbers) {
    uint32_t size = egru_size_of(b, index);
    if (egru_kind_of(b, index) != kind || at > size || numbers > size - at || index == 0)
        b->good = 0;
    if (!b->model || !b->good)
        return;
    if (b->model->vectors[index].filled != at)
        b->good = 0;
    b->model->vectors[index].filled = at + numbers;
}

/* What any other operation writes: all of a vector. */
static EGRU_NOINLINE void writes(egru_builder *b, uint32_t index, uint32_t kind, uint32_t numbers) {
    if (egru_size_of(b, index) != numbers)
        b->good = 0;
    writes_piece(b, index, kind, 0, numbers);
}

static int is_operand(uint32_t kind) {
    return kind == EGRU_VECTOR_Q8 || (EGRU_Q16 && kind == EGRU_VECTOR_Q16);
}

/* The kind of a vector that is multiplied with weights: an operand, or floats. */
static EGRU_NOINLINE uint32_t factor(egru_builder *b, uint32_t index) {
    uint32_t kind = egru_kind_of(b, index);
    if (egru_is_static(b) ? !is_operand(kind) : kind != EGRU_VECTOR_FLOAT)
        b->good = 0;
    return kind;
}

/* Multipliers and their shift. */
static EGRU_NOINLINE void read_scaling(egru_builder *b, egru_operation *op, uint32_t offset, uint32_t count, uint32_t shift) {
    op->a = multipliers(b, offset, count);
    op->shift = checked_shift(b, shift);
}

/* Bytes of the data, as they are. NULL while memory is counted. */
static EGRU_NOINLINE const void *copied(egru_builder *b, const unsigned char *bytes, size_t count) {
    void *copy = egru_take(b, count);
    if (copy && b->good)
        memcpy(copy, bytes, count); /* floats are little-endian here and there */
    return copy;
}

static void read_table(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t columns) {
    uint32_t rows = a[1], item = egru_is_static(b) || a[3] != EGRU_NONE ? 1 : 4;
    const unsigned char *table = data(b, a[2], (uint64_t)rows * columns, item);
    if (!table || rows == 0 || rows > EGRU_LARGEST_VECTOR || b->header.input_size != 1) {
        b->good = 0;
        return;
    }
    op->count = rows;
    if (egru_is_static(b)) {
        op->b = multipliers(b, a[3], rows);
        op->shift = checked_shift(b, a[4]);
    } else if (a[3] != EGRU_NONE) {
        op->b = floats(b, a[3], rows, 0);
    }
    if (item == 1)
        check_rows(b, table, NULL, rows, columns, 0);
    else
        check_floats(b, table, (size_t)rows * columns, 0);
    op->a = copied(b, table, (size_t)rows * columns * item);
}

/* See egru_gru. Multipliers are below 2^29, h is at most 2^24 or 2^30. */
static uint32_t narrow(const egru_gru *g) {
    int bounded = g->candidate >= EGRU_TANH;
    uint32_t shift = g->rz_shift < g->n_shift ? g->rz_shift : g->n_shift, least = bounded ? 23 : 29;
    int64_t pair = g->ih.reach + (g->hn.reach > g->hh.reach ? g->hn.reach : g->hh.reach);
    return pair < (int64_t)1 << (shift + 1) && (!bounded || g->before || g->hh.reach << 5 <= (int64_t)1 << g->n_shift) &&
           g->h_shift >= least && (!g->before || g->rh_shift >= least);
}

/* h0: a state that a stream can reach. */
static void read_initial_state(egru_builder *b, egru_operation *op, uint32_t offset) {
    const unsigned char *h = data(b, offset, op->gru.size, 4);
    for (size_t i = 0; h && i < op->gru.size; i++)
        if (!egru_reachable(op, egru_is_static(b) ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, egru_read_u32(h + 4 * i)))
            b->good = 0;
    op->a = copied(b, h, (size_t)op->gru.size * 4);
}

static void read_gru(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t size) {
    egru_gru *g = &op->gru;
    uint32_t kind = factor(b, op->in), own = EGRU_VECTOR_FLOAT;
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
        own = factor(b, op->q);
    g->bits = own == EGRU_VECTOR_Q16 ? 16 : 8;
    read_matrix(b, &g->ih, kind, a + 5, 2, 0, 3 * size, reads(b, op->in, kind));
    read_matrix(b, &g->hh, own, a + 6, 2, 0, (3 - g->before) * size, size);
    if (g->before)
        read_matrix(b, &g->hn, own, a + 6, 2, 2 * size, size, size);
    if (!egru_is_static(b)) {
        if (g->ih.kind != g->hh.kind) /* scales of both or of none */
            b->good = 0;
        return;
    }
    g->m_ih = multipliers(b, a[9], 3 * size);
    g->m_hh = multipliers(b, a[10], 3 * size);
    g->rz_shift = checked_shift(b, a[11]);
    g->n_shift = checked_shift(b, a[12]);
    g->h_shift = checked_shift(b, a[14]);
    g->rh_shift = checked_shift(b, a[16]);
    g->h_multiplier = (int32_t)a[13];
    g->rh_multiplier = (int32_t)a[15];
    if ((a[13] | a[15]) >= MULTIPLIER_LIMIT)
        b->good = 0;
    g->narrow = EGRU_SIMD && b->good && narrow(g);
    writes(b, op->q, own, size);
}

static void read_elementwise(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t value, uint32_t size) {
    int multiplies = op->code == EGRU_OP_MULTIPLY;
    if (reads(b, op->in, multiplies ? factor(b, op->in) : value) != size ||
        reads(b, op->in2, multiplies ? factor(b, op->in2) : value) != size)
        b->good = 0;
    if (!egru_is_static(b))
        return;
    read_scaling(b, op, a[3], size, a[5]);
    if (!multiplies)
        op->b = multipliers(b, a[4], size);
}

static void read_head(egru_builder *b, egru_operation *op, const uint32_t *a, uint32_t size) {
    if (op->out > b->header.output_size || size > b->header.output_size - op->out)
        b->good = 0;
    widen(b, size);
    if (!egru_is_static(b))
        return;
    if (a[2] != EGRU_NONE)
        read_scaling(b, op, a[2], size, a[3]);
    else if (op->code != EGRU_OP_IDENTITY)
        b->good = 0;
    op->b = floats(b, a[4], size, 0);
    if (a[5] != EGRU_NONE)
        op->matrix.offset = floats(b, a[5], size, 0);
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
    writes(b, op->out, factor(b, op->in), (uint32_t)numbers);
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
        int64_t cosine = (int32_t)egru_read_u32(twiddles + 4 * i), sine = (int32_t)egru_read_u32(twiddles + size - 4 * i);
        if (cosine * cosine + sine * sine > ((int64_t)1 << 60) + ((int64_t)1 << 39))
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
    uint32_t item = integer ? 2 : 4, given = reads(b, op->in, integer ? EGRU_VECTOR_Q16 : EGRU_VECTOR_FLOAT), last = 0;
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
    window = data(b, a[4], t->frame, 4);
    twiddles = data(b, a[5], t->size / 4 + 1, 4);
    edges = data(b, a[6], t->bands + 2, 4);
    rising = data(b, a[7], t->size / 2 + 1, item);
    floor = data(b, a[8], 1, integer ? 8 : 4);
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
        check_floats(b, window, t->frame, 0);
        check_floats(b, twiddles, t->size / 4 + 1, 0);
        check_floats(b, rising, t->size / 2 + 1, 0);
        check_floats(b, floor, 1, 1);
    }
    t->window = copied(b, window, (size_t)t->frame * 4);
    t->twiddles = copied(b, twiddles, t->size + 4);
    t->edges = copied(b, edges, ((size_t)t->bands + 2) * 4);
    t->rising = copied(b, rising, (t->size / 2 + 1) * item);
    t->floor = copied(b, floor, integer ? 8 : 4);
    writes(b, t->work, integer ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, t->size);
    writes(b, op->out, EGRU_VECTOR_FLOAT, t->bands);
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
            op->a = floats(b, a[1], size, 0);
            op->b = floats(b, a[2], size, !egru_is_static(b));
            if (size != reads(b, op->in, EGRU_VECTOR_FLOAT))
                b->good = 0;
        }
        writes(b, op->out, factor(b, op->out), size);
        return;
    case EGRU_OP_OPERAND:
        size = reads(b, op->in, EGRU_VECTOR_VALUE);
        op->count = a[2];
        if (op->count != 1 && op->count != size) {
            b->good = 0;
            return;
        }
        read_scaling(b, op, a[3], op->count, a[4]);
        writes(b, op->out, factor(b, op->out), size);
        return;
    case EGRU_OP_TAPS:
        op->count = a[2];
        op->dilation = a[3];
        read_taps(b, op, reads(b, op->in, factor(b, op->in)));
        return;
    case EGRU_OP_COPY:
        kind = egru_kind_of(b, op->out);
        size = reads(b, op->in, egru_kind_of(b, op->in));
        op->count = a[2];
        if (egru_kind_of(b, op->in) != kind && !(is_operand(egru_kind_of(b, op->in)) && kind == EGRU_VECTOR_VALUE))
            b->good = 0;
        writes_piece(b, op->out, kind, op->count, size);
        return;
    case EGRU_OP_SOFTMAX:
    case EGRU_OP_SIGMOID:
    case EGRU_OP_IDENTITY:
        read_head(b, op, a, reads(b, op->in, value));
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
        kind = factor(b, op->in);
        op->activation = a[2];
        if (op->activation > EGRU_HARD_SIGMOID_6)
            b->good = 0;
        read_matrix(b, &op->matrix, kind, a + 3, 1, 0, size, reads(b, op->in, kind));
        if (egru_is_static(b) && op->activation >= EGRU_TANH)
            read_scaling(b, op, a[5], size, a[6]);
        break;
#if EGRU_FLOAT
    case EGRU_OP_LAYER_NORMALISATION:
        size = reads(b, op->in, EGRU_VECTOR_FLOAT);
        if (egru_is_static(b)) /* which may have floats behind a front end */
            b->good = 0;
        op->a = floats(b, a[2], size, 0);
        op->b = floats(b, a[3], size, 0);
        op->epsilon = floats(b, a[4], 1, 1);
        break;
#endif
#if EGRU_LOG_MEL
    case EGRU_OP_LOG_MEL:
        read_log_mel(b, op, a);
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
    writes(b, op->out, value, size);
}
