/* A step: the operations of the model, one after another, for all streams of a tile. */
#include "internal.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it; the products, in portable.c, take the time */
#endif

#include <string.h>

#include "attention.h"
#include "floating_point.h"
#include "integer_nodes.h"
#include "float_nodes.h"
#include "log_mel.h"

#define INPUT_LIMIT 1152921504606846976.0f /* 2^60 */
#define LARGEST 3.40282347e38f

static int is_static(const egru_model *model) {
    return !EGRU_FLOAT || model->scheme == EGRU_SCHEME_STATIC;
}

static void *buffer(const egru_model *model, const egru_tile *tile, int which, size_t stream) {
    return tile->memory[EGRU_IN_SCRATCH][stream] + model->buffer[which];
}

static unsigned char *state_of(const egru_tile *tile, size_t stream) {
    return tile->memory[EGRU_IN_STATE][stream];
}

#define FOR_STREAMS for (size_t s = 0; s < (EGRU_TILE == 1 ? 1 : tile->count); s++)

/* Weights are read to and fro, where the kernel can. */
static void turn(const egru_model *model, egru_tile *tile, uint64_t times) {
#ifdef EGRU_X86
    tile->backwards = model->kernel->turns && times % 2 ? EGRU_BACKWARDS : 0;
#endif
    (void)model, (void)tile, (void)times;
}

static size_t backwards(const egru_tile *tile) {
#ifdef EGRU_X86
    return tile->backwards;
#else
    (void)tile;
    return 0;
#endif
}

/* What a product is told: how many streams, and from which end. */
static size_t count_of(const egru_tile *tile) {
    return EGRU_TILE == 1 ? 1 : tile->count + backwards(tile);
}

#if EGRU_FLOAT
/* dynamic-w8: the vectors become int8 first, and the results floats. */
static EGRU_NOINLINE void dynamic_product(const egru_model *model, const egru_tile *tile, const egru_matrix *m,
                                          const void *const *v, void *const *acc) {
    const int8_t *q[EGRU_TILE];
    float step[EGRU_TILE];
    FOR_STREAMS {
        int8_t *quantized = buffer(model, tile, EGRU_Q, s);
        step[s] = model->kernel->quantize_float(v[s], quantized, m->columns);
        q[s] = quantized;
    }
    model->kernel->product_q8(m, q, (int32_t *const *)acc, count_of(tile));
    FOR_STREAMS egru_scale_accumulators(m, acc[s], step[s]);
}
#endif

static void product(const egru_model *model, const egru_tile *tile, const egru_matrix *m, const void *const *v,
                    void *const *acc) {
#if EGRU_FLOAT
    if (m->kind == EGRU_VECTOR_FLOAT)
        model->kernel->product_float(m, (const float *const *)v, (float *const *)acc, count_of(tile));
    else if (m->scale)
        dynamic_product(model, tile, m, v, acc);
    else
#endif
#if EGRU_Q16
    if (m->kind == EGRU_VECTOR_Q16)
        model->kernel->product_q16(m, (const int16_t *const *)v, (int32_t *const *)acc, count_of(tile));
    else
#endif
        model->kernel->product_q8(m, (const int8_t *const *)v, (int32_t *const *)acc, count_of(tile));
}

static void run_gru(const egru_model *model, const egru_tile *tile, const egru_operation *op) {
    const egru_kernel *kernel = model->kernel;
    const egru_gru *g = &op->gru;
    const void *x[EGRU_TILE], *const *old;
    void *h[EGRU_TILE], *next[EGRU_TILE], *inner[EGRU_TILE], *ih[EGRU_TILE], *hh[EGRU_TILE];
    const int integer = is_static(model);
    FOR_STREAMS { /* integers replace h and leave its operand in `next`, where floats leave h itself */
        x[s] = egru_at(model, tile, op->in, s);
        h[s] = integer ? egru_at(model, tile, op->out, s) : (void *)(state_of(tile, s) + op->ring);
        next[s] = egru_at(model, tile, integer ? op->q : op->out, s);
        ih[s] = buffer(model, tile, EGRU_IH, s);
        hh[s] = buffer(model, tile, EGRU_HH, s);
        inner[s] = buffer(model, tile, EGRU_RH, s);
    }
    old = (const void *const *)(integer ? next : h);
    if (backwards(tile))
        product(model, tile, &g->hh, old, hh);
    product(model, tile, &g->ih, x, ih);
    if (!backwards(tile))
        product(model, tile, &g->hh, old, hh);
    if (g->before) {
        FOR_STREAMS {
            if (integer)
                kernel->gru_gates(g, ih[s], hh[s], h[s], buffer(model, tile, EGRU_Z, s), inner[s]);
#if EGRU_FLOAT
            else
                kernel->gru_gates_float(g, ih[s], hh[s], h[s], buffer(model, tile, EGRU_Z, s), inner[s]);
#endif
        }
        product(model, tile, &g->hn, (const void *const *)inner, hh);
    }
    FOR_STREAMS {
        if (integer && g->before)
            kernel->gru_candidate(g, ih[s], hh[s], buffer(model, tile, EGRU_Z, s), h[s], next[s]);
        else if (integer)
            kernel->gru_after(g, ih[s], hh[s], h[s], next[s]);
#if EGRU_FLOAT
        else if (g->before)
            kernel->gru_candidate_float(g, ih[s], hh[s], buffer(model, tile, EGRU_Z, s), h[s], next[s]);
        else
            kernel->gru_after_float(g, ih[s], hh[s], h[s], next[s]);
#endif
    }
}

