/* Models and states from outside: sizes, reset, and a state as bytes (docs/streaming.md). */
#include "internal.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* loading is rare, and small devices have to hold it */
#endif

#include <string.h>

#include "attention.h"
#include "integer_nodes.h"

#define HEADER_BYTES 64u
#define STATE_VERSION 1u

const char *egru_strerror(egru_status status) {
    static const char *const messages[] = {
        [EGRU_OK] = "no error",
        [EGRU_PLAN] = "no plan of this version, or a damaged one",
        [EGRU_MEMORY] = "too little memory",
        [EGRU_KERNEL] = "no such instruction set here",
        [EGRU_INPUT] = "a sample is not finite; nothing was done",
        [EGRU_RANGE] = "a value left the range of float32; the step was not taken",
        [EGRU_STATE] = "no saved state of this model, or a damaged one",
    };
    return (size_t)status < sizeof messages / sizeof *messages ? messages[status] : "unknown status";
}

const char *egru_model_kernel(const egru_model *model) {
    return model->kernel->name;
}

size_t egru_input_size(const egru_model *model) {
    return model->input_size;
}

size_t egru_output_size(const egru_model *model) {
    return model->output_size;
}

size_t egru_state_size(const egru_model *model) {
    return model->state_bytes + EGRU_ALIGN;
}

size_t egru_scratch_size(const egru_model *model, size_t streams) {
    return model->scratch_bytes * (streams < EGRU_TILE ? streams : EGRU_TILE) + EGRU_ALIGN;
}

size_t egru_saved_size(const egru_model *model) {
    return HEADER_BYTES + 4 * model->saved_numbers + 4;
}

static const egru_counts *counts(const void *state) {
    return egru_aligned(state);
}

uint64_t egru_steps(const egru_model *model, const void *state) {
    (void)model;
    return counts(state)->steps;
}

uint64_t egru_clipped(const egru_model *model, const void *state) {
    (void)model;
    return counts(state)->clipped;
}

static EGRU_NOINLINE void write_u32(unsigned char *bytes, uint32_t value) {
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
}

/* CRC-32 as in zlib, a bit at a time: a table would be larger than what it saves. */
static EGRU_NOINLINE uint32_t checksum(const unsigned char *bytes, size_t count) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static uint32_t get(const unsigned char *at, uint32_t kind) {
    uint32_t bits;
    int16_t q;
    if (kind == EGRU_VECTOR_Q8)
        return (uint32_t)(int32_t)(int8_t)*at;
    if (EGRU_Q16 && kind == EGRU_VECTOR_Q16) {
        memcpy(&q, at, 2);
        return (uint32_t)(int32_t)q;
    }
    memcpy(&bits, at, 4);
    return bits;
}

static void put(unsigned char *at, uint32_t kind, uint32_t bits) {
    uint16_t q = (uint16_t)bits;
    if (kind == EGRU_VECTOR_Q8)
        *at = (unsigned char)bits;
    else if (EGRU_Q16 && kind == EGRU_VECTOR_Q16)
        memcpy(at, &q, 2);
    else
        memcpy(at, &bits, 4);
}

int egru_reachable(const egru_operation *op, uint32_t kind, uint32_t bits) {
    int bounded = op->code == EGRU_OP_GRU && op->gru.candidate >= EGRU_TANH;
    uint32_t magnitude = bits & 0x7fffffffu, limit;
    if (EGRU_FLOAT && kind == EGRU_VECTOR_FLOAT)
        return magnitude <= (bounded ? 0x3f800008u : 0x7f7fffffu); /* 1 + 2^-20, the largest float32 */
    limit = kind == EGRU_VECTOR_Q8 ? 127 : kind == EGRU_VECTOR_Q16 ? 32767 : bounded ? 1u << 24 : 1u << 30;
    return bits + limit <= 2 * limit; /* -limit to limit */
}

enum { SAVE, CHECK, LOAD, RESET };

#if EGRU_ATTENTION
/* The number of rows, a float in float models, as it is saved, and back; more than there can be where it is none. */
static uint32_t rows_to_saved(uint32_t rows, int integer) {
    float real = (float)rows;
    uint32_t bits = rows;
    if (!integer)
        memcpy(&bits, &real, 4);
    return bits;
}

static uint32_t rows_from_saved(uint32_t bits, int integer, uint32_t most) {
    float real;
    uint32_t rows = bits;
    memcpy(&real, &bits, 4);
    if (!integer)
        rows = real >= 0 && real <= (float)most ? (uint32_t)real : UINT32_MAX;
    return rows <= most && rows_to_saved(rows, integer) == bits ? rows : UINT32_MAX;
}

/* The same as below, of what attention remembers. */
static int each_remembered(const egru_model *model, const egru_operation *op, unsigned char *state,
                           unsigned char *saved, int what, int integer) {
    size_t numbers = egru_remembered_numbers(model, op);
    uint32_t rows = what == SAVE ? 0 : rows_from_saved(egru_read_u32(saved), integer, op->count);
    int good = rows <= op->count;
    for (size_t n = 0; good && n < numbers; n++, saved += 4) {
        uint32_t kind;
        size_t row;
        unsigned char *at = egru_remembered(model, op, state, n, &kind, &row);
        if (what == SAVE)
            write_u32(saved, n ? get(at, kind) : rows_to_saved(get(at, kind), integer));
        else if (what == LOAD)
            put(at, kind, n ? egru_read_u32(saved) : rows);
        else if (n) /* nothing is behind the last row */
            good = row < rows ? egru_reachable(op, kind, egru_read_u32(saved)) : egru_read_u32(saved) == 0;
    }
    return good;
}
#endif

