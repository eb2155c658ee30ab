/* bench PLAN STEPS: nanoseconds of a step for every instruction set that runs here, and of only reading the weights.
 *
 * Prints one line of JSON: for each kernel step_ns, many_ns for a step of one of 64 streams, products_ns, the products of
 * a step alone, and gates_ns, what the GRUs do behind theirs; floor_ns, reading as many bytes as the weights of the plan
 * have, once. The best of many short chunks, all contestants in turn; y is read at every step. STEPS: of each
 * contestant, in all.
 */
#define _POSIX_C_SOURCE 200112L
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "internal.h"

#ifdef EGRU_X86
#include <immintrin.h>
#endif

#define STREAMS 64u
#define CONTESTANTS 8
#define WARMING 10
#define PARTS 4

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static volatile float seen;

/* Reads `bytes` bytes, a multiple of 256, by the widest loads that there are. */
#ifdef EGRU_X86
__attribute__((target("avx512f"))) static void read_avx512(const unsigned char *weights, size_t bytes) {
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (size_t i = 0; i < bytes; i += 256) {
        a = _mm512_xor_si512(a, _mm512_load_si512(weights + i));
        b = _mm512_xor_si512(b, _mm512_load_si512(weights + i + 64));
        c = _mm512_xor_si512(c, _mm512_load_si512(weights + i + 128));
        d = _mm512_xor_si512(d, _mm512_load_si512(weights + i + 192));
    }
    a = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
    seen = (float)_mm512_reduce_add_epi32(a);
}

__attribute__((target("avx2"))) static void read_avx2(const unsigned char *weights, size_t bytes) {
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (const __m256i *w = (const __m256i *)(const void *)weights; bytes; bytes -= 128, w += 4) {
        a = _mm256_xor_si256(a, _mm256_load_si256(w));
        b = _mm256_xor_si256(b, _mm256_load_si256(w + 1));
        c = _mm256_xor_si256(c, _mm256_load_si256(w + 2));
        d = _mm256_xor_si256(d, _mm256_load_si256(w + 3));
    }
    a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
    seen = (float)_mm256_extract_epi32(a, 0) + (float)_mm256_extract_epi32(a, 7);
}
#endif

static void read_words(const unsigned char *weights, size_t bytes) {
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < bytes; i += 64)
        for (size_t j = 0; j < 8; j++) {
            uint64_t word;
            memcpy(&word, weights + i + 8 * j, 8);
            sums[j] ^= word;
        }
    for (size_t j = 1; j < 8; j++)
        sums[0] ^= sums[j];
    seen = (float)sums[0];
}

static void read_weights(const unsigned char *weights, size_t bytes) {
#ifdef EGRU_X86
    if (__builtin_cpu_supports("avx512f"))
        read_avx512(weights, bytes);
    else if (__builtin_cpu_supports("avx2"))
        read_avx2(weights, bytes);
    else
#endif
        read_words(weights, bytes);
}

typedef struct {
    egru_model *model;
    void *states[STREAMS], *scratch;
    double step, many, products, gates;
} contestant;

static void *get(size_t bytes) {
    void *memory;
    if (posix_memalign(&memory, 64, bytes))
        exit(1);
    memset(memory, 0, bytes);
    return memory;
}

static size_t weight_bytes(const egru_model *model) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < model->operation_count; i++) {
        const egru_operation *op = &model->operations[i];
        const egru_matrix *all[] = {&op->matrix, &op->gru.ih, &op->gru.hh, &op->gru.hn};
        for (int j = 0; j < 4; j++)
            bytes += (size_t)all[j]->rows * all[j]->columns * (all[j]->kind == EGRU_VECTOR_FLOAT ? 4 : 1);
    }
    return bytes;
}

static double least(double a, double b) {
    return a < b ? a : b;
}

/* Nanoseconds of each of `chunk` turns. Turns before them bring everything back into the cache that others have put out. */
static double time_floor(const unsigned char *weights, size_t bytes, size_t chunk) {
    double begin = 0;
    for (size_t i = 0; i < chunk + WARMING; i++) {
        if (i == WARMING)
            begin = now();
        read_weights(weights, bytes);
    }
    return (now() - begin) / (double)chunk;
}