static void run_linear(const egru_model *model, const egru_tile *tile, const egru_operation *op) {
    const void *v[EGRU_TILE];
    void *acc[EGRU_TILE];
    FOR_STREAMS {
        v[s] = egru_at(model, tile, op->in, s);
        acc[s] = egru_at(model, tile, op->out, s);
    }
    product(model, tile, &op->matrix, v, acc);
    if (op->activation == EGRU_LINEAR)
        return;
    FOR_STREAMS {
        if (is_static(model))
            egru_activate(op, acc[s]);
#if EGRU_FLOAT
        else
            egru_activate_float(model->kernel, acc[s], acc[s], op->matrix.rows, op->activation, 0);
#endif
    }
}

/* A ring of past steps, the oldest where its position says, and the new one behind them. */
static EGRU_NOINLINE void run_taps(const egru_model *model, const egru_tile *tile, const egru_operation *op) {
    const egru_vector *in = &model->vectors[op->in];
    size_t bytes = in->size * egru_item_size(in->kind);
    FOR_STREAMS {
        unsigned char *taps = egru_at(model, tile, op->out, s);
        const unsigned char *ring = state_of(tile, s) + op->ring;
        uint32_t oldest = *egru_position(state_of(tile, s), op);
        for (uint32_t k = 0; k + 1 < op->count; k++) {
            size_t frame = ((size_t)oldest + (size_t)k * op->dilation) % op->frames;
            memcpy(taps + k * bytes, ring + frame * bytes, bytes);
        }
        memcpy(taps + (op->count - 1) * bytes, egru_at(model, tile, op->in, s), bytes);
    }
}

static void run_copy(const egru_model *model, const egru_tile *tile, const egru_operation *op) {
    const egru_vector *in = &model->vectors[op->in], *out = &model->vectors[op->out];
    FOR_STREAMS {
        const void *from = egru_at(model, tile, op->in, s);
        unsigned char *to = (unsigned char *)egru_at(model, tile, op->out, s) + op->count * egru_item_size(out->kind);
        if (in->kind == out->kind)
            memcpy(to, from, in->size * egru_item_size(in->kind));
        else
            egru_widen(from, in->kind, in->size, (int32_t *)(void *)to);
    }
}

static void run_head(const egru_model *model, const egru_tile *tile, const egru_operation *op, float *y) {
    const uint32_t size = model->vectors[op->in].size;
    FOR_STREAMS {
        const void *value = egru_at(model, tile, op->in, s);
        float *given = y + s * model->output_size + op->count;
        if (is_static(model))
            egru_give_out(op, value, buffer(model, tile, EGRU_IH, s), given, size);
#if EGRU_FLOAT
        else
            egru_give_out_float(model->kernel, op, value, buffer(model, tile, EGRU_IH, s), given, size);
#endif
    }
}

