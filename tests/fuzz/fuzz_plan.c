/* libFuzzer: bytes that claim to be a plan, then samples. Whatever the library accepts is made into a model of every
 * instruction set, stepped alone and together, saved and loaded; then the plan's own bytes are loaded as a state.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "egru.h"

#define LARGEST_MODEL (1u << 24) /* of those that are run; a fuzzer has better uses for its time than large ones */
#define STREAMS 5u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

static void run(const uint8_t *data, size_t size, const char *kernel) {
    egru_model *model = NULL;
    size_t bytes, which, done;
    void *memory, *states[STREAMS], *scratch, *saved;
    float *xs, *ys;
    if (egru_model_size(data, size, kernel, &bytes) != EGRU_OK || bytes > LARGEST_MODEL)
        return;
    memory = malloc(bytes);
    if (egru_model_init(memory, bytes, data, size, kernel, &model) != EGRU_OK ||
        egru_state_size(model) + egru_scratch_size(model, STREAMS) > LARGEST_MODEL) {
        free(memory);
        return;
    }
    xs = malloc(STREAMS * egru_input_size(model) * sizeof(float));
    ys = malloc(STREAMS * egru_output_size(model) * sizeof(float));
    scratch = malloc(egru_scratch_size(model, STREAMS));
    saved = malloc(egru_saved_size(model));
    for (size_t i = 0; i < STREAMS * egru_input_size(model); i++)
        memcpy(&xs[i], data + 4 * (i * 7 % (size / 4)), 4);
    for (size_t s = 0; s < STREAMS; s++) {
        states[s] = malloc(egru_state_size(model));
        egru_reset(model, states[s]);
    }
    (void)egru_run(model, states[0], scratch, xs, ys, STREAMS, &done);
    (void)egru_step_many(model, states, STREAMS, scratch, xs, ys, &which);
    egru_save(model, states[0], saved);
    if (egru_load(model, states[1], saved, egru_saved_size(model)) != EGRU_OK)
        abort(); /* a state that was reached is refused */
    (void)egru_load(model, states[2], data, size);
    for (size_t s = 0; s < STREAMS; s++)
        free(states[s]);
    free(saved);
    free(scratch);
    free(ys);
    free(xs);
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 128)
        return 0;
    for (size_t i = 0; egru_kernel_name(i); i++)
        if (egru_kernel_runs(egru_kernel_name(i)))
            run(data, size, egru_kernel_name(i));
    return 0;
}

/* Mostly whole words of header, vectors and operations, set to numbers that plans have; the length is kept right. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    uint32_t state = seed * 2654435761u + 1, word, total;
    if (size < 128 || seed % 4 == 0) {
        size = LLVMFuzzerMutate(data, size, most);
    } else {
        for (unsigned i = 0; i < 1 + seed / 4 % 3; i++) {
            size_t place;
            state = state * 1664525u + 1013904223u;
            place = 4 * (state / 8 % (size / 4));
            state = state * 1664525u + 1013904223u;
            memcpy(&word, data + place, 4);
            switch (state >> 16 & 7) {
            case 0: word = state >> 20 & 15; break;
            case 1: word += 1; break;
            case 2: word -= 1; break;
            case 3: word = UINT32_MAX; break;
            case 4: memcpy(&word, data + 4 * (state % (size / 4)), 4); break;
            case 5: word = 1u << (state >> 22 & 31); break;
            case 6: word ^= 1u << (state >> 22 & 31); break;
            default: word = state; break;
            }
            memcpy(data + place, &word, 4);
        }
    }
    if (size >= 16) {
        total = (uint32_t)size;
        memcpy(data, "EGRUPLAN\1\0\0\0", 12);
        memcpy(data + 12, &total, 4);
    }
    return size;
}
