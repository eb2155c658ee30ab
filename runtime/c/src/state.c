/* Models and states from outside: sizes, reset, and a state as bytes (docs/streaming.md). */
#include "internal.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* loading is rare, and small devices have to hold it */
#endif

#include <string.h>

#include "integer_nodes.h"

#define HEADER_BYTES 64u
#define STATE_VERSION 1u

const char *egru_strerror(egru_status status) {
    switch (status) {
    case EGRU_OK:
        return "no error";
    case EGRU_PLAN:
        return "no plan of this version, or one that is torn or inconsistent";
    case EGRU_MEMORY:
        return "less memory than the size functions ask for";
    case EGRU_KERNEL:
        return "no such instruction set in this build or on this processor";
    case EGRU_INPUT:
        return "a sample has a value that is not finite; nothing was done";
    case EGRU_RANGE:
        return "a value left the range of float32; the step was not taken";
    case EGRU_STATE:
        return "no saved state of this model, or a damaged one; nothing was done";
    }
    return "unknown status";
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

void egru_reset(const egru_model *model, void *state) {
    memset(egru_aligned(state), 0, model->state_bytes); /* the operand of a zero h is zero */
}

static void write_u32(unsigned char *bytes, uint32_t value) {
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
}

/* CRC-32 as in zlib, half a byte at a time. */
static uint32_t checksum(const unsigned char *bytes, size_t count) {
    static const uint32_t table[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < count; i++) {
        crc = table[(crc ^ bytes[i]) & 15] ^ crc >> 4;
        crc = table[(crc ^ (uint32_t)bytes[i] >> 4) & 15] ^ crc >> 4;
    }
    return ~crc;
}

/* A number of an operation's state, by its place: operands of a TAPS operation count from the oldest step. */
static unsigned char *number(const egru_model *model, unsigned char *state, const egru_operation *op, size_t i,
                             uint32_t *kind) {
    if (op->code == EGRU_OP_TAPS) {
        const egru_vector *in = &model->vectors[op->in];
        size_t item = in->kind == EGRU_VECTOR_Q8 ? 1 : in->kind == EGRU_VECTOR_Q16 ? 2 : 4;
        size_t frame = (*egru_position(state, op) + i / in->size) % op->frames;
        *kind = in->kind;
        return state + op->ring + (frame * in->size + i % in->size) * item;
    }
    *kind = model->vectors[op->out].kind;
    return state + (model->scheme == EGRU_SCHEME_STATIC ? model->vectors[op->out].offset : op->ring) + 4 * i;
}

static size_t numbers(const egru_model *model, const egru_operation *op) {
    if (op->code == EGRU_OP_GRU)
        return op->gru.size;
    return op->code == EGRU_OP_TAPS ? (size_t)op->frames * model->vectors[op->in].size : 0;
}

void egru_save(const egru_model *model, const void *state, void *saved) {
    unsigned char *bytes = saved, *place = bytes + HEADER_BYTES;
    unsigned char *from = egru_aligned(state);
    memcpy(bytes, "EGRUSTAT", 8);
    write_u32(bytes + 8, STATE_VERSION);
    write_u32(bytes + 12, (uint32_t)(4 * model->saved_numbers));
    memcpy(bytes + 16, model->identity, 32);
    for (int i = 0; i < 2; i++) {
        uint64_t count = i ? counts(state)->clipped : counts(state)->steps;
        write_u32(bytes + 48 + 8 * i, (uint32_t)count);
        write_u32(bytes + 52 + 8 * i, (uint32_t)(count >> 32));
    }
    for (uint32_t i = 0; i < model->operation_count; i++) {
        const egru_operation *op = &model->operations[i];
        for (size_t j = 0; j < numbers(model, op); j++, place += 4) {
            uint32_t kind, value;
            const unsigned char *at = number(model, from, op, j, &kind);
            if (kind == EGRU_VECTOR_Q8) {
                value = (uint32_t)(int32_t)(int8_t)*at;
            } else if (kind == EGRU_VECTOR_Q16) {
                int16_t q;
                memcpy(&q, at, 2);
                value = (uint32_t)(int32_t)q;
            } else {
                memcpy(&value, at, 4);
            }
            write_u32(place, value);
        }
    }
    write_u32(place, checksum(bytes, HEADER_BYTES + 4 * model->saved_numbers));
}

/* Whether a saved number is one that a stream can reach. */
static int reachable(const egru_operation *op, uint32_t kind, uint32_t bits) {
    int32_t integer = (int32_t)bits;
    int bounded = op->code == EGRU_OP_GRU && op->gru.candidate == EGRU_TANH;
    if (kind == EGRU_VECTOR_FLOAT) {
        uint32_t magnitude = bits & 0x7fffffffu;
        return magnitude <= (bounded ? 0x3f800008u : 0x7f7fffffu); /* 1 + 2^-20, the largest float32 */
    }
    int32_t limit = kind == EGRU_VECTOR_Q8 ? 127 : kind == EGRU_VECTOR_Q16 ? 32767 : bounded ? 1 << 24 : 1 << 30;
    return integer >= -limit && integer <= limit;
}

static void store(unsigned char *at, uint32_t kind, uint32_t bits) {
    if (kind == EGRU_VECTOR_Q8) {
        *at = (unsigned char)bits;
    } else if (kind == EGRU_VECTOR_Q16) {
        uint16_t q = (uint16_t)bits;
        memcpy(at, &q, 2);
    } else {
        memcpy(at, &bits, 4);
    }
}

egru_status egru_load(const egru_model *model, void *state, const void *saved, size_t saved_bytes) {
    const unsigned char *bytes = saved;
    unsigned char *to = egru_aligned(state);
    egru_counts *taken = (egru_counts *)(void *)to;
    size_t content = HEADER_BYTES + 4 * model->saved_numbers;
    if (saved_bytes != egru_saved_size(model) || memcmp(bytes, "EGRUSTAT", 8) != 0 ||
        egru_read_u32(bytes + 8) != STATE_VERSION || egru_read_u32(bytes + 12) != 4 * model->saved_numbers ||
        memcmp(bytes + 16, model->identity, 32) != 0 || egru_read_u32(bytes + content) != checksum(bytes, content))
        return EGRU_STATE;
    for (int writing = 0; writing < 2; writing++) { /* nothing is taken over before all is checked */
        const unsigned char *place = bytes + HEADER_BYTES;
        if (writing)
            egru_reset(model, state);
        for (uint32_t i = 0; i < model->operation_count; i++) {
            const egru_operation *op = &model->operations[i];
            for (size_t j = 0; j < numbers(model, op); j++, place += 4) {
                uint32_t kind, bits = egru_read_u32(place);
                unsigned char *at = number(model, to, op, j, &kind);
                if (writing)
                    store(at, kind, bits);
                else if (!reachable(op, kind, bits))
                    return EGRU_STATE;
            }
            if (writing && op->code == EGRU_OP_GRU && model->scheme == EGRU_SCHEME_STATIC)
                egru_refresh_operand(&op->gru, (const int32_t *)(const void *)(to + model->vectors[op->out].offset),
                                     to + model->vectors[op->q].offset);
        }
    }
    taken->steps = (uint64_t)egru_read_u32(bytes + 48) | (uint64_t)egru_read_u32(bytes + 52) << 32;
    taken->clipped = (uint64_t)egru_read_u32(bytes + 56) | (uint64_t)egru_read_u32(bytes + 60) << 32;
    return EGRU_OK;
}
