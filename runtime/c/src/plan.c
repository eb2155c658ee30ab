/* A plan becomes a model: everything in it is checked, then weights are packed and buffers laid out. The same code runs
 * twice, first without memory, to find out how much it takes. */
#include "internal.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* loading is rare, and small devices have to hold it */
#endif

#include <string.h>

#define HEADER_BYTES 72u
#define OPERATION_WORDS 20u
#define LARGEST_VECTOR (1u << 24)
#define LARGEST_MODEL ((size_t)1 << 30)
#define LARGEST_STATE ((size_t)1 << 28) /* of a stream, and of its scratch memory: four times that is a size_t anywhere */
#define MOST_HEADS 256u
#define MULTIPLIER_LIMIT (1u << 29)

typedef struct {
    const unsigned char *plan;
    size_t plan_bytes;
    unsigned char *memory; /* NULL while memory is counted */
    size_t used;
    egru_model *model; /* NULL while memory is counted, then the model */
    const egru_kernel *kernel;
    uint32_t scheme, input_size, output_size, vector_count, operation_count, taps_count;
    size_t operations, data; /* where they begin in the plan */
    uint64_t read;           /* bytes of data that operations have taken so far */
    uint32_t widest; /* of rows and columns of all matrices */
    int good;
} builder;

uint32_t egru_read_u32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static int is_static(const builder *b) {
    return !EGRU_FLOAT || b->scheme == EGRU_SCHEME_STATIC;
}

static void widen(builder *b, uint32_t size) {
    b->widest = size > b->widest ? size : b->widest;
}

/* Kind (0) or size (1) of a vector, as the plan has them; of the first one where there is no such vector. */
static EGRU_NOINLINE uint32_t of_vector(builder *b, uint32_t index, size_t which) {
    if (index >= b->vector_count) {
        b->good = 0;
        index = 0;
    }
    return egru_read_u32(b->plan + HEADER_BYTES + 8 * (size_t)index + 4 * which);
}

static uint32_t kind_of(builder *b, uint32_t index) {
    return of_vector(b, index, 0);
}

static uint32_t size_of(builder *b, uint32_t index) {
    return of_vector(b, index, 1);
}

