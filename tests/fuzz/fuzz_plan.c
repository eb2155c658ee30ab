/* libFuzzer: bytes that claim to be a plan. Whatever the library accepts is made into a model of every instruction set
 * that runs here and stepped, alone and together; integer models must give the same bits everywhere, and states that
 * were reached must load again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "egru.h"

#define LARGEST (1u << 20) /* bytes, of models and states that are run: a fuzzer has better uses for its time */
#define STREAMS 5u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

static uint32_t word_at(const uint8_t *bytes) {
    uint32_t word;
    memcpy(&word, bytes, 4);
    return word;
}

static uint64_t hash(uint64_t so_far, const void *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        so_far = (so_far ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
    return so_far;
}

static void expect(int condition) {
    if (!condition)
        abort();
}

/* Samples from the plan's own bytes: numbers of every size, but finite. */
static void fill(float *xs, size_t count, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = word_at(data + 4 * (i * 7 % (size / 4)));
        if ((bits & 0x7f800000u) == 0x7f800000u)
            bits ^= 0x40000000u;
        memcpy(&xs[i], &bits, 4);
    }
}

/* Steps the model in every way and returns what came out, as a number. */
static uint64_t step(const egru_model *model, const uint8_t *data, size_t size) {
    size_t inputs = egru_input_size(model), outputs = egru_output_size(model), saved_size = egru_saved_size(model);
    size_t which = 0, done = 0;
    float *xs = malloc(STREAMS * inputs * sizeof(float)), *ys = calloc(STREAMS * outputs, sizeof(float));
    float *alone = calloc(outputs, sizeof(float));
    void *states[STREAMS], *state = malloc(egru_state_size(model)), *scratch = malloc(egru_scratch_size(model, STREAMS));
    uint8_t *saved = malloc(saved_size), *again = malloc(saved_size);
    uint64_t result = 0;
    egru_status together;
    fill(xs, STREAMS * inputs, data, size);
    for (size_t s = 0; s < STREAMS; s++) {
        states[s] = malloc(egru_state_size(model));
        egru_reset(model, states[s]);
    }
    together = egru_step_many(model, states, STREAMS, scratch, xs, ys, &which);
    expect(together == EGRU_OK || together == EGRU_RANGE);
    for (size_t s = 0; s < STREAMS; s++) {
        egru_status status;
        egru_reset(model, state);
        status = egru_step(model, state, scratch, xs + s * inputs, alone);
        expect(status == EGRU_OK || status == EGRU_RANGE);
        expect((together == EGRU_RANGE && s == which) <= (status == EGRU_RANGE));
        if (status == EGRU_OK)
            expect(memcmp(alone, ys + s * outputs, outputs * sizeof(float)) == 0);
        egru_save(model, state, saved);
        egru_save(model, states[s], again);
        expect(memcmp(saved, again, saved_size) == 0);
    }
    (void)egru_run(model, state, scratch, xs, ys, STREAMS, &done);
    egru_save(model, state, saved);
    expect(egru_load(model, states[0], saved, saved_size) == EGRU_OK);
    egru_save(model, states[0], again);
    expect(memcmp(saved, again, saved_size) == 0);
    result = hash(hash(done, ys, done * outputs * sizeof(float)), saved, saved_size);
    for (size_t s = 0; s < STREAMS; s++)
        free(states[s]);
    free(state);
    free(scratch);
    free(saved);
    free(again);
    free(xs);
    free(ys);
    free(alone);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint64_t first = 0;
    int models = 0;
    if (size < 128)
        return 0;
    for (size_t i = 0; egru_kernel_name(i); i++) {
        const char *kernel = egru_kernel_name(i);
        egru_model *model = NULL;
        size_t bytes;
        void *memory;
        if (!egru_kernel_runs(kernel) || egru_model_size(data, size, kernel, &bytes) != EGRU_OK ||
            bytes > LARGEST)
            continue;
        memory = malloc(bytes);
        if (egru_model_init(memory, bytes, data, size, kernel, &model) == EGRU_OK &&
            egru_state_size(model) + egru_scratch_size(model, STREAMS) + egru_saved_size(model) <= LARGEST) {
            uint64_t result = step(model, data, size);
            expect(word_at(data + 56) != 1 || !models || result == first);
            first = result;
            models++;
        }
        free(memory);
    }
    return 0;
}

/* Mostly whole words, half of them in front of the data, set to numbers that plans have; the length is kept right. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    uint32_t random = seed * 2654435761u + 1;
    if (size < 128 || seed % 4 == 0) {
        size = LLVMFuzzerMutate(data, size, most);
    } else {
        uint32_t front = word_at(data + 68);
        for (unsigned i = 0; i < 1 + seed / 4 % 3; i++) {
            size_t words = size / 4, place;
            uint32_t word;
            random = random * 1664525u + 1013904223u;
            if (random >> 31 && front >= 4 && front < size)
                words = front / 4;
            place = 4 * (random / 8 % words);
            random = random * 1664525u + 1013904223u;
            word = word_at(data + place);
            switch (random >> 16 & 7) {
            case 0: word = random >> 20 & 15; break;
            case 1: word += 1 + (random >> 20 & 3); break;
            case 2: word -= 1 + (random >> 20 & 3); break;
            case 3: word = UINT32_MAX; break;
            case 4: word = word_at(data + 4 * (random % words)); break;
            case 5: word = 1u << (random >> 22 & 31); break;
            case 6: word ^= 1u << (random >> 22 & 31); break;
            default: word = random; break;
            }
            memcpy(data + place, &word, 4);
        }
    }
    if (size >= 16) {
        uint32_t total = (uint32_t)size;
        memcpy(data, "EGRUPLAN\1\0\0\0", 12);
        memcpy(data + 12, &total, 4);
    }
    return size;
}