static void run(const egru_model *model, const egru_tile *tile, const egru_operation *op, float *y) {
    int integer = is_static(model);
    const egru_vector *out = &model->vectors[op->out];
    switch (op->code) {
    case EGRU_OP_STANDARDISE:
    case EGRU_OP_EMBEDDING:
        FOR_STREAMS {
            const float *x = egru_at(model, tile, op->in, s);
            void *value = egru_at(model, tile, op->out, s);
            if (integer)
                ((egru_counts *)(void *)state_of(tile, s))->clipped +=
                    egru_read_input(model->kernel, op, x, value, out);
#if EGRU_FLOAT && EGRU_SIMD
            else if (op->code == EGRU_OP_STANDARDISE && model->kernel->standardise_float)
                model->kernel->standardise_float(op->a, op->b, x, value, out->size);
#endif
#if EGRU_FLOAT
            else
                egru_read_input_float(op, x, value, out);
#endif
        }
        break;
    case EGRU_OP_OPERAND:
        FOR_STREAMS model->kernel->operand(egru_at(model, tile, op->in, s), egru_at(model, tile, op->out, s), out->size,
                                           out->kind == EGRU_VECTOR_Q8 ? 8 : 16, op->a, op->count, op->shift);
        break;
    case EGRU_OP_LINEAR:
        run_linear(model, tile, op);
        break;
    case EGRU_OP_TAPS:
        run_taps(model, tile, op);
        break;
    case EGRU_OP_GRU:
        run_gru(model, tile, op);
        break;
    case EGRU_OP_ADD:
    case EGRU_OP_MULTIPLY:
        FOR_STREAMS {
            const void *a = egru_at(model, tile, op->in, s), *b = egru_at(model, tile, op->in2, s);
            void *value = egru_at(model, tile, op->out, s);
            if (integer)
                egru_combine(op, a, model->vectors[op->in].kind, b, model->vectors[op->in2].kind, value, out->size);
#if EGRU_FLOAT
            else
                egru_combine_float(op, a, b, value, out->size);
#endif
        }
        break;
    case EGRU_OP_COPY:
        run_copy(model, tile, op);
        break;
#if EGRU_LOG_MEL
    case EGRU_OP_LOG_MEL:
        FOR_STREAMS {
            const void *samples = egru_at(model, tile, op->in, s);
            void *work = egru_at(model, tile, op->log_mel.work, s), *value = egru_at(model, tile, op->out, s);
            if (integer)
                egru_log_mel(op, samples, model->vectors[op->in].size, work, value);
#if EGRU_FLOAT
            else
                egru_log_mel_float(op, samples, model->vectors[op->in].size, work, value);
#endif
        }
        break;
#endif
#if EGRU_ATTENTION
    case EGRU_OP_ATTENTION:
        FOR_STREAMS {
            const void *query = egru_at(model, tile, op->in, s);
            void *scores = buffer(model, tile, EGRU_IH, s), *value = egru_at(model, tile, op->out, s);
            if (integer)
                egru_attend(op, state_of(tile, s), query, buffer(model, tile, EGRU_HH, s), scores, value, out);
#if EGRU_FLOAT
            else
                egru_attend_float(op, state_of(tile, s), query, scores, value, out->size);
#endif
        }
        break;
#endif
#if EGRU_FLOAT
    case EGRU_OP_LAYER_NORMALISATION:
        FOR_STREAMS egru_normalise(op, egru_at(model, tile, op->in, s), egru_at(model, tile, op->out, s), out->size);
        break;
#endif
    default:
        run_head(model, tile, op, y);
    }
}

#if EGRU_FLOAT
/* Whether everything that would be kept or given out is finite. */
static int in_range(const egru_model *model, const egru_tile *tile, size_t s, const float *y) {
    const egru_kernel *kernel = model->kernel;
    int good = kernel->copy_within(y + s * model->output_size, NULL, model->output_size, LARGEST);
    for (uint32_t i = model->keeping; i < model->operation_count; i = model->operations[i].next_keeping) {
        const egru_operation *op = &model->operations[i];
        uint32_t kept = op->code == EGRU_OP_GRU ? op->out : op->in;
        good &= kernel->copy_within(egru_at(model, tile, kept, s), NULL, model->vectors[kept].size, LARGEST);
    }
    return good;
}
#endif

/* The state takes over what it keeps of this step. GRUs of integers have done so themselves. */
static void keep(const egru_model *model, const egru_tile *tile, size_t s) {
    for (uint32_t i = model->keeping; i < model->operation_count; i = model->operations[i].next_keeping) {
        const egru_operation *op = &model->operations[i];
        if (op->code == EGRU_OP_TAPS) {
            const egru_vector *in = &model->vectors[op->in];
            uint32_t *oldest = egru_position(state_of(tile, s), op);
            size_t bytes = in->size * egru_item_size(in->kind);
            memcpy(state_of(tile, s) + op->ring + *oldest * bytes, egru_at(model, tile, op->in, s), bytes);
            *oldest = *oldest + 1 == op->frames ? 0 : *oldest + 1;
        } else if (EGRU_FLOAT) {
            memcpy(state_of(tile, s) + op->ring, egru_at(model, tile, op->out, s), (size_t)op->gru.size * 4);
        }
    }
    ((egru_counts *)(void *)state_of(tile, s))->steps++;
}

/* One step of the streams of a tile. Returns a bit for every stream whose values left the range of float32. */
static unsigned step_tile(const egru_model *model, const egru_tile *tile, float *y) {
    unsigned failed = 0;
    for (uint32_t i = 0; i < model->operation_count; i++)
        run(model, tile, &model->operations[i], y);
    FOR_STREAMS {
#if EGRU_FLOAT
        if (!is_static(model) && !in_range(model, tile, s, y)) {
            failed |= 1u << s;
            continue;
        }
#endif
        keep(model, tile, s);
    }
    return failed;
}