/* All numbers of a state and where they are when it is saved: h of GRU operations, past steps of TAPS operations from the
 * oldest on. Whether all can be reached, where that is the question. RESET loads h0 where a GRU has one. */
static EGRU_NOINLINE int each_number(const egru_model *model, unsigned char *state, unsigned char *saved, int what) {
    int integer = !EGRU_FLOAT || model->scheme == EGRU_SCHEME_STATIC;
    for (uint32_t i = 0; i < model->operation_count; i++) {
        const egru_operation *op = &model->operations[i];
        const egru_vector *vector = &model->vectors[op->code == EGRU_OP_GRU ? op->out : op->in];
        uint32_t kind = vector->kind, oldest = 0;
        size_t item = egru_item_size(kind);
        size_t numbers = vector->size, first = op->ring;
#if EGRU_ATTENTION
        if (op->code == EGRU_OP_ATTENTION && what != RESET) {
            if (!each_remembered(model, op, state, saved, what, integer))
                return 0;
            saved += 4 * egru_remembered_numbers(model, op);
            continue;
        }
#endif
        if (op->code == EGRU_OP_TAPS) {
            numbers *= op->frames;
            oldest = what == SAVE ? *egru_position(state, op) : 0; /* loading begins with a reset */
        } else if (op->code != EGRU_OP_GRU) {
            continue;
        } else if (integer) {
            first = vector->offset;
        }
        if (what == RESET && !(saved = (unsigned char *)(uintptr_t)op->a))
            continue;
        for (size_t j = 0; j < numbers; j++, saved += 4) {
            unsigned char *at = state + first + (j + (size_t)oldest * vector->size) % numbers * item;
            if (what == SAVE)
                write_u32(saved, get(at, kind));
            else if (what >= LOAD)
                put(at, kind, egru_read_u32(saved));
            else if (!egru_reachable(op, kind, egru_read_u32(saved)))
                return 0;
        }
        if (what >= LOAD && op->code == EGRU_OP_GRU && integer)
            model->kernel->operand((const int32_t *)(const void *)(state + first), state + model->vectors[op->q].offset,
                                   op->gru.size, op->gru.bits, &op->gru.h_multiplier, 1, op->gru.h_shift);
    }
    return 1;
}

void egru_reset(const egru_model *model, void *state) {
    unsigned char *to = egru_aligned(state);
    memset(to, 0, model->state_bytes); /* the operand of a zero h is zero */
    (void)each_number(model, to, NULL, RESET);
}

void egru_copy(const egru_model *model, void *state, const void *other) {
    memmove(egru_aligned(state), egru_aligned(other), model->state_bytes);
}

void egru_save(const egru_model *model, const void *state, void *saved) {
    unsigned char *bytes = saved;
    size_t content = HEADER_BYTES + 4 * model->saved_numbers;
    memcpy(bytes, "EGRUSTAT", 8);
    write_u32(bytes + 8, STATE_VERSION);
    write_u32(bytes + 12, (uint32_t)(content - HEADER_BYTES));
    memcpy(bytes + 16, model->identity, 32);
    for (int i = 0; i < 2; i++) {
        uint64_t count = i ? counts(state)->clipped : counts(state)->steps;
        write_u32(bytes + 48 + 8 * i, (uint32_t)count);
        write_u32(bytes + 52 + 8 * i, (uint32_t)(count >> 32));
    }
    (void)each_number(model, egru_aligned(state), bytes + HEADER_BYTES, SAVE);
    write_u32(bytes + content, checksum(bytes, content));
}

static uint64_t read_u64(const unsigned char *bytes) {
    return egru_read_u32(bytes) | (uint64_t)egru_read_u32(bytes + 4) << 32;
}

egru_status egru_load(const egru_model *model, void *state, const void *saved, size_t saved_bytes) {
    unsigned char *bytes = (unsigned char *)(uintptr_t)saved; /* only read, below */
    unsigned char *to = egru_aligned(state);
    egru_counts *taken = (egru_counts *)(void *)to;
    size_t content = HEADER_BYTES + 4 * model->saved_numbers;
    if (saved_bytes != content + 4 || memcmp(bytes, "EGRUSTAT", 8) != 0 || egru_read_u32(bytes + 8) != STATE_VERSION ||
        egru_read_u32(bytes + 12) != content - HEADER_BYTES || memcmp(bytes + 16, model->identity, 32) != 0 ||
        egru_read_u32(bytes + content) != checksum(bytes, content) ||
        !each_number(model, to, bytes + HEADER_BYTES, CHECK)) /* before anything is taken over */
        return EGRU_STATE;
    egru_reset(model, state);
    (void)each_number(model, to, bytes + HEADER_BYTES, LOAD);
    taken->steps = read_u64(bytes + 48);
    taken->clipped = read_u64(bytes + 56);
    return EGRU_OK;
}