/* Room for `bytes` bytes; NULL while memory is counted. */
static EGRU_NOINLINE void *take(builder *b, size_t bytes) {
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
static EGRU_NOINLINE const unsigned char *data(builder *b, uint64_t offset, uint64_t count, uint32_t item) {
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
static EGRU_NOINLINE void *padded(builder *b, const unsigned char *bytes, uint32_t count) {
    size_t room = ((size_t)count + EGRU_PAD) * 4;
    unsigned char *result = take(b, room);
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
static EGRU_NOINLINE void check_floats(builder *b, const unsigned char *bytes, size_t count, int positive) {
    for (size_t i = 0; bytes && i < count; i++) {
        uint32_t bits = egru_read_u32(bytes + 4 * i);
        if ((bits & 0x7f800000u) == 0x7f800000u || (positive && bits - 0x00800000u >= 0x7f000000u))
            b->good = 0;
    }
}

static EGRU_NOINLINE const float *floats(builder *b, uint32_t offset, uint32_t count, int positive) {
    const unsigned char *bytes = data(b, offset, count, 4);
    check_floats(b, bytes, count, positive);
    return padded(b, bytes, count);
}

static EGRU_NOINLINE const int32_t *multipliers(builder *b, uint32_t offset, uint32_t count) {
    const unsigned char *bytes = data(b, offset, count, 4);
    for (uint32_t i = 0; bytes && i < count; i++)
        if (egru_read_u32(bytes + 4 * (size_t)i) >= MULTIPLIER_LIMIT)
            b->good = 0;
    return padded(b, bytes, count);
}

static EGRU_NOINLINE uint32_t checked_shift(builder *b, uint32_t shift) {
    if (shift < 1 || shift > 61)
        b->good = 0;
    return shift;
}

/* Weights are -127 to 127, and no accumulator can leave 32 bits: sum |w| L + |b| < 2^31 in every row. Returns the
 * largest of these sums. */
static EGRU_NOINLINE int64_t check_rows(builder *b, const unsigned char *weights, const unsigned char *bias, uint32_t rows,
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
static EGRU_NOINLINE void read_matrix(builder *b, egru_matrix *m, uint32_t kind, const uint32_t *words, uint32_t stride,
                                      uint32_t first, uint32_t rows, uint32_t columns) {
    uint32_t scale = is_static(b) ? EGRU_NONE : words[2 * stride];
    const unsigned char *source, *bias = NULL;
    void *packed, *packed_bias;
    uint32_t item;
    int64_t reach = 0;
    if (scale != EGRU_NONE) {
        if (b->scheme == EGRU_SCHEME_FLOAT)
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
    if (!is_static(b))
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
    m->weights = packed = take(b, b->kernel->packed_size(kind, rows, columns));
    if (packed && b->good)
        b->kernel->pack(kind, packed, packed_bias, source, rows, columns);
}

/* What an operation reads: whole by now, of that kind. Returns its size. */
static EGRU_NOINLINE uint32_t reads(builder *b, uint32_t index, uint32_t kind) {
    uint32_t size = size_of(b, index);
    if (kind_of(b, index) != kind || (b->model && b->good && b->model->vectors[index].filled != size))
        b->good = 0;
    return size;
}

/* A piece that a copy writes, of that kind: pieces come in order, so that nothing is left open or written twice. */
static EGRU_NOINLINE void writes_piece(builder *b, uint32_t index, uint32_t kind, uint32_t at, uint32_t numbers) {
    uint32_t size = size_of(b, index);
    if (kind_of(b, index) != kind || at > size || numbers > size - at || index == 0)
        b->good = 0;
    if (!b->model || !b->good)
        return;
    if (b->model->vectors[index].filled != at)
        b->good = 0;
    b->model->vectors[index].filled = at + numbers;
}

/* What any other operation writes: all of a vector. */
static EGRU_NOINLINE void writes(builder *b, uint32_t index, uint32_t kind, uint32_t numbers) {
    if (size_of(b, index) != numbers)
        b->good = 0;
    writes_piece(b, index, kind, 0, numbers);
}

static int is_operand(uint32_t kind) {
    return kind == EGRU_VECTOR_Q8 || (EGRU_Q16 && kind == EGRU_VECTOR_Q16);
}

static size_t item_size(uint32_t kind) {
    return kind == EGRU_VECTOR_Q8 ? 1 : EGRU_Q16 && kind == EGRU_VECTOR_Q16 ? 2 : 4;
}

/* The kind of a vector that is multiplied with weights: an operand, or floats. */
static EGRU_NOINLINE uint32_t factor(builder *b, uint32_t index) {
    uint32_t kind = kind_of(b, index);
    if (is_static(b) ? !is_operand(kind) : kind != EGRU_VECTOR_FLOAT)
        b->good = 0;
    return kind;
}

/* Multipliers and their shift. */
static EGRU_NOINLINE void read_scaling(builder *b, egru_operation *op, uint32_t offset, uint32_t count, uint32_t shift) {
    op->a = multipliers(b, offset, count);
    op->shift = checked_shift(b, shift);
}

static void read_table(builder *b, egru_operation *op, const uint32_t *a, uint32_t columns) {
    uint32_t rows = a[1], item = is_static(b) || a[3] != EGRU_NONE ? 1 : 4;
    const unsigned char *table = data(b, a[2], (uint64_t)rows * columns, item);
    void *copy;
    if (!table || rows == 0 || rows > LARGEST_VECTOR || b->input_size != 1) {
        b->good = 0;
        return;
    }
    op->count = rows;
    if (is_static(b)) {
        op->b = multipliers(b, a[3], rows);
        op->shift = checked_shift(b, a[4]);
    } else if (a[3] != EGRU_NONE) {
        op->b = floats(b, a[3], rows, 0);
    }
    if (item == 1)
        check_rows(b, table, NULL, rows, columns, 0);
    else
        check_floats(b, table, (size_t)rows * columns, 0);
    copy = take(b, (size_t)rows * columns * item);
    if (copy && b->good)
        memcpy(copy, table, (size_t)rows * columns * item); /* floats are little-endian here and there */
    op->a = copy;
}

/* See egru_gru. Multipliers are below 2^29, h is at most 2^24 or 2^30. */
static uint32_t narrow(const egru_gru *g) {
    int tanh = g->candidate == EGRU_TANH;
    uint32_t shift = g->rz_shift < g->n_shift ? g->rz_shift : g->n_shift, least = tanh ? 23 : 29;
    int64_t pair = g->ih.reach + (g->hn.reach > g->hh.reach ? g->hn.reach : g->hh.reach);
    return pair < (int64_t)1 << (shift + 1) && (!tanh || g->before || g->hh.reach << 5 <= (int64_t)1 << g->n_shift) &&
           g->h_shift >= least && (!g->before || g->rh_shift >= least);
}

static void read_gru(builder *b, egru_operation *op, const uint32_t *a, uint32_t size) {
    egru_gru *g = &op->gru;
    uint32_t kind = factor(b, op->in), own = EGRU_VECTOR_FLOAT;
    op->q = a[2];
    g->size = size;
    g->before = a[3];
    g->candidate = a[4];
    if (g->before > 1 || g->candidate > EGRU_TANH || size > LARGEST_VECTOR / 4) {
        b->good = 0;
        return;
    }
    if (is_static(b))
        own = factor(b, op->q);
    g->bits = own == EGRU_VECTOR_Q16 ? 16 : 8;
    read_matrix(b, &g->ih, kind, a + 5, 2, 0, 3 * size, reads(b, op->in, kind));
    read_matrix(b, &g->hh, own, a + 6, 2, 0, (3 - g->before) * size, size);
    if (g->before)
        read_matrix(b, &g->hn, own, a + 6, 2, 2 * size, size, size);
    if (!is_static(b)) {
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

static void read_elementwise(builder *b, egru_operation *op, const uint32_t *a, uint32_t value, uint32_t size) {
    int multiplies = op->code == EGRU_OP_MULTIPLY;
    if (reads(b, op->in, multiplies ? factor(b, op->in) : value) != size ||
        reads(b, op->in2, multiplies ? factor(b, op->in2) : value) != size)
        b->good = 0;
    if (!is_static(b))
        return;
    read_scaling(b, op, a[3], size, a[5]);
    if (!multiplies)
        op->b = multipliers(b, a[4], size);
}

static void read_head(builder *b, egru_operation *op, const uint32_t *a, uint32_t size) {
    if (op->out > b->output_size || size > b->output_size - op->out)
        b->good = 0;
    widen(b, size);
    if (!is_static(b))
        return;
    if (a[2] != EGRU_NONE)
        read_scaling(b, op, a[2], size, a[3]);
    else if (op->code != EGRU_OP_IDENTITY)
        b->good = 0;
    op->b = floats(b, a[4], size, 0);
    if (a[5] != EGRU_NONE)
        op->matrix.offset = floats(b, a[5], size, 0);
}

static void read_taps(builder *b, egru_operation *op, uint32_t size) {
    uint64_t numbers = (uint64_t)op->count * size; /* of the result */
    if (op->count < 2 || op->dilation < 1 || op->count > LARGEST_VECTOR || op->dilation > LARGEST_VECTOR ||
        numbers > LARGEST_VECTOR || (numbers - size) * op->dilation > LARGEST_VECTOR) {
        b->good = 0;
        return;
    }
    op->frames = (op->count - 1) * op->dilation;
    op->position = b->taps_count++;
    writes(b, op->out, factor(b, op->in), (uint32_t)numbers);
}

static void read_operation(builder *b, egru_operation *op, const uint32_t *a) {
    uint32_t value = is_static(b) ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, kind, size;
    op->in = a[0];
    op->out = a[1];
    switch (op->code) {
    case EGRU_OP_STANDARDISE:
    case EGRU_OP_EMBEDDING:
        op->in = 0;
        op->out = a[0];
        size = size_of(b, op->out);
        if (op->code == EGRU_OP_EMBEDDING) {
            read_table(b, op, a, size);
        } else {
            op->a = floats(b, a[1], size, 0);
            op->b = floats(b, a[2], size, !is_static(b));
            if (size != b->input_size)
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
        kind = kind_of(b, op->out);
        size = reads(b, op->in, kind_of(b, op->in));
        op->count = a[2];
        if (kind_of(b, op->in) != kind && !(is_operand(kind_of(b, op->in)) && kind == EGRU_VECTOR_VALUE))
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
        size = size_of(b, op->out);
        read_elementwise(b, op, a, value, size);
        break;
    case EGRU_OP_LINEAR:
        size = size_of(b, op->out);
        kind = factor(b, op->in);
        op->activation = a[2];
        if (op->activation > EGRU_SIGMOID)
            b->good = 0;
        read_matrix(b, &op->matrix, kind, a + 3, 1, 0, size, reads(b, op->in, kind));
        if (is_static(b) && op->activation >= EGRU_TANH)
            read_scaling(b, op, a[5], size, a[6]);
        break;
    case EGRU_OP_GRU:
        size = size_of(b, op->out);
        read_gru(b, op, a, size);
        break;
    default:
        b->good = 0;
        return;
    }
    writes(b, op->out, value, size);
}

/* Every vector is filled, and every output number is given exactly once. */
static void check_whole(builder *b) {
    egru_model *model = b->model;
    uint64_t given = 0;
    uint32_t heads = 0;
    for (uint32_t i = 0; i < model->vector_count; i++)
        if (model->vectors[i].filled != model->vectors[i].size)
            b->good = 0;
    for (uint32_t i = 0; i < model->operation_count && heads <= MOST_HEADS; i++) {
        const egru_operation *op = &model->operations[i];
        if (op->code < EGRU_OP_SOFTMAX)
            continue;
        heads++;
        given += model->vectors[op->in].size;
        for (uint32_t j = 0; j < i; j++) {
            const egru_operation *other = &model->operations[j];
            if (other->code >= EGRU_OP_SOFTMAX && op->out < other->out + model->vectors[other->in].size &&
                other->out < op->out + model->vectors[op->in].size)
                b->good = 0;
        }
    }
    if (given != model->output_size || heads > MOST_HEADS)
        b->good = 0;
}

static EGRU_NOINLINE void place(builder *b, size_t *end, size_t *offset, size_t bytes) {
    *offset = *end;
    bytes = (bytes + EGRU_ALIGN - 1) & ~(size_t)(EGRU_ALIGN - 1);
    if (bytes > LARGEST_STATE - *end)
        b->good = 0;
    else
        *end += bytes;
}

/* Where everything is in the memory of a stream and in that of a step. */
static void lay_out(builder *b) {
    egru_model *model = b->model;
    size_t state = 0, scratch = 0, begin;
    place(b, &state, &begin, sizeof(egru_counts) + 4 * (size_t)b->taps_count);
    for (uint32_t i = 0; b->good && i < model->operation_count; i++) {
        egru_operation *op = &model->operations[i];
        if (op->code == EGRU_OP_TAPS) {
            const egru_vector *in = &model->vectors[op->in];
            place(b, &state, &op->ring, (size_t)op->frames * in->size * item_size(in->kind));
            model->saved_numbers += (size_t)op->frames * in->size;
        } else if (op->code == EGRU_OP_GRU) {
            model->saved_numbers += op->gru.size;
            if (is_static(b))
                model->vectors[op->out].in_state = model->vectors[op->q].in_state = 1;
            else
                place(b, &state, &op->ring, ((size_t)op->gru.size + EGRU_PAD) * 4);
        }
    }
    for (uint32_t i = 0; i < model->vector_count; i++) {
        egru_vector *v = &model->vectors[i];
        place(b, v->in_state ? &state : &scratch, &v->offset, ((size_t)v->size + EGRU_PAD) * item_size(v->kind));
    }
    for (int i = 0; i < EGRU_BUFFERS; i++)
        place(b, &scratch, &model->buffer[i], ((size_t)b->widest + 2 * EGRU_PAD) * 4);
    model->state_bytes = state;
    model->scratch_bytes = scratch;
}

/* The header; 0 where it is none. */
static int read_header(builder *b) {
    const unsigned char *plan = b->plan;
    size_t operations;
    if (b->plan_bytes < HEADER_BYTES || memcmp(plan, "EGRUPLAN", 8) != 0 || egru_read_u32(plan + 8) != 1 ||
        egru_read_u32(plan + 12) != b->plan_bytes)
        return 0;
    b->input_size = egru_read_u32(plan + 48);
    b->output_size = egru_read_u32(plan + 52);
    b->scheme = egru_read_u32(plan + 56);
    b->vector_count = egru_read_u32(plan + 60);
    b->operation_count = egru_read_u32(plan + 64);
    if (b->scheme > EGRU_SCHEME_DYNAMIC || (!EGRU_FLOAT && b->scheme != EGRU_SCHEME_STATIC))
        return 0;
    if (b->input_size - 1 >= LARGEST_VECTOR || b->output_size - 1 >= LARGEST_VECTOR)
        return 0;
    if (b->vector_count - 1 >= 65535 || b->operation_count - 1 >= 65535)
        return 0;
    operations = HEADER_BYTES + 8 * (size_t)b->vector_count;
    if (operations + 4 * OPERATION_WORDS * (size_t)b->operation_count > b->plan_bytes)
        return 0;
    b->operations = operations;
    b->data = egru_read_u32(plan + 68);
    if (b->data > b->plan_bytes || b->data < operations + 4 * OPERATION_WORDS * (size_t)b->operation_count)
        return 0;
    for (uint32_t i = 0; i < b->vector_count; i++) {
        uint32_t kind = kind_of(b, i);
        if (kind >= EGRU_VECTOR_KINDS || (kind == EGRU_VECTOR_Q16 && !EGRU_Q16) || size_of(b, i) - 1 >= LARGEST_VECTOR)
            return 0;
        if ((kind == EGRU_VECTOR_FLOAT) != (i == 0 || !is_static(b)))
            return 0;
    }
    return size_of(b, 0) == b->input_size;
}

/* One pass over the plan, into memory or to count it. */
static void build(builder *b) {
    egru_vector *vectors;
    egru_operation *operations, passing;
    egru_model *model = take(b, sizeof(egru_model));
    b->good = b->good && read_header(b);
    if (!b->good)
        return;
    vectors = take(b, b->vector_count * sizeof(egru_vector));
    operations = take(b, b->operation_count * sizeof(egru_operation));
    if (model) {
        memset(model, 0, sizeof *model);
        model->kernel = b->kernel;
        memcpy(model->identity, b->plan + 16, 32);
        model->scheme = b->scheme;
        model->input_size = b->input_size;
        model->output_size = b->output_size;
        model->vector_count = b->vector_count;
        model->operation_count = b->operation_count;
        model->vectors = vectors;
        model->operations = operations;
        memset(vectors, 0, b->vector_count * sizeof(egru_vector));
        for (uint32_t i = 0; i < b->vector_count; i++) {
            vectors[i].kind = kind_of(b, i);
            vectors[i].size = size_of(b, i);
        }
        vectors[0].filled = b->input_size;
        b->model = model;
    }
    for (uint32_t i = 0; b->good && i < b->operation_count; i++) {
        egru_operation *op = model ? &operations[i] : &passing;
        uint32_t words[OPERATION_WORDS];
        for (uint32_t j = 0; j < OPERATION_WORDS; j++)
            words[j] = egru_read_u32(b->plan + b->operations + 4 * (OPERATION_WORDS * (size_t)i + j));
        memset(op, 0, sizeof *op);
        op->code = words[0];
        read_operation(b, op, words + 1);
    }
    if (!model || !b->good)
        return;
    model->taps_count = b->taps_count;
    check_whole(b);
    lay_out(b);
}

static egru_status prepare(builder *b, const void *plan, size_t plan_bytes, const char *kernel) {
    memset(b, 0, sizeof *b);
    b->plan = plan;
    b->plan_bytes = plan_bytes;
    b->good = 1;
    b->kernel = egru_find_kernel(kernel);
    return b->kernel ? EGRU_OK : EGRU_KERNEL;
}

egru_status egru_model_size(const void *plan, size_t plan_bytes, const char *kernel, size_t *size) {
    builder b;
    egru_status status = prepare(&b, plan, plan_bytes, kernel);
    if (status != EGRU_OK)
        return status;
    build(&b);
    *size = b.used + EGRU_ALIGN;
    return b.good ? EGRU_OK : EGRU_PLAN;
}

egru_status egru_model_init(void *memory, size_t size, const void *plan, size_t plan_bytes, const char *kernel,
                            egru_model **model) {
    builder b;
    size_t needed;
    egru_status status = egru_model_size(plan, plan_bytes, kernel, &needed);
    if (status != EGRU_OK)
        return status;
    if (size < needed)
        return EGRU_MEMORY;
    (void)prepare(&b, plan, plan_bytes, kernel);
    b.memory = egru_aligned(memory);
    build(&b);
    *model = b.good ? b.model : NULL;
    return b.good ? EGRU_OK : EGRU_PLAN;
}