static double time_steps(const contestant *c, const float *xs, float *ys, size_t chunk) {
    double begin = 0;
    for (size_t i = 0; i < chunk + WARMING; i++) {
        if (i == WARMING)
            begin = now();
        egru_step(c->model, c->states[0], c->scratch, xs, ys);
        seen = ys[0];
    }
    return (now() - begin) / (double)chunk;
}

/* Gates, activations and new states of the GRUs, of whatever stands where the products would be. */
static void run_gates(const egru_model *model, unsigned char *state, unsigned char *scratch) {
    const egru_kernel *kernel = model->kernel;
    void *ih = scratch + model->buffer[EGRU_IH], *hh = scratch + model->buffer[EGRU_HH];
    void *z = scratch + model->buffer[EGRU_Z], *rh = scratch + model->buffer[EGRU_RH];
    for (uint32_t i = 0; i < model->operation_count; i++) {
        const egru_operation *op = &model->operations[i];
        const egru_gru *g = &op->gru;
        const egru_vector *out = &model->vectors[op->out];
        unsigned char *value = (out->memory == EGRU_IN_STATE ? state : scratch) + out->offset;
        if (op->code != EGRU_OP_GRU)
            continue;
        if (model->scheme == EGRU_SCHEME_STATIC && g->before) {
            kernel->gru_gates(g, ih, hh, (int32_t *)(void *)value, z, rh);
            kernel->gru_candidate(g, ih, hh, z, (int32_t *)(void *)value, state + model->vectors[op->q].offset);
        } else if (model->scheme == EGRU_SCHEME_STATIC) {
            kernel->gru_after(g, ih, hh, (int32_t *)(void *)value, state + model->vectors[op->q].offset);
        } else if (g->before) {
            kernel->gru_gates_float(g, ih, hh, (const float *)(void *)(state + op->ring), z, rh);
            kernel->gru_candidate_float(g, ih, hh, z, (const float *)(void *)(state + op->ring), (float *)(void *)value);
        } else {
            kernel->gru_after_float(g, ih, hh, (const float *)(void *)(state + op->ring), (float *)(void *)value);
        }
    }
}

/* The products of a step of whatever stands in the scratch memory, from the end from which that step would read. */
static void run_products(const egru_model *model, unsigned char *scratch, size_t turn) {
    const egru_kernel *kernel = model->kernel;
    const void *v = scratch + model->buffer[EGRU_Z];
    void *acc = scratch + model->buffer[EGRU_HH];
    size_t count = 1;
#ifdef EGRU_X86
    if (kernel->turns && turn % 2)
        count += EGRU_BACKWARDS;
#endif
    for (uint32_t i = 0; i < model->operation_count; i++) {
        const egru_operation *op = &model->operations[i];
        const egru_matrix *inputs[] = {&op->gru.ih, &op->gru.hh};
        const egru_matrix *all[] = {&op->matrix, inputs[count > 1], inputs[count == 1], &op->gru.hn};
        for (int j = 0; j < 4; j++) {
            if (!all[j]->rows)
                continue;
            if (all[j]->kind == EGRU_VECTOR_FLOAT)
                kernel->product_float(all[j], (const float *const *)&v, (float *const *)&acc, count);
            else if (all[j]->kind == EGRU_VECTOR_Q16)
                kernel->product_q16(all[j], (const int16_t *const *)&v, (int32_t *const *)&acc, count);
            else
                kernel->product_q8(all[j], (const int8_t *const *)&v, (int32_t *const *)&acc, count);
        }
    }
    (void)turn;
}

enum { PRODUCTS, GATES };

static double time_part(const contestant *c, int part, size_t chunk) {
    unsigned char *state = egru_aligned(c->states[0]), *scratch = egru_aligned(c->scratch);
    double begin = 0;
    memset(scratch, 0, c->model->scratch_bytes); /* numbers that never slow a float down */
    for (size_t i = 0; i < chunk + WARMING; i++) {
        if (i == WARMING)
            begin = now();
        if (part == PRODUCTS)
            run_products(c->model, scratch, i);
        else
            run_gates(c->model, state, scratch);
        seen = (float)state[0] + (float)scratch[c->model->buffer[EGRU_HH]];
    }
    return (now() - begin) / (double)chunk;
}

