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
#define MULTIPLIER_LIMIT (1 << 29)

typedef struct {
    const unsigned char *plan;
    size_t plan_bytes;
    unsigned char *memory; /* NULL while memory is counted */
    size_t used;
    egru_model *model; /* NULL while memory is counted, then the model */
    const egru_kernel *kernel;
    uint32_t scheme, input_size, output_size, vector_count, operation_count, taps_count;
    size_t operations, data; /* where they begin in the plan */
    uint32_t widest; /* of rows and columns of all matrices */
    int good;
} builder;

uint32_t egru_read_u32(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
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

/* `count` numbers of `item` bytes at `offset` of the data; NULL where they are not there. */
static EGRU_NOINLINE const unsigned char *data(builder *b, uint32_t offset, uint64_t count, size_t item) {
    size_t bytes = b->plan_bytes - b->data;
    if (offset > bytes || count > (bytes - offset) / item) {
        b->good = 0;
        return NULL;
    }
    return b->plan + b->data + offset;
}

static float read_float(const unsigned char *bytes) {
    uint32_t bits = egru_read_u32(bytes);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Floats (count), all finite, padded by EGRU_PAD zeros. NONE: zeros where `optional`, else refused. */
static EGRU_NOINLINE float *floats(builder *b, uint32_t offset, uint32_t count, int optional) {
    const unsigned char *bytes = NULL;
    float *result = take(b, ((size_t)count + EGRU_PAD) * 4);
    if (offset != EGRU_NONE || !optional)
        bytes = data(b, offset, count, 4);
    for (uint32_t i = 0; bytes && i < count; i++)
        if ((egru_read_u32(bytes + 4 * (size_t)i) & 0x7f800000u) == 0x7f800000u)
            b->good = 0;
    if (!result || !b->good)
        return NULL;
    memset(result, 0, ((size_t)count + EGRU_PAD) * 4);
    for (uint32_t i = 0; bytes && i < count; i++)
        result[i] = read_float(bytes + 4 * (size_t)i);
    return result;
}

/* Integers (count) from -limit to limit, padded by EGRU_PAD zeros. */
static EGRU_NOINLINE int32_t *integers(builder *b, uint32_t offset, uint32_t count, int64_t lowest, int64_t limit, int optional) {
    const unsigned char *bytes = NULL;
    int32_t *result = take(b, ((size_t)count + EGRU_PAD) * 4);
    if (offset != EGRU_NONE || !optional)
        bytes = data(b, offset, count, 4);
    for (uint32_t i = 0; bytes && i < count; i++) {
        int32_t value = (int32_t)egru_read_u32(bytes + 4 * (size_t)i);
        if (value < lowest || value > limit)
            b->good = 0;
    }
    if (!result || !b->good)
        return NULL;
    memset(result, 0, ((size_t)count + EGRU_PAD) * 4);
    for (uint32_t i = 0; bytes && i < count; i++)
        result[i] = (int32_t)egru_read_u32(bytes + 4 * (size_t)i);
    return result;
}

static const int32_t *multipliers(builder *b, uint32_t offset, uint32_t count) {
    return integers(b, offset, count, 0, MULTIPLIER_LIMIT - 1, 0);
}

static uint32_t checked_shift(builder *b, uint32_t shift) {
    if (shift < 1 || shift > 61)
        b->good = 0;
    return shift;
}

static int32_t limit_of(uint32_t kind) {
    return kind == EGRU_VECTOR_Q8 ? 127 : 32767;
}

/* No accumulator can leave 32 bits: sum |w| L + |b| < 2^31 in every row. */
static EGRU_NOINLINE void check_rows(builder *b, const unsigned char *weights, const unsigned char *bias, uint32_t rows,
                       uint32_t columns, int32_t limit) {
    for (uint32_t row = 0; row < rows; row++) {
        int64_t reach = 0, added = 0;
        const signed char *w = (const signed char *)weights + (size_t)row * columns;
        for (uint32_t j = 0; j < columns; j++) {
            if (w[j] == -128)
                b->good = 0;
            reach += w[j] < 0 ? -w[j] : w[j];
        }
        if (bias)
            added = (int32_t)egru_read_u32(bias + 4 * (size_t)row);
        if (reach * limit + (added < 0 ? -added : added) >= (int64_t)1 << 31)
            b->good = 0;
    }
}

/* A matrix over operands or floats of `kind`, of rows `first` … of what is at `weights` and `bias`. */
static EGRU_NOINLINE egru_matrix matrix(builder *b, uint32_t kind, uint32_t weights, uint32_t bias, uint32_t scale, uint32_t first,
                          uint32_t rows, uint32_t columns) {
    egru_matrix result = {rows, columns, kind, NULL, NULL, NULL, NULL};
    size_t item = kind == EGRU_VECTOR_FLOAT ? 4 : 1;
    const unsigned char *source = data(b, weights, (uint64_t)(first + rows) * columns, item);
    void *packed, *packed_bias;
    if (!source || ((uint64_t)rows + 16) * (columns + 4) * item > LARGEST_MODEL) { /* blocks are filled up to these */
        b->good = 0;
        return result;
    }
    source += (size_t)first * columns * item;
    if (bias != EGRU_NONE)
        bias += 4 * first; /* wraps only where the bias is far outside the plan */
    if (scale != EGRU_NONE) {
        result.scale = floats(b, scale + 4 * first, rows, 0);
        result.offset = floats(b, bias, rows, 1);
        bias = EGRU_NONE;
    }
    b->widest = rows > b->widest ? rows : b->widest;
    b->widest = columns > b->widest ? columns : b->widest;
    if (kind == EGRU_VECTOR_FLOAT) {
        for (size_t i = 0; i < (size_t)rows * columns; i++)
            if ((egru_read_u32(source + 4 * i) & 0x7f800000u) == 0x7f800000u)
                b->good = 0;
        packed_bias = floats(b, bias, rows, 1);
    } else {
        check_rows(b, source, bias == EGRU_NONE ? NULL : data(b, bias, rows, 4), rows, columns, limit_of(kind));
        packed_bias = integers(b, bias, rows, INT32_MIN, INT32_MAX, 1);
    }
    packed = take(b, b->kernel->packed_size(kind, rows, columns));
    if (packed && packed_bias && b->good)
        b->kernel->pack(kind, packed, packed_bias, source, rows, columns);
    result.weights = packed;
    result.bias = packed_bias;
    return result;
}

/* Kind and size of a vector, as the plan has them; of the first one where there is no such vector. */
static EGRU_NOINLINE egru_vector vector(builder *b, uint32_t index) {
    egru_vector result = {0, 0, 0, 0, 0};
    const unsigned char *entry;
    if (index >= b->vector_count) {
        b->good = 0;
        index = 0;
    }
    entry = b->plan + HEADER_BYTES + 8 * (size_t)index;
    result.kind = egru_read_u32(entry);
    result.size = egru_read_u32(entry + 4);
    return result;
}

/* What an operation reads: whole by now, of that kind. Returns its size. */
static EGRU_NOINLINE uint32_t reads(builder *b, uint32_t index, uint32_t kind) {
    egru_vector v = vector(b, index);
    if (v.kind != kind || (b->model && b->good && b->model->vectors[index].filled != v.size))
        b->good = 0;
    return v.size;
}

/* What an operation writes: nothing in it so far, of that kind, and then `numbers` from the place `at` on. */
static EGRU_NOINLINE void writes(builder *b, uint32_t index, uint32_t kind, uint32_t at, uint32_t numbers) {
    egru_vector v = vector(b, index);
    if (v.kind != kind || at > v.size || numbers > v.size - at || index == 0)
        b->good = 0;
    if (!b->model || !b->good)
        return;
    if (b->model->vectors[index].filled != at) /* pieces come in order, so that nothing is left open or written twice */
        b->good = 0;
    b->model->vectors[index].filled = at + numbers;
}

static int is_operand(uint32_t kind) {
    return kind == EGRU_VECTOR_Q8 || kind == EGRU_VECTOR_Q16;
}

static size_t item_size(uint32_t kind) {
    return kind == EGRU_VECTOR_Q8 ? 1 : kind == EGRU_VECTOR_Q16 ? 2 : 4;
}

/* The kind of the vectors that products of this scheme read, checked against a vector. */
static EGRU_NOINLINE uint32_t product_kind(builder *b, uint32_t index, uint32_t scale) {
    uint32_t kind = vector(b, index).kind;
    if (b->scheme == EGRU_SCHEME_STATIC ? !is_operand(kind) || scale != EGRU_NONE : kind != EGRU_VECTOR_FLOAT)
        b->good = 0;
    if (b->scheme == EGRU_SCHEME_FLOAT && scale != EGRU_NONE)
        b->good = 0;
    return kind;
}

static void read_input(builder *b, egru_operation *op, const uint32_t *a) {
    uint32_t kind = vector(b, op->out).kind;
    int integer = b->scheme == EGRU_SCHEME_STATIC;
    if (integer ? !is_operand(kind) : kind != EGRU_VECTOR_FLOAT)
        b->good = 0;
    if (op->code == EGRU_OP_STANDARDISE) {
        op->a = floats(b, a[1], b->input_size, 0);
        op->b = floats(b, a[2], b->input_size, 0);
        writes(b, op->out, kind, 0, b->input_size);
        return;
    }
    uint32_t columns = vector(b, op->out).size, rows = a[1];
    const unsigned char *table;
    size_t item = integer || a[3] != EGRU_NONE ? 1 : 4;
    unsigned char *copy;
    op->count = rows;
    op->shift = integer ? checked_shift(b, a[4]) : 0;
    if (rows == 0 || rows > LARGEST_VECTOR || b->input_size != 1)
        b->good = 0;
    table = data(b, a[2], (uint64_t)rows * columns, item);
    copy = table ? take(b, (size_t)rows * columns * item) : NULL;
    if (integer)
        op->b = multipliers(b, a[3], rows);
    else if (a[3] != EGRU_NONE)
        op->b = floats(b, a[3], rows, 0);
    if (table && copy && b->good)
        memcpy(copy, table, (size_t)rows * columns * item); /* floats are little-endian here and there */
    op->a = copy;
    writes(b, op->out, kind, 0, columns);
}

static void read_gru(builder *b, egru_operation *op, const uint32_t *a) {
    egru_gru *g = &op->gru;
    int integer = b->scheme == EGRU_SCHEME_STATIC;
    uint32_t kind = product_kind(b, op->in, integer ? EGRU_NONE : a[9]);
    uint32_t columns = reads(b, op->in, kind), size = vector(b, op->out).size;
    uint32_t own = integer ? vector(b, op->q).kind : EGRU_VECTOR_FLOAT;
    uint32_t scale_ih = integer ? EGRU_NONE : a[9], scale_hh = integer ? EGRU_NONE : a[10];
    g->size = size;
    g->before = a[3];
    g->candidate = a[4];
    if (g->before > 1 || (a[4] != EGRU_TANH && a[4] != EGRU_RELU && a[4] != EGRU_LINEAR))
        b->good = 0;
    if (size == 0 || size > LARGEST_VECTOR / 4 || (integer && (!is_operand(own) || vector(b, op->q).size != size)))
        b->good = 0;
    if (!b->good)
        return;
    g->bits = own == EGRU_VECTOR_Q16 ? 16 : 8;
    if (scale_ih != EGRU_NONE)
        kind = own = EGRU_VECTOR_Q8;
    if (scale_ih != EGRU_NONE && scale_hh == EGRU_NONE)
        b->good = 0;
    g->ih = matrix(b, kind, a[5], a[7], scale_ih, 0, 3 * size, columns);
    if (g->before) {
        g->hh = matrix(b, own, a[6], a[8], scale_hh, 0, 2 * size, size);
        g->hn = matrix(b, own, a[6], a[8], scale_hh, 2 * size, size, size);
    } else {
        g->hh = matrix(b, own, a[6], a[8], scale_hh, 0, 3 * size, size);
    }
    if (integer) {
        g->m_ih = multipliers(b, a[9], 3 * size);
        g->m_hh = multipliers(b, a[10], 3 * size);
        g->rz_shift = checked_shift(b, a[11]);
        g->n_shift = checked_shift(b, a[12]);
        g->h_shift = checked_shift(b, a[14]);
        g->rh_shift = checked_shift(b, a[16]);
        if (a[13] >= MULTIPLIER_LIMIT || a[15] >= MULTIPLIER_LIMIT) {
            b->good = 0;
            return;
        }
        g->h_multiplier = (int32_t)a[13];
        g->rh_multiplier = (int32_t)a[15];
        writes(b, op->q, own, 0, size);
    }
    writes(b, op->out, integer ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, 0, size);
}

static void read_elementwise(builder *b, egru_operation *op, const uint32_t *a) {
    int integer = b->scheme == EGRU_SCHEME_STATIC, add = op->code == EGRU_OP_ADD;
    uint32_t result = integer ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, kinds[2];
    uint32_t size = vector(b, op->out).size;
    for (int i = 0; i < 2; i++) {
        uint32_t index = i ? op->in2 : op->in;
        kinds[i] = vector(b, index).kind;
        if (integer && !add ? !is_operand(kinds[i]) : kinds[i] != result)
            b->good = 0;
        if (reads(b, index, kinds[i]) != size)
            b->good = 0;
    }
    if (integer) {
        op->a = multipliers(b, a[3], size);
        if (add)
            op->b = multipliers(b, a[4], size);
        op->shift = checked_shift(b, a[5]);
    }
    writes(b, op->out, result, 0, size);
}

static void read_head(builder *b, egru_operation *op, const uint32_t *a) {
    int integer = b->scheme == EGRU_SCHEME_STATIC;
    uint32_t size = reads(b, op->in, integer ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT);
    if (op->out > b->output_size || size > b->output_size - op->out)
        b->good = 0;
    b->widest = size > b->widest ? size : b->widest;
    if (!integer)
        return;
    op->shift = 1;
    if (a[2] != EGRU_NONE) {
        op->count = size;
        op->a = multipliers(b, a[2], size);
        op->shift = checked_shift(b, a[3]);
    } else if (op->code != EGRU_OP_IDENTITY) {
        b->good = 0;
    }
    op->b = floats(b, a[4], size, 0);
    op->matrix.offset = a[5] == EGRU_NONE ? NULL : floats(b, a[5], size, 0);
}

static void read_operation(builder *b, egru_operation *op, const uint32_t *a) {
    uint32_t kind, size;
    int integer = b->scheme == EGRU_SCHEME_STATIC;
    op->in = a[0];
    op->out = a[1];
    switch (op->code) {
    case EGRU_OP_STANDARDISE:
    case EGRU_OP_EMBEDDING:
        op->in = 0;
        op->out = a[0];
        read_input(b, op, a);
        break;
    case EGRU_OP_OPERAND:
        kind = vector(b, op->out).kind;
        size = reads(b, op->in, EGRU_VECTOR_VALUE);
        op->count = a[2];
        op->shift = checked_shift(b, a[4]);
        if (!is_operand(kind) || vector(b, op->out).size != size || (op->count != 1 && op->count != size))
            b->good = 0;
        op->a = multipliers(b, a[3], op->count);
        writes(b, op->out, kind, 0, size);
        break;
    case EGRU_OP_LINEAR:
        kind = product_kind(b, op->in, integer ? EGRU_NONE : a[5]);
        size = vector(b, op->out).size;
        op->activation = a[2];
        op->matrix = matrix(b, !integer && a[5] != EGRU_NONE ? EGRU_VECTOR_Q8 : kind, a[3], a[4],
                            integer ? EGRU_NONE : a[5], 0, size, reads(b, op->in, kind));
        if (a[2] > EGRU_SIGMOID)
            b->good = 0;
        if (integer && a[2] >= EGRU_TANH) {
            op->a = multipliers(b, a[5], size);
            op->shift = checked_shift(b, a[6]);
        }
        writes(b, op->out, integer ? EGRU_VECTOR_VALUE : EGRU_VECTOR_FLOAT, 0, size);
        break;
    case EGRU_OP_TAPS:
        kind = product_kind(b, op->in, EGRU_NONE);
        size = reads(b, op->in, kind);
        op->count = a[2];
        op->dilation = a[3];
        if (a[2] < 2 || a[3] < 1 || a[2] > LARGEST_VECTOR || a[3] > LARGEST_VECTOR ||
            (uint64_t)(a[2] - 1) * a[3] * size > LARGEST_VECTOR || (uint64_t)a[2] * size > LARGEST_VECTOR) {
            b->good = 0;
            break;
        }
        op->frames = (a[2] - 1) * a[3];
        op->position = b->taps_count++;
        writes(b, op->out, kind, 0, a[2] * size);
        break;
    case EGRU_OP_GRU:
        op->q = a[2];
        read_gru(b, op, a);
        break;
    case EGRU_OP_ADD:
    case EGRU_OP_MULTIPLY:
        op->in2 = a[1];
        op->out = a[2];
        read_elementwise(b, op, a);
        break;
    case EGRU_OP_COPY:
        kind = vector(b, op->in).kind;
        op->count = a[2];
        writes(b, op->out, vector(b, op->out).kind, a[2], reads(b, op->in, kind));
        if (vector(b, op->out).kind != kind && !(is_operand(kind) && vector(b, op->out).kind == EGRU_VECTOR_VALUE))
            b->good = 0;
        break;
    case EGRU_OP_SOFTMAX:
    case EGRU_OP_SIGMOID:
    case EGRU_OP_IDENTITY:
        read_head(b, op, a);
        break;
    default:
        b->good = 0;
    }
}

/* Every output number is given exactly once. */
static void check_heads(builder *b) {
    egru_model *model = b->model;
    uint64_t given = 0;
    for (uint32_t i = 0; i < model->operation_count; i++) {
        const egru_operation *op = &model->operations[i];
        if (op->code < EGRU_OP_SOFTMAX)
            continue;
        given += model->vectors[op->in].size;
        for (uint32_t j = 0; j < i; j++) {
            const egru_operation *other = &model->operations[j];
            if (other->code >= EGRU_OP_SOFTMAX && op->out < other->out + model->vectors[other->in].size &&
                other->out < op->out + model->vectors[op->in].size)
                b->good = 0;
        }
    }
    if (given != model->output_size)
        b->good = 0;
}

static EGRU_NOINLINE void place(size_t *end, size_t *offset, size_t bytes) {
    *offset = *end;
    *end += (bytes + EGRU_ALIGN - 1) & ~(size_t)(EGRU_ALIGN - 1);
}

/* Where everything is in the memory of a stream and in that of a step. */
static void lay_out(builder *b) {
    egru_model *model = b->model;
    size_t state = 0, scratch = 0, begin;
    place(&state, &begin, sizeof(egru_counts) + 4 * (size_t)b->taps_count);
    for (uint32_t i = 0; i < model->operation_count; i++) {
        egru_operation *op = &model->operations[i];
        if (op->code == EGRU_OP_TAPS) {
            const egru_vector *in = &model->vectors[op->in];
            place(&state, &op->ring, (size_t)op->frames * in->size * item_size(in->kind));
            model->saved_numbers += (size_t)op->frames * in->size;
        } else if (op->code == EGRU_OP_GRU) {
            model->saved_numbers += op->gru.size;
            if (b->scheme == EGRU_SCHEME_STATIC)
                model->vectors[op->out].in_state = model->vectors[op->q].in_state = 1;
            else
                place(&state, &op->ring, ((size_t)op->gru.size + EGRU_PAD) * 4);
        }
    }
    for (uint32_t i = 0; i < model->vector_count; i++) {
        egru_vector *v = &model->vectors[i];
        place(v->in_state ? &state : &scratch, &v->offset, ((size_t)v->size + EGRU_PAD) * item_size(v->kind));
    }
    for (int i = 0; i < EGRU_BUFFERS; i++)
        place(&scratch, &model->buffer[i], ((size_t)b->widest + 2 * EGRU_PAD) * 4);
    model->state_bytes = state;
    model->scratch_bytes = scratch;
    if (state > LARGEST_MODEL || scratch > LARGEST_MODEL)
        b->good = 0;
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
        egru_vector v = vector(b, i);
        if (v.kind >= EGRU_VECTOR_KINDS || v.size - 1 >= LARGEST_VECTOR || (v.kind == EGRU_VECTOR_Q16 && !EGRU_Q16))
            return 0;
        if ((v.kind == EGRU_VECTOR_FLOAT) != (i == 0 || b->scheme != EGRU_SCHEME_STATIC))
            return 0;
    }
    return vector(b, 0).size == b->input_size;
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
        for (uint32_t i = 0; i < b->vector_count; i++)
            vectors[i] = vector(b, i);
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
    check_heads(b);
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
    *model = b.model;
    return b.good ? EGRU_OK : EGRU_PLAN;
}