static EGRU_RARE int64_t take_saturated(const egru_model *model, const float *x, float *sample) {
    int64_t saturated = 0;
    for (uint32_t i = 0; i < model->input_size; i++) {
        float value = x[i];
        if (!(value >= -INPUT_LIMIT && value <= INPUT_LIMIT)) {
            if (!egru_finite(&x[i], 1))
                return -1;
            value = value > 0 ? INPUT_LIMIT : -INPUT_LIMIT;
            saturated++;
        }
        sample[i] = value;
    }
    return saturated;
}

/* A sample into the scratch memory, saturated; how many numbers were, or -1 where one is not finite. */
static int64_t take_sample(const egru_model *model, const float *x, float *sample) {
#if EGRU_SIMD
    if (model->kernel->copy_within(x, sample, model->input_size, INPUT_LIMIT))
        return 0;
#endif
    return take_saturated(model, x, sample);
}

static EGRU_NOINLINE egru_tile tile_of(const egru_model *model, void *const *states, size_t count, void *scratch) {
    egru_tile tile;
    unsigned char *place = egru_aligned(scratch);
    tile.count = count;
    for (size_t s = 0; s < count; s++) {
        tile.memory[EGRU_IN_STATE][s] = egru_aligned(states[s]);
        tile.memory[EGRU_IN_SCRATCH][s] = place + s * model->scratch_bytes;
    }
    return tile;
}

static void count_saturated(const egru_tile *tile, size_t s, int64_t saturated) {
    ((egru_counts *)(void *)state_of(tile, s))->clipped += (uint64_t)saturated;
}

egru_status egru_run(const egru_model *model, void *state, void *scratch, const float *xs, float *ys, size_t steps,
                     size_t *done) {
    egru_status status = EGRU_OK;
    egru_tile tile;
    egru_float_mode mode = egru_enter(!is_static(model));
    size_t t = 0;
    tile.count = 1;
    tile.memory[EGRU_IN_SCRATCH][0] = egru_aligned(scratch);
    tile.memory[EGRU_IN_STATE][0] = egru_aligned(state);
    for (; t < steps && status == EGRU_OK; t++) {
        turn(model, &tile, ((egru_counts *)(void *)tile.memory[EGRU_IN_STATE][0])->steps);
        int64_t saturated = take_sample(model, xs + t * model->input_size, egru_at(model, &tile, 0, 0));
        if (saturated < 0)
            status = EGRU_INPUT;
        else if (step_tile(model, &tile, ys + t * model->output_size))
            status = EGRU_RANGE;
        else
            count_saturated(&tile, 0, saturated);
    }
    egru_leave(mode);
    if (done)
        *done = status == EGRU_OK ? t : t - 1;
    return status;
}

egru_status egru_step(const egru_model *model, void *state, void *scratch, const float *x, float *y) {
    return egru_run(model, state, scratch, x, y, 1, NULL);
}

egru_status egru_step_many(const egru_model *model, void *const *states, size_t n, void *scratch, const float *xs,
                           float *ys, size_t *which) {
    egru_status status = EGRU_OK;
    egru_float_mode mode;
#if EGRU_SIMD
    if (!model->kernel->copy_within(xs, NULL, n * model->input_size, LARGEST))
#endif
        for (size_t i = 0; i < n; i++)
            if (!egru_finite(xs + i * model->input_size, model->input_size)) {
                *which = i;
                return EGRU_INPUT;
            }
    if (EGRU_TILE == 1) { /* nothing is shared; the first that fails is the last one met */
        for (size_t i = n; i-- > 0;)
            if (egru_step(model, states[i], scratch, xs + i * model->input_size, ys + i * model->output_size)) {
                status = EGRU_RANGE;
                *which = i;
            }
        return status;
    }
    mode = egru_enter(!is_static(model));
    for (size_t first = 0; first < n; first += EGRU_TILE) {
        size_t count = n - first < EGRU_TILE ? n - first : EGRU_TILE;
        unsigned failed;
        egru_tile tile = tile_of(model, states + first, count, scratch);
        int64_t saturated[EGRU_TILE];
        turn(model, &tile, first / EGRU_TILE);
        for (size_t s = 0; s < count; s++)
            saturated[s] = take_sample(model, xs + (first + s) * model->input_size, egru_at(model, &tile, 0, s));
        failed = step_tile(model, &tile, ys + first * model->output_size);
        for (size_t s = 0; s < count; s++) {
            if (!(failed >> s & 1u)) {
                count_saturated(&tile, s, saturated[s]);
            } else if (status == EGRU_OK) {
                status = EGRU_RANGE;
                *which = first + s;
            }
        }
    }
    egru_leave(mode);
    return status;
}