/* Of a step of one of the streams. */
static double time_many(const contestant *c, const float *xs, float *ys) {
    double begin = 0;
    for (int i = 0; i < 2; i++) {
        size_t which;
        begin = now();
        egru_step_many(c->model, c->states, STREAMS, c->scratch, xs, ys, &which);
        seen = ys[0];
    }
    return (now() - begin) / STREAMS;
}

int main(int argc, char **argv) {
    static contestant all[CONTESTANTS];
    static unsigned char plan[1 << 26];
    const size_t chunk = 50;
    size_t plan_bytes, count = 0, floor_bytes = 0;
    double floor_ns = 1e18;
    long steps = argc == 3 ? atol(argv[2]) : 0;
    FILE *file = argc == 3 ? fopen(argv[1], "rb") : NULL;
    float *xs, *ys;
    unsigned char *weights;
    if (!file || steps < PARTS) {
        fprintf(stderr, "usage: bench PLAN STEPS\n");
        return 2;
    }
    plan_bytes = fread(plan, 1, sizeof plan, file);
    fclose(file);
    for (size_t k = 0; egru_kernel_name(k) && count < CONTESTANTS; k++) {
        const char *name = egru_kernel_name(k);
        contestant *c = &all[count];
        size_t size;
        if (!egru_kernel_runs(name))
            continue;
        if (egru_model_size(plan, plan_bytes, name, &size) != EGRU_OK ||
            egru_model_init(get(size), size, plan, plan_bytes, name, &c->model) != EGRU_OK) {
            fprintf(stderr, "%s: no plan\n", argv[1]);
            return 1;
        }
        c->scratch = get(egru_scratch_size(c->model, STREAMS));
        for (size_t s = 0; s < STREAMS; s++) {
            c->states[s] = get(egru_state_size(c->model));
            egru_reset(c->model, c->states[s]);
        }
        c->step = c->many = c->products = c->gates = 1e18;
        count++;
    }
    xs = get(STREAMS * egru_input_size(all[0].model) * 4);
    ys = get(STREAMS * egru_output_size(all[0].model) * 4);
    for (size_t i = 0; i < STREAMS * egru_input_size(all[0].model); i++)
        xs[i] = (float)(i % 17) / 8.0f - 1.0f;
    floor_bytes = (weight_bytes(all[0].model) + 255) / 256 * 256;
    weights = get(floor_bytes);
    for (int part = 0; part < PARTS; part++) { /* parts of steps apart from steps, which would be slower next to them */
        for (long done = 0; done < steps / PARTS; done += (long)chunk) {
            floor_ns = least(floor_ns, time_floor(weights, floor_bytes, chunk));
            for (size_t k = 0; k < count; k++) {
                all[k].step = least(all[k].step, time_steps(&all[k], xs, ys, chunk));
                all[k].many = least(all[k].many, time_many(&all[k], xs, ys));
            }
        }
        for (long done = 0; done < steps / PARTS; done += (long)chunk)
            for (size_t k = 0; k < count; k++) {
                all[k].products = least(all[k].products, time_part(&all[k], PRODUCTS, chunk));
                all[k].gates = least(all[k].gates, time_part(&all[k], GATES, chunk));
            }
    }
    printf("{\"kernels\": {");
    for (size_t k = 0; k < count; k++)
        printf("%s\"%s\": {\"step_ns\": %.1f, \"many_ns\": %.1f, \"products_ns\": %.1f, \"gates_ns\": %.1f}",
               k ? ", " : "", egru_model_kernel(all[k].model), all[k].step, all[k].many, all[k].products, all[k].gates);
    printf("}, \"floor_ns\": %.1f, \"weight_bytes\": %zu}\n", floor_ns, floor_bytes);
    return 0;
}
