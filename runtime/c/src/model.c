/* A plan becomes a model: its header and its operations as a whole are checked, and buffers laid out. */
#include "plan.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* loading is rare, and small devices have to hold it */
#endif

#include <string.h>

#include "attention.h"

#define LARGEST_STATE ((size_t)1 << 28) /* of a stream, and of its scratch memory: four times that is a size_t anywhere */
#define MOST_HEADS 256u

/* Every output number is given exactly once. */
static void check_heads(egru_builder *b) {
    egru_model *model = b->model;
    uint64_t given = 0;
    uint32_t heads = 0;
    for (uint32_t i = 0; i < model->operation_count && heads <= MOST_HEADS; i++) {
        const egru_operation *op = &model->operations[i];
        if (!egru_is_head(op))
            continue;
        heads++;
        given += model->vectors[op->in].size;
        for (uint32_t j = 0; j < i; j++) {
            const egru_operation *other = &model->operations[j];
            if (egru_is_head(other) && op->count < other->count + model->vectors[other->in].size &&
                other->count < op->count + model->vectors[op->in].size)
                b->good = 0;
        }
    }
    if (given != model->output_size || heads > MOST_HEADS)
        b->good = 0;
}

static EGRU_NOINLINE void place(egru_builder *b, size_t *end, size_t *offset, size_t bytes) {
    *offset = *end;
    bytes = (bytes + EGRU_ALIGN - 1) & ~(size_t)(EGRU_ALIGN - 1);
    if (bytes > LARGEST_STATE - *end)
        b->good = 0;
    else
        *end += bytes;
}

/* Where everything is in the memory of a stream and in that of a step. Every vector has been filled. */
static void lay_out(egru_builder *b) {
    egru_model *model = b->model;
    size_t state = 0, scratch = 0, begin;
    uint32_t *keeping = &model->keeping;
    place(b, &state, &begin, sizeof(egru_counts) + 4 * (size_t)b->taps_count);
    for (uint32_t i = 0; b->good && i < model->operation_count; i++) {
        egru_operation *op = &model->operations[i];
        if (op->code == EGRU_OP_TAPS || (op->code == EGRU_OP_GRU && !egru_is_static(b))) {
            *keeping = i;
            keeping = &op->next_keeping;
        }
        if (op->code == EGRU_OP_TAPS) {
            const egru_vector *in = &model->vectors[op->in];
            place(b, &state, &op->ring, (size_t)op->frames * in->size * egru_item_size(in->kind));
            model->saved_numbers += (size_t)op->frames * in->size;
#if EGRU_ATTENTION
        } else if (op->code == EGRU_OP_ATTENTION) {
            const egru_vector *out = &model->vectors[op->out];
            if (model->attention)
                b->good = 0; /* a row is for one */
            model->attention = op;
            place(b, &state, &op->ring, 4);
            place(b, &state, &op->attention.values, (size_t)op->count * out->size * egru_item_size(out->kind));
            place(b, &state, &op->attention.keys,
                  (size_t)op->count * op->attention.size * egru_item_size(op->attention.kind));
            model->saved_numbers += egru_remembered_numbers(model, op);
#endif
        } else if (op->code == EGRU_OP_GRU) {
            model->saved_numbers += op->gru.size;
            if (egru_is_static(b))
                model->vectors[op->out].memory = model->vectors[op->q].memory = EGRU_IN_STATE;
            else
                place(b, &state, &op->ring, ((size_t)op->gru.size + EGRU_PAD) * 4);
        }
    }
    *keeping = model->operation_count;
    for (uint32_t i = 0; i < model->vector_count; i++) {
        egru_vector *v = &model->vectors[i];
        if (v->filled != v->size)
            b->good = 0;
        place(b, v->memory == EGRU_IN_STATE ? &state : &scratch, &v->offset, ((size_t)v->size + EGRU_PAD) * egru_item_size(v->kind));
    }
    for (int i = 0; i < EGRU_BUFFERS; i++)
        place(b, &scratch, &model->buffer[i], ((size_t)b->widest + 2 * EGRU_PAD) * 4);
    model->state_bytes = state;
    model->scratch_bytes = scratch;
}

