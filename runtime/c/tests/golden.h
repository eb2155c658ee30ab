/* What the test programs share: CHECK, memory as it is found on a device, and golden files. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "egru.h"

#ifndef EGRU_FLOAT
#define EGRU_FLOAT 1
#endif
#ifndef EGRU_Q16
#define EGRU_Q16 1
#endif
#ifndef EGRU_LOG_MEL
#define EGRU_LOG_MEL 1
#endif
#ifndef EGRU_TOKENS
#define EGRU_TOKENS 1
#endif
#ifndef EGRU_ATTENTION
#define EGRU_ATTENTION EGRU_Q16
#endif

static int failures;
static const char *file_name = "", *kernel_name = "";

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s, %s: %s\n", __FILE__, __LINE__, file_name, kernel_name, #condition);            \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

/* A file of tests/golden/make_kernel_vectors.py. */
typedef struct {
    unsigned char *bytes, *plan;
    const unsigned char *state;
    const float *samples, *outputs;
    size_t plan_bytes, steps, inputs, width;
    int integer;
} golden;

static void *taken[4096]; /* by untidy, until give_back */
static size_t taken_count;

/* Memory at an odd place, full of what was there before. */
static inline void *untidy(size_t size, size_t offset) {
    unsigned char *memory = malloc(size + offset + 1);
    if (!memory || taken_count == sizeof taken / sizeof *taken) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    memset(memory, offset % 2 ? 0xa5 : 0x80, size + offset); /* 0x80: as int8 a number that no operand is */
    taken[taken_count++] = memory;
    return memory + offset;
}

static inline void give_back(void) {
    while (taken_count)
        free(taken[--taken_count]);
}

static inline uint32_t word_at(const unsigned char *bytes) {
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline void put_word(unsigned char *bytes, uint32_t value) {
    for (int i = 0; i < 4; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
}

/* CRC-32, a bit at a time. */
static inline uint32_t crc_of(const unsigned char *bytes, size_t size) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* An operation of a plan by its code, the first one; NULL where there is none. */
static inline unsigned char *operation(const golden *g, uint32_t code) {
    uint32_t vectors = word_at(g->plan + 60), operations = word_at(g->plan + 64);
    for (uint32_t i = 0; i < operations; i++)
        if (word_at(g->plan + 72 + 8 * vectors + 80 * i) == code)
            return g->plan + 72 + 8 * vectors + 80 * i;
    return NULL;
}

/* Where the array is that a word of an operation names. */
static inline unsigned char *array_of(const golden *g, const unsigned char *operation_words, size_t word) {
    return g->plan + word_at(g->plan + 68) + word_at(operation_words + 4 + 4 * word);
}

static inline golden load_golden(const char *path) {
    golden g;
    FILE *file = fopen(path, "rb");
    size_t room = 1u << 20, used;
    if (!file) {
        perror(path);
        exit(1);
    }
    g.bytes = malloc(room); /* the caller frees it */
    used = g.bytes ? fread(g.bytes, 1, room, file) : 0;
    (void)fclose(file);
    if (used < 100)
        exit(1);
    file_name = path;
    g.plan_bytes = word_at(g.bytes);
    g.steps = word_at(g.bytes + 4);
    g.plan = g.bytes + 8;
    g.inputs = word_at(g.plan + 48);
    g.width = word_at(g.plan + 52);
    g.integer = word_at(g.plan + 56) == 1;
    g.samples = (const float *)(const void *)(g.plan + g.plan_bytes);
    g.outputs = g.samples + g.inputs * g.steps;
    g.state = (const unsigned char *)(g.outputs + g.width * g.steps);
    return g;
}

/* Whether this build of the library has what the model needs. */
static inline int built_for(const golden *g) {
    size_t vectors = word_at(g->plan + 60);
    if ((!EGRU_FLOAT && !g->integer) || (!EGRU_LOG_MEL && operation(g, 14)) || (!EGRU_TOKENS && operation(g, 15)) ||
        (!EGRU_ATTENTION && operation(g, 16)))
        return 0;
    for (size_t i = 0; i < vectors; i++)
        if (!EGRU_Q16 && word_at(g->plan + 72 + 8 * i) == 3)
            return 0;
    return 1;
}

/* Whether values are the expected ones: those of integer models in every bit. */
static inline int same(const golden *g, const float *found, const float *expected, size_t count) {
    float largest = 1;
    if (g->integer)
        return memcmp(found, expected, count * 4) == 0;
    for (size_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(expected[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(found[i] - expected[i]) <= 1e-6f * largest))
            return 0;
    return 1;
}

static inline egru_model *make_model(const golden *g, size_t offset) {
    egru_model *model = NULL;
    size_t size = 0;
    CHECK(egru_model_size(g->plan, g->plan_bytes, kernel_name, &size) == EGRU_OK);
    CHECK(egru_model_init(untidy(size, offset), size, g->plan, g->plan_bytes, kernel_name, &model) == EGRU_OK);
    if (!model)
        exit(1);
    return model;
}

/* The state that a golden file's stream begins with: some rows are remembered where there is attention. */
static inline void fresh(const egru_model *model, void *state) {
    egru_reset(model, state);
#if EGRU_ATTENTION
    size_t size = egru_row_size(model);
    for (size_t row = 0; size && row < 3; row++) {
        float numbers[64];
        for (size_t i = 0; i < size; i++)
            numbers[i] = (float)((row * 37 + i * 11) % 17) / 8.0f - 1.0f;
        CHECK(egru_remember(model, state, numbers) == EGRU_OK);
    }
#endif
}
#endif