/* The header; 0 where it is none. */
static int read_header(egru_builder *b) {
    const unsigned char *plan = b->plan;
    if (b->plan_bytes < EGRU_PLAN_HEADER || memcmp(plan, "EGRUPLAN", 8) != 0 || egru_read_u32(plan + 8) != 1 ||
        egru_read_u32(plan + 12) != b->plan_bytes)
        return 0;
    memcpy(b->header.identity, plan + 16, 32);
    b->header.input_size = egru_read_u32(plan + 48);
    b->header.output_size = egru_read_u32(plan + 52);
    b->header.scheme = egru_read_u32(plan + 56);
    b->header.vector_count = egru_read_u32(plan + 60);
    b->header.operation_count = egru_read_u32(plan + 64);
    if (b->header.scheme > EGRU_SCHEME_DYNAMIC || (!EGRU_FLOAT && b->header.scheme != EGRU_SCHEME_STATIC))
        return 0;
    if (b->header.output_size - 1 >= EGRU_LARGEST_VECTOR)
        return 0;
    if (b->header.vector_count - 1 >= 65535 || b->header.operation_count - 1 >= 65535)
        return 0;
    b->operations = EGRU_PLAN_HEADER + 8 * (size_t)b->header.vector_count;
    b->data = egru_read_u32(plan + 68);
    if (b->data > b->plan_bytes || b->data < b->operations + 4 * EGRU_PLAN_WORDS * (size_t)b->header.operation_count)
        return 0;
    for (uint32_t i = 0; i < b->header.vector_count; i++) {
        uint32_t kind = egru_kind_of(b, i);
        if (kind >= EGRU_VECTOR_KINDS || (kind == EGRU_VECTOR_Q16 && !EGRU_Q16) ||
            egru_size_of(b, i) - 1 >= EGRU_LARGEST_VECTOR)
            return 0;
        if (kind != EGRU_VECTOR_FLOAT && (i == 0 || !egru_is_static(b)))
            return 0;
    }
    return egru_size_of(b, 0) == b->header.input_size;
}

/* One pass over the plan, into memory or to count it. */
static void build(egru_builder *b) {
    egru_vector *vectors;
    egru_operation *operations, passing;
    egru_model *model = egru_take(b, sizeof(egru_model));
    b->good = b->good && read_header(b);
    if (!b->good)
        return;
    vectors = egru_take(b, b->header.vector_count * sizeof(egru_vector));
    operations = egru_take(b, b->header.operation_count * sizeof(egru_operation));
    if (model) {
        *model = b->header;
        model->vectors = vectors;
        model->operations = operations;
        memset(vectors, 0, b->header.vector_count * sizeof(egru_vector));
        for (uint32_t i = 0; i < b->header.vector_count; i++) {
            vectors[i].kind = egru_kind_of(b, i);
            vectors[i].size = egru_size_of(b, i);
        }
        vectors[0].filled = b->header.input_size;
        b->model = model;
    }
    for (uint32_t i = 0; b->good && i < b->header.operation_count; i++) {
        egru_operation *op = model ? &operations[i] : &passing;
        uint32_t words[EGRU_PLAN_WORDS];
        for (uint32_t j = 0; j < EGRU_PLAN_WORDS; j++)
            words[j] = egru_read_u32(b->plan + b->operations + 4 * (EGRU_PLAN_WORDS * (size_t)i + j));
        memset(op, 0, sizeof *op);
        op->code = words[0];
        egru_read_operation(b, op, words + 1);
    }
    if (!model || !b->good)
        return;
    check_heads(b);
    lay_out(b);
}

static egru_status prepare(egru_builder *b, const void *plan, size_t plan_bytes, const char *kernel) {
    memset(b, 0, sizeof *b);
    b->plan = plan;
    b->plan_bytes = plan_bytes;
    b->good = 1;
    b->header.kernel = egru_find_kernel(kernel);
    return b->header.kernel ? EGRU_OK : EGRU_KERNEL;
}

egru_status egru_model_size(const void *plan, size_t plan_bytes, const char *kernel, size_t *size) {
    egru_builder b;
    egru_status status = prepare(&b, plan, plan_bytes, kernel);
    if (status != EGRU_OK)
        return status;
    build(&b);
    *size = b.used + EGRU_ALIGN;
    return b.good ? EGRU_OK : EGRU_PLAN;
}

egru_status egru_model_init(void *memory, size_t size, const void *plan, size_t plan_bytes, const char *kernel,
                            egru_model **model) {
    egru_builder b;
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
